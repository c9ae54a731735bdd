"""Trilinear forms on a grid of points, evaluated in blocks of rows that stay in cache.

A form T(a, b, c) = sum over points g and terms of s (a A)[g] (b B)[g] (c C)[g] has three sides of one kind. The product
of two sides leads to the third, and so does every derivative of any order: gradients of a product are products of the
same form with the sides exchanged.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from weightspace.geometric._constants import ExactConstants
from weightspace.geometric._take import take

CACHE_BYTES = 3 * 1024**2
"""What the values of one block of rows may fill on a CPU: larger blocks leave the cache, smaller ones cost calls."""


@dataclass(frozen=True)
class Columns:
    """Columns of a feature row that share one transform, and the kinds of values that it gives.

    Args:
        columns: numbers of the columns, ascending.
        matrix: (number of columns, kinds G), float64.
        kinds: names of the values, such as "value" and the two derivatives, in the order of the matrix.
    """

    columns: tuple[int, ...]
    matrix: Tensor
    kinds: tuple[str, ...]

    @property
    def contiguous(self) -> bool:
        """Whether the columns are a slice."""
        return self.columns == tuple(range(self.columns[0], self.columns[-1] + 1))


@dataclass(frozen=True)
class Term:
    """One pointwise product of three kinds, with its sign; names of kinds, one per side."""

    kinds: tuple[str, str, str]
    sign: int


class TrilinearForm:
    """Three sides and the terms between them.

    Args:
        sides: for each side its columns, by transform.
        dims: length of a feature row of each side.
        terms: the pointwise products.
    """

    def __init__(self, sides: Sequence[Sequence[Columns]], dims: Sequence[int], terms: Sequence[Term]) -> None:
        self.dims, self.terms = tuple(dims), tuple(terms)
        rowwise = all(_fits_rows(side) for side in sides)
        self._sides = [_Side(side, dim, rowwise) for side, dim in zip(sides, dims, strict=True)]
        self._width = max(side.width for side in self._sides)

    def product(self, a: Tensor, b: Tensor) -> Tensor:
        """Sides 0 and 1 (R, D) to side 2 (R, D_2); differentiable any number of times."""
        return _Contract.apply(a, b, self, (0, 1, 2))

    def values(self, rows: Tensor, side: int) -> dict[str, Tensor]:
        """Values (G, R) of every kind of a side."""
        return self._sides[side].forth(rows)

    def back(self, values: dict[str, Tensor], side: int, out: Tensor) -> None:
        """Write the coefficients of one block of rows into `out`."""
        self._sides[side].back(values, out)

    def combine(self, f: dict[str, Tensor], g: dict[str, Tensor], sides: tuple[int, int, int]) -> dict[str, Tensor]:
        """Pointwise products of two sides' values, as values of the third."""
        found: dict[str, Tensor] = {}
        i, j, k = sides
        for term in self.terms:
            left, right, kind = f[term.kinds[i]], g[term.kinds[j]], term.kinds[k]
            if kind in found:
                found[kind].addcmul_(left, right, value=term.sign)
            else:
                found[kind] = left * right if term.sign > 0 else -left * right
        return found

    def empty(self, rows: Tensor, side: int) -> Tensor:
        """Room for the coefficients of a side: zeros where transforms do not write every column."""
        make = rows.new_empty if self._sides[side].whole else rows.new_zeros
        return make(rows.shape[0], self.dims[side])

    def blocks(self, rows: Tensor) -> Iterator[slice]:
        """Slices of rows whose values fill `CACHE_BYTES` on a CPU; large ones elsewhere."""
        row = 3 * self._width * rows.element_size()
        step = max(64, (CACHE_BYTES if rows.device.type == "cpu" else 2**30) // row)
        return (slice(start, start + step) for start in range(0, rows.shape[0], step))


class _Side:
    """One side: its columns, grouped by transform, on the way to the grid and back.

    Values are (points, rows), so that narrow products run along the rows; `rowwise` keeps them (rows, points), which
    is faster where all columns come in eights.
    """

    def __init__(self, groups: Sequence[Columns], dim: int, rowwise: bool) -> None:
        self.rowwise = rowwise
        self.kinds = [group.kinds for group in groups]
        self.sizes = [len(group.columns) for group in groups]
        self.width = sum(group.matrix.shape[1] for group in groups)
        order = [column for group in groups for column in group.columns]
        self.in_order = order == list(range(len(order)))
        self.whole = len(order) == dim
        numbers = torch.tensor(order)
        matrices = {
            f"{number}.{kind}": matrix.contiguous()
            for number, group in enumerate(groups)
            for kind, matrix in zip(group.kinds, group.matrix.chunk(len(group.kinds), dim=1), strict=True)
        }  # (D_group, G)
        self.constants = ExactConstants(
            columns=numbers,
            places=torch.argsort(numbers),
            sorted=numbers.sort().values,
            **matrices,
            **{f"{name}.t": matrix.t().contiguous() for name, matrix in matrices.items()},
        )

    def forth(self, rows: Tensor) -> dict[str, Tensor]:
        """(R, D) to values by kind."""
        columns = rows.t()
        if not self.in_order:  # a transposed copy first: rows are then gathered as contiguous memory
            columns = take(columns.contiguous(), 0, self.constants.like("columns", rows))
        values, start = {}, 0
        for number, (kinds, size) in enumerate(zip(self.kinds, self.sizes, strict=True)):
            for kind in kinds:
                piece = columns[start : start + size]
                values[kind] = (
                    piece.t() @ self.constants.like(f"{number}.{kind}", rows)
                    if self.rowwise
                    else self.constants.like(f"{number}.{kind}.t", rows) @ piece
                )
            start += size
        return values

    def back(self, values: dict[str, Tensor], out: Tensor) -> None:
        """Values to coefficients, written into out (R, D)."""
        found = out.t() if self.rowwise else out.new_empty(sum(self.sizes), out.shape[0])
        start = 0
        for number, (kinds, size) in enumerate(zip(self.kinds, self.sizes, strict=True)):
            self._add(number, kinds, values, found[start : start + size])
            start += size
        if self.rowwise:
            return
        if not self.in_order:
            found = take(found, 0, self.constants.like("places", out))
        if self.whole:
            out.copy_(found.t())
        else:
            out.index_copy_(1, self.constants.like("sorted", out), found.t())

    def _add(self, number: int, kinds: tuple[str, ...], values: dict[str, Tensor], found: Tensor) -> None:
        there = [kind for kind in kinds if kind in values]
        if not there:
            found.zero_()
        for place, kind in enumerate(there):
            if self.rowwise:
                rows, matrix = found.t(), self.constants.like(f"{number}.{kind}.t", found)
                torch.addmm(rows, values[kind], matrix, beta=float(place > 0), out=rows)
            else:
                matrix = self.constants.like(f"{number}.{kind}", found)
                torch.addmm(found, matrix, values[kind], beta=float(place > 0), out=found)


def _fits_rows(groups: Sequence[Columns]) -> bool:
    order = [column for group in groups for column in group.columns]
    return order == list(range(len(order))) and all(len(group.columns) % 8 == 0 for group in groups)


class _Contract(torch.autograd.Function):
    """Two sides of a form to the third, block by block.

    Only the inputs are kept for the way back; their values on the grid are computed again, in cache.
    """

    @staticmethod
    def forward(a: Tensor, b: Tensor, form: TrilinearForm, sides: tuple[int, int, int]) -> Tensor:
        i, j, k = sides
        out = form.empty(a, k)
        for rows in form.blocks(a):
            values = form.combine(form.values(a[rows], i), form.values(b[rows], j), sides)
            form.back(values, k, out[rows])
        return out

    @staticmethod
    def setup_context(ctx, inputs: tuple[Tensor, Tensor, TrilinearForm, tuple[int, int, int]], output: Tensor) -> None:
        a, b, ctx.form, ctx.sides = inputs
        ctx.save_for_backward(a, b)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        a, b = ctx.saved_tensors
        i, j, k = ctx.sides
        wanted = ctx.needs_input_grad
        if not torch.is_grad_enabled() and wanted[0] and wanted[1]:
            return (*_both_gradients(a, b, gradient, ctx.form, ctx.sides), None, None)
        grad_a = _Contract.apply(gradient, b, ctx.form, (k, j, i)) if wanted[0] else None
        grad_b = _Contract.apply(gradient, a, ctx.form, (k, i, j)) if wanted[1] else None
        return grad_a, grad_b, None, None

    @staticmethod
    def vmap(
        info, in_dims: tuple, a: Tensor, b: Tensor, form: TrilinearForm, sides: tuple[int, int, int]
    ) -> tuple[Tensor, int]:
        out = _Contract.apply(*_batched_rows(info.batch_size, in_dims, a, b), form, sides)
        return out.unflatten(0, (info.batch_size, len(out) // info.batch_size)), 0


def _batched_rows(size: int, dims: Sequence[int | None], *tensors: Tensor) -> Iterator[Tensor]:
    """Rows of all members of a batch one after another: the form treats every row alike."""
    for dim, rows in zip(dims, tensors, strict=False):
        every = rows.expand(size, *rows.shape) if dim is None else rows.movedim(dim, 0)
        yield every.flatten(0, 1)


def _both_gradients(
    a: Tensor, b: Tensor, gradient: Tensor, form: TrilinearForm, sides: tuple[int, int, int]
) -> tuple[Tensor, Tensor]:
    """First derivatives of both factors, which share the gradient's values."""
    i, j, k = sides
    grad_a, grad_b = form.empty(a, i), form.empty(b, j)
    for rows in form.blocks(a):
        f, g, h = form.values(a[rows], i), form.values(b[rows], j), form.values(gradient[rows], k)
        form.back(form.combine(h, g, (k, j, i)), i, grad_a[rows])
        form.back(form.combine(h, f, (k, i, j)), j, grad_b[rows])
    return grad_a, grad_b
