"""Matrices made of blocks for pairs of atoms, and the diagonal blocks of their resolvents."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from e3nn import o3
from torch import Tensor, nn

from weightspace.geometric._atomistic import PointCloud
from weightspace.geometric._constants import ExactConstants, exact_tables
from weightspace.geometric._edge_product import EdgeTensorProduct
from weightspace.geometric._equivariant_layers import Blocks, IrrepsLinear, RadialNetwork, message_paths
from weightspace.geometric._paths import clebsch_gordan
from weightspace.geometric._take import take

DEGREES = (0, 1)
"""Orbitals of an atom: one scalar and one vector in each matrix, as in the published code."""
SIZE = sum(2 * l + 1 for l in DEGREES)
EDGE_STRENGTH = 10.0  # brings blocks of edges to the size of those of atoms, before training
MOST_NUMBERS = 2**25  # complex numbers in the matrices of a chunk of graphs
MOST_PADDING = 1.25  # largest graph of a chunk by its smallest


@dataclass(frozen=True)
class Entry:
    """An irreducible part of a block: of degree `total` in the rows of degree `row` and the columns of `column`."""

    row: int
    column: int
    total: int


def block_entries(*, symmetric: bool) -> list[Entry]:
    """Parts of a block of natural parity, ordered by total degree.

    Args:
        symmetric: whether the block equals its transpose, so that rows of smaller degree than columns say all.

    Example:
        >>> [(e.row, e.column, e.total) for e in block_entries(symmetric=True)]
        [(0, 0, 0), (1, 1, 0), (0, 1, 1), (1, 1, 2)]
    """
    found = [
        Entry(a, b, total)
        for a in DEGREES
        for b in DEGREES
        for total in range(abs(a - b), a + b + 1, 2)
        if a <= b or not symmetric
    ]
    return sorted(found, key=lambda entry: entry.total)


@exact_tables()
def coupling(entries: Sequence[Entry]) -> Tensor:
    """Coefficients (components of all entries, SIZE, SIZE), so that a block is sum_k x_k C_k, and x_k = <C_k, block>.

    Every entry has norm sqrt(rows * columns): blocks of normal numbers give normal numbers divided by that.
    """
    found = torch.zeros(sum(2 * e.total + 1 for e in entries), SIZE, SIZE, dtype=torch.float64)
    start = 0
    for e in entries:
        rows, columns, number = 2 * e.row + 1, 2 * e.column + 1, 2 * e.total + 1
        tensor = clebsch_gordan(e.row, e.column, e.total).permute(2, 0, 1) * math.sqrt(rows * columns)
        top, left = e.row**2, e.column**2
        found[start : start + number, top : top + rows, left : left + columns] = tensor
        start += number
    return found


class BlockMatrices(nn.Module):
    """Blocks of H for edges (E, K, S, S) and atoms (N, K, S, S), of which `hamiltonian` makes H.

    Args:
        irreps: of the features, natural parity.
        channels: of each.
        matrices: K.
        lmax: of harmonics.
        radial: widths of the radial network.
    """

    def __init__(self, irreps: Sequence[str], *, channels: int, matrices: int, lmax: int, radial: Sequence[int]):
        super().__init__()
        entries = block_entries(symmetric=False)
        own = [e for e in block_entries(symmetric=True) if f"{e.total}{'eo'[e.total % 2]}" in irreps]
        natural = [f"{l}{'eo'[l % 2]}" for l in range(2 * max(DEGREES) + 1)]
        slots = {ir: n for n, ir in enumerate(irreps)}
        paths = message_paths(irreps, lmax if lmax > 2 * max(DEGREES) else 2 * max(DEGREES), natural, lmax_sh=lmax)
        instructions = [
            (slots[start], l, place)
            for start, l, end in paths
            for place, e in enumerate(entries)
            if natural[e.total] == end
        ]
        self.product = EdgeTensorProduct(
            o3.Irreps([(matrices, ir) for ir in irreps]),
            o3.Irreps.spherical_harmonics(lmax),
            o3.Irreps([(matrices, natural[e.total]) for e in entries]),
            instructions=instructions,
        )
        each = dict.fromkeys(irreps, channels)
        self.source = IrrepsLinear(each, dict.fromkeys(irreps, matrices))
        self.target = IrrepsLinear(each, {"0e": matrices})
        self.strength = nn.Parameter(torch.full((matrices, 1), EDGE_STRENGTH))
        self.radial = RadialNetwork((*radial, len(instructions) * matrices))
        self.irreps, self.matrices = tuple(irreps), matrices
        counts = {ir: sum(natural[e.total] == ir for e in own) for ir in irreps}
        self.own = IrrepsLinear(each, {ir: matrices * number for ir, number in counts.items() if number})
        self.constants = ExactConstants(edge=coupling(entries), own=coupling(own))

    def forward(
        self, x: Mapping[str, Tensor], edge_sh: Tensor, rbf: Tensor, cloud: PointCloud
    ) -> tuple[Tensor, Tensor]:
        own = [value.unflatten(2, (-1, self.matrices)).permute(0, 3, 2, 1).flatten(2) for value in self.own(x).values()]
        atoms = torch.tensordot(torch.cat(own, dim=2), self.constants.like("own", rbf), 1)
        if not len(edge_sh):
            return atoms[:0], atoms
        source = self.source(x)
        features = torch.cat([source[ir] for ir in self.irreps], dim=1).transpose(1, 2)  # (N, K, D)
        weight = self.radial(rbf).unflatten(1, (-1, self.matrices))  # (E, P, K)
        parts = self.product(take(features, 0, cloud.source), edge_sh, weight)  # (E, K, D)
        factor = self.strength * (1 + self.target(x)["0e"].transpose(1, 2))  # (N, K, 1)
        parts = parts * take(factor, 0, cloud.target)
        return torch.tensordot(parts, self.constants.like("edge", parts), 1), atoms


class Resolvents(nn.Module):
    """Diagonal blocks of (z - H)^-1 for several poles z of each matrix, as features of atoms.

    Im z is at least `gap`, so that no eigenvalue of H comes near: the norm of a resolvent is at most 1 / gap. The scale
    of H is learned, so that a gap of one fixes its unit.

    Args:
        matrices: K.
        poles: P, of each.
        gap: smallest Im z.
    """

    def __init__(self, matrices: int, poles: int, *, gap: float = 1.0):
        super().__init__()
        self.gap = gap
        self.real = nn.Parameter(torch.randn(matrices, poles))
        self.imaginary = nn.Parameter(torch.randn(matrices, poles))
        entries = block_entries(symmetric=True)
        self.totals = [e.total for e in entries]
        self.couplings = ExactConstants(blocks=coupling(entries))
        self.channels_out = {
            f"{total}{'eo'[total % 2]}": 2 * matrices * poles * self.totals.count(total)
            for total in sorted(set(self.totals))
        }

    def poles(self) -> Tensor:
        """Their places z (K, P), complex."""
        return torch.complex(self.real, self.gap + nn.functional.softplus(self.imaginary))

    def forward(self, edges: Tensor, atoms: Tensor, cloud: PointCloud) -> Blocks:
        """Irrep -> (N, 2 l + 1, channels), from blocks of edges (E, K, S, S) and atoms (N, K, S, S)."""
        found, places = [], []
        for chunk in chunks_of(cloud, self.real.numel()):
            blocks = self._diagonal(hamiltonian(edges, atoms, chunk))  # (G, n, 2 K P, S, S)
            found.append(take(blocks.flatten(0, 1), 0, chunk.places))
            places.append(chunk.atoms)
        if len(found) == 1:
            return self._features(found[0])
        if not found:
            return self._features(atoms.new_zeros(0, 2 * self.real.numel(), SIZE, SIZE))
        return self._features(take(torch.cat(found), 0, torch.argsort(torch.cat(places))))

    def _diagonal(self, h: Tensor) -> Tensor:
        """Of the resolvents of H (G, K, n S, n S): real and imaginary parts (G, n, 2 K P, S, S)."""
        one = torch.eye(h.shape[-1], dtype=h.dtype, device=h.device)
        inverse = torch.linalg.inv(self.poles()[:, :, None, None] * one - h[:, :, None])  # (G, K, P, n S, n S)
        blocks = inverse.unflatten(4, (-1, SIZE)).unflatten(3, (-1, SIZE)).diagonal(dim1=3, dim2=5)
        blocks = blocks.permute(0, 5, 1, 2, 3, 4).flatten(2, 3)  # (G, n, K P, S, S)
        return torch.cat([blocks.real, blocks.imag], dim=2)

    def _features(self, blocks: Tensor) -> Blocks:
        parts = torch.tensordot(blocks, self.couplings.like("blocks", blocks), ([2, 3], [1, 2]))  # (N, 2 K P, D)
        pieces = parts.transpose(1, 2).split([2 * total + 1 for total in self.totals], dim=1)
        return {
            ir: torch.cat([p for p, total in zip(pieces, self.totals, strict=True) if total == int(ir[:-1])], dim=2)
            for ir in self.channels_out
        }


@dataclass(frozen=True)
class Chunk:
    """Graphs whose matrices are padded to one size and inverted together.

    Args:
        graphs, largest: how many, and atoms of the largest (n).
        atoms: of the cloud's (A,).
        places: of these among graphs * n (A,).
        edges: of the cloud's (B,).
        pairs: place of each edge's block among graphs * n * n, target before source (B,).
        own: the same for atoms (A,).
    """

    graphs: int
    largest: int
    atoms: Tensor
    places: Tensor
    edges: Tensor
    pairs: Tensor
    own: Tensor


def chunks_of(cloud: PointCloud, resolvents: int) -> list[Chunk]:
    """All graphs with atoms, in chunks; waits for the device, to know how many atoms each graph has.

    Args:
        cloud: the graphs.
        resolvents: inversions of each.
    """
    batch, ones = cloud.batch, torch.ones_like(cloud.batch)
    counts = batch.new_zeros(cloud.num_graphs).index_add(0, batch, ones)
    number = torch.arange(len(batch), device=batch.device) - take(counts.cumsum(0) - counts, 0, batch)
    found = []
    for graphs, n in alike(counts.tolist(), resolvents):
        slot = torch.full_like(counts, -1)
        slot[torch.tensor(graphs, device=slot.device)] = torch.arange(len(graphs), device=slot.device)
        of_atom = take(slot, 0, batch)
        atoms = (of_atom >= 0).nonzero().squeeze(1)
        edges = (take(of_atom, 0, cloud.target) >= 0).nonzero().squeeze(1)
        rows = of_atom * n + number
        pairs = rows[cloud.target[edges]] * n + number[cloud.source[edges]]
        own = rows[atoms] * n + number[atoms]
        found.append(Chunk(len(graphs), n, atoms, rows[atoms], edges, pairs, own))
    return found


def alike(counts: Sequence[int], resolvents: int) -> list[tuple[list[int], int]]:
    """Graphs to invert together, and the atoms of the largest: alike in size, and not too many numbers.

    Args:
        counts: atoms of each graph.
        resolvents: inversions of each.

    Example:
        >>> alike([4, 20, 4, 0], 16)
        [([0, 2], 4), ([1], 20)]
    """
    found: list[tuple[list[int], int]] = []
    for graph in sorted(range(len(counts)), key=lambda graph: counts[graph]):
        number = counts[graph]
        if not number:
            continue
        fits = bool(found) and number <= MOST_PADDING * counts[found[-1][0][0]]
        if fits and (len(found[-1][0]) + 1) * (number * SIZE) ** 2 * resolvents <= MOST_NUMBERS:
            found[-1] = ([*found[-1][0], graph], number)
        else:
            found.append(([graph], number))
    return found


def hamiltonian(edges: Tensor, atoms: Tensor, chunk: Chunk) -> Tensor:
    """H = (M + M^T) / sqrt(2) of each graph, M_ij the blocks of edges from j to i, and those of atoms for i = j.

    Args:
        edges: blocks (E, K, S, S).
        atoms: blocks (N, K, S, S).
        chunk: which graphs.

    Shapes:
        -> (graphs, K, n S, n S), rows and columns atom by atom.
    """
    m = edges.new_zeros(chunk.graphs * chunk.largest**2, *edges.shape[1:])
    m = m.index_add(0, chunk.pairs, edges[chunk.edges]).index_add(0, chunk.own, atoms[chunk.atoms])
    m = m.unflatten(0, (chunk.graphs, chunk.largest, chunk.largest)).permute(0, 3, 1, 4, 2, 5)
    m = m.reshape(chunk.graphs, edges.shape[1], chunk.largest * SIZE, chunk.largest * SIZE)
    return (m + m.transpose(2, 3)) / math.sqrt(2)
