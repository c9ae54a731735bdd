"""Changes of a network's weights that are no symmetry, though a metanet that overlooks something takes them for one.

Each is an order of the network's entries: entry i of the changed network is entry `order[i]` of the network.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from weightspace.axes import Piece as AxisPiece
from weightspace.axes import pieces
from weightspace.parameters import ParameterSpec
from weightspace.space import WeightSpace
from weightspace.testing._subjects import Example

Ends = tuple[tuple[slice | int, ...], tuple[slice | int, ...]]


@dataclass(frozen=True)
class Piece:
    """Entries that lie in one place of the graph: a block of edges, or one number on every node of a site.

    Args:
        name: the parameter, and which of its pieces.
        role: of the parameter.
        site: number of the site, for edges of the one that they run to.
        edges: whether they lie on edges.
        address: of the entries.

    Shapes:
        address (E, K) of a block, (n, 1) on a site.
    """

    name: str
    role: str
    site: int
    edges: bool
    address: Tensor


@dataclass(frozen=True)
class Change:
    """A change of the entries' order, and how it is called.

    Shapes:
        order (P,)
    """

    what: str
    order: Tensor


def graph_pieces(example: Example) -> list[Piece]:
    """Every piece of a network's parameters, tied ones once."""
    graph = example.graph(example.random(1)[0])
    site_of = torch.arange(len(graph.sites)).repeat_interleave(torch.tensor([s.num_nodes for s in graph.sites]))
    found = [
        Piece(f"{_parameter(example.space, site.address[0, j])} ({role})", role, i, False, site.address[:, j : j + 1])
        for i, site in enumerate(graph.sites)
        for j, role in enumerate(site.roles)
        if site.num_nodes
    ]
    found += [
        Piece(f"{block.name} ({block.role})", block.role, int(site_of[block.edge_index[1, 0]]), True, block.address)
        for block in graph.blocks
        if block.role and block.num_edges
    ]
    seen: set[int] = set()
    result = []
    for piece in found:
        if int(piece.address.flatten()[0]) not in seen:
            result.append(piece)
            seen |= set(piece.address.flatten().tolist())
    return result


def exchanged_pieces(example: Example) -> Iterator[Change]:
    """Two maps of one form exchanged (queries and values, with their biases), two pieces of one size and role, and two
    roles at one site (a norm's).
    """
    units: dict[int, list[Piece]] = {}
    listed = graph_pieces(example)
    for piece in listed:
        units.setdefault(piece.site, []).append(piece)
    for one, other in combinations(units.values(), 2):
        if len(one) > 1 and _form(one) == _form(other):
            order = torch.arange(_entries(example.space))
            for a, b in zip(one, other, strict=True):
                order[a.address], order[b.address] = b.address, a.address
            names = [" and ".join(piece.name for piece in unit) for unit in (one, other)]
            yield Change(f"exchanging {names[0]} with {names[1]}", order)
    for a, b in combinations(listed, 2):
        alike = a.edges == b.edges and (a.role == b.role or a.site == b.site)
        if alike and a.address.shape == b.address.shape:
            order = torch.arange(_entries(example.space))
            order[a.address], order[b.address] = b.address, a.address
            yield Change(f"exchanging {a.name} and {b.name}", order)


def exchanged_taps(example: Example) -> Iterator[Change]:
    """The first and the last tap of every edge exchanged: of kernels, and pixels behind a flatten."""
    for piece in graph_pieces(example):
        if piece.address.shape[1] > 1:
            order = torch.arange(_entries(example.space))
            first, last = piece.address[:, 0], piece.address[:, -1]
            order[first], order[last] = last, first
            yield Change(f"exchanging the first and the last of {piece.address.shape[1]} taps of {piece.name}", order)


