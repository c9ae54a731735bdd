"""The balanced gauge: of all networks that positive scales take into each other, one with weights of equal size.

A network's entries are multiplied by exp(A z) where z are the coordinates of the scale group and A an integer matrix
that `WeightSpace.scalings` derives (an incoming weight of a ReLU neuron has +1 at its coordinate, an outgoing one -1).
Here z is chosen for each network such that the entries behind it, theta exp(-A z), do not depend on the scales that the
network came with. Each step makes the weights into a neuron as large as those out of it,

    z_j <- z_j + log(I_j / O_j) / 4        I_j, O_j: sums of squares of the entries with +1, -1 at coordinate j

which is coordinate descent on the sum of squares of all entries (Stock et al. 2019, "Equi-normalization of neural
networks", arXiv 1902.10416). The first sweep takes only I, in the order of the computation, so that every number is of
a known degree from the start: all steps are equivariant, and no convergence is needed for the result to be invariant.
Nothing is divided by an entry: entries may be tiny or zero. A neuron with nothing in, or nothing out, does not matter
to the function; its entries are zero in the balanced gauge, which is the limit of ever smaller ones. (So that the limit
is approached no slower than by the entries themselves, those of very weak neurons are drawn in further.)

Legend of shape comments: B models, D coordinates, M cells (entries that move together), E entries.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from weightspace.space import WeightSpace

_SWEEPS = 2
_WEAK = 0.2
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Side:
    """The cells that hold coordinates of one stage with one sign.

    Args:
        cells: numbers of cells.
        local: which of the stage's coordinates each holds.
        others: coordinates that each cell holds beside it, padded with D.
    """

    cells: Tensor
    local: Tensor
    others: Tensor


@dataclass(frozen=True)
class _Stage:
    """Coordinates that are chosen together.

    Args:
        coordinates: numbers.
        first: cells of the first sweep.
        sign: of the coordinates in these cells.
        into: cells with +1.
        out_of: cells with -1.
        powers: |exponent| of the first, incoming and outgoing cells of each coordinate; 0 where there are none.
    """

    coordinates: Tensor
    first: _Side
    sign: int
    into: _Side
    out_of: _Side
    powers: Tensor


@dataclass(frozen=True)
class Balanced:
    """The balanced gauge of a batch of networks.

    Args:
        reducing: what the entries of each cell are multiplied by to be balanced; the last one is for entries that no
            scale moves.
        sizes: of what may be added to the entries of each cell, in the gauge that the networks came with.

    Shapes:
        reducing, sizes (B, M + 1).
    """

    reducing: Tensor
    sizes: Tensor


class Balance:
    """Balances the networks of one space.

    Args:
        space: of the networks; scales are those that it was traced for.

    Attributes:
        cell: for each entry the cell that it belongs to.
        cells: number of cells M.
    """

    def __init__(self, space: WeightSpace) -> None:
        self.cell, exponents = _cells(space)
        self.cells, self.dimension = exponents.shape
        self.index, self.power = _padded(exponents)
        first = _first_nodes(space.scalings.scales.basis)
        starts = np.cumsum([0] + [len(site.address) for site in space.layout._sites])
        order = np.searchsorted(starts, first, side="right")
        self.stages = _stages(exponents, order)

    def to(self, device: torch.device) -> "Balance":
        """The same, index tensors on a device."""
        moved = object.__new__(Balance)
        moved.cells, moved.dimension = self.cells, self.dimension
        moved.cell, moved.index, moved.power = (t.to(device) for t in (self.cell, self.index, self.power))
        moved.stages = [_on(stage, device) for stage in self.stages]
        return moved

    def __call__(self, squares: Tensor) -> Balanced:
        """The balanced gauge.

        Args:
            squares: sum of the squares of the entries of each cell.

        Shapes:
            squares (B, M + 1) in float64.
        """
        present = _Gauge.neutral(squares, self.dimension)
        settled = torch.zeros(self.dimension + 1, dtype=torch.bool, device=squares.device)
        for stage in self.stages:
            settled = settled.index_fill(0, stage.coordinates, True)
            present = self._start(stage, squares, present)
        present = replace(present, force=torch.where(settled, present.force, 1.0))
        for _ in range(_SWEEPS):
            for stage in self.stages:
                present = self._step(stage, squares, present)
        return self._result(present)

    def _result(self, gauge: "_Gauge") -> Balanced:
        index, power = self.index, self.power
        reducing = torch.exp(-(gauge.z[:, index] * power).sum(-1)) * gauge.fade(index)  # (B, M)
        sizes = torch.where(power > 0, gauge.up[:, index], gauge.down[:, index])
        sizes = torch.where(power == 0, 1.0, sizes)
        sizes = torch.where(sizes > 0, sizes, 1.0) ** power.abs() * (sizes > 0)
        ones = reducing.new_ones(len(reducing), 1)
        return Balanced(torch.cat([reducing, ones], 1), torch.cat([sizes.prod(-1), ones], 1))

    def _sum(self, side: _Side, stage: _Stage, squares: Tensor, gauge: "_Gauge") -> Tensor:
        """Sum of squares, in the present gauge, over the cells of each of a stage's coordinates; (B, D_s)."""
        log = (gauge.z[:, self.index[side.cells]] * self.power[side.cells]).sum(-1)
        values = squares[:, side.cells] * torch.exp(-2 * log) * gauge.fade(side.others).square()
        return values.new_zeros(len(values), len(stage.coordinates)).index_add(1, side.local, values)

    def _start(self, stage: _Stage, squares: Tensor, gauge: "_Gauge") -> "_Gauge":
        total = self._sum(stage.first, stage, squares, gauge)
        z = _log(total) / (2 * stage.powers[0]) * stage.sign
        at = stage.coordinates
        return replace(gauge, z=gauge.z.index_copy(1, at, z), force=gauge.force.index_copy(1, at, (total > 0).to(z)))

    def _step(self, stage: _Stage, squares: Tensor, gauge: "_Gauge") -> "_Gauge":
        into = self._sum(stage.into, stage, squares, gauge)
        out_of = self._sum(stage.out_of, stage, squares, gauge)
        _, up, down = stage.powers
        step_in, step_out = _log(into) / (2 * _or_one(up)), -_log(out_of) / (2 * _or_one(down))
        both = (into > 0) & (out_of > 0)
        balanced = (_log(into) - _log(out_of)) / (2 * _or_one(up + down))
        at = stage.coordinates
        z = gauge.z[:, at]
        new = z + torch.where(both, balanced, torch.where(into > 0, step_in, step_out))
        force = torch.where(both, ((_log(into) + _log(out_of)) / 4).exp().clamp(max=1.0), 0.0)
        force = torch.where(((up == 0) & (out_of > 0)) | ((down == 0) & (into > 0)), 1.0, force)
        larger = torch.where(both, torch.exp(new) * force, torch.exp(z + step_in) * (into > 0))
        smaller = torch.where(both, torch.exp(-new) * force, torch.exp(-z - step_out) * (out_of > 0))
        return _Gauge(
            gauge.z.index_copy(1, at, new),
            gauge.force.index_copy(1, at, force),
            gauge.up.index_copy(1, at, larger),
            gauge.down.index_copy(1, at, smaller),
        )


