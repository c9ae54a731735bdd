"""An MLP of every edge and its two ends, which keeps nothing edge-sized for the backward pass but its input.

Legend of shape comments: N nodes, E edges, C channels of edges, H hidden channels.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from weightspace.metanets._directions import both_directions, edge_slices
from weightspace.metanets._message_passing import Adjacency

_FORWARD = {"silu": torch.ops.aten.silu.default, "gelu": torch.ops.aten.gelu.default}
_BACKWARD = {"silu": torch.ops.aten.silu_backward.default, "gelu": torch.ops.aten.gelu_backward.default}


def edge_mlp(
    adjacency: Adjacency, e: Tensor, *, ends: Tensor, w_in: Tensor, w_out: Tensor, bias: Tensor, activation: str
) -> Tensor:
    """activation(e W_in + a[source] + b[target]) W_out + bias, with parts a and b of the nodes.

    Args:
        adjacency: sources and targets.
        e: edge features.
        ends: parts a and b of each node.
        w_in: map of the edge's own features to the hidden vector.
        w_out: map of the hidden vector.
        bias: of the result.
        activation: "silu" or "gelu".

    Shapes:
        e (E, C); ends (N, 2 H); w_in (C, H); w_out (H, C'); bias (C',); result (E, C').

    Example:
        >>> adjacency = Adjacency.from_edge_index(torch.tensor([[0, 1], [1, 0]]), num_nodes=2)
        >>> ends, eye = torch.tensor([[1.0, 10.0], [2.0, 20.0]]), torch.eye(1)
        >>> edge_mlp(
        ...     adjacency, torch.zeros(2, 1), ends=ends, w_in=eye, w_out=eye, bias=torch.zeros(1), activation="gelu"
        ... ).tolist()
        [[21.0], [12.0]]
    """
    device = e.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else e.dtype
    inputs = [tensor.to(dtype) for tensor in (e, ends, w_in, w_out, bias)]
    with torch.autocast(device, enabled=False):
        return _EdgeMLP.apply(adjacency, activation, *inputs)


class _EdgeMLP(torch.autograd.Function):
    @staticmethod
    def forward(
        adjacency: Adjacency, activation: str, e: Tensor, ends: Tensor, w_in: Tensor, w_out: Tensor, bias: Tensor
    ) -> Tensor:
        """What the MLP makes of every edge, (E, outputs)."""
        result = e.new_empty(e.shape[0], w_out.shape[1])
        for rows in edge_slices(e):
            hidden = _FORWARD[activation](_hidden(adjacency, rows, e, ends, w_in))
            torch.addmm(bias, hidden, w_out, out=result[rows])
        return result

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep what `backward` needs."""
        ctx.adjacency, ctx.activation = inputs[:2]
        ctx.save_for_backward(*inputs[2:6])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients to e, ends, w_in, w_out and bias; hidden vectors are made again, run by run."""
        e, ends, w_in, w_out = ctx.saved_tensors
        grad_e, grad_in, grad_out = torch.empty_like(e), torch.zeros_like(w_in), torch.zeros_like(w_out)
        grad_hidden = e.new_empty(e.shape[0], w_in.shape[1])
        for rows in edge_slices(e):
            before = _hidden(ctx.adjacency, rows, e, ends, w_in)
            grad_out.addmm_(_FORWARD[ctx.activation](before).t(), grad[rows])
            here = grad_hidden[rows]
            here.copy_(_BACKWARD[ctx.activation](grad[rows] @ w_out.t(), before))
            torch.mm(here, w_in.t(), out=grad_e[rows])
            grad_in.addmm_(e[rows].t(), here)
        along, _ = both_directions(ctx.adjacency)
        grad_ends = torch.cat([along.at_senders(grad_hidden), along.at_receivers(grad_hidden)], dim=1)
        return None, None, grad_e, grad_ends, grad_in, grad_out, grad.sum(0)


def _hidden(adjacency: Adjacency, rows: slice, e: Tensor, ends: Tensor, w_in: Tensor) -> Tensor:
    a, b = ends.chunk(2, dim=1)
    joined = a.index_select(0, adjacency.source[rows]).add_(b.index_select(0, adjacency.target[rows]))
    return joined.addmm_(e[rows], w_in)
