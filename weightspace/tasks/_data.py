"""Data modules: networks of a zoo as parameter graphs, with what is to be predicted of them."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from lightning import LightningDataModule
from torch import Tensor

from weightspace.errors import ConfigurationError
from weightspace.graph import ParameterGraph
from weightspace.metanets import TracedNetwork
from weightspace.tasks._architectures import FactoryRule, traced_networks
from weightspace.tasks._splits import Split, SplitRule, split_zoo
from weightspace.tasks._targets import Target, read_target
from weightspace.zoo import Zoo


@dataclass(frozen=True)
class GraphBatch:
    """Networks of one training step.

    Args:
        graphs: one graph per architecture, each a batch of its networks.
        target: name of each target -> values, in the order of graphs, then networks; classes as their positions.
        index: positions in the zoo, in the same order.

    Shapes:
        target[name] (B,); index (B,).
    """

    graphs: tuple[ParameterGraph, ...]
    target: Mapping[str, Tensor]
    index: Tensor


class GraphBatches:
    """Batches of chosen networks of a zoo.

    Args:
        zoo: where the networks are.
        index: positions of the chosen networks.
        target: values of every network of the zoo, by name.
        batch_size: networks per batch.
        order: gives the generator of a pass's order; by default the zoo's order.
    """

    def __init__(
        self,
        zoo: Zoo,
        index: Tensor,
        *,
        target: Mapping[str, Tensor],
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
            yield GraphBatch(batch.graphs, {name: value[index] for name, value in self.target.items()}, index)


class AbstractNetworkData(LightningDataModule, ABC):
    """What tasks, command line and results ask of a data module, beside Lightning's data loaders of graph batches."""

    @property
    @abstractmethod
    def title(self) -> str:
        """Of the data, for people."""

    @property
    @abstractmethod
    def targets(self) -> tuple[Target, ...]:
        """What is to be predicted."""

    @property
    @abstractmethod
    def classes(self) -> Mapping[str, tuple[str, ...]]:
        """Name of each target that is a class -> names of the classes, in the order of their positions."""

    @property
    @abstractmethod
    def attributes(self) -> Sequence[Mapping[str, Any]]:
        """Of every network."""

    @property
    @abstractmethod
    def split(self) -> Split:
        """Positions of the train, validation and test networks."""

    @property
    @abstractmethod
    def networks(self) -> Mapping[str, TracedNetwork]:
        """Signature -> space, module and example inputs of every architecture."""

    @abstractmethod
    def whole(self, part: str) -> Iterator[GraphBatch]:
        """All networks of a part (`"train"`, `"validation"` or `"test"`) once, in an order that is always the same."""

    @property
    @abstractmethod
    def settings(self) -> Mapping[str, Any]:
        """What a report shows of the configuration."""