@dataclass(frozen=True)
class _Gauge:
    """Where the balance stands.

    Args:
        z: the coordinates.
        force: how much passes through each, (I O)^(1/4), at most 1; 0 where nothing comes in or nothing leaves.
        up: size of an edit of an incoming entry, in the gauge of the input.
        down: size of an edit of an outgoing entry.

    Shapes:
        all (B, D + 1); the last column belongs to no coordinate.
    """

    z: Tensor
    force: Tensor
    up: Tensor
    down: Tensor

    @classmethod
    def neutral(cls, squares: Tensor, dimension: int) -> "_Gauge":
        """All coordinates zero and without force."""
        zeros, ones = squares.new_zeros(len(squares), dimension + 1), squares.new_ones(len(squares), dimension + 1)
        return cls(zeros, torch.cat([zeros[:, 1:], ones[:, :1]], 1), ones, ones)

    def fade(self, coordinates: Tensor) -> Tensor:
        """What is left of what passes through coordinates: all, unless one of them is very weak; (M, k) -> (B, M)."""
        return (self.force / _WEAK).clamp(max=1.0).square()[:, coordinates].prod(-1)


def _log(values: Tensor) -> Tensor:
    """The logarithm; 0 of 0, with gradient 0."""
    return torch.where(values > 0, values, 1.0).log()


def _or_one(powers: Tensor) -> Tensor:
    return torch.where(powers > 0, powers, 1.0)


