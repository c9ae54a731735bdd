"""Data module: networks of a zoo as parameter graphs, with an attribute to predict."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from lightning import LightningDataModule
from torch import Tensor

from weightspace.errors import ConfigurationError
from weightspace.graph import ParameterGraph
from weightspace.tasks._splits import Split, split_by_run
from weightspace.zoo import Zoo


@dataclass(frozen=True)
class GraphBatch:
    """Networks of one training step.

    Args:
        graphs: one graph per architecture, each a batch of its networks.
        target: what is to be predicted, in the order of graphs, then networks.
        index: positions in the zoo, in the same order.

    Shapes:
        target (B,); index (B,).
    """

    graphs: tuple[ParameterGraph, ...]
    target: Tensor
    index: Tensor


class GraphBatches:
    """Batches of chosen networks of a zoo.

    Args:
        zoo: where the networks are.
        index: positions of the chosen networks.
        target: value of the attribute of every network of the zoo.
        batch_size: networks per batch.
        order: gives the generator of a pass's order; by default the zoo's order.
    """

    def __init__(
        self,
        zoo: Zoo,
        index: Tensor,
        *,
        target: Tensor,
        batch_size: int,
        order: Callable[[], torch.Generator] | None = None,
    ):
        self.zoo = zoo.select(index)
        self.index, self.target, self.batch_size, self.order = index, target, batch_size, order

    def __len__(self) -> int:
        return -(-len(self.index) // self.batch_size)

    def __iter__(self) -> Iterator[GraphBatch]:
        generator = self.order() if self.order else None
        for batch in self.zoo.graphs(self.batch_size, mixed=True, shuffle=generator is not None, generator=generator):
            index = self.index[batch.index]
            yield GraphBatch(batch.graphs, self.target[index], index)


class AccuracyData(LightningDataModule):
    """A zoo for the task "predict an attribute (the test accuracy) from the weights", split by training run.

    Args:
        path: folder of the zoo.
        target: attribute to predict; a number of every network.
        run: attribute that names the training run; networks without it count as runs of their own.
        fractions: of the runs for train, validation and test.
        batch_size: networks per batch, of mixed architectures.
        seed: of the split and of the order of the training batches.

    Raises:
        ConfigurationError: an attribute that a network lacks, or that is not a number; fractions without sense.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        target: str = "test_accuracy",
        run: str = "run",
        fractions: Sequence[float] = (0.7, 0.1, 0.2),
        batch_size: int = 32,
        seed: int = 0,
    ):
        super().__init__()
        self.path, self.target_name, self.run = path, target, run
        self.fractions, self.batch_size, self.seed = tuple(fractions), batch_size, seed

    def setup(self, stage: str | None = None) -> None:
        """Open the zoo and draw the split, once."""
        _ = self.split

    @cached_property
    def zoo(self) -> Zoo:
        """The zoo, opened at the first use."""
        return Zoo(self.path)

    @cached_property
    def attributes(self) -> list[dict[str, Any]]:
        """Of every network."""
        return self.zoo.attributes

    @cached_property
    def target(self) -> Tensor:
        """What is to be predicted, of every network (N,)."""
        return torch.tensor([_number(row, self.target_name, i) for i, row in enumerate(self.attributes)])

    @cached_property
    def split(self) -> Split:
        """Positions of the train, validation and test networks."""
        runs = [row.get(self.run, ("alone", i)) for i, row in enumerate(self.attributes)]
        if not len(self.target):
            raise ConfigurationError(f"{self.path}: the zoo is empty; train or import networks first")
        return split_by_run(runs, fractions=self.fractions, seed=self.seed)

    def train_dataloader(self) -> GraphBatches:
        """Training batches, in another order every epoch."""
        return self._batches(self.split.train, order=self._order)

    def whole(self, part: str, batch_size: int = 256) -> Iterator[GraphBatch]:
        """All networks of a part (`"train"`, `"validation"` or `"test"`) once, each batch of one architecture."""
        index = getattr(self.split, part)
        for batch in self.zoo.select(index).graphs(batch_size):
            yield GraphBatch(batch.graphs, self.target[index[batch.index]], index[batch.index])

    def val_dataloader(self) -> GraphBatches:
        """Validation batches, in the zoo's order."""
        return self._batches(self.split.validation)

    def test_dataloader(self) -> GraphBatches:
        """Test batches, in the zoo's order."""
        return self._batches(self.split.test)

    def predict_dataloader(self) -> GraphBatches:
        """The test networks again."""
        return self.test_dataloader()

    def transfer_batch_to_device(self, batch: GraphBatch, device: torch.device, dataloader_idx: int) -> GraphBatch:
        """Graphs and targets on the trainer's device."""
        graphs = tuple(graph.to(device) for graph in batch.graphs)
        return replace(batch, graphs=graphs, target=batch.target.to(device))

    def _order(self) -> torch.Generator:
        epoch = self.trainer.current_epoch if self.trainer else 0
        return torch.Generator().manual_seed(1_000_003 * self.seed + epoch)

    def _batches(self, index: Tensor, *, order: Callable[[], torch.Generator] | None = None) -> GraphBatches:
        return GraphBatches(self.zoo, index, target=self.target, batch_size=self.batch_size, order=order)


def _number(row: dict[str, Any], name: str, position: int) -> float:
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise ConfigurationError(
            f"network {position} of the zoo: attribute {name!r} is {value!r}, wanted a number; "
            f"its attributes are {', '.join(sorted(row))}: choose one with data.target, or leave the network out"
        )
    return float(value)
