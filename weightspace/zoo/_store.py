"""A zoo on disk: all networks of one architecture as stacked tensors, and a row of attributes for each network."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from weightspace.conversion import check_state_dict
from weightspace.errors import ZooError
from weightspace.graph import ParameterGraph
from weightspace.space import WeightSpace
from weightspace.zoo._describe import describe
from weightspace.zoo._order import batches_of_one_architecture, mixed_batches
from weightspace.zoo._rebuild import rebuild
from weightspace.zoo._shards import Shard, check_against, read_shards, write_shard
from weightspace.zoo._spaces import ARCHITECTURES, read_space, write_space


@dataclass(frozen=True)
class ZooEntry:
    """One network of a zoo.

    Args:
        state_dict: its own copy of the weights, every key.
        attributes: what is known of it.
        signature: of its architecture, a key of `zoo.spaces`.
        index: position in the zoo.
    """

    state_dict: dict[str, Tensor]
    attributes: dict[str, Any]
    signature: str
    index: int


@dataclass(frozen=True)
class ZooBatch:
    """Networks as graphs, one graph per architecture.

    Args:
        graphs: each a batch of the networks of one architecture.
        index: positions in the zoo, in the order of graphs, then networks.
        attributes: in the same order.

    Shapes:
        index (B,), B networks of all graphs together.
    """

    graphs: tuple[ParameterGraph, ...]
    index: Tensor
    attributes: list[dict[str, Any]]


class Zoo:
    """Networks of one or many architectures, stored as stacked tensors; nothing is pickled.

    A folder holds `architectures/<signature>.json` and shards `<n>-<signature>.safetensors` with sidecars
    `<n>-<signature>.jsonl`. Shards are mapped into memory, so opening a zoo reads attributes and headers only. One
    process writes at a time.

    Args:
        path: the folder; `Zoo.create` makes a new one.

    Raises:
        ZooError: no zoo at that path, a damaged shard or sidecar; names the file and the way out.

    Example:
        >>> import tempfile, torch, weightspace as ws
        >>> from weightspace.zoo import Zoo, build
        >>> spec = {"factory": "mlp", "widths": [4]}
        >>> space = ws.trace(build(spec), torch.zeros(1, 1, 8, 8))
        >>> stacked = {name: torch.randn(3, *value.shape) for name, value in build(spec).state_dict().items()}
        >>> zoo = Zoo.create(tempfile.mkdtemp())
        >>> zoo.append(space, stacked, [{"test_accuracy": a} for a in (0.1, 0.8, 0.9)])
        >>> len(zoo), zoo[1].attributes, len(zoo.select(lambda row: row["test_accuracy"] > 0.5))
        (3, {'test_accuracy': 0.8}, 2)
        >>> [len(batch.index) for batch in zoo.graphs(batch_size=2)]
        [2, 1]
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        if not (self.path / ARCHITECTURES).is_dir():
            raise ZooError(
                f"{self.path}: found no folder {ARCHITECTURES}/, so this is not a zoo; give the folder that "
                "`weightspace zoo train` or `zoo import` wrote, or make a new one with Zoo.create(path)"
            )
        self._shards: list[Shard] = []
        self._spaces: dict[str, WeightSpace] = {}
        self._chosen: Tensor | None = None
        for shard in read_shards(self.path):
            check_against(self._space_of(shard), shard)
            self._shards.append(shard)
        self._count()

    @classmethod
    def create(cls, path: str | os.PathLike[str]) -> "Zoo":
        """The zoo at `path`, made empty where there is none yet."""
        (Path(path) / ARCHITECTURES).mkdir(parents=True, exist_ok=True)
        return cls(path)

    # --- reading

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, i: int) -> ZooEntry:
        if not -len(self) <= i < len(self):
            raise IndexError(f"network {i} of a zoo of {len(self)} networks")
        i %= len(self)
        shard, row = self._place(i)
        state = {key: value.select(0, row).clone() for key, value in shard.tensors.items()}  # faster than value[row]
        return ZooEntry(state, shard.attributes[row], shard.signature, i)

    def __iter__(self) -> Iterator[ZooEntry]:
        return (self[i] for i in range(len(self)))

    @property
    def attributes(self) -> list[dict[str, Any]]:
        """One dictionary per network."""
        return [self._shards[shard].attributes[row] for shard, row in self._places]

    @property
    def spaces(self) -> dict[str, WeightSpace]:
        """The architectures of these networks: signature -> space."""
        return {signature: self._spaces[signature] for signature in self.positions}

    @property
    def positions(self) -> dict[str, Tensor]:
        """Signature -> positions of its networks, ascending; architectures in the order of their first network."""
        shards = self._shard_numbers[self._positions]
        known = list(dict.fromkeys(shard.signature for shard in self._shards))
        kind = torch.tensor([known.index(shard.signature) for shard in self._shards], dtype=torch.long)[shards]
        order = dict.fromkeys(kind.tolist())
        return {known[k]: (kind == k).nonzero()[:, 0] for k in order}

    def select(
        self, where: Callable[[dict[str, Any]], bool] | Sequence[int] | Tensor | None = None, **equals: Any
    ) -> "Zoo":
        """A view on some networks, with the same interface; it cannot be appended to.

        Args:
            where: positions in this zoo (kept in their order), or a predicate on the attributes.
            **equals: attributes and the value that each must have.

        Raises:
            ZooError: positions outside the zoo.

        Example:
            `zoo.select(family="cnn")`, `zoo.select(lambda row: row["test_accuracy"] > 0.9)`, `zoo.select([0, 5])`
        """
        if where is None or callable(where):
            rows = self.attributes
            chosen = [i for i, row in enumerate(rows) if (where is None or where(row)) and _has(row, equals)]
        else:
            chosen = torch.as_tensor(where, dtype=torch.long).tolist()
            if any(not 0 <= i < len(self) for i in chosen):
                raise ZooError(
                    f"select: found positions from {min(chosen)} to {max(chosen)}, wanted 0 to {len(self) - 1}"
                )
            rows = self.attributes if equals else []
            chosen = [i for i in chosen if not equals or _has(rows[i], equals)]
        view = object.__new__(Zoo)
        view.path, view._shards, view._spaces = self.path, self._shards, self._spaces
        view._chosen = self._positions[torch.tensor(chosen, dtype=torch.long)]
        view._count()
        return view

    def stacked(self, index: Sequence[int] | Tensor) -> dict[str, Tensor]:
        """Stacked state_dicts (B, ...) of networks of one architecture, a copy.

        Raises:
            ZooError: the networks are of several architectures, or there are none.
        """
        index = torch.as_tensor(index, dtype=torch.long)
        signatures = {self._shards[s].signature for s in self._shard_numbers[self._positions[index]].unique().tolist()}
        if len(signatures) != 1:
            raise ZooError(
                f"stacked: found {len(index)} networks of {len(signatures)} architectures, wanted some of one; "
                "group them by zoo.positions, or use zoo.graphs(mixed=True)"
            )
        found = self._stacked(index)
        return {key: value if value._base is None else value.clone() for key, value in found.items()}

    def graphs(
        self,
        batch_size: int = 64,
        *,
        mixed: bool = False,
        shuffle: bool = False,
        generator: torch.Generator | None = None,
        drop_last: bool = False,
    ) -> Iterator[ZooBatch]:
        """Batches of parameter graphs, every network once.

        Args:
            batch_size: networks per batch.
            mixed: batches over all architectures, one graph per architecture present; by default one architecture per
                batch.
            shuffle: in random order.
            generator: of that order.
            drop_last: leave out batches with fewer networks.
        """
        if batch_size < 1:
            raise ZooError(f"graphs: found batch_size={batch_size}, wanted at least 1")
        draw = mixed_batches if mixed else batches_of_one_architecture
        for index in draw(list(self.positions.values()), batch_size, generator=generator, shuffle=shuffle):
            if len(index) == batch_size or not drop_last:
                yield self.batch(index)

    def batch(self, index: Sequence[int] | Tensor) -> ZooBatch:
        """The networks at these positions as graphs, sorted by architecture."""
        index = torch.as_tensor(index, dtype=torch.long)
        groups: dict[str, list[int]] = {}
        for position, shard in zip(index.tolist(), self._shard_numbers[self._positions[index]].tolist(), strict=True):
            groups.setdefault(self._shards[shard].signature, []).append(position)
        graphs = tuple(self._spaces[key].to_graphs(self._stacked(torch.tensor(rows))) for key, rows in groups.items())
        order = [position for rows in groups.values() for position in rows]
        places = (self._place(position) for position in order)
        return ZooBatch(graphs, torch.tensor(order), [shard.attributes[row] for shard, row in places])

    def module(self, i: int) -> nn.Module:
        """Network `i` as a module in eval mode, for networks that the library trained itself.

        Only the library's own architectures are built, by name; a zoo cannot make anything be imported.

        Raises:
            ZooError: the network has no specification, or its weights do not fit what the specification builds.
        """
        return rebuild(self[i].attributes.get("architecture"), self[i].state_dict, i)

    def describe(self) -> str:
        """Architectures, sizes and attributes as text for people; reads every weight once."""
        return describe(self)

    # --- writing

    def append(
        self,
        space: WeightSpace,
        stacked: Mapping[str, Tensor],
        attributes: Sequence[Mapping[str, Any]],
        *,
        constants: Mapping[str, Tensor] | None = None,
        number: int | None = None,
    ) -> None:
        """Write networks of one architecture as one shard; killed at any moment, it holds all of them or none.

        Args:
            space: their architecture.
            stacked: state_dicts, stacked; every key, integer buffers included.
            attributes: one dictionary per network, of what JSON can hold.
            constants: keys that are the same in all networks, without the model axis.
            number: of the shard; the next free one by default.

        Shapes:
            stacked: name -> (B, ...).

        Raises:
            StateDictError: the tensors do not fit the space, or are not finite.
            ZooError: rows do not fit, an attribute that JSON cannot hold, a taken number, or this zoo is a view.
        """
        if self._chosen is not None:
            raise ZooError("append: this is a view that select() made; append to Zoo(path) itself")
        number = 1 + max((shard.number for shard in self._shards), default=-1) if number is None else number
        if any(shard.number == number for shard in self._shards):
            raise ZooError(
                f"append: {self.path} has a shard number {number} already; leave number out to take the next one"
            )
        models = len(attributes)
        whole = dict(stacked) | {key: value.expand(models, *value.shape) for key, value in (constants or {}).items()}
        check_state_dict(space, whole, finite=True)
        wrong = {key: tuple(value.shape) for key, value in whole.items() if not value.ndim or len(value) != models}
        if wrong or not models:
            raise ZooError(
                f"append: found {models} rows of attributes and tensors {wrong or 'without models'}, "
                "wanted one row per model"
            )
        self._spaces.setdefault(space.signature, space)
        write_space(self.path, space)
        self._shards.append(write_shard(self.path, number, space, whole, attributes))
        self._shards.sort(key=lambda shard: shard.number)
        self._count()

    @property
    def numbers(self) -> frozenset[int]:
        """Numbers of the shards that are there."""
        return frozenset(shard.number for shard in self._shards)

    # --- inside

    def _space_of(self, shard: Shard) -> WeightSpace:
        if shard.signature not in self._spaces:
            self._spaces[shard.signature] = read_space(self.path, shard)
        return self._spaces[shard.signature]

    def _count(self) -> None:
        sizes = torch.tensor([len(shard) for shard in self._shards], dtype=torch.long)
        self._shard_numbers = torch.repeat_interleave(torch.arange(len(sizes)), sizes)
        self._rows = torch.cat([torch.arange(size) for size in sizes.tolist()] or [torch.zeros(0, dtype=torch.long)])
        self._positions = torch.arange(len(self._rows)) if self._chosen is None else self._chosen
        places = zip(self._shard_numbers[self._positions].tolist(), self._rows[self._positions].tolist(), strict=True)
        self._places = list(places)  # of the networks of this view; a list, because single networks are asked for often

    def _place(self, i: int) -> tuple[Shard, int]:
        shard, row = self._places[i]
        return self._shards[shard], row

    def _stacked(self, index: Tensor) -> dict[str, Tensor]:
        """Stacked tensors of one architecture; views of the mapped file where the networks lie in a row there."""
        places = self._positions[index]
        numbers, rows = self._shard_numbers[places], self._rows[places]
        first, count = int(rows[0]), len(rows)
        shard = self._shards[int(numbers[0])]
        if bool((numbers == numbers[0]).all()):
            if torch.equal(rows, torch.arange(first, first + count)):
                return {key: value[first : first + count] for key, value in shard.tensors.items()}
            return {key: value.index_select(0, rows) for key, value in shard.tensors.items()}
        result = {key: value.new_empty(count, *value.shape[1:]) for key, value in shard.tensors.items()}
        for number in numbers.unique().tolist():
            where = (numbers == number).nonzero()[:, 0]
            for key, value in self._shards[number].tensors.items():
                result[key].index_copy_(0, where, value.index_select(0, rows[where]))
        return result


def _has(row: Mapping[str, Any], equals: Mapping[str, Any]) -> bool:
    return all(key in row and row[key] == value for key, value in equals.items())