def _cells(space: WeightSpace) -> tuple[Tensor, sparse.csr_array]:
    """The cell of each entry, and the exponents of the cells' coordinates, (M, D)."""
    group = space.scalings
    relations, basis = group.relations, group.scales.basis
    keys = (relations.plus * (relations.nodes + 1) + relations.minus) * 1024 + relations.degree + 512
    _, first, cell = np.unique(keys, return_index=True, return_inverse=True)
    exponents = basis[relations.plus[first]] - basis[relations.minus[first]].multiply(relations.degree[first][:, None])
    exponents = sparse.csr_array(exponents)
    exponents.eliminate_zeros()
    moved = np.flatnonzero(np.diff(exponents.indptr))
    number = np.full(len(first), len(moved))
    number[moved] = np.arange(len(moved))
    return torch.from_numpy(number[cell]), exponents[moved]


def _padded(exponents: sparse.csr_array) -> tuple[Tensor, Tensor]:
    """Coordinates and exponents of each cell, padded with coordinate D and exponent 0; both (M, k)."""
    counts = np.diff(exponents.indptr)
    width = int(counts.max(initial=1))
    index = np.full((exponents.shape[0], width), exponents.shape[1])
    power = np.zeros((exponents.shape[0], width))
    rows = np.repeat(np.arange(exponents.shape[0]), counts)
    columns = np.arange(len(rows)) - np.repeat(exponents.indptr[:-1], counts)
    index[rows, columns], power[rows, columns] = exponents.indices, exponents.data
    return torch.from_numpy(index), torch.from_numpy(power)


def _first_nodes(basis: sparse.csr_array) -> Ints:
    """The first node that each coordinate moves."""
    found = basis.tocoo()
    first = np.full(basis.shape[1], basis.shape[0])
    np.minimum.at(first, found.col, found.row)
    return first


@dataclass(frozen=True)
class _Entries:
    """The exponents that are not zero: cell, coordinate and power of each, and all coordinates of each cell."""

    rows: Ints
    columns: Ints
    powers: Floats
    index: Tensor
    nothing: int


def _stages(exponents: sparse.csr_array, order: Ints) -> list[_Stage]:
    """Coordinates in the order of the computation, those of one site together; each has cells in which all others
    come before it. Coordinates that only occur together are left out.
    """
    found = exponents.tocoo()
    rows, columns = found.row.astype(np.int64), found.col.astype(np.int64)
    entries = _Entries(rows, columns, found.data, _padded(exponents)[0], exponents.shape[1])
    settled = np.zeros(exponents.shape[1], dtype=bool)
    plan = []
    while not settled.all():
        waiting = np.bincount(rows, weights=~settled[columns], minlength=exponents.shape[0])
        ready = ~settled[columns] & (waiting[rows] == 1)
        sign = 1 if (ready & (found.data > 0)).any() else -1
        ready &= found.data * sign > 0
        if not ready.any():
            break
        ready &= order[columns] == order[columns[ready]].min()
        chosen = np.unique(columns[ready])
        settled[chosen] = True
        plan.append(_stage(entries, chosen, ready, sign))
    return plan


def _stage(entries: _Entries, chosen: Ints, ready: NDArray[np.bool_], sign: int) -> _Stage:
    mine = np.isin(entries.columns, chosen)
    place = np.searchsorted(chosen, entries.columns)
    sides, powers = [], []
    for some in (ready, mine & (entries.powers > 0), mine & (entries.powers < 0)):
        size = np.abs(entries.powers)
        least = np.full(len(chosen), np.inf)
        np.minimum.at(least, place[some], size[some])
        chosen_entries = np.flatnonzero(some & (size == least[place.clip(max=len(chosen) - 1)]))
        cells = torch.from_numpy(entries.rows[chosen_entries])
        own = torch.from_numpy(entries.columns[chosen_entries])[:, None]
        others = entries.index[cells]
        others = torch.where(others == own, entries.nothing, others)
        sides.append(_Side(cells, torch.from_numpy(place[chosen_entries]), others))
        powers.append(np.where(np.isfinite(least), least, 0.0))
    return _Stage(torch.from_numpy(chosen), sides[0], sign, sides[1], sides[2], torch.from_numpy(np.stack(powers)))


def _on(stage: _Stage, device: torch.device) -> _Stage:
    """A stage with its tensors on a device."""
    sides = [
        _Side(side.cells.to(device), side.local.to(device), side.others.to(device))
        for side in (stage.first, stage.into, stage.out_of)
    ]
    return _Stage(stage.coordinates.to(device), sides[0], stage.sign, sides[1], sides[2], stage.powers.to(device))
