"""The permutation group of a weight space: its elements, their composition, and how they move entries.

An element holds one permutation per free atom, and for a fibre one per value of its base's coordinates (a wreath
product). `sigma[..., i]`
is the new place of element i. Acting with `compose(g, h)` is acting with h, then with g.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import lgamma, log, prod

import torch
from torch import Tensor

from weightspace.axes import AtomSpec, Axis, Piece, pieces
from weightspace.parameters import ParameterSpec


@dataclass(frozen=True)
class GroupElement:
    """An element of a weight space's permutation group, or a batch of n of them.

    Shapes:
        permutations[atom]: ([n,] sizes of the base atoms ..., size of the atom).
    """

    permutations: Mapping[str, Tensor]
    n: int | None = None

    def __getitem__(self, i: int) -> "GroupElement":
        """Element i of a batch."""
        if self.n is None:
            raise IndexError("this is one group element, not a batch; random_element(n=...) makes batches")
        return GroupElement({name: sigma[i] for name, sigma in self.permutations.items()})

    def to(self, device: torch.device | str) -> "GroupElement":
        """The same element on another device."""
        return GroupElement({name: sigma.to(device) for name, sigma in self.permutations.items()}, self.n)


class PermutationGroup:
    """Direct and wreath products of symmetric groups over the free atoms of a space.

    Args:
        atoms: what is known of each atom; fixed ones are not moved.
        acting: names of the free atoms that move entries, bases before fibres.
    """

    def __init__(self, atoms: Mapping[str, AtomSpec], acting: Sequence[str]) -> None:
        self.atoms = atoms
        self.acting = tuple(acting)

    def shape(self, name: str) -> tuple[int, ...]:
        """Sizes of an atom's base and of the atom."""
        spec = self.atoms[name]
        return (*(self.atoms[base].size for base in spec.over), spec.size)

    @property
    def log10_order(self) -> float:
        """log10 of the number of elements."""
        return sum(prod(self.shape(name)[:-1]) * lgamma(self.atoms[name].size + 1) for name in self.acting) / log(10)

    def identity(self) -> GroupElement:
        """The element that moves nothing."""
        return GroupElement(
            {name: torch.arange(self.atoms[name].size).expand(self.shape(name)) for name in self.acting}
        )

    def random(self, generator: torch.Generator | None, n: int | None) -> GroupElement:
        """Uniform elements: independent uniform permutations (random keys, sorted), for every atom and every
        value of its base.
        """
        lead = () if n is None else (n,)
        device = generator.device if generator is not None else torch.device("cpu")

        def draw(name: str) -> Tensor:
            keys = torch.rand(*lead, *self.shape(name), generator=generator, device=device, dtype=torch.float64)
            return keys.argsort(-1)

        return GroupElement({name: draw(name) for name in self.acting}, n)

    def compose(self, g: GroupElement, h: GroupElement) -> GroupElement:
        """The element that acts as h, then as g."""
        n = g.n if h.n is None else h.n
        result = {}
        for name in self.acting:
            moved = self.move(h, self._grid(name))
            result[name] = self._look_up(g, name, moved)
        return self._element(result, n)

    def inverse(self, g: GroupElement) -> GroupElement:
        """The element that takes g back."""
        result = {}
        for name in self.acting:
            shape = self.shape(name)
            moved = self.move(g, self._grid(name))
            places = _row_major([moved[key] for key in (*self.atoms[name].over, name)], shape)
            places = places.expand(-1, *shape).reshape(len(places), -1)
            old = torch.arange(shape[-1], device=places.device).expand(shape).reshape(1, -1).expand(places.shape)
            result[name] = torch.empty_like(places).scatter_(1, places, old).reshape(-1, *shape)
        return self._element(result, g.n)

    def _element(self, permutations: Mapping[str, Tensor], n: int | None) -> GroupElement:
        """From permutations with a leading model dimension, of size 1 where all models share it."""
        lead = () if n is None else (n,)
        return GroupElement(
            {k: v.expand(n or 1, *self.shape(k)).reshape(*lead, *self.shape(k)) for k, v in permutations.items()}, n
        )

    def _grid(self, name: str) -> dict[str, Tensor]:
        names, shape = (*self.atoms[name].over, name), self.shape(name)
        return {
            key: along(torch.arange(size), dim, len(shape))[None]
            for dim, (key, size) in enumerate(zip(names, shape, strict=True))
        }

    def move(self, g: GroupElement, coordinates: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """New coordinates of elements: name -> places, all of one rank, with a leading model dimension (1
        where shared).
        """
        return {name: self._look_up(g, name, coordinates) for name in coordinates}

    def _look_up(self, g: GroupElement, name: str, coordinates: Mapping[str, Tensor]) -> Tensor:
        """New places along one atom, given old coordinates along the atom and its base."""
        if name not in g.permutations:
            return coordinates[name]
        sigma = g.permutations[name] if g.n is not None else g.permutations[name][None]
        index = [coordinates[key].to(sigma.device) for key in (*self.atoms[name].over, name)]
        models = along(torch.arange(len(sigma), device=sigma.device), 0, index[0].dim())
        return sigma[(models, *index)]


class EntryAction:
    """How group elements move the entries of one parameter.

    Args:
        spec: of the parameter.
        group: the permutation group.
    """

    def __init__(self, spec: ParameterSpec, group: PermutationGroup) -> None:
        self._parts = [(part, PartAction(part.axes, group)) for part in spec.all_parts]

    def __call__(self, g: GroupElement, tensor: Tensor, *, stacked: bool) -> Tensor:
        """The moved entries; differentiable in the tensor.

        Shapes:
            tensor (*shape) or, stacked, (n, *shape) -> (*shape), with a leading n where either is a batch.
        """
        if len(self._parts) == 1:
            return self._parts[0][1](g, tensor, stacked=stacked)
        moved = [
            action(g, tensor.narrow(part.dim + stacked, part.start, part.size), stacked=stacked)
            for part, action in self._parts
        ]
        return torch.cat(moved, dim=self._parts[0][0].dim + (stacked or g.n is not None))


class PartAction:
    """How group elements move the entries of a part of a parameter.

    Args:
        axes: of the part.
        group: the permutation group.
    """

    def __init__(self, axes: Sequence[Axis], group: PermutationGroup) -> None:
        self._group = group
        self._pieces = [pieces(axis, lambda name: group.atoms[name].size) for axis in axes]
        self._sizes = [sum(piece.positions.numel() for piece in dim) for dim in self._pieces]
        self._apart = all(self._is_closed(piece) for dim in self._pieces for piece in dim)

    def _is_closed(self, piece: Piece) -> bool:
        """Whether every fibre of a piece has its base in the same piece, so that the dimension moves on its own."""
        return all(base in piece.atoms for name in piece.atoms for base in self._group.atoms[name].over)

    def __call__(self, g: GroupElement, tensor: Tensor, *, stacked: bool) -> Tensor:
        """The moved entries; differentiable in the tensor.

        Shapes:
            tensor (*shape) or, stacked, (n, *shape) -> (*shape), with a leading n where either is a batch.
        """
        lead = (g.n,) if g.n is not None and not stacked else ()
        tensor = tensor.expand((*lead, *tensor.shape))
        if not self._apart:
            return self._move_entries(g, tensor, batched=stacked or g.n is not None)
        offset = tensor.dim() - len(self._sizes)
        for dim, parts in enumerate(self._pieces):
            if any(name in g.permutations for piece in parts for name in piece.atoms):
                old_of_new = self._dimension(g, parts, self._sizes[dim])
                tensor = _take(tensor, dim + offset, old_of_new.to(tensor.device))
        return tensor

    def _dimension(self, g: GroupElement, parts: Sequence[Piece], size: int) -> Tensor:
        """(1 or n, size): the old position of each new position along a dimension."""
        places = [self._places(g, [piece]) for piece in parts]
        lead = max(len(new) for _, new in places)
        result = torch.empty(lead, size, dtype=torch.long, device=places[0][1].device)
        for old, new in places:
            result.scatter_(1, new.expand(lead, -1), old.to(new.device).expand(lead, -1))
        return result

    def _places(self, g: GroupElement, combination: Sequence[Piece]) -> tuple[Tensor, Tensor]:
        """(1, m) old and (1 or n, m) new flat positions of the entries of a product of pieces."""
        slots = [(d, name) for d, piece in enumerate(combination) for name in piece.atoms]
        rank = len(slots)
        sizes = [self._group.atoms[name].size for _, name in slots]
        grid = [along(torch.arange(size), k, rank)[None] for k, size in enumerate(sizes)]
        new = []
        for k, (dim, name) in enumerate(slots):
            around = {name: grid[k]}
            for base in self._group.atoms[name].over:
                around[base] = grid[_base_slot(slots, dim, base)]
            new.append(self._group._look_up(g, name, around))
        device = new[0].device if new else None
        old_flat, new_flat = (
            self._flat(coordinates, combination, slots) for coordinates in ([c.to(device) for c in grid], new)
        )
        shape = [max(1, *(len(c) for c in new)) if new else 1, *sizes]
        return old_flat.expand(1, *sizes).reshape(1, -1), new_flat.expand(shape).reshape(shape[0], -1)

    def _flat(
        self, coordinates: Sequence[Tensor], combination: Sequence[Piece], slots: Sequence[tuple[int, str]]
    ) -> Tensor:
        full = len(combination) == len(self._sizes)
        flat: Tensor = torch.zeros(
            [1] * (len(slots) + 1), dtype=torch.long, device=coordinates[0].device if coordinates else None
        )
        for dim, piece in enumerate(combination):
            index = tuple(c for c, (d, _) in zip(coordinates, slots, strict=True) if d == dim)
            positions = piece.positions.to(flat.device)[index] if index else piece.positions.to(flat.device)
            flat = flat * (self._sizes[dim] if full else 1) + positions
        return flat

    def _move_entries(self, g: GroupElement, tensor: Tensor, *, batched: bool) -> Tensor:
        flat = tensor.reshape(*(tensor.shape[:1] if batched else (1,)), -1)
        old_of_new = torch.zeros(1 if g.n is None else g.n, flat.shape[1], dtype=torch.long, device=flat.device)
        for combination in product(*self._pieces):
            old, new = (places.to(flat.device) for places in self._places(g, combination))
            old_of_new.scatter_(1, new.expand(len(old_of_new), -1), old.expand(len(old_of_new), -1))
        return flat.gather(1, old_of_new.expand(len(flat), -1)).reshape(tensor.shape)


def _base_slot(slots: Sequence[tuple[int, str]], dim: int, base: str) -> int:
    same = [k for k, (d, name) in enumerate(slots) if name == base and d == dim]
    return (same or [k for k, (_, name) in enumerate(slots) if name == base])[0]


def _take(tensor: Tensor, dim: int, index: Tensor) -> Tensor:
    """Select along a dimension, one index for all models, or one index per model."""
    if len(index) == 1:
        return tensor.index_select(dim, index[0])
    return tensor.gather(dim, along(index, dim, tensor.dim()).expand(tensor.shape) if dim else index)


def _row_major(coordinates: Sequence[Tensor], sizes: Sequence[int]) -> Tensor:
    flat = coordinates[0]
    for values, size in zip(coordinates[1:], sizes[1:], strict=True):
        flat = flat * size + values
    return flat


def along(values: Tensor, dim: int, rank: int) -> Tensor:
    """Values as a tensor of `rank` dimensions that varies along `dim` (and, where they have two dimensions,
    along the first).
    """
    shape = [1] * rank
    shape[dim] = values.shape[-1]
    if values.dim() == 2:
        shape[0] = values.shape[0]
    return values.reshape(shape)
