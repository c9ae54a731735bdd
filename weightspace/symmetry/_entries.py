"""The entries of a weight space on the grids of their neurons: which elements of which neuron groups each entry has.

Every element of a neuron group, for a fibre one for each value of its base, is known by its number in the row-major
grid of the base and the group.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from weightspace.axes import Piece, pieces

if TYPE_CHECKING:
    from weightspace.space import WeightSpace

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class EntryBlock:
    """Entries of a parameter on a full grid: one dimension for each atom of one piece of each of its dimensions.

    Args:
        parameter: its name.
        slots: (dimension of the parameter, atom) of each dimension of the grid.
        sizes: of the grid.
        bases: for each slot the slots of its base's coordinates.
        address: position of each entry in the flattened parameter.
        moving: whether each slot's atom is permuted by the group.
    """

    parameter: str
    slots: tuple[tuple[int, str], ...]
    sizes: tuple[int, ...]
    bases: tuple[tuple[int, ...], ...]
    address: Ints
    moving: tuple[bool, ...]

    @cached_property
    def elements(self) -> tuple[Ints, ...]:
        """For each slot the element's number in the grid of its base and its atom, broadcast over the block's grid."""
        found = []
        for slot, bases in enumerate(self.bases):
            number = np.zeros([1] * len(self.sizes), dtype=np.int64)
            for dim in (*bases, slot):
                number = number * self.sizes[dim] + self._along(dim)
            found.append(number)
        return tuple(found)

    def _along(self, dim: int) -> Ints:
        shape = [1] * len(self.sizes)
        shape[dim] = self.sizes[dim]
        return np.arange(self.sizes[dim]).reshape(shape)

    def own(self, slot: int) -> tuple[int, ...]:
        """The grid's dimensions that say which element a slot holds: its base's and its own."""
        return (*self.bases[slot], slot)

    def rest(self, slot: int) -> tuple[int, ...]:
        """The other dimensions of the grid."""
        return tuple(dim for dim in range(len(self.sizes)) if dim not in self.own(slot))

    def rows(self, slot: int, values: Ints) -> Ints:
        """Values on the grid as rows, one for each element of a slot: (elements, entries of an element)."""
        grid = np.broadcast_to(values, self.sizes).transpose((*self.own(slot), *self.rest(slot)))
        return grid.reshape(prod(self.sizes[dim] for dim in self.own(slot)), -1)


def entry_blocks(space: "WeightSpace") -> list[EntryBlock]:
    """All blocks of a space that a permutation moves, small ones first (what settles an order soonest)."""
    acting = set(space.group.acting)
    found = [block for name in space.parameters for block in _blocks_of(space, name, acting) if any(block.moving)]
    return sorted(found, key=lambda block: prod(block.sizes))


def _blocks_of(space: "WeightSpace", name: str, acting: set[str]) -> Iterator[EntryBlock]:
    spec = space.parameters[name]
    for part in spec.all_parts:
        starts = [part.start if dim == part.dim else 0 for dim in range(len(spec.shape))]
        parts = [pieces(axis, lambda atom: space.atoms[atom].size) for axis in part.axes]
        for combination in product(*parts):
            yield _block(space, name, combination, starts, acting)


def _block(
    space: "WeightSpace", name: str, combination: tuple[Piece, ...], starts: list[int], acting: set[str]
) -> EntryBlock:
    shape = space.parameters[name].shape
    slots = tuple((dim, atom) for dim, piece in enumerate(combination) for atom in piece.atoms)
    sizes = tuple(space.atoms[atom].size for _, atom in slots)
    address = np.zeros((), dtype=np.int64)
    for dim, piece in enumerate(combination):
        positions = piece.positions.numpy() + starts[dim]
        address = address.reshape((*address.shape, *[1] * positions.ndim)) * shape[dim] + positions
    bases = tuple(
        tuple(_base_slot(slots, dim, base) for base in space.atoms[atom].over) if atom in acting else ()
        for dim, atom in slots
    )
    return EntryBlock(name, slots, sizes, bases, address, tuple(atom in acting for _, atom in slots))


def _base_slot(slots: tuple[tuple[int, str], ...], dim: int, base: str) -> int:
    """The slot of a base: in the same dimension of the parameter where it stands there, in another one otherwise."""
    fitting = [k for k, (_, name) in enumerate(slots) if name == base]
    return next((k for k in fitting if slots[k][0] == dim), fitting[0])
