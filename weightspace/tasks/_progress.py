"""One progress bar for a whole training, a tick per epoch."""

from typing import TYPE_CHECKING, Any

from lightning import Callback
from tqdm import tqdm

from weightspace.tasks._task import AbstractMetanetTask

if TYPE_CHECKING:
    from lightning import LightningModule, Trainer


class EpochBar(Callback):
    """Shows the epochs done, and the monitored metric.

    Args:
        name: what is trained.
    """

    def __init__(self, name: str):
        self.name = name
        self.bar: Any = None

    def on_train_start(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """Open the bar where the training starts or goes on."""
        total = None if trainer.max_epochs == -1 else trainer.max_epochs
        self.bar = tqdm(total=total, initial=trainer.current_epoch, desc=self.name, unit=" epochs")

    def on_train_epoch_end(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """One tick."""
        assert isinstance(pl_module, AbstractMetanetTask)
        monitor = pl_module.monitor
        values = {monitor.label: float(trainer.callback_metrics.get(monitor.key, float("nan")))}
        self.bar.set_postfix(values, refresh=False)
        self.bar.update()

    def teardown(self, trainer: "Trainer", pl_module: "LightningModule", stage: str) -> None:
        """Close the bar, also after an interruption."""
        if self.bar is not None:
            self.bar.close()
