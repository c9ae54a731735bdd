"""The one message-passing kernel of the metanets: both directions of every edge in one pass.

With a hidden vector per edge,

    h_e = relu(e W_e + a[source] + b[target])                    a = x W_s + u W_u + bias,   b = x W_t

is the first layer of `relu(W [x_s, x_t, e, u] + bias)`, whose node and global parts are applied once per node and
gathered (Lim et al. 2024, arXiv 2312.04501, write the concatenation; a linear map of a concatenation is a sum of
maps). The pass returns the sums of `h` over the edges into and out of each node, behind which a second linear map of
the message may stand, and the new edge features `e + h W_o`. It also returns sums of products, `e * p[source]` over
the edges into a node and `e * q[target]` over those out of it: a network's own forward pass is made of such sums.

The backward pass is written out, because then no edge-sized tensor but `e` and `h` is kept and every gather and every
sum over a neighbourhood is one `embedding_bag`, the fastest segment sum torch has on a CPU (3x `index_add`, 20x
`segment_reduce` at 64 channels).

Legend of shape comments: N nodes, E edges, C channels of edges, H hidden channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import embedding_bag

from weightspace.errors import ConfigurationError


@dataclass(frozen=True)
class Adjacency:
    """Who is joined to whom, sorted both ways.

    Args:
        source: of each edge.
        target: of each edge.
        ends: source, and target + N, of each edge (so that one look-up in the stacked node parts gives their sum).
        by_source: edges sorted by source.
        by_target: edges sorted by target.
        out_ptr: where each node's edges start in `by_source`.
        in_ptr: where each node's edges start in `by_target`.
        out_degree: number of edges out of each node.
        in_degree: number of edges into each node.

    Shapes:
        source, target, by_source, by_target (E,); ends (E, 2); out_ptr, in_ptr (N + 1,); out_degree, in_degree (N,).
    """

    source: Tensor
    target: Tensor
    ends: Tensor
    by_source: Tensor
    by_target: Tensor
    out_ptr: Tensor
    in_ptr: Tensor
    out_degree: Tensor
    in_degree: Tensor

    @classmethod
    def from_sorted(
        cls, source: Tensor, target: Tensor, sorted_edges: Sequence[Tensor], degree: tuple[Tensor, Tensor]
    ) -> "Adjacency":
        """From the ends of each edge, the edges sorted by source and by target, and the degrees out and in."""
        ends = torch.stack([source, target + degree[0].shape[0]], dim=1)
        out_ptr, in_ptr = (torch.nn.functional.pad(d.cumsum(0), (1, 0)) for d in degree)
        by_source, by_target = sorted_edges
        return cls(source, target, ends, by_source, by_target, out_ptr, in_ptr, *degree)

    @classmethod
    def from_edge_index(cls, edge_index: Tensor, num_nodes: int) -> "Adjacency":
        """From an edge index in any order.

        Shapes:
            edge_index (2, E), row 0 source.

        Example:
            >>> adjacency = Adjacency.from_edge_index(torch.tensor([[0, 1, 0], [2, 2, 1]]), num_nodes=3)
            >>> adjacency.in_degree.tolist()
            [0, 1, 2]
        """
        order = [torch.argsort(ends, stable=True) for ends in edge_index]
        out_degree, in_degree = (torch.bincount(ends, minlength=num_nodes) for ends in edge_index)
        return cls.from_sorted(edge_index[0], edge_index[1], order, (out_degree, in_degree))

    @property
    def num_nodes(self) -> int:
        """Number of nodes N."""
        return self.in_degree.shape[0]


@dataclass(frozen=True)
class Sent:
    """What nodes put into the messages of their edges.

    Args:
        a: part of the hidden vector from the node as a source.
        b: part of the hidden vector from the node as a target.
        p: factor on the edge's features from its source.
        q: factor on the edge's features from its target.

    Shapes:
        a, b (N, H); p, q (N, C).
    """

    a: Tensor
    b: Tensor
    p: Tensor
    q: Tensor


def edge_pass(
    adjacency: Adjacency, e: Tensor, *, sent: Sent, w_in: Tensor, w_out: Tensor, aggregate: str = "mean"
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor], Tensor]:
    """One pass over the edges, both directions.

    Args:
        adjacency: sources, targets and their orders.
        e: edge features.
        sent: node parts of the messages.
        w_in: map of the edge's own features to the hidden vector.
        w_out: map of the hidden vector to the edge update.
        aggregate: "mean" or "sum".

    Shapes:
        e (E, C); w_in (C, H); w_out (H, C); result: mean (or sum) of h over incoming and over outgoing edges, both
        (N, H); sum of e * p[source] over incoming and of e * q[target] over outgoing edges, divided by the root of
        their number (or not), both (N, C); new edge features (E, C). Means and sums over no edge are 0.

    Raises:
        ConfigurationError: another aggregate.
    """
    if aggregate not in ("mean", "sum"):
        raise ConfigurationError(f"edge_pass: found aggregate {aggregate!r}, wanted 'mean' or 'sum'")
    device = e.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else e.dtype
    inputs = [tensor.to(dtype) for tensor in (e, sent.a, sent.b, sent.p, sent.q, w_in, w_out)]
    with torch.autocast(device, enabled=False):
        into, out_of, forward, backward, e, _ = _EdgePass.apply(adjacency, *inputs)
    if aggregate == "sum":
        return (into, out_of), (forward, backward), e
    arriving, leaving = at_least_one(adjacency.in_degree, e), at_least_one(adjacency.out_degree, e)
    return (into / arriving, out_of / leaving), (forward / arriving.sqrt(), backward / leaving.sqrt()), e


def segment_mean(values: Tensor, sizes: Tensor) -> Tensor:
    """Mean over runs of consecutive rows; 0 for an empty run.

    Shapes:
        values (E, C); sizes (S,), summing to E; result (S, C).

    Example:
        >>> segment_mean(torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([2, 1, 0])).tolist()
        [[2.0], [5.0], [0.0]]
    """
    return _SegmentSum.apply(values, sizes) / at_least_one(sizes, values)


def mean_by(index: Tensor, values: Tensor, size: int) -> Tensor:
    """Mean of the rows that share a number; 0 where there is none. For node-sized tensors, in any order.

    Shapes:
        index (N,); values (N, C); result (size, C).
    """
    counts = torch.bincount(index, minlength=size)
    return values.new_zeros(size, values.shape[1]).index_add(0, index, values) / at_least_one(counts, values)


def at_least_one(counts: Tensor, like: Tensor) -> Tensor:
    """Counts as a column to divide by, 1 where they are 0; (N,) -> (N, 1)."""
    return counts.clamp(min=1).to(like.dtype)[:, None]


def _sums(values: Tensor, order: Tensor, ptr: Tensor) -> Tensor:
    if values.shape[0] == 0:
        return values.new_zeros(len(ptr) - 1, values.shape[1])
    return embedding_bag(order, values, ptr, mode="sum", include_last_offset=True)


def over_incoming(adjacency: Adjacency, values: Tensor) -> Tensor:
    """Sum over the edges into each node; (E, C) -> (N, C)."""
    return _sums(values, adjacency.by_target, adjacency.in_ptr)


def over_outgoing(adjacency: Adjacency, values: Tensor) -> Tensor:
    """Sum over the edges out of each node; (E, C) -> (N, C)."""
    return _sums(values, adjacency.by_source, adjacency.out_ptr)


def ends_sum(adjacency: Adjacency, a: Tensor, b: Tensor) -> Tensor:
    """a[source] + b[target]; shapes (N, H), (N, H) -> (E, H)."""
    if adjacency.ends.shape[0] == 0:
        return a.new_zeros(0, a.shape[1])
    return embedding_bag(adjacency.ends, torch.cat([a, b]), mode="sum")


class _EdgePass(torch.autograd.Function):
    """Sums of h and of the products over incoming and outgoing edges, and e + h W_o."""

    @staticmethod
    def forward(adjacency: Adjacency, e: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The four sums, new edge features, and the hidden vector for the way back."""
        a, b, p, q, w_in, w_out = inputs
        h = ends_sum(adjacency, a, b).addmm_(e, w_in).relu_()  # (E, H)
        forward = p.index_select(0, adjacency.source).mul_(e)  # (E, C)
        forward = over_incoming(adjacency, forward)  # (N, C)
        backward = q.index_select(0, adjacency.target).mul_(e)
        backward = over_outgoing(adjacency, backward)
        into, out_of = over_incoming(adjacency, h), over_outgoing(adjacency, h)  # (N, H)
        return into, out_of, forward, backward, torch.addmm(e, h, w_out), h

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Keep what `backward` needs."""
        adjacency, e, _, _, p, q, w_in, w_out = inputs
        ctx.adjacency = adjacency
        ctx.save_for_backward(e, output[5], p, q, w_in, w_out)
        ctx.mark_non_differentiable(output[5])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients to e, a, b, p, q, w_in and w_out."""
        grad_into, grad_out_of, grad_forward, grad_backward, grad_e, _ = grads
        e, h, p, q, w_in, w_out = ctx.saved_tensors
        adjacency = ctx.adjacency
        grad_h = ends_sum(adjacency, grad_out_of, grad_into).addmm_(grad_e, w_out.t())
        torch.ops.aten.threshold_backward.grad_input(grad_h, h, 0, grad_input=grad_h)
        grad_a, grad_b = over_outgoing(adjacency, grad_h), over_incoming(adjacency, grad_h)
        grad_w_in, grad_w_out = e.t() @ grad_h, h.t() @ grad_e
        new_grad_e = torch.addmm(grad_e, grad_h, w_in.t())
        onward = grad_forward.index_select(0, adjacency.target)  # (E, C)
        grad_p = over_outgoing(adjacency, onward * e)
        new_grad_e.addcmul_(onward, p.index_select(0, adjacency.source))
        onward = grad_backward.index_select(0, adjacency.source)
        grad_q = over_incoming(adjacency, onward * e)
        new_grad_e.addcmul_(onward, q.index_select(0, adjacency.target))
        return None, new_grad_e, grad_a, grad_b, grad_p, grad_q, grad_w_in, grad_w_out


class _SegmentSum(torch.autograd.Function):
    """Sum over runs of consecutive rows; backward repeats rows."""

    @staticmethod
    def forward(values: Tensor, sizes: Tensor) -> Tensor:
        """Sums, (runs, C)."""
        ptr = torch.nn.functional.pad(sizes.cumsum(0), (1, 0))
        return _sums(values, torch.arange(values.shape[0], device=values.device), ptr)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        """Keep what `backward` needs."""
        ctx.sizes, ctx.total = inputs[1], inputs[0].shape[0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """The gradient of a run for each of its rows."""
        return grad.repeat_interleave(ctx.sizes, dim=0, output_size=ctx.total), None