def crossed_neurons(example: Example) -> Iterator[Change]:
    """A neuron of one head (group, expert) exchanged with one of another, in every parameter that knows it."""
    space = example.space
    for group in space.groups:
        if group.kind == "fibre":

            def ends(part: AxisPiece, name: str = group.name, over: tuple[str, ...] = group.over) -> Ends | None:
                if name not in part.atoms or any(base not in part.atoms for base in over):
                    return None
                return _two_places(part.atoms, dict.fromkeys((*over[1:], name), 0), over[0])

            members = ", ".join(dict.fromkeys(parameter for parameter, _ in group.members))
            yield Change(f"exchanging a neuron of {members} with one of another head", _order(space, ends))


def exchanged_positions(example: Example) -> Iterator[Change]:
    """Two places of an axis that the group leaves alone exchanged: inputs, outputs, gates."""
    for name, spec in example.space.atoms.items():
        if spec.kind not in ("free", "spatial") and spec.size > 1 and spec.neuron:

            def ends(part: AxisPiece, name: str = name) -> Ends | None:
                return _two_places(part.atoms, {}, name) if name in part.atoms else None

            order = _order(example.space, ends)
            if not torch.equal(order, torch.arange(len(order))):
                yield Change(f"exchanging places 0 and 1 of the {spec.kind} axis {name}", order)


def neurons_of_one_parameter(example: Example) -> Iterator[Change]:
    """A group's neurons shifted in a single one of the parameters that know them."""
    space = example.space
    for group in space.groups:
        shifted = space.identity()
        moved = {k: v.roll(1, -1) if k == group.name else v for k, v in shifted.permutations.items()}
        element = type(shifted)(moved)
        entries = torch.arange(_entries(space), dtype=torch.float64)[None]
        order = example.entries(space.act(element, example.states(entries)))[0].long()
        names = list(dict.fromkeys(parameter for parameter, _ in group.members))
        for name, first, last in _ranges(space) if len(names) > 1 else ():
            if name in names:
                alone = torch.arange(len(order))
                alone[first:last] = order[first:last]
                yield Change(f"shifting the neurons of {group.name} in {name} alone", alone)


def _form(unit: list[Piece]) -> list[object]:
    return [(piece.role, piece.edges, piece.address.shape) for piece in unit]


def _two_places(atoms: tuple[str, ...], at: dict[str, int], moved: str) -> Ends:
    """Where atoms have given coordinates and one of them is 0, and where it is 1."""
    both = [tuple({**at, moved: place}.get(atom, slice(None)) for atom in atoms) for place in (0, 1)]
    return both[0], both[1]


def _order(space: WeightSpace, ends: Callable[[AxisPiece], Ends | None]) -> Tensor:
    """The order of the entries after two places of each piece of an axis were exchanged, in every parameter."""
    parts = []
    for (_, first, last), spec in zip(_ranges(space), space.parameters.values(), strict=True):
        parts.append(_moved(space, spec, torch.arange(first, last).view(spec.shape), ends).flatten())
    return torch.cat(parts)


def _moved(
    space: WeightSpace, spec: ParameterSpec, numbers: Tensor, ends: Callable[[AxisPiece], Ends | None]
) -> Tensor:
    result = numbers.clone()
    for part in spec.all_parts if spec.shape else ():
        rows = numbers.narrow(part.dim, part.start, part.size)
        for dim, axis in enumerate(part.axes):
            order = torch.arange(rows.shape[dim])
            for piece in pieces(axis, lambda name: space.atoms[name].size):
                places = ends(piece)
                if places is not None:
                    first, second = piece.positions[places[0]], piece.positions[places[1]]
                    order[first], order[second] = second, first
            rows = rows.index_select(dim, order)
        result.narrow(part.dim, part.start, part.size).copy_(rows)
    return result


def _entries(space: WeightSpace) -> int:
    return sum(spec.numel for spec in space.parameters.values())


def _ranges(space: WeightSpace) -> Iterator[tuple[str, int, int]]:
    """Name, first address, and the one behind the last, of every parameter."""
    first = 0
    for name, spec in space.parameters.items():
        yield name, first, first + spec.numel
        first += spec.numel


def _parameter(space: WeightSpace, address: Tensor) -> str:
    return next(name for name, first, last in _ranges(space) if first <= int(address) < last)
