"""From the plan of a parameter graph to its index tensors: which entry lies on which edge or node.

A plan is small and speaks of axes; the tensors follow from it and from the parameters' axes. Positions, not names,
tie the two together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from torch import Tensor

from weightspace.axes import FREE, AtomSpec, Axis, Piece, pieces
from weightspace.graph import TAP_FEATURES
from weightspace.parameters import ParameterSpec


@dataclass(frozen=True)
class View:
    """Entries of a parameter as an operation sees them (transposed, a slice, unflattened).

    Args:
        offset: of the first entry among those of the parameter.
        strides: in entries, one per dimension of the view.
        axes: one per dimension of the view.
    """

    offset: int
    strides: tuple[int, ...]
    axes: tuple[Axis, ...]


@dataclass(frozen=True)
class Slot:
    """One piece of one parameter, as it lies on edges or nodes.

    Args:
        parameter: its name.
        piece: number among the products of its dimensions' pieces.
        role: what it is to its operation.
        dims: what each dimension is: `"target"`, `"source"`, `"kernel"` or `"tap"`.
        view: where the operation sees other dimensions than the parameter's own; pieces and dims are then the view's.
    """

    parameter: str
    piece: int
    role: str
    dims: tuple[str, ...]
    view: View | None = None


@dataclass(frozen=True)
class Activation:
    """Where the values of a site's neurons are in the computation.

    Args:
        call: number of the exported operation that makes them, or -1 - k for input k.
        operation: its name, to notice another computation.
        dim: dimension of the result.
        axis: of that dimension.
        piece: number of the piece of the axis.
    """

    call: int
    operation: str
    dim: int
    axis: Axis
    piece: int


@dataclass(frozen=True)
class SitePlan:
    """A site: its nodes are the grid of its atoms, in row-major order.

    Args:
        name: unique among the sites.
        node_type: kind and functions.
        atoms: of its nodes.
        slots: parameters that lie on its nodes.
        activation: where its values are; None where it is no activation (a normaliser, a parameter).
        first: index of its first node, where its nodes are a run of a fixed axis.
        places: index of each node, where they stand on a fixed axis otherwise.
        beside: numbers of the sites that the values which its parameters act on have in their other dimensions.
    """

    name: str
    node_type: str
    atoms: tuple[str, ...]
    slots: tuple[Slot, ...] = ()
    activation: Activation | None = None
    beside: tuple[int, ...] = ()
    first: int = 0
    places: tuple[int, ...] = ()


@dataclass(frozen=True)
class BlockPlan:
    """Edges from one site to another: with a slot the entries of a parameter, without one the pairs that agree
    on common atoms.
    """

    name: str
    source: int
    target: int
    edge_type: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    slot: Slot | None = None


@dataclass(frozen=True)
class NodeTensors:
    """Index tensors of a site; address (n, K), index (n,), tap_position (K, 4)."""

    address: Tensor
    index: Tensor
    roles: tuple[str, ...]
    tap_position: Tensor

    def to(self, device: torch.device) -> "NodeTensors":
        """The same on a device."""
        return NodeTensors(self.address.to(device), self.index.to(device), self.roles, self.tap_position.to(device))


@dataclass(frozen=True)
class EdgeTensors:
    """Index tensors of a block; edge_index (2, E) local to its two sites, address (E, K), tap_position (K, 4)."""

    edge_index: Tensor
    address: Tensor
    tap_position: Tensor

    def to(self, device: torch.device) -> "EdgeTensors":
        """The same on a device."""
        return EdgeTensors(self.edge_index.to(device), self.address.to(device), self.tap_position.to(device))


@dataclass(frozen=True)
class _Coordinate:
    dim: int
    atom: str
    size: int


class Layout:
    """Atoms and parameters of a space, as the index tensors need them.

    Args:
        atoms: name -> what is known of the atom.
        parameters: name -> (spec, offset of its first entry).
    """

    def __init__(self, atoms: Mapping[str, AtomSpec], parameters: Mapping[str, tuple[ParameterSpec, int]]) -> None:
        self._atoms = atoms
        self._parameters = parameters

    def size_of(self, name: str) -> int:
        """Number of elements of an atom."""
        return self._atoms[name].size

    def view(self, slot: Slot) -> View:
        """A slot's view; the whole parameter as it lies where it has none."""
        if slot.view is not None:
            return slot.view
        spec, _ = self._parameters[slot.parameter]
        return View(0, contiguous_strides(spec.shape), spec.axes)

    def slot_pieces(self, slot: Slot) -> tuple[Piece, ...]:
        """The piece of each dimension of a slot's view; `slot.piece` counts their products."""
        parts = [pieces(axis, self.size_of) for axis in self.view(slot).axes]
        sizes = [len(part) for part in parts]
        return tuple(part[k] for part, k in zip(parts, _unravel(slot.piece, sizes), strict=True))

    def site(self, plan: SitePlan) -> NodeTensors:
        """Addresses and indices of a site's nodes."""
        sizes = [self.size_of(name) for name in plan.atoms]
        count = prod(sizes)
        found = [self._slot(slot, [plan.atoms]) for slot in plan.slots]
        address = (
            torch.cat([grid.reshape(count, -1) for grid, _ in found], dim=1)
            if found
            else torch.zeros(count, 0, dtype=torch.long)
        )
        positions = [position for _, position in found] or [torch.zeros(0, TAP_FEATURES)]
        widths = [len(position) for position in positions]
        roles = tuple(slot.role for slot, width in zip(plan.slots, widths, strict=False) for _ in range(width))
        return NodeTensors(address, self._index(plan, sizes), roles, torch.cat(positions))

    def _index(self, plan: SitePlan, sizes: Sequence[int]) -> Tensor:
        """Position along the fixed atoms of a site, -1 where all of its atoms are free."""
        atoms = plan.atoms
        if plan.places:
            return torch.tensor(plan.places)
        fixed = [name for name in atoms if self._atoms[name].kind != FREE]
        if atoms and not fixed:
            return torch.full((prod(sizes),), -1)
        index = torch.zeros([1] * len(sizes), dtype=torch.long)
        for dim, name in enumerate(atoms):
            if name in fixed:
                shape = [1] * len(sizes)
                shape[dim] = sizes[dim]
                index = index * sizes[dim] + torch.arange(sizes[dim]).reshape(shape)
        return plan.first + (index.expand(tuple(sizes)).reshape(-1) if sizes else index.reshape(1))

    def block(self, plan: BlockPlan, sites: Sequence[SitePlan], rows: range | None = None) -> EdgeTensors:
        """Edges between two sites, sorted by target, then source.

        Args:
            plan: of the block.
            sites: of the graph.
            rows: only edges to targets with these values of the first coordinate; all by default.
        """
        source, target = sites[plan.source].atoms, sites[plan.target].atoms
        rows = None if not target else rows or range(self.size_of(target[0]))
        if plan.slot is None:
            names, places = _meeting(source, target, plan.attributes.get("occurrence", 0))
            sizes = [self.size_of(name) for name in names]
            ends = [
                _node_numbers(dims, [self.size_of(n) for n in atoms], sizes, rows)
                for dims, atoms in ((places, source), (range(len(target)), target))
            ]
            edge_index = torch.stack([end.reshape(-1) for end in ends])
            return EdgeTensors(
                edge_index, torch.zeros(edge_index.shape[1], 0, dtype=torch.long), torch.zeros(0, TAP_FEATURES)
            )
        address, position = self._slot(plan.slot, [target, source], rows)
        shared = self._shared(plan.slot, [target, source])
        own = [k for k, same in enumerate(shared) if same is None]
        sizes = [self.size_of(n) for n in (*target, *(source[k] for k in own))]
        dims = [len(target) + own.index(k) if same is None else same for k, same in enumerate(shared)]
        ends = [
            _node_numbers(dims, [self.size_of(n) for n in source], sizes, rows),
            _node_numbers(range(len(target)), sizes[: len(target)], sizes, rows),
        ]
        edge_index = torch.stack([end.reshape(-1) for end in ends])
        return EdgeTensors(edge_index, address.reshape(edge_index.shape[1], -1), position)

    def edge_count(self, plan: BlockPlan, sites: Sequence[SitePlan]) -> int:
        """Number of edges of a block; nothing is built."""
        source, target = sites[plan.source].atoms, sites[plan.target].atoms
        if plan.slot is None:
            names, _ = _meeting(source, target, plan.attributes.get("occurrence", 0))
        else:
            shared = self._shared(plan.slot, [target, source])
            names = [*target, *(name for name, same in zip(source, shared, strict=True) if same is None)]
        return prod(map(self.size_of, names))

    def _coordinates(self, slot: Slot) -> tuple[list[_Coordinate], tuple[Piece, ...]]:
        combination = self.slot_pieces(slot)
        return [
            _Coordinate(d, a, self.size_of(a)) for d, piece in enumerate(combination) for a in piece.atoms
        ], combination

    def _assign(self, slot: Slot, sites: Sequence[Sequence[str]]) -> list[list[int | None]]:
        """For each site's atoms the number of the coordinate that they are, looked for in the dimensions of
        that side first.
        """
        coordinates, _ = self._coordinates(slot)
        result: list[list[int | None]] = []
        for side, atoms in zip(("target", "source"), sites, strict=False):
            mine: list[int | None] = []
            for name in atoms:
                fits = [i for i, c in enumerate(coordinates) if c.atom == name and i not in mine]
                own = [i for i in fits if slot.dims[coordinates[i].dim] == side]
                mine.append(next(iter((*own, *fits)), None))
            result.append(mine)
        return result

    def _shared(self, slot: Slot, sites: Sequence[Sequence[str]]) -> list[int | None]:
        """For each atom of the source the target's atom that is the same coordinate."""
        target, source = self._assign(slot, sites)
        names = list(sites[0])
        result: list[int | None] = []
        for name, number in zip(sites[1], source, strict=True):
            if number is None:
                result.append(names.index(name) if name in names else None)
            else:
                result.append(target.index(number) if number in target else None)
        return result

    def _slot(self, slot: Slot, sites: Sequence[Sequence[str]], rows: range | None = None) -> tuple[Tensor, Tensor]:
        """Addresses on the grid (target atoms, further source atoms, taps), and the taps' positions."""
        coordinates, combination = self._coordinates(slot)
        assigned = self._assign(slot, sites)
        first = assigned[0][0] if assigned[0] else None
        address = self._addresses(slot, combination, {} if first is None or rows is None else {first: rows})
        shared = self._shared(slot, sites) if len(sites) == 2 else []
        nodes = list(zip(sites[0], assigned[0], strict=True))
        if len(sites) == 2:
            nodes += [
                pair for pair, same in zip(zip(sites[1], assigned[1], strict=True), shared, strict=True) if same is None
            ]
        used = [number for _, number in nodes if number is not None]
        taps = [i for i in range(len(coordinates)) if i not in used]
        address = address.permute((*used, *taps))
        for dim, (_, number) in enumerate(nodes):
            if number is None:
                address = address.unsqueeze(dim)
        sizes = [self.size_of(name) for name, _ in nodes]
        if rows is not None:
            sizes[0] = len(rows)
        address = address.expand((*sizes, *address.shape[len(nodes) :]))
        return address, self._tap_position([coordinates[i] for i in taps], slot.dims)

    def addresses(self, slot: Slot) -> Tensor:
        """Address of every entry of a slot."""
        return self._addresses(slot, self.slot_pieces(slot))

    def _addresses(self, slot: Slot, combination: Sequence[Piece], only: Mapping[int, range] | None = None) -> Tensor:
        """Addresses on the grid of the coordinates, of some of which only a range is wanted."""
        view = self.view(slot)
        address = torch.full((), self._parameters[slot.parameter][1] + view.offset, dtype=torch.long)
        for piece, stride in zip(combination, view.strides, strict=True):
            positions = piece.positions
            for number, values in (only or {}).items():
                if address.dim() <= number < address.dim() + positions.dim():
                    positions = positions.narrow(number - address.dim(), values.start, len(values))
            address = address.reshape((*address.shape, *[1] * positions.dim())) + positions * stride
        return address

    def _tap_position(self, taps: Sequence[_Coordinate], dims: Sequence[str]) -> Tensor:
        """Kernel taps by their offset from the centre, other taps by their position in [-1, 1]."""
        sizes = [c.size for c in taps]
        position = torch.zeros((*sizes, TAP_FEATURES))
        position[..., -1] = 1.0 if "kernel" in dims else 0.0
        for number, coordinate in enumerate(taps):
            steps = torch.arange(coordinate.size, dtype=torch.float32) - (coordinate.size - 1) / 2
            if dims[coordinate.dim] != "kernel":
                steps = steps * 2 / max(coordinate.size - 1, 1)
                position[..., -1] = 2.0
            shape = [1] * len(sizes)
            shape[number] = coordinate.size
            column = min(number, TAP_FEATURES - 2)
            position[..., column] += steps.reshape(shape) / 10.0 ** (number - column)
        return position.reshape(-1, TAP_FEATURES)


