"""The sites and blocks of a graph while they are planned, and where each value's neurons are."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import torch

from weightspace.axes import FREE, AtomSpec, Axis, Piece, atoms_of, pieces
from weightspace.topology import BlockPlan, SitePlan, Slot


@dataclass
class State:
    """Where a value's neurons are: sites of each dimension (None where it has none yet), and sites without a
    dimension. `at` tells of sites without a dimension on which piece of which dimensions they stand.
    """

    axes: list[Axis]
    dims: list[tuple[int, ...] | None]
    loose: tuple[int, ...] = ()
    functions: str = ""
    kind: str = "view"
    owned: set[int] = field(default_factory=set)
    at: dict[int, dict[int, int]] = field(default_factory=dict)

    def allows(self, site: int, dim: int, piece: int) -> bool:
        """Whether a site without a dimension may stand on a piece of one."""
        return self.at.get(site, {}).get(dim, piece) == piece


class SiteBook:
    """Sites and blocks as they are added.

    Args:
        spec: what is known of an atom of a final axis.
    """

    def __init__(self, spec: Callable[[str], AtomSpec]) -> None:
        self._spec = spec
        self.sites: list[SitePlan] = []
        self.blocks: list[BlockPlan] = []

    def pieces_of(self, axis: Axis) -> tuple[Piece, ...]:
        """An axis without sums."""
        return pieces(axis, lambda name: self._spec(name).size)

    def _neurons(self, piece: Piece) -> tuple[str, ...]:
        marked = tuple(name for name in piece.atoms if self._spec(name).neuron)
        return marked or (piece.atoms if len(piece.atoms) == 1 else ())

    def keys(self, axis: Axis) -> list[tuple[str, ...]]:
        """The node atoms of each piece of an axis; a fibre brings its base along."""
        keys = []
        for piece in self.pieces_of(axis):
            names = self._neurons(piece)
            bases = [
                base
                for name in names
                for base in self._spec(name).over
                if base not in names and self._spec(base).neuron
            ]
            keys.append((*dict.fromkeys(bases), *names))
        return keys

    def with_bases(self, names: Iterable[str]) -> tuple[str, ...]:
        """Neuron atoms, a fibre behind its bases."""
        kept = [name for name in names if self._spec(name).neuron]
        found: list[str] = []
        for number, name in enumerate(kept):
            bases = [base for base in self._spec(name).over if self._spec(base).neuron]
            found += [base for base in bases if base not in found]
            if found.count(name) <= kept[:number].count(name):
                found.append(name)
        return tuple(found)

    def has_neurons(self, axis: Axis) -> bool:
        """Whether any element of an axis is a neuron of its own."""
        return any(self._spec(name).neuron for piece in self.pieces_of(axis) for name in piece.atoms)

    def new_site(self, node_type: str, atoms: tuple[str, ...], slots: Iterable[Slot] = ()) -> int:
        """Add a site; its number."""
        number = len(self.sites)
        self.sites.append(
            SitePlan(f"{number}:{node_type.split('(', 1)[0].split('>', 1)[0]}", node_type, atoms, tuple(slots))
        )
        return number

    def matching(self, axis: Axis, places: Sequence[Sequence[int]] | Sequence[int], other: Axis) -> list[int] | None:
        """For each piece of an axis the piece of another on which its elements stand, element i at `places[i]`."""
        known = {tuple(p.positions.reshape(-1).tolist()): k for k, p in enumerate(self.pieces_of(other))}
        table = torch.tensor(places)
        found = [known.get(tuple(table[p.positions].reshape(-1).tolist())) for p in self.pieces_of(axis)]
        return None if any(k is None for k in found) else [k for k in found if k is not None]

    def new_sites(self, node_type: str, axis: Axis) -> tuple[int, ...]:
        """A site for each piece of an axis; nodes of fixed pieces carry their position on the axis."""
        made = []
        for piece, key in zip(self.pieces_of(axis), self.keys(axis), strict=True):
            site = self.new_site(node_type, key)
            places = piece.positions.reshape(-1)
            run = bool((places.diff() == 1).all())
            if len(places) and key == piece.atoms and all(self._spec(n).kind != FREE for n in key):
                where: dict[str, Any] = {"first": int(places[0])} if run else {"places": tuple(places.tolist())}
                self.sites[site] = replace(self.sites[site], **where)
            made.append(site)
        return tuple(made)

    def turn(self, source: int, target: int, axes: Sequence[Axis], dim: int) -> dict[str, int]:
        """Where an atom stands twice on a site, the one that belongs to a dimension, as an attribute."""
        mine, theirs = self.sites[source].atoms, self.sites[target].atoms
        twice = [n for n in dict.fromkeys((*mine, *theirs)) if {mine.count(n), theirs.count(n)} == {1, 2}]
        earlier = sum(list(atoms_of(axis)).count(twice[0]) for axis in axes[:dim]) if twice else 0
        return {"occurrence": min(earlier, 1)} if twice else {}

    def which(self, sites: Sequence[int], piece: int) -> dict[str, int]:
        """The number of a piece as an attribute, where another piece has the same atoms."""
        atoms = [self.sites[site].atoms for site in sites]
        return {"piece": piece} if atoms.count(atoms[piece]) > 1 else {}

    def link(self, source: int, target: int, edge_type: str, **attributes: Any) -> None:
        """Add structural edges between the nodes of two sites that agree on their common atoms."""
        self.blocks.append(BlockPlan(f"{len(self.blocks)}:{edge_type}", source, target, edge_type, attributes))

    def relatives(self, source: int, targets: Sequence[int]) -> Sequence[int]:
        """Targets that share an atom with a source, or all of them where none does."""
        mine = set(self.sites[source].atoms)
        return [t for t in targets if mine & set(self.sites[t].atoms)] or targets

    def tie(self, sources: Sequence[int], targets: Sequence[int], edge_type: str, position: int) -> None:
        """Link sites one by one, or each with each where their numbers differ, as an argument of an operation."""
        pairs = (
            zip(sources, targets, strict=True)
            if len(sources) == len(targets)
            else ((s, t) for s in sources for t in targets)
        )
        for source, target in pairs:
            self.link(source, target, edge_type, argument=position)

    def add_function(self, site: int, text: str) -> None:
        """Let a further function act on the neurons of a site."""
        self.sites[site] = replace(self.sites[site], node_type=self.sites[site].node_type + text)

    def add_slot(self, site: int, slot: Slot) -> None:
        """Lay a further parameter piece on the nodes of a site."""
        self.sites[site] = replace(self.sites[site], slots=(*self.sites[site].slots, slot))


def combinations(parts: Sequence[Sequence[Piece]]) -> list[tuple[Piece, ...]]:
    return [tuple(part[k] for part, k in zip(parts, choice, strict=True)) for choice in combination_numbers(parts)]


def combination_numbers(parts: Sequence[Sequence[Piece]]) -> list[tuple[int, ...]]:
    return list(product(*(range(len(part)) for part in parts)))


def operation_text(op: str, attributes: Any) -> str:
    """An operation with its attributes, in the vocabulary's form: `"max_pool(kernel_size=2,2;stride=2,2)"`."""
    if not attributes:
        return op
    parts = (
        f"{k}={','.join(map(str, v)) if isinstance(v, (list, tuple)) else v}" for k, v in sorted(attributes.items())
    )
    return f"{op}({';'.join(parts)})"
