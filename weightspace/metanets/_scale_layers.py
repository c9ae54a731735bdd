"""The layers of ScaleGMN: a stream of features that no sign flip reaches, and one of features that follow the signs.

Legend of shape comments: N nodes, E edges, G networks, C channels of nodes, C_e channels of edges.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from weightspace.metanets._message_passing import (
    Adjacency,
    at_least_one,
    ends_sum,
    mean_by,
    over_incoming,
    over_outgoing,
)
from weightspace.metanets._union import Union


class ScaleLayer(nn.Module):
    """One round of message passing.

    With plain node features x, signed node features y, plain edge features e and signed edge features o (s is -1 where
    a flip reaches the node, 1 elsewhere; * is element by element, sums and means are over edges into i or out of i):

        h_ij = relu(W [x_i, x_j, e_ij, u]),   e_ij <- e_ij + W h_ij
        z_i  = [y_i, sum_j o_ij * (1 + e_ij) * (P y_j), sum_j o_ji * (1 + e_ji) * (Q y_j)]
        x_i  <- x_i + MLP(x_i, mean_j h_ij, mean_j h_ji, phi(z_i) + phi(s_i z_i), u)
        y_i  <- y_i + (Gamma z_i) * rho(x_i) + (V x_i where s_i = 1)

    Args:
        channels: of nodes and of the global feature.
        edge_channels: of edges.
        bidirectional: whether messages run against the edges, too.
        update_graph: whether the global feature is updated; without, it is returned unchanged.
        update_signed: whether signed node features are updated; without, they are returned unchanged.
    """

    def __init__(
        self, channels: int, edge_channels: int, *, bidirectional: bool, update_graph: bool, update_signed: bool
    ):
        super().__init__()
        ways = 2 if bidirectional else 1
        self.bidirectional = bidirectional
        self.norm = nn.LayerNorm(channels)
        self.source = nn.Linear(channels, edge_channels)
        self.target = nn.Linear(channels, edge_channels, bias=False)
        self.context = nn.Linear(channels, edge_channels, bias=False)
        self.edge_in = nn.Linear(edge_channels, edge_channels, bias=False)
        self.edge_out = nn.Linear(edge_channels, edge_channels, bias=False)
        self.signed = nn.Linear(channels, ways * edge_channels, bias=False)
        gathered = channels + ways * edge_channels
        self.canonical = nn.Sequential(nn.Linear(gathered, channels), nn.ReLU())
        self.node = mlp(3 * channels + ways * edge_channels, channels)
        self.update = SignedUpdate(gathered, channels) if update_signed else None
        self.graph = mlp(2 * channels + edge_channels, channels) if update_graph else None

    def forward(
        self, union: Union, plain: tuple[Tensor, Tensor, Tensor], signed: tuple[Tensor, Tensor], flips: Tensor
    ) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
        """New plain node, edge and global features, and new signed node features, of the same shapes.

        Shapes:
            plain (N, C), (E, C_e), (G, C); signed (N, C), (E, C_e); flips (N, 1), s as above.
        """
        (x, e, u), (y, o) = plain, signed
        here, inside = self.norm(x), u[union.node_graph]
        a = self.source(here) + self.context(u)[union.node_graph]
        means, products, e = self._pass(union, e, o, (a, self.target(here), self.signed(_bounded(y))))
        z = torch.cat([_bounded(y), *map(_bounded, products)], dim=1)
        canonical = self.canonical(z) + self.canonical(z * flips)
        x = x + self.node(torch.cat([here, *means, canonical, inside], dim=1))
        y = y if self.update is None else y + self.update(z, x, flips)
        if self.graph is not None:
            pooled = mean_by(union.node_graph, torch.cat([x, means[0]], dim=1), union.num_models)
            u = u + self.graph(torch.cat([u, pooled], dim=1))
        return (x, e, u), y

    def _pass(
        self, union: Union, e: Tensor, o: Tensor, sent: tuple[Tensor, Tensor, Tensor]
    ) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """Means of h, sums of products, and new edge features."""
        a, b, pq = sent
        p, q = pq.chunk(2, dim=1) if self.bidirectional else (pq, pq[:0])
        device = e.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else e.dtype
        w_in, w_out = self.edge_in.weight.t(), self.edge_out.weight.t()
        inputs = [tensor.to(dtype) for tensor in (e, o, a, b, p, q, w_in, w_out)]
        with torch.autocast(device, enabled=False):
            into, out_of, ahead, back, e, _ = _ScalePass.apply(union.adjacency, *inputs)
        arriving = at_least_one(union.adjacency.in_degree, e)
        if not self.bidirectional:
            return [into / arriving], [ahead / arriving.sqrt()], e
        leaving = at_least_one(union.adjacency.out_degree, e)
        return [into / arriving, out_of / leaving], [ahead / arriving.sqrt(), back / leaving.sqrt()], e


class SignedUpdate(nn.Module):
    """A linear map of what follows signs times one of what does not, and the latter alone where no flip reaches.

    Args:
        gathered: width of what follows signs.
        channels: of nodes.
    """

    def __init__(self, gathered: int, channels: int):
        super().__init__()
        self.linear = nn.Linear(gathered, channels, bias=False)
        self.rescale = nn.Linear(channels, channels)
        self.fixed = nn.Linear(channels, channels, bias=False)

    def forward(self, z: Tensor, x: Tensor, flips: Tensor) -> Tensor:
        """What is added to signed node features, (N, C)."""
        return self.linear(z) * self.rescale(x) + self.fixed(x) * (flips > 0)


class _ScalePass(torch.autograd.Function):
    """Sums of h and of o * (1 + e) * (neighbour) over incoming and, where q has rows, outgoing edges; e + h W_o."""

    @staticmethod
    def forward(adjacency: Adjacency, e: Tensor, o: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The sums, and new edge features."""
        a, b, p, q, w_in, w_out = inputs
        h = ends_sum(adjacency, a, b).addmm_(e, w_in).relu_()  # (E, C_e)
        c = torch.addcmul(o, o, e)
        ahead = over_incoming(adjacency, p.index_select(0, adjacency.source).mul_(c))  # (N, C_e)
        into, out_of, back = over_incoming(adjacency, h), h.new_zeros(0), h.new_zeros(0)
        if q.shape[0]:
            out_of = over_outgoing(adjacency, h)
            back = over_outgoing(adjacency, q.index_select(0, adjacency.target).mul_(c))
        return into, out_of, ahead, back, torch.addmm(e, h, w_out), h

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Keep what `backward` needs."""
        adjacency, e, o, _, _, p, q, w_in, w_out = inputs
        ctx.adjacency = adjacency
        ctx.save_for_backward(e, o, output[5], p, q, w_in, w_out)
        ctx.mark_non_differentiable(output[5])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients to e, o and the other inputs, in their order."""
        grad_into, grad_out_of, grad_ahead, grad_back, grad_e, _ = grads
        e, o, h, p, q, w_in, w_out = ctx.saved_tensors
        adjacency = ctx.adjacency
        both = bool(q.shape[0])
        grad_out = grad_out_of if both else torch.zeros_like(grad_into)
        grad_h = ends_sum(adjacency, grad_out, grad_into).addmm_(grad_e, w_out.t())
        torch.ops.aten.threshold_backward.grad_input(grad_h, h, 0, grad_input=grad_h)
        grad_a, grad_b = over_outgoing(adjacency, grad_h), over_incoming(adjacency, grad_h)
        grad_w_in, grad_w_out = e.t() @ grad_h, h.t() @ grad_e
        new_grad_e = torch.addmm(grad_e, grad_h, w_in.t())
        c = torch.addcmul(o, o, e)
        onward = grad_ahead.index_select(0, adjacency.target)  # (E, C_e)
        grad_p, grad_q = over_outgoing(adjacency, onward * c), None
        grad_c = onward.mul_(p.index_select(0, adjacency.source))
        if both:
            onward = grad_back.index_select(0, adjacency.source)
            grad_q = over_incoming(adjacency, onward * c)
            grad_c = grad_c.addcmul_(onward, q.index_select(0, adjacency.target))
        grad_o = torch.addcmul(grad_c, grad_c, e)
        return None, new_grad_e.addcmul_(grad_c, o), grad_o, grad_a, grad_b, grad_p, grad_q, grad_w_in, grad_w_out


def mlp(inputs: int, outputs: int) -> nn.Sequential:
    """Two linear maps with a ReLU between."""
    return nn.Sequential(nn.Linear(inputs, outputs), nn.ReLU(), nn.Linear(outputs, outputs))


def _bounded(values: Tensor) -> Tensor:
    """Rows whose mean square stays below 1, nothing subtracted; small ones hardly change."""
    return values / (values.square().mean(1, keepdim=True) + 1).sqrt()
