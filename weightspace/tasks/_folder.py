"""The folder of a run: checkpoints, CSV logs, the best model, results and report."""

import json
import logging
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from weightspace.errors import CheckpointError, ConfigurationError
from weightspace.pretrained import save_pretrained
from weightspace.tasks._data import AbstractNetworkData
from weightspace.tasks._progress import EpochBar
from weightspace.tasks._task import SPENT, AbstractMetanetTask, Monitor

MODEL, TASK = "model", "task.json"
LIGHTNING_WARNINGS = (
    r".*LeafSpec.* is deprecated",  # of torch, which Lightning 2.6 calls so
    r"\s*(``instantiate_classes``|skip_none parameter) was deprecated",  # of jsonargparse, likewise
    r"\s*By default only one JsonargparseDeprecationWarning",
    r"Checkpoint directory .* exists and is not empty",  # on resuming
)
"""Warnings inside Lightning that no user could act on."""


def logger_in(folder: str | Path) -> CSVLogger:
    """CSV logs under `logs/`, a new version per start."""
    return CSVLogger(folder, name="logs")


@dataclass(frozen=True)
class Checkpoints:
    """The callbacks that write `checkpoints/best.ckpt` and `checkpoints/last.ckpt`."""

    best: ModelCheckpoint
    last: ModelCheckpoint

    @property
    def callbacks(self) -> list[Callback]:
        """Both."""
        return [self.best, self.last]


def checkpoints_in(folder: str | Path, monitor: Monitor) -> Checkpoints:
    """`checkpoints/best.ckpt` by the monitored metric, and `checkpoints/last.ckpt` of every epoch.

    Two callbacks, because the `save_last` of one saves only where the metric has improved.
    """
    return Checkpoints(
        _checkpoint(folder, "best", monitor=monitor.key, mode=monitor.mode), _checkpoint(folder, "last", None, "min")
    )


def _checkpoint(folder: str | Path, name: str, monitor: str | None, mode: str) -> ModelCheckpoint:
    return ModelCheckpoint(
        dirpath=Path(folder) / "checkpoints",
        filename=name,
        monitor=monitor,
        mode=mode,
        save_on_train_epoch_end=True,  # after the task has added the epoch to its history
        enable_version_counter=False,
        auto_insert_metric_name=False,
    )


def last_checkpoint(folder: str | Path) -> Path | None:
    """The checkpoint to go on from, or none."""
    path = Path(folder) / "checkpoints" / "last.ckpt"
    return path if path.is_file() else None


def read_training_checkpoint(path: str | Path) -> dict[str, Any]:
    """A Lightning checkpoint, read without running code from it.

    Raises:
        CheckpointError: there is no such file, it is damaged, or it needs classes.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(
            f"{path}: no such checkpoint; `weightspace fit` writes checkpoints/best.ckpt and last.ckpt"
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 - torch raises many kinds on damaged files
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"{path}: cannot be read as a checkpoint of tensors and plain values ({first}); "
            "it is damaged or was not written by `weightspace fit`: start from another one"
        ) from error


def load_into(task: AbstractMetanetTask, path: str | Path) -> None:
    """Weights, input scales and the task's own statistics of a checkpoint into a task.

    Raises:
        CheckpointError: unreadable, or of another metanet.
    """
    checkpoint = read_training_checkpoint(path)
    try:
        task.load_state_dict(checkpoint["state_dict"])
        task.restore_fitted(checkpoint)
    except (KeyError, TypeError, RuntimeError) as error:
        raise CheckpointError(
            f"{path}: does not fit a {type(task.metanet).__name__} of this configuration ({error}); "
            "use the configuration that the checkpoint was trained with"
        ) from error


def run_fit(
    trainer: Trainer, task: AbstractMetanetTask, data: AbstractNetworkData, *, ckpt_path: str | Path | None = None
) -> None:
    """Train, or go on from a checkpoint; an interruption is a `KeyboardInterrupt` and leaves `last.ckpt` behind.

    A checkpoint whose training has used up the budget is loaded, and that is all.
    """
    if ckpt_path:
        task.prepare(data)
        load_into(task, ckpt_path)  # names what does not fit
        checkpoint = read_training_checkpoint(ckpt_path)
        if task.is_spent(checkpoint.get(SPENT, 0.0)):
            task.on_load_checkpoint(checkpoint)
            return
    try:
        trainer.fit(task, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
    except SystemExit:  # Lightning ends the process after Ctrl-C
        raise KeyboardInterrupt from None


def train_in(
    folder: str | Path,
    task: AbstractMetanetTask,
    data: AbstractNetworkData,
    *,
    epochs: int = -1,
    accelerator: str = "cpu",
    progress: bool = True,
) -> Path:
    """Train a task in a folder, going on from its last checkpoint, and save the best model.

    Args:
        folder: for checkpoints, logs and `model/`.
        task: holds the best epoch's weights afterwards.
        data: the networks.
        epochs: in all, earlier starts included; -1 where `Optimisation.budget_seconds` ends the training.
        accelerator: of the trainer: "cpu", "gpu", "auto".
        progress: show a progress bar.

    Returns:
        The saved model's folder.

    Raises:
        ConfigurationError: neither epochs nor a budget.
    """
    if epochs < 0 and task.optimisation.budget_seconds is None:
        raise ConfigurationError("train_in: found neither epochs nor a budget; give epochs=, or budget_seconds=")
    checkpoints = checkpoints_in(folder, task.monitor)
    with quiet_lightning():
        trainer = Trainer(
            default_root_dir=folder,
            accelerator=accelerator,
            devices=1,
            max_epochs=epochs,
            gradient_clip_val=1.0,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
            logger=logger_in(folder),
            callbacks=[*checkpoints.callbacks, *[EpochBar(f"training {type(task.metanet).__name__}")] * progress],
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        run_fit(trainer, task, data, ckpt_path=last_checkpoint(folder))
    return save_best(task, checkpoints, folder)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Without Lightning's notes on hardware, and without the warnings that no user could act on."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for message in LIGHTNING_WARNINGS:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        logger.setLevel(level)


def save_best(task: AbstractMetanetTask, checkpoints: Checkpoints, folder: str | Path) -> Path:
    """Load the best checkpoint into the task, and save its metanet as `model/` with what the task fitted beside it."""
    load_into(task, checkpoints.best.best_model_path or Path(folder) / "checkpoints" / "best.ckpt")
    path = Path(folder) / MODEL
    save_pretrained(task.metanet, path)
    write_json(path / TASK, {"task": type(task).__name__, "state": task.state()})
    return path


def write_json(path: str | Path, content: Mapping[str, Any]) -> Path:
    """Write JSON to a temporary file and rename it into place; numbers that are not finite become null."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(_finite(content), indent=1, allow_nan=False), encoding="utf-8")
    temporary.replace(path)
    return path


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
