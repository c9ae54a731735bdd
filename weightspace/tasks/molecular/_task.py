"""Training on molecules within a budget, by Lightning."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from weightspace.tasks._optimisation import Optimisation
from weightspace.tasks.molecular._batches import Batch
from weightspace.tasks.molecular._budget import Budget
from weightspace.tasks.molecular._entry import MolecularTraining
from weightspace.tasks.molecular._objectives import AbstractObjective
from weightspace.tasks.molecular._scores import errors_of

MONITOR = "val_loss"
PATIENT_SHARE = 0.2  # of the budget without an improvement, at least, before a training is ended
SECONDS, SAMPLES, CURVE = "seconds_spent", "samples_seen", "curve"


class MolecularTask(LightningModule):
    """Fits the model of an objective until a budget is spent.

    Args:
        objective: holds the model and says what is learnt.
        training: optimiser and schedule.
        budget: ends the training; the learning rate follows the share of it that is spent.

    `curve` has a row per check on validation molecules: seconds, samples, train_loss, val_loss and the mean absolute
    errors of each quantity.
    """

    def __init__(self, objective: AbstractObjective, training: MolecularTraining, budget: Budget):
        super().__init__()
        self.objective, self.training_rule, self.budget = objective, training, budget
        self.curve: list[dict[str, float]] = []
        self.samples = 0
        self._seconds = 0.0
        self._since: float | None = None
        self._losses: list[Tensor] = []
        self._errors: list[dict[str, Tensor]] = []
        self._row: dict[str, float] = {}

    @property
    def seconds(self) -> float:
        """Spent so far, earlier starts included, on the clock of the budget."""
        return self._seconds + (0.0 if self._since is None else self.budget.now() - self._since)

    @property
    def share(self) -> float:
        """Of the budget that is spent."""
        return self.budget.share(seconds=self.seconds, samples=self.samples)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW; the learning rate follows the share of the budget."""
        rule = self.training_rule
        optimisation = Optimisation(rule.learning_rate, rule.weight_decay, rule.warmup)
        optimizer = optimisation.optimizer(self.objective)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: optimisation.factor(self.share))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_fit_start(self) -> None:
        """Start the clock."""
        self._since = self.budget.now()

    def on_fit_end(self) -> None:
        """Stop the clock."""
        self._seconds, self._since = self.seconds, None

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss."""
        loss = self.objective.loss(self.objective.outputs(batch), batch)
        self.samples += len(batch["size"])
        self._losses.append(loss.detach())
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Stop when the budget is spent."""
        if self.share >= 1:
            self.trainer.should_stop = True

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Errors and loss of a batch."""
        outputs = self.objective.outputs(batch)
        loss = self.objective.loss(outputs, batch)
        found = {name: (outputs[name] - wanted).flatten() for name, wanted in self.objective.targets(batch).items()}
        self._errors.append({**found, "loss": (loss * len(batch["size"])).reshape(1), "size": batch["size"]})

    def on_validation_epoch_end(self) -> None:
        """Log the loss and keep the scores for the curve."""
        kept, self._errors = self._errors, []
        molecules = sum(len(part["size"]) for part in kept)
        loss = torch.cat([part["loss"] for part in kept]).sum() / molecules
        self.log(MONITOR, loss, batch_size=molecules)
        scores = errors_of({name: torch.cat([part[name] for part in kept]) for name in self.objective.quantities})
        self._row = {MONITOR: float(loss)} | scores

    def on_train_epoch_end(self) -> None:
        """Add a row to the curve."""
        losses = {"train_loss": float(torch.stack(self._losses).mean())} if self._losses else {}
        self.curve.append({"seconds": round(self.seconds, 3), "samples": self.samples} | losses | self._row)
        self._losses, self._row = [], {}
        if self.has_ended:
            self.trainer.should_stop = True

    @property
    def has_ended(self) -> bool:
        """Whether the last check is not finite, or the best one is `patience` checks and a share of the budget ago."""
        losses = [row[MONITOR] for row in self.curve]
        if not math.isfinite(losses[-1]):
            return True
        best = min((k for k in range(len(losses)) if math.isfinite(losses[k])), key=lambda k: losses[k])
        then, now = (
            self.budget.share(seconds=row["seconds"], samples=int(row["samples"]))
            for row in (self.curve[best], self.curve[-1])
        )
        return len(losses) - 1 - best >= self.training_rule.patience and now - then >= PATIENT_SHARE

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Seconds, samples and the curve travel with the weights."""
        checkpoint[SECONDS], checkpoint[SAMPLES], checkpoint[CURVE] = self.seconds, self.samples, self.curve

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """All of that back."""
        self._seconds, self.samples = float(checkpoint[SECONDS]), int(checkpoint[SAMPLES])
        self.curve = list(checkpoint[CURVE])
