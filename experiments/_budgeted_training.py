"""Trains a metanet for a fixed number of seconds of one core, and keeps the weights that did best in validation.

The seconds are CPU time of the process on one thread: on an idle core the same as wall time, and the same budget beside
other work. Only training steps count; evaluations stand outside the budget. The learning rate rises over the first part
of the budget and falls along a cosine over the rest, by the fraction of the budget that is spent.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Recipe:
    """How a model is trained within its budget; chosen on validation networks."""

    learning_rate: float = 4e-3
    batch_size: int = 32
    weight_decay: float = 1e-2
    warmup: float = 0.05
    clip: float = 1.0


@dataclass(frozen=True)
class Problem:
    """What is learned, for networks by their positions.

    Args:
        train: positions to learn from.
        validation: positions to choose weights by.
        outputs: of a metanet for networks at these positions, one row each, in their order.
        loss: of outputs and positions, a mean over networks.
        score: of outputs and positions; higher is better.
    """

    train: Tensor
    validation: Tensor
    outputs: Callable[[nn.Module, Tensor], Tensor]
    loss: Callable[[Tensor, Tensor], Tensor]
    score: Callable[[Tensor, Tensor], float]


@dataclass
class Training:
    """What happened: steps, networks seen, seconds, and the validation score along the way."""

    steps: int = 0
    networks: int = 0
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    best: float = -math.inf
    curve: list[tuple[float, float]] = field(default_factory=list)


def train_within(
    metanet: nn.Module, problem: Problem, recipe: Recipe, *, seconds: float, seed: int, evaluations: int = 8
) -> Training:
    """Train for this many seconds of CPU time; the metanet ends with the weights of the best evaluation.

    Args:
        metanet: is changed in place.
        problem: what to learn.
        recipe: how.
        seconds: the budget.
        seed: of the order of the networks.
        evaluations: on validation networks, evenly over the budget.
    """
    training, start = Training(), time.perf_counter()
    optimizer = _optimizer(metanet, recipe)
    batches = _batches(problem.train, recipe.batch_size, torch.Generator().manual_seed(seed))
    best: dict[str, Any] = {}
    for k in range(1, evaluations + 1):
        _train_until(metanet, problem, recipe, optimizer, batches, training, seconds, k / evaluations)
        score = evaluate(metanet, problem)
        training.curve.append((training.cpu_seconds, score))
        if score > training.best or not best:
            training.best, best = score, copy.deepcopy(metanet.state_dict())
    metanet.load_state_dict(best)
    training.wall_seconds = time.perf_counter() - start
    return training


def _train_until(metanet, problem, recipe, optimizer, batches, training, seconds, fraction) -> None:
    metanet.train()
    while training.cpu_seconds < fraction * seconds:
        start = time.process_time()
        rate = recipe.learning_rate * schedule(training.cpu_seconds / seconds, recipe.warmup)
        for group in optimizer.param_groups:
            group["lr"] = rate
        index = next(batches)
        loss = problem.loss(problem.outputs(metanet, index), index)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(metanet.parameters(), recipe.clip)
        optimizer.step()
        training.steps += 1
        training.networks += len(index)
        training.cpu_seconds += time.process_time() - start


def schedule(spent: float, warmup: float) -> float:
    """Factor on the learning rate after a fraction of the budget: a linear rise, then a cosine down to zero."""
    if spent < warmup:
        return (spent + 0.01 * warmup) / (1.01 * warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (spent - warmup) / (1 - warmup))))


@torch.no_grad()
def evaluate(metanet: nn.Module, problem: Problem) -> float:
    """Score on the validation networks."""
    return problem.score(predict(metanet, problem, problem.validation), problem.validation)


@torch.no_grad()
def predict(metanet: nn.Module, problem: Problem, index: Tensor, chunk: int = 128) -> Tensor:
    """Outputs for networks at these positions, in evaluation mode."""
    metanet.eval()
    return torch.cat([problem.outputs(metanet, part) for part in index.split(chunk)])


def _optimizer(metanet: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    matrices = [p for p in metanet.parameters() if p.ndim > 1]
    vectors = [p for p in metanet.parameters() if p.ndim <= 1]
    groups = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, betas=(0.9, 0.99))


def _batches(index: Tensor, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Batches of every epoch after another; the last ones of an epoch that would be smaller are left out."""
    size = min(size, len(index))
    while True:
        order = index[torch.randperm(len(index), generator=generator)]
        yield from order[: len(order) // size * size].split(size)
