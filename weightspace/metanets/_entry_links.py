"""All linear maps between the parameters of a weight space that commute with its permutation group.

A parameter is cut into *pieces* on which the coordinates of its atoms form a full grid. A permutation moves the
coordinates of one atom together; so the maps from piece p to piece q that commute with it have a basis with one
element for every way to *link* coordinates of one atom over p and q, that is, for every partition of these coordinates
into blocks (orbits of pairs of entries; Maron et al. 2019, arXiv 1812.09902, for one group; Zhou et al. 2024, arXiv
2402.05232, "valid partitions", for several). Fibres (wreath products: the features inside a head) may be linked only
where their bases are. A basis element takes the diagonal of p over the blocks inside p, averages over blocks that p
has alone, and spreads the rest over q. So it splits into a *reading* of p and a *writing* of q that meet in a tensor
over the linked blocks, and all readings that end in the same blocks can share one matrix product.

Entries along linked coordinates are treated alike; the other, fixed coordinates (kernel positions, inputs, outputs)
are channels, each with weights of its own. Fixed axes of neurons longer than `max_fixed` would make such matrices
large; they are linked as if they could be permuted, and their entries are told apart by their index.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations, product
from math import prod

import torch
from torch import Tensor

from weightspace.axes import FREE, AtomSpec, Piece, pieces
from weightspace.parameters import ParameterSpec, Part
from weightspace.space import WeightSpace
from weightspace.topology import contiguous_strides

Blocks = tuple[tuple[int, ...], ...]
Kind = tuple[tuple[str, tuple[int, ...]], ...]
"""Atoms of the blocks that a reading ends in, each with the numbers of the blocks that are its base."""


@dataclass(frozen=True)
class Coordinate:
    """A linked coordinate of a piece: its atom, and which coordinates of the piece are its base."""

    atom: str
    size: int
    base: tuple[int, ...]


@dataclass(frozen=True)
class EntryPiece:
    """Entries of a parameter on the full grid of some coordinates.

    Args:
        parameter: its name; empty for the index features of a fixed axis, which hold no entries.
        coordinates: linked ones.
        address: offset of every entry among the floating entries, linked coordinates first, then fixed ones as taps.

    Shapes:
        address (sizes of the coordinates ..., K).
    """

    parameter: str
    coordinates: tuple[Coordinate, ...]
    address: Tensor

    @property
    def taps(self) -> int:
        """Number of fixed positions K."""
        return self.address.shape[-1]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes of the linked coordinates."""
        return tuple(c.size for c in self.coordinates)


@dataclass(frozen=True)
class Link:
    """One half of a basis element: a reading of a piece, or a writing of it.

    Args:
        piece: number of the piece.
        blocks: the partition of its coordinates.
        kept: numbers of the blocks that meet the other half, in the order of `kind`.
        kind: atoms of those blocks.
    """

    piece: int
    blocks: Blocks
    kept: tuple[int, ...]
    kind: Kind


def entry_pieces(space: WeightSpace, max_fixed: int) -> list[EntryPiece]:
    """The pieces of all parameters, in the order of `space.parameters`.

    Args:
        space: of the networks.
        max_fixed: longest fixed axis of neurons whose positions have weights of their own.
    """
    found, offset = [], 0
    linked = linked_atoms(space.atoms, max_fixed)
    for name, spec in space.parameters.items():
        for part in spec.all_parts:
            for combination in product(*(pieces(axis, lambda n: space.atoms[n].size) for axis in part.axes)):
                found.append(_piece(name, combination, _address(spec, part, combination) + offset, space.atoms, linked))
        offset += spec.numel
    return found


def linked_atoms(atoms: Mapping[str, AtomSpec], max_fixed: int) -> frozenset[str]:
    """Atoms whose coordinates are linked: free ones, the bases of free fibres, and long fixed axes of neurons."""
    free = {name for name, atom in atoms.items() if atom.kind == FREE}
    bases = {base for name in free for base in atoms[name].over}
    long = {n for n, atom in atoms.items() if atom.kind != FREE and atom.neuron and atom.size > max_fixed}
    return frozenset(name for name in free | bases | long if atoms[name].size > 1)