class ZooData(AbstractNetworkData):
    """A zoo as data of any task: with targets to predict, a filter, a split by group, batches of mixed architectures.

    Args:
        path: folder of the zoo.
        targets: attributes to predict; none for a task that predicts no attribute.
        where: attribute -> the value, or the list of values, that a network must have to take part.
        split: how the networks are split; by training run by default.
        batch_size: networks per batch.
        seed: of the split and of the order of the training batches.
        factory: of the architecture of a zoo whose networks the library did not train itself, for tasks and metanets
            that run the networks.

    `index` of a batch counts the networks that take part, as `zoo`, `attributes` and `target` do.

    Raises:
        ConfigurationError: an attribute that a network lacks, or that is not of the target's kind; a filter that leaves
            nothing.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        targets: Sequence[Target] = (Target("test_accuracy", "fraction"),),
        where: dict[str, Any] | None = None,
        split: SplitRule | None = None,
        batch_size: int = 32,
        seed: int = 0,
        factory: FactoryRule | None = None,
    ):
        super().__init__()
        self.path, self.where, self.rule = path, dict(where or {}), SplitRule() if split is None else split
        self.batch_size, self.seed, self.factory = batch_size, seed, factory
        self._targets = tuple(targets)

    def setup(self, stage: str | None = None) -> None:
        """Open the zoo, read the targets and draw the split, once."""
        _ = self.target, self.split

    @property
    def title(self) -> str:
        """The zoo's path."""
        return str(self.path)

    @property
    def targets(self) -> tuple[Target, ...]:
        """Attributes to predict."""
        return self._targets

    @cached_property
    def zoo(self) -> Zoo:
        """The networks that take part, opened at the first use."""
        zoo = Zoo(self.path)
        if not len(zoo):
            raise ConfigurationError(f"{self.path}: the zoo is empty; train or import networks first")
        chosen = zoo.select(lambda row: all(_matches(row, *item) for item in self.where.items())) if self.where else zoo
        if not len(chosen):
            raise ConfigurationError(
                f"{self.path}: none of {len(zoo)} networks has {self.where}; change data.where "
                f"(the first has {', '.join(f'{key}={value!r}' for key, value in zoo.attributes[0].items())})"
            )
        return chosen

    @cached_property
    def attributes(self) -> list[dict[str, Any]]:
        """Of every network."""
        return self.zoo.attributes

    @cached_property
    def target(self) -> dict[str, Tensor]:
        """Name of each target -> values of every network (N,)."""
        return {name: values for name, (values, _) in self._read.items()}

    @cached_property
    def classes(self) -> dict[str, tuple[str, ...]]:
        """Name of each target that is a class -> names of the classes."""
        return {name: classes for name, (_, classes) in self._read.items() if classes}

    @cached_property
    def _read(self) -> dict[str, tuple[Tensor, tuple[str, ...]]]:
        return {target.name: read_target(target, self.attributes) for target in self.targets}

    @cached_property
    def split(self) -> Split:
        """Positions of the train, validation and test networks."""
        return split_zoo(self.attributes, self.rule, seed=self.seed)

    @cached_property
    def networks(self) -> dict[str, TracedNetwork]:
        """Signature -> space, module and example inputs of every architecture."""
        return traced_networks(self.zoo, self.factory)

    @property
    def settings(self) -> dict[str, Any]:
        """Seed, batch size, split and filter."""
        parts = {part: len(getattr(self.split, part)) for part in ("train", "validation", "test")}
        chosen = {"networks": ", ".join(f"{key}={value}" for key, value in self.where.items())} if self.where else {}
        by = self.rule.attribute or self.rule.group
        sizes = ", ".join(f"{n} {part}" for part, n in parts.items())
        return chosen | {"data seed": self.seed, "batch size": self.batch_size, f"split by {by}": sizes}

    def whole(self, part: str, batch_size: int = 256) -> Iterator[GraphBatch]:
        """All networks of a part (`"train"`, `"validation"` or `"test"`) once, each batch of one architecture."""
        index = getattr(self.split, part)
        for batch in self.zoo.select(index).graphs(batch_size):
            rows = index[batch.index]
            yield GraphBatch(batch.graphs, {name: value[rows] for name, value in self.target.items()}, rows)

    def train_dataloader(self) -> GraphBatches:
        """Training batches, in another order every epoch."""
        return self._batches(self.split.train, order=self._order)

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
        """Graphs and targets on the trainer's device; `index` stays, because it counts in the zoo."""
        graphs = tuple(graph.to(device) for graph in batch.graphs)
        return replace(batch, graphs=graphs, target={name: value.to(device) for name, value in batch.target.items()})

    def _order(self) -> torch.Generator:
        epoch = self.trainer.current_epoch if self.trainer else 0
        return torch.Generator().manual_seed(1_000_003 * self.seed + epoch)

    def _batches(self, index: Tensor, *, order: Callable[[], torch.Generator] | None = None) -> GraphBatches:
        return GraphBatches(self.zoo, index, target=self.target, batch_size=self.batch_size, order=order)


def _matches(row: Mapping[str, Any], name: str, wanted: Any) -> bool:
    return name in row and (row[name] in wanted if isinstance(wanted, list | tuple) else row[name] == wanted)
