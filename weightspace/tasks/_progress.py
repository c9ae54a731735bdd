"""One progress bar for a whole training, a tick per epoch."""

from typing import TYPE_CHECKING, Any

from lightning import Callback
from tqdm import tqdm

if TYPE_CHECKING:
    from lightning import LightningModule, Trainer


class EpochBar(Callback):
    """Shows the epochs done, the training loss and the validation tau.

    Args:
        name: what is trained.
    """

    def __init__(self, name: str):
        self.name = name
        self.bar: Any = None

    def on_train_start(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """Open the bar where the training starts or goes on."""
        self.bar = tqdm(total=trainer.max_epochs, initial=trainer.current_epoch, desc=self.name, unit=" epochs")

    def on_train_epoch_end(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """One tick."""
        values = {"tau": float(trainer.callback_metrics.get("val_kendall_tau", float("nan")))}
        self.bar.set_postfix(values, refresh=False)
        self.bar.update()

    def teardown(self, trainer: "Trainer", pl_module: "LightningModule", stage: str) -> None:
        """Close the bar, also after an interruption."""
        if self.bar is not None:
            self.bar.close()
