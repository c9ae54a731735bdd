"""A progress bar over the budget of a run."""

from typing import TYPE_CHECKING, Any

from lightning import Callback
from tqdm import tqdm

from weightspace.tasks.molecular._task import MolecularTask

if TYPE_CHECKING:
    from lightning import LightningModule, Trainer


class BudgetBar(Callback):
    """Shows how much of the budget is spent, and the last errors on validation molecules.

    Args:
        name: what is trained.
    """

    def __init__(self, name: str = "training"):
        self.name = name
        self.bar: Any = None

    def on_train_start(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """Open the bar where the training starts or goes on."""
        bar_format = "{desc}: {percentage:3.0f}%|{bar}| [{elapsed}{postfix}]"
        self.bar = tqdm(total=100, desc=self.name, bar_format=bar_format)
        self._show(pl_module)

    def on_train_epoch_end(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """One step on."""
        self._show(pl_module)

    def teardown(self, trainer: "Trainer", pl_module: "LightningModule", stage: str) -> None:
        """Close the bar, also after an interruption."""
        if self.bar is not None:
            self.bar.close()

    def _show(self, task: "LightningModule") -> None:
        assert isinstance(task, MolecularTask)
        self.bar.n = min(100, round(100 * task.share))
        row = task.curve[-1] if task.curve else {}
        errors = {name.removesuffix("_mae"): f"{value:.4g}" for name, value in row.items() if name.endswith("_mae")}
        self.bar.set_postfix(errors, refresh=True)