def _address(spec: ParameterSpec, part: Part, combination: Sequence[Piece]) -> Tensor:
    """Offsets in the parameter of the entries of a product of pieces, one dimension per atom."""
    strides = contiguous_strides(spec.shape)
    address = torch.full((), part.start * strides[part.dim] if spec.shape else 0, dtype=torch.long)
    for piece, stride in zip(combination, strides, strict=True):
        rank = piece.positions.dim()
        address = address.reshape((*address.shape, *[1] * rank)) + piece.positions * stride
    return address


def _piece(
    name: str,
    combination: Sequence[Piece],
    address: Tensor,
    atoms: Mapping[str, AtomSpec],
    linked: frozenset[str],
) -> EntryPiece:
    slots = [(dim, atom) for dim, piece in enumerate(combination) for atom in piece.atoms]
    mine = [k for k, (_, atom) in enumerate(slots) if atom in linked]
    number = {k: i for i, k in enumerate(mine)}
    coordinates = tuple(
        Coordinate(
            slots[k][1], atoms[slots[k][1]].size, tuple(number[b] for b in _bases(slots, k, atoms) if b in number)
        )
        for k in mine
    )
    rest = [k for k in range(len(slots)) if k not in number]
    address = address.permute((*mine, *rest))
    return EntryPiece(name, coordinates, address.reshape((*address.shape[: len(mine)], -1)))


def _bases(slots: Sequence[tuple[int, str]], k: int, atoms: Mapping[str, AtomSpec]) -> list[int]:
    """Slots that are the base of slot k: those in the same dimension first."""
    found = []
    for base in atoms[slots[k][1]].over:
        fits = [i for i, (_, atom) in enumerate(slots) if atom == base]
        near = [i for i in fits if slots[i][0] == slots[k][0]]
        found += (near or fits)[:1]
    return found


def partitions(coordinates: Sequence[Coordinate]) -> list[Blocks]:
    """Partitions of coordinates into blocks of one atom, the bases of a block's coordinates in one block, too.

    Example:
        >>> n = Coordinate("n", 4, ())
        >>> len(partitions([n, n])), len(partitions([n, n, n])), len(partitions([n, Coordinate("m", 4, ())]))
        (2, 5, 1)
    """
    found: list[Blocks] = [()]
    for k, coordinate in enumerate(coordinates):
        grown: list[Blocks] = []
        for blocks in found:
            grown.append((*blocks, (k,)))
            for i, block in enumerate(blocks):
                if coordinate.atom == coordinates[block[0]].atom:
                    grown.append((*blocks[:i], (*block, k), *blocks[i + 1 :]))
        found = grown
    return [blocks for blocks in found if _consistent(blocks, coordinates)]


def _consistent(blocks: Blocks, coordinates: Sequence[Coordinate]) -> bool:
    block_of = {k: i for i, block in enumerate(blocks) for k in block}
    return all(len({tuple(block_of[b] for b in coordinates[k].base) for k in block}) == 1 for block in blocks)


def readings(piece: EntryPiece, number: int) -> Iterator[Link]:
    """Every reading of a piece: partitions, kept blocks, and each order of these that has the least kind."""
    for blocks, kept in _kept(piece):
        least = min(_kind(piece, blocks, order) for order in permutations(kept) if _is_closed(piece, blocks, order))
        for order in permutations(kept):
            if _is_closed(piece, blocks, order) and _kind(piece, blocks, order) == least:
                yield Link(number, blocks, order, least)


def writings(piece: EntryPiece, number: int) -> Iterator[Link]:
    """Every writing of a piece: as its readings, in one order each."""
    seen = set()
    for link in readings(piece, number):
        key = (link.blocks, frozenset(link.kept))
        if key not in seen:
            seen.add(key)
            yield link


def _kept(piece: EntryPiece) -> Iterator[tuple[Blocks, tuple[int, ...]]]:
    for blocks in partitions(piece.coordinates):
        for choice in product((False, True), repeat=len(blocks)):
            kept = tuple(i for i, chosen in enumerate(choice) if chosen)
            block_of = {k: i for i, block in enumerate(blocks) for k in block}
            if all(block_of[b] in kept for i in kept for b in piece.coordinates[blocks[i][0]].base):
                yield blocks, kept


def _is_closed(piece: EntryPiece, blocks: Blocks, order: Sequence[int]) -> bool:
    """Whether bases stand before their fibres."""
    block_of = {k: i for i, block in enumerate(blocks) for k in block}
    return all(block_of[b] in order[:at] for at, i in enumerate(order) for b in piece.coordinates[blocks[i][0]].base)


