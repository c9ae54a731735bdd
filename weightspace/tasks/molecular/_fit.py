"""Fits a task within its budget: Lightning's trainer, averages of weights, checkpoints."""

import json
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, WeightAveraging
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from weightspace.errors import CheckpointError, ConfigurationError, TrainingError
from weightspace.molecules import MolecularSplits
from weightspace.tasks._folder import quiet_lightning, read_training_checkpoint
from weightspace.tasks.molecular._batches import MoleculeData
from weightspace.tasks.molecular._budget_bar import BudgetBar
from weightspace.tasks.molecular._task import MONITOR, MolecularTask

Tensors = tuple[Tensor, ...] | list[Tensor]
Average = Callable[[Tensors, Tensors, Tensor | int], None]
ENDED = "ended.json"
REMEDY = "lower the learning rate or the clip of gradients, remove the folder of the run and start again"
ACCELERATORS, PRECISIONS = ("cpu", "gpu", "auto"), ("32-true", "64-true", "bf16-mixed", "16-mixed")


@dataclass(frozen=True)
class RunOptions:
    """How runs are done, beside what is compared.

    Args:
        accelerator: "cpu", "gpu" (CUDA), or "auto" for a GPU where there is one.
        precision: of Lightning: "32-true", "64-true", "bf16-mixed", "16-mixed".
        compile: whether energies and forces are compiled; compilation counts against a budget of time.
        threads: of the CPU; None for what torch takes.
        progress: show a bar.

    Raises:
        ConfigurationError: another accelerator or precision, or a GPU that is not there.
    """

    accelerator: str = "cpu"
    precision: str = "32-true"
    compile: bool = False
    threads: int | None = 1
    progress: bool = False

    def __post_init__(self) -> None:
        if self.accelerator not in ACCELERATORS or self.precision not in PRECISIONS:
            raise ConfigurationError(
                f"options: found accelerator {self.accelerator!r} and precision {self.precision!r}, wanted one of "
                f"{', '.join(ACCELERATORS)} and of {', '.join(PRECISIONS)}"
            )
        if self.accelerator == "gpu" and not torch.cuda.is_available():
            raise ConfigurationError("options: found accelerator 'gpu' and no CUDA device; take 'cpu' or 'auto'")

    @property
    def device(self) -> torch.device:
        """Where training, tests and measurements run."""
        wanted = self.accelerator == "gpu" or (self.accelerator == "auto" and torch.cuda.is_available())
        return torch.device("cuda", 0) if wanted else torch.device("cpu")

    def fit_precision(self, module: nn.Module) -> None:
        """Make weights float64 for "64-true"; Lightning would do it too late, after it has copied them to average."""
        if self.precision == "64-true":
            module.double()


def fit(
    task: MolecularTask, splits: MolecularSplits, folder: Path, *, seed: int, options: RunOptions
) -> dict[str, Any]:
    """Train until the budget is spent or validation stops improving; the task holds the best weights afterwards.

    Returns:
        The content of `ended.json` where the training has ended before, otherwise why it ended: "budget", "no
        improvement" where the patience ran out, or "diverged" where the loss was no longer finite.

    Raises:
        TrainingError: the loss was never finite.
        CheckpointError: there is no checkpoint of the best weights.
    """
    last, best = (folder / "checkpoints" / f"{name}.ckpt" for name in ("last", "best"))
    if last.is_file():
        task.on_load_checkpoint(read_training_checkpoint(last))
    ended = json.loads((folder / ENDED).read_text()) if (folder / ENDED).is_file() else None
    if ended is None and task.share < 1 and not (task.curve and task.has_ended):
        _fit_on(task, splits, folder, seed=seed, options=options)
    if not best.is_file():
        raise CheckpointError(f"{folder}: the training ended before the first check; remove the folder and start again")
    if not any(math.isfinite(row[MONITOR]) for row in task.curve):
        raise TrainingError(f"{folder}: no loss on validation molecules was finite; {REMEDY}")
    task.load_state_dict(read_training_checkpoint(best)["state_dict"])
    if ended is not None:
        return ended
    if not math.isfinite(task.curve[-1][MONITOR]):
        return {"why": "diverged"}
    return {"why": "budget" if task.share >= 1 else "no improvement"}


def _callbacks(task: MolecularTask, folder: Path, seed: int, options: RunOptions) -> list[Callback]:
    rule = task.training_rule
    found: list[Callback] = [_Noise(seed)]
    if rule.ema_decay is not None:
        found.append(WeightAveraging(use_buffers=False, multi_avg_fn=_moving_average(rule.ema_decay, task)))
    best, last = (_checkpoint(folder, *each) for each in (("best", MONITOR), ("last", None)))
    return [*found, best, last, *[BudgetBar()] * options.progress]


def _moving_average(decay: float, task: MolecularTask) -> Average:
    """The update of averaged weights; the decay of step t is at most (1 + t) / (10 + t).

    Without that bound the weights that a model started from keep a share of decay^t, a fifth after 160 steps at .99;
    with it the average spans the last ninth of the steps until the decay itself holds.
    """

    def update(averaged: Tensors, current: Tensors, number: Tensor | int) -> None:
        step = task.global_step  # `number` is the same on the device, and reading it would wait for that
        get_ema_multi_avg_fn(min(decay, (1 + step) / (10 + step)))(averaged, current, number)

    return update


class _Noise(Callback):
    """Draws of a model in training, such as dropout, depend on the seed and the epoch: a resumed run repeats them."""

    def __init__(self, seed: int):
        self.seed = seed

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Seed torch's generators."""
        torch.manual_seed(self.seed * 1_000_003 + trainer.current_epoch)


def _fit_on(task: MolecularTask, splits: MolecularSplits, folder: Path, *, seed: int, options: RunOptions) -> None:
    rule, last = task.training_rule, folder / "checkpoints" / "last.ckpt"
    per_epoch = rule.check_every or min(max(len(splits.train), 200), 1000)
    data = MoleculeData(splits, batch_size=rule.batch_size, per_epoch=per_epoch, seed=seed)
    devices = [options.device] if options.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), quiet_lightning(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"The '.*dataloader' does not have many workers")
        trainer = Trainer(
            default_root_dir=folder,
            accelerator="gpu" if options.device.type == "cuda" else "cpu",
            devices=1,
            precision=options.precision,  # type: ignore[arg-type]
            max_epochs=-1,
            gradient_clip_val=rule.clip,
            num_sanity_val_steps=0,
            logger=False,
            callbacks=_callbacks(task, folder, seed, options),
            enable_progress_bar=False,
            enable_model_summary=False,
            inference_mode=False,  # forces are derivatives
        )
        try:
            trainer.fit(task, datamodule=data, ckpt_path=last if last.is_file() else None, weights_only=True)
        except SystemExit:  # Lightning ends the process after Ctrl-C
            raise KeyboardInterrupt from None
        if trainer.interrupted:
            raise KeyboardInterrupt


def _checkpoint(folder: Path, name: str, monitor: str | None) -> ModelCheckpoint:
    return ModelCheckpoint(
        dirpath=folder / "checkpoints",
        filename=name,
        monitor=monitor,
        mode="min",
        save_on_train_epoch_end=True,  # after the task has added the check to its curve
        enable_version_counter=False,
        auto_insert_metric_name=False,
    )
