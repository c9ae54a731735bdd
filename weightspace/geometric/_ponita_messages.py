"""Sums of kernel times neighbour over edges, with kernels shared by the two directions of a pair."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from weightspace.geometric._take import take

_FLOATS_AT_ONCE = 2**17  # of a piece of work that stays in a core's cache


@dataclass(frozen=True)
class KernelRows:
    """Where kernels are evaluated, and between which points each is used; M = 2 if pairs are shared, else 1.

    Of a shared pair, use 0 is the edge itself. Use 1 is its reverse, whose kernel is the same one read at opposite
    orientations: points are numbered N..2N - 1 there, and their features are those of the points 0..N - 1 with
    opposite orientations exchanged.

    Args:
        edges: places of the rows among the edges (R,), or None for all edges in order.
        source: (M, R).
        target: (M, R).
        reverse: what use 1 counts: 1, or 0 where rows turn out to be edges without reverse.
    """

    edges: Tensor | None
    source: Tensor
    target: Tensor
    reverse: float = 1.0

    @property
    def shared(self) -> bool:
        """Whether each row serves both directions of a pair."""
        return len(self.source) == 2

    def __len__(self) -> int:
        return self.source.shape[1]

    def piece(self, start: int, stop: int) -> "KernelRows":
        """Rows start..stop - 1."""
        edges = None if self.edges is None else self.edges[start:stop]
        return replace(self, edges=edges, source=self.source[:, start:stop], target=self.target[:, start:stop])

    def of_edges(self, values: Tensor) -> Tensor:
        """Values of edges (E, ...) at the rows (R, ...)."""
        return values if self.edges is None else take(values, 0, self.edges)


def plain_rows(edge_index: Tensor) -> KernelRows:
    """A kernel for every edge."""
    return KernelRows(None, edge_index[:1], edge_index[1:])


def pair_rows(edge_index: Tensor, pair_edge: Tensor, num_nodes: int) -> KernelRows:
    """One kernel for the two directions of every pair, or one for every edge where some edge has no reverse.

    Args:
        edge_index: (2, E).
        pair_edge: from `edge_pairs`: one edge of each pair (P,), or all edges.
        num_nodes: N.
    """
    edges, pairs = edge_index.shape[1], pair_edge.shape[0]
    traced = not isinstance(edges, int)  # the traced function serves both cases
    if not traced and edges == pairs:
        return plain_rows(edge_index)
    source, target = take(edge_index, 1, pair_edge)
    return KernelRows(
        pair_edge,
        torch.stack([source, target + num_nodes]),
        torch.stack([target, source + num_nodes]),
        reverse=(edges - pairs) / pairs if traced else 1.0,
    )


def messages(kernel: Tensor, x: Tensor, rows: KernelRows, antipode: Tensor | None) -> Tensor:
    """Sum over edges j -> i of kernel[e] * x[j], at i; for shared pairs both directions.

    Args:
        kernel: of the rows.
        x: features of the points.
        rows: where kernels stand.
        antipode: place of the opposite of each orientation (O,), needed for shared pairs.

    Shapes:
        kernel (R, O, C), x (N, O, C) -> (N, O, C).
    """
    if not rows.shared or antipode is None:
        return _Messages.apply(kernel, x, rows.source, rows.target)
    both = torch.cat([x, take(x, 1, antipode)])  # (2N, O, C)
    out = _Messages.apply(kernel, both, rows.source, rows.target)
    here, reverse = out.split([x.shape[0], x.shape[0]])
    reverse = take(reverse, 1, antipode)
    return here + (reverse if isinstance(rows.reverse, float) and rows.reverse == 1 else reverse * rows.reverse)


class _Messages(torch.autograd.Function):
    """out[target[m, r]] += kernel[r] * x[source[m, r]]: keeps kernel and x alone, and works in pieces on a CPU."""

    @staticmethod
    def forward(ctx: Any, kernel: Tensor, x: Tensor, source: Tensor, target: Tensor) -> Tensor:
        ctx.save_for_backward(kernel, x, source, target)
        out = torch.zeros_like(x)
        for at in _pieces(kernel):
            values = kernel[at]
            for s, t in zip(source.unbind(), target.unbind(), strict=True):
                out.index_add_(0, t[at], take(x, 0, s[at]).mul_(values))
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        kernel, x, source, target = ctx.saved_tensors
        (grad,) = grads
        d_kernel = _Products.apply(grad, x, target, source) if ctx.needs_input_grad[0] else None
        d_x = _Messages.apply(kernel, grad, target, source) if ctx.needs_input_grad[1] else None
        return d_kernel, d_x, None, None


class _Products(torch.autograd.Function):
    """out[r] = sum over m of a[left[m, r]] * b[right[m, r]]: the derivative of `_Messages` by its kernel."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, left: Tensor, right: Tensor) -> Tensor:
        ctx.save_for_backward(a, b, left, right)
        out = a.new_empty((left.shape[1], *a.shape[1:]))
        for at in _pieces(out):
            piece = out[at]
            piece.copy_(take(a, 0, left[0, at])).mul_(take(b, 0, right[0, at]))
            for l, r in zip(left[1:].unbind(), right[1:].unbind(), strict=True):
                piece.addcmul_(take(a, 0, l[at]), take(b, 0, r[at]))
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        a, b, left, right = ctx.saved_tensors
        (grad,) = grads
        d_a = _Messages.apply(grad, b, right, left) if ctx.needs_input_grad[0] else None
        d_b = _Messages.apply(grad, a, left, right) if ctx.needs_input_grad[1] else None
        return d_a, d_b, None, None


def _pieces(rows: Tensor) -> list[slice]:
    """Slices of rows: on a CPU as many as stay in its cache, else (and where sizes are not known yet) all at once."""
    number = rows.shape[0]
    if rows.device.type != "cpu" or not isinstance(number, int):
        return [slice(None)]
    at_once = max(1, _FLOATS_AT_ONCE // max(1, rows[:1].numel()))
    return [slice(start, start + at_once) for start in range(0, number, at_once)]