def _kind(piece: EntryPiece, blocks: Blocks, order: Sequence[int]) -> Kind:
    block_of = {k: i for i, block in enumerate(blocks) for k in block}
    heads = [piece.coordinates[blocks[i][0]] for i in order]
    return tuple((c.atom, tuple(order.index(block_of[b]) for b in c.base)) for c in heads)


def equivariant_dimension(space: WeightSpace, *, max_fixed: int | None = None) -> int:
    """Dimension of the space of linear maps from the weights of a network to themselves that commute with the group.

    Every link counts as often as it has pairs of fixed positions; a link with more blocks of one atom than the atom
    has neurons is no element of the basis (its entries would have to differ in more places than there are).

    Args:
        space: of the network.
        max_fixed: fixed axes of neurons longer than this count as if they could be permuted; None for never.

    Example:
        >>> import torch, weightspace as ws
        >>> net = torch.nn.Sequential(torch.nn.Linear(2, 5), torch.nn.Linear(5, 5), torch.nn.Linear(5, 1))
        >>> equivariant_dimension(ws.trace(net, torch.zeros(1, 2)))
        75
    """
    longest = max((atom.size for atom in space.atoms.values()), default=1)
    found = entry_pieces(space, longest if max_fixed is None else max_fixed)
    read = [list(readings(piece, i)) for i, piece in enumerate(found)]
    write = [list(writings(piece, i)) for i, piece in enumerate(found)]
    total = 0
    for p, q in product(range(len(found)), repeat=2):
        links = sum(
            one.kind == other.kind and _fits(found[p], one, found[q], other) for one in read[p] for other in write[q]
        )
        total += links * found[p].taps * found[q].taps
    return total


def _fits(p: EntryPiece, reading: Link, q: EntryPiece, writing: Link) -> bool:
    """Whether every atom has enough neurons for the link's blocks to differ (inside one fibre, for fibres)."""
    counts: dict[tuple[str, tuple[object, ...]], int] = {}
    sizes: dict[str, int] = {}
    names: dict[tuple[str, int], object] = {}
    for side, piece, link in (("p", p, reading), ("q", q, writing)):
        block_of = {k: i for i, block in enumerate(link.blocks) for k in block}
        for i, block in _bases_first(piece, link.blocks):
            head = piece.coordinates[block[0]]
            names[side, i] = ("kept", link.kept.index(i)) if i in link.kept else (side, i)
            if side == "q" and i in link.kept:
                continue
            key = (head.atom, tuple(names[side, block_of[b]] for b in head.base))
            counts[key] = counts.get(key, 0) + 1
            sizes[head.atom] = head.size
    return all(count <= sizes[atom] for (atom, _), count in counts.items())


def _bases_first(piece: EntryPiece, blocks: Blocks) -> list[tuple[int, tuple[int, ...]]]:
    block_of = {k: i for i, block in enumerate(blocks) for k in block}

    def depth(i: int) -> int:
        return 1 + max((depth(block_of[b]) for b in piece.coordinates[blocks[i][0]].base), default=0)

    return sorted(enumerate(blocks), key=lambda item: depth(item[0]))


def kind_sizes(kind: Kind, atoms: Mapping[str, AtomSpec]) -> tuple[int, ...]:
    """Sizes of the blocks that a reading ends in."""
    return tuple(atoms[name].size for name, _ in kind)


def diagonal(piece: EntryPiece, blocks: Blocks) -> Tensor | None:
    """Flat positions, on the grid of a piece's coordinates, of the grid of its blocks; None where they are the same.

    Shapes:
        result (product of the block sizes,).
    """
    if all(len(block) == 1 for block in blocks) and [b[0] for b in blocks] == list(range(len(blocks))):
        return None
    block_of = {k: i for i, block in enumerate(blocks) for k in block}
    sizes = [piece.coordinates[block[0]].size for block in blocks]
    flat = torch.zeros([1] * len(blocks), dtype=torch.long)
    for k, coordinate in enumerate(piece.coordinates):
        shape = [1] * len(blocks)
        shape[block_of[k]] = coordinate.size
        flat = flat * coordinate.size + torch.arange(coordinate.size).reshape(shape)
    return flat.expand(sizes).reshape(prod(sizes))