def contiguous_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Row-major strides.

    Example:
        >>> contiguous_strides((2, 3, 4))
        (12, 4, 1)
    """
    return tuple(prod(shape[dim + 1 :]) for dim in range(len(shape)))


def _meeting(source: Sequence[str], target: Sequence[str], occurrence: int) -> tuple[list[str], list[int]]:
    """Coordinates of a structural relation, the target's first, and which of them the source's atoms are.

    Args:
        source, target: atoms of the two sites.
        occurrence: where an atom stands twice on one side and once on the other, which of the two is meant.
    """
    names, places = list(target), []
    for number, name in enumerate(source):
        turn = source[:number].count(name)
        mine = [k for k, other in enumerate(target) if other == name]
        if len(mine) > 1 and source.count(name) == 1:
            places.append(mine[occurrence])
        elif turn < len(mine) and (source.count(name) == len(mine) or turn == occurrence):
            places.append(mine[min(turn, len(mine) - 1)])
        elif len(mine) == 1 and turn == occurrence:
            places.append(mine[0])
        else:
            places.append(len(names))
            names.append(name)
    return names, places


def _unravel(number: int, sizes: Sequence[int]) -> list[int]:
    found = []
    for size in reversed(sizes):
        number, rest = divmod(number, size)
        found.append(rest)
    return found[::-1]


def _node_numbers(dims: Sequence[int], node_sizes: Sequence[int], sizes: Sequence[int], rows: range | None) -> Tensor:
    """Row-major node number on a grid of which some dimensions are the node's coordinates; the first dimension may be
    cut to rows.
    """
    number = torch.zeros([1] * len(sizes), dtype=torch.long)
    for dim, size in zip(dims, node_sizes, strict=True):
        values = torch.arange(size) if dim or rows is None else torch.arange(rows.start, rows.stop)
        shape = [1] * len(sizes)
        shape[dim] = len(values)
        number = number * size + values.reshape(shape)
    return number.expand(tuple(sizes) if rows is None else (len(rows), *sizes[1:]))
