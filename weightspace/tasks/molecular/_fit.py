"""Fits a task within its budget: Lightning's trainer, averages of weights, checkpoints."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, WeightAveraging
from torch.optim.swa_utils import get_ema_multi_avg_fn

from weightspace.errors import CheckpointError, ConfigurationError
from weightspace.molecules import MolecularSplits
from weightspace.tasks._folder import quiet_lightning, read_training_checkpoint
from weightspace.tasks.molecular._batches import MoleculeData
from weightspace.tasks.molecular._budget_bar import BudgetBar
from weightspace.tasks.molecular._task import MONITOR, MolecularTask

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


def fit(task: MolecularTask, splits: MolecularSplits, folder: Path, *, seed: int, options: RunOptions) -> str:
    """Train until the budget is spent or validation stops improving; the task holds the best weights afterwards.

    Returns:
        "budget", or "no improvement" where the patience ran out.
    """
    rule = task.training_rule
    per_epoch = rule.check_every or min(max(len(splits.train), 200), 1000)
    data = MoleculeData(splits, batch_size=rule.batch_size, per_epoch=per_epoch, seed=seed)
    best, last = (_checkpoint(folder, *each) for each in (("best", MONITOR), ("last", None)))
    callbacks: list[Callback] = [EarlyStopping(MONITOR, patience=rule.patience, check_finite=True)]
    if rule.ema_decay is not None:
        average = get_ema_multi_avg_fn(rule.ema_decay)
        callbacks.append(WeightAveraging(use_buffers=False, multi_avg_fn=average))
    callbacks += [best, last, *[BudgetBar()] * options.progress]
    found = folder / "checkpoints" / "last.ckpt"
    path = found if found.is_file() else None
    if path is not None:
        task.on_load_checkpoint(read_training_checkpoint(path))
    if task.share < 1:
        _fit_on(task, data, callbacks, path, folder, options)
    best_path = folder / "checkpoints" / "best.ckpt"
    if not best_path.is_file():
        raise CheckpointError(f"{folder}: the training ended before the first check; remove the folder and start again")
    task.load_state_dict(read_training_checkpoint(best_path)["state_dict"])
    return "budget" if task.share >= 1 else "no improvement"


def _fit_on(
    task: MolecularTask,
    data: MoleculeData,
    callbacks: list[Callback],
    path: Path | None,
    folder: Path,
    options: RunOptions,
) -> None:
    with quiet_lightning(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"The '.*dataloader' does not have many workers")
        trainer = Trainer(
            default_root_dir=folder,
            accelerator="gpu" if options.device.type == "cuda" else "cpu",
            devices=1,
            precision=options.precision,  # type: ignore[arg-type]
            max_epochs=-1,
            gradient_clip_val=task.training_rule.clip,
            num_sanity_val_steps=0,
            logger=False,
            callbacks=callbacks,
            enable_progress_bar=False,
            enable_model_summary=False,
            inference_mode=False,  # forces are derivatives
        )
        try:
            trainer.fit(task, datamodule=data, ckpt_path=path, weights_only=True)
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
