"""What every task shares: a metanet, its optimisation, input scales, history, checkpoints and results."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from weightspace.errors import ConfigurationError
from weightspace.graph import ParameterGraph
from weightspace.metanets import InputScales, NetworkReader, TracedNetwork, fit_input_scales
from weightspace.runner import Runner
from weightspace.space import WeightSpace
from weightspace.tasks._data import AbstractNetworkData, GraphBatch
from weightspace.tasks._optimisation import Optimisation, seconds_on

SCALES, STATE, SPENT = "input_scales", "task", "seconds"


@dataclass(frozen=True)
class Monitor:
    """The validation metric that tells the best epoch.

    Args:
        name: of the metric, one of those that `AbstractMetanetTask.scores` returns.
        mode: "max" or "min".
        label: in words.
    """

    name: str
    mode: str
    label: str

    @property
    def key(self) -> str:
        """As it is logged."""
        return f"val_{self.name}"


@runtime_checkable
class Scaled(Protocol):
    """A metanet that divides its inputs: `isinstance(metanet, Scaled)`."""

    input_scales: InputScales


class AbstractMetanetTask(LightningModule, ABC):
    """A metanet with a loss and metrics, trained and scored by Lightning on an `AbstractNetworkData`.

    Before the first step a metanet that reads networks is told of the architectures (`NetworkReader.attach`), its
    `input_scales` are set to the spread of the training networks' parameters, and the task fits what it needs of the
    targets; the checkpoint keeps scales and task, beside the history. A task is final and says: the loss of a batch,
    what to keep of a batch that is scored, and the scores of all that was kept.

    Args:
        metanet: a module that takes a sequence of parameter graphs.
        optimisation: AdamW and its schedule.

    After a test, `results` holds what the report shows, "scores" and "index" among it; `history` has a row per epoch.
    """

    def __init__(self, metanet: nn.Module, optimisation: Optimisation | None = None):
        super().__init__()
        self.metanet = metanet
        self.optimisation = Optimisation() if optimisation is None else optimisation
        self.input_scales = InputScales()
        self.history: list[dict[str, float]] = []
        self.results: dict[str, Any] = {}
        self._data: AbstractNetworkData | None = None
        self._runners: dict[tuple[str, torch.device, torch.dtype], Runner] = {}
        self._spent = 0.0
        self._since: float | None = None
        self._losses: list[Tensor] = []
        self._row: dict[str, float] = {}
        self._kept: list[dict[str, Tensor]] = []

    # --- what a task says

    @property
    @abstractmethod
    def monitor(self) -> Monitor:
        """The validation metric that tells the best epoch."""

    @abstractmethod
    def loss(self, batch: GraphBatch) -> Tensor:
        """Training loss of a batch, a number."""

    @abstractmethod
    def evaluate(self, batch: GraphBatch) -> Mapping[str, Tensor]:
        """What is kept of a batch that is scored or predicted, by name.

        Shapes:
            each (B, ...), in the order of graphs, then networks.
        """

    @abstractmethod
    def scores(self, kept: Mapping[str, Tensor]) -> dict[str, float]:
        """Metrics of validation networks, from what `evaluate` kept of them; "index" beside it."""

    @abstractmethod
    def summary(self, kept: Mapping[str, Tensor]) -> dict[str, Any]:
        """Results on test networks, JSON values: "scores", name -> (value, low, high), and what the report shows."""

    @abstractmethod
    def columns(self, kept: Mapping[str, Tensor]) -> dict[str, Sequence[Any]]:
        """Predictions as columns of a table, one entry per network."""

    def fit_to(self, data: AbstractNetworkData) -> None:
        """Fit what the task needs to know of the training networks, unless a checkpoint brought it."""

    def state(self) -> dict[str, Any]:
        """What `fit_to` found, as JSON values for the checkpoint and for the folder of the saved model."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Back from `state`."""

    # --- what Lightning asks

    @property
    def data(self) -> AbstractNetworkData:
        """The trainer's data module.

        Raises:
            ConfigurationError: it is none for networks.
        """
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, AbstractNetworkData):
            raise ConfigurationError(
                f"{type(self).__name__}: found data {type(data).__name__}, wanted an AbstractNetworkData, e.g. ZooData"
            )
        return data

    def space(self, graph: ParameterGraph) -> WeightSpace:
        """The weight space of a batch's graph; `space.to_state_dict(graph)` are its stacked states."""
        return self._network(graph).space

    def runner(self, graph: ParameterGraph) -> Runner:
        """Runs stacked states of a graph's architecture differentiably, on the graph's device and in its dtype."""
        x = graph.sites[0].x
        key = (graph.signature, x.device, x.dtype)
        if key not in self._runners:
            network = self._network(graph)
            module = copy.deepcopy(network.module).to(device=x.device, dtype=x.dtype)
            self._runners[key] = Runner(network.space, module)
        return self._runners[key]

    def setup(self, stage: str) -> None:
        """Tell the metanet of the architectures, before a checkpoint is loaded."""
        self.prepare(self.data)

    def prepare(self, data: AbstractNetworkData) -> None:
        """Tell the metanet of a data module's architectures, where it asks for them."""
        self._data, self._runners = data, {}
        if isinstance(self.metanet, NetworkReader):
            data.setup("fit")
            self.metanet.attach(data.networks)

    def fit_inputs(self, data: AbstractNetworkData) -> None:
        """Input scales and the task's own statistics from the training networks, unless a checkpoint brought them."""
        if not self.input_scales.per_role:
            self._set_scales(fit_input_scales(graph for batch in data.whole("train") for graph in batch.graphs))
        self.fit_to(data)

    def on_fit_start(self) -> None:
        """Start the clock and fit the inputs."""
        self._since = seconds_on(self.device)
        if not len(self.data.split.validation):
            raise ConfigurationError(
                f"{self.data.title}: the split has no validation networks, which tell the best epoch; give some with "
                "data.split.fractions"
            )
        self.fit_inputs(self.data)

    def on_validation_start(self) -> None:
        """Fit the inputs of a task that was never trained."""
        self._kept = []
        self.fit_inputs(self.data)

    def on_test_start(self) -> None:
        """As `on_validation_start`."""
        self.on_validation_start()

    def on_predict_start(self) -> None:
        """As `on_validation_start`."""
        self.on_validation_start()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW; the learning rate follows the share of the steps, or of the budget, that is behind."""
        optimizer = self.optimisation.optimizer(self)
        total = self.trainer.estimated_stepping_batches

        def factor(step: int) -> float:
            done = self.spent / self.optimisation.budget_seconds if self.optimisation.budget_seconds else step / total
            return self.optimisation.factor(done)

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    @property
    def spent(self) -> float:
        """Seconds of training so far, earlier starts included, on the clock of the budget."""
        return self._spent + (0.0 if self._since is None else seconds_on(self.device) - self._since)

    def is_spent(self, seconds: float) -> bool:
        """Whether so many seconds use up the budget, where there is one."""
        budget = self.optimisation.budget_seconds
        return budget is not None and seconds >= budget

    def training_step(self, batch: GraphBatch, batch_idx: int) -> Tensor:
        """The loss, logged."""
        loss = self.loss(batch)
        self._losses.append(loss.detach())
        self.log("train_loss", loss, batch_size=len(batch.index), on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def on_train_batch_end(self, outputs: Any, batch: GraphBatch, batch_idx: int) -> None:
        """Stop when the budget is spent."""
        if self.is_spent(self.spent):
            self.trainer.should_stop = True

    def validation_step(self, batch: GraphBatch, batch_idx: int) -> None:
        """Keep what the scores need of a batch."""
        self._kept.append({**self.evaluate(batch), "index": batch.index})

    test_step = validation_step

    def predict_step(self, batch: GraphBatch, batch_idx: int) -> dict[str, Tensor]:
        """What the predictions need of a batch, on the CPU."""
        kept = {**self.evaluate(batch), "index": batch.index}
        return {name: value.detach().cpu() for name, value in kept.items()}

    def on_validation_epoch_end(self) -> None:
        """Log the scores of the validation networks."""
        kept = self._collected()
        values = {f"val_{name}": value for name, value in self.scores(kept).items()}
        self.log_dict(values, batch_size=len(kept["index"]))
        self.log(self.monitor.label, values[self.monitor.key], prog_bar=True, logger=False)
        self._row = values

    def on_train_epoch_end(self) -> None:
        """Add a row to the history."""
        losses = {"train_loss": float(torch.stack(self._losses).mean())} if self._losses else {}
        self.history.append({"epoch": self.current_epoch} | losses | {"seconds": round(self.spent, 3)} | self._row)
        self._losses, self._row = [], {}

    def on_test_epoch_end(self) -> None:
        """Results on the test networks."""
        kept = self._collected()
        self.results = self.summary(kept) | {"index": kept["index"].tolist()}
        for name, (value, low, high) in self.results["scores"].items():
            self.log_dict({f"test_{name}": value, f"test_{name}_low": low, f"test_{name}_high": high})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Input scales, the task's state, history and seconds travel with the weights."""
        checkpoint[SCALES] = self.input_scales.to_dict()
        checkpoint[STATE], checkpoint["history"], checkpoint[SPENT] = self.state(), self.history, self.spent

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """All of that back."""
        self.restore_fitted(checkpoint)
        self.history, self._spent = list(checkpoint.get("history", [])), float(checkpoint.get(SPENT, 0.0))

    def restore_fitted(self, checkpoint: Mapping[str, Any]) -> None:
        """Input scales and the task's state of a checkpoint, where it has any."""
        if checkpoint.get(SCALES):
            self._set_scales(InputScales.from_dict(checkpoint[SCALES]))
        if checkpoint.get(STATE):
            self.restore(checkpoint[STATE])

    # --- inside

    def _network(self, graph: ParameterGraph) -> TracedNetwork:
        found = None if self._data is None else self._data.networks.get(graph.signature)
        if found is None:
            raise ConfigurationError(
                f"{type(self).__name__}: found a network of architecture {graph.signature[:12]}, which the data do not "
                "hold; call prepare(data) with the data that hold it"
            )
        return found

    def _set_scales(self, scales: InputScales) -> None:
        self.input_scales = scales
        if isinstance(self.metanet, Scaled):
            self.metanet.input_scales = scales

    def _collected(self) -> dict[str, Tensor]:
        kept, self._kept = self._kept, []
        return concatenated(kept)


def concatenated(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """What was kept of several batches, as one, on the CPU."""
    return {name: torch.cat([part[name].detach() for part in parts]).cpu() for name in parts[0]}
