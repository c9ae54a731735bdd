"""How a task is optimised: AdamW with a learning rate that rises and falls with the share of the training done."""

import math
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from weightspace.errors import ConfigurationError


@dataclass(frozen=True)
class Optimisation:
    """AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101) with warm-up and cosine decay.

    Args:
        learning_rate: after the warm-up.
        weight_decay: of AdamW, on matrices.
        warmup: share of the training in which the learning rate rises.
        budget_seconds: ends the training when it has taken this long, and lets the learning rate follow the time used
            instead of the steps done: CPU seconds of the process where the trainer runs on the CPU, wall seconds on
            other devices; validation counts, and so do earlier starts of the same run. Set `trainer.max_epochs` to -1
            with it.

    Raises:
        ConfigurationError: a rate or budget that is not positive, a warm-up that is no share.
    """

    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    warmup: float = 0.15
    budget_seconds: float | None = None

    def __post_init__(self) -> None:
        if not self.learning_rate > 0 or not 0 <= self.warmup < 1:
            raise ConfigurationError(
                f"optimisation: found learning_rate {self.learning_rate:g} and warmup {self.warmup:g}, wanted a "
                "positive rate and a share from 0 to below 1"
            )
        if self.budget_seconds is not None and not self.budget_seconds > 0:
            raise ConfigurationError(
                f"optimisation: found budget_seconds {self.budget_seconds:g}, wanted a positive number, or null"
            )

    def optimizer(self, module: nn.Module) -> torch.optim.Optimizer:
        """AdamW over a module's parameters, without weight decay on vectors and scalars."""
        matrices = [p for p in module.parameters() if p.ndim > 1]
        vectors = [p for p in module.parameters() if p.ndim <= 1]
        groups: list[dict[str, Any]] = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
        return torch.optim.AdamW(
            groups,
            lr=self.learning_rate,
            weight_decay=self.weight_decay,
            betas=(0.9, 0.99),
        )

    def factor(self, done: float) -> float:
        """Of the learning rate, where a share `done` of the training is behind: a line up, then a cosine down.

        Example:
            >>> [round(Optimisation(warmup=0.5).factor(done), 2) for done in (0.0, 0.25, 0.5, 0.75, 1.0)]
            [0.01, 0.5, 1.0, 0.5, 0.0]
        """
        if done < self.warmup:
            return max(0.01, done / self.warmup)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (done - self.warmup) / (1 - self.warmup))))


def seconds_on(device: torch.device) -> float:
    """The clock of a budget: CPU time of the process for the CPU, wall time for other devices."""
    return time.process_time() if device.type == "cpu" else time.perf_counter()
