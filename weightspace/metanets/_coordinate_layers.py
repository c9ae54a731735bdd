"""The layers of CoordinateGMN: invariant features as in a graph metanetwork, and vectors that turn with the shape.

Legend of shape comments: N nodes, E edges, G networks, C channels of nodes, C_e channels of edges, V vector channels.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from weightspace.metanets._message_passing import (
    Adjacency,
    Sent,
    at_least_one,
    edge_pass,
    mean_by,
    over_incoming,
    over_outgoing,
)
from weightspace.metanets._scale_layers import mlp
from weightspace.metanets._union import Union


@dataclass(frozen=True)
class CoordinateFeatures:
    """Features of a batch.

    Args:
        x: invariant, of nodes.
        e: invariant, of edges.
        u: invariant, of networks.
        v: vectors of nodes.
        g: vectors of networks.
        shift: from where the networks' centres began to where they are.

    Shapes:
        x (N, C); e (E, C_e); u (G, C); v (N, 3, V); g (G, 3, V); shift (G, 3).
    """

    x: Tensor
    e: Tensor
    u: Tensor
    v: Tensor
    g: Tensor
    shift: Tensor


class CoordinateLayer(nn.Module):
    """One round of message passing.

    With invariant features x, e, u as in `GMNLayer`, vectors v of nodes and g of networks (matrices act on channels,
    * is channel by channel, sums and means are over edges into i and, with matrices of their own, out of i):

        y_i  = [v_i, sum_j (W e_ij) * (P v_j), sum_j (W e_ji) * (Q v_j), g] / sqrt(1 + mean square)
        x_i, a_i, b_i <- x_i + MLP(GMN's messages to i, (A y_i) . (B y_i)), two more outputs of the MLP
        v_i  <- v_i + (M y_i) * a_i
        g    <- g + mean_i (L y_i) * b_i

    Args:
        channels: of nodes and of the global feature.
        edge_channels: of edges.
        vector_channels: of vectors.
        update_vectors: whether vectors are updated; without, they are returned unchanged.
    """

    def __init__(self, channels: int, edge_channels: int, vector_channels: int, *, update_vectors: bool = True):
        super().__init__()
        v = vector_channels
        self.norm = nn.LayerNorm(channels)
        self.source = nn.Linear(channels, edge_channels)
        self.target = nn.Linear(channels, edge_channels, bias=False)
        self.context = nn.Linear(channels, edge_channels, bias=False)
        self.ahead, self.back = (nn.Linear(channels, edge_channels) for _ in range(2))
        self.edge_in, self.edge_out = (nn.Linear(edge_channels, edge_channels, bias=False) for _ in range(2))
        self.weigh = nn.Linear(edge_channels, v)
        self.send = nn.Linear(v, 2 * v, bias=False)
        self.pairs = nn.Linear(4 * v, 2 * v, bias=False)
        self.node = mlp(2 * channels + 4 * edge_channels + v, channels + (2 * v if update_vectors else 0))
        self.vector = nn.Linear(4 * v, 2 * v, bias=False) if update_vectors else None
        self.graph = mlp(2 * channels + edge_channels, channels)

    def forward(self, union: Union, features: CoordinateFeatures) -> CoordinateFeatures:
        """New features."""
        x, u, inside = features.x, features.u, union.node_graph
        y = self._gathered(union, features)  # (N, 3, 4 V)
        first, second = self.pairs(y).chunk(2, dim=2)
        here = self.norm(x)
        a = self.source(here) + self.context(u)[inside]
        sent = Sent(a, self.target(here), self.ahead(here), self.back(here))
        w_in, w_out = self.edge_in.weight.t(), self.edge_out.weight.t()
        messages, products, e = edge_pass(union.adjacency, features.e, sent=sent, w_in=w_in, w_out=w_out)
        new = self.node(torch.cat([here, *messages, *products, u[inside], (first * second).sum(1)], dim=1))
        x, gates = x + new[:, : x.shape[1]], new[:, None, x.shape[1] :]
        pooled = mean_by(inside, torch.cat([x, messages[0]], dim=1), union.num_models)
        u = u + self.graph(torch.cat([u, pooled], dim=1))
        if self.vector is None:
            return replace(features, x=x, e=e, u=u)
        own, common = (self.vector(y) * gates).chunk(2, dim=2)  # (N, 3, V) each
        g = features.g + mean_by(inside, common.flatten(1), union.num_models).view_as(features.g)
        return replace(features, x=x, e=e, u=u, v=features.v + own, g=g)

    def _gathered(self, union: Union, features: CoordinateFeatures) -> Tensor:
        """A node's vectors, those of its neighbours weighted by its edges, and those of its network; bounded."""
        p, q = self.send(features.v).chunk(2, dim=2)
        c = self.weigh(features.e).to(p.dtype)
        with torch.autocast(p.device.type, enabled=False):
            ahead, back = vector_pass(union.adjacency, c, p, q)
        y = torch.cat([features.v, ahead, back, features.g[union.node_graph]], dim=2)
        return bounded(y)


def bounded(vectors: Tensor) -> Tensor:
    """Rows of vectors whose mean square length stays below 1; short ones hardly change; (N, 3, V)."""
    return vectors / (vectors.square().sum(1).mean(1)[:, None, None] + 1).sqrt()


def vector_pass(adjacency: Adjacency, c: Tensor, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    """Sums of c * p[source] over the edges into a node, and of c * q[target] over those out of it, divided by the root
    of their number.

    Shapes:
        c (E, V); p, q (N, 3, V); results (N, 3, V).
    """
    ahead, back = _VectorPass.apply(adjacency, c, p.flatten(1), q.flatten(1))
    arriving, leaving = (at_least_one(d, c).sqrt() for d in (adjacency.in_degree, adjacency.out_degree))
    return (ahead / arriving).view_as(p), (back / leaving).view_as(q)


class _VectorPass(torch.autograd.Function):
    """Sums of c * p[source] over incoming and of c * q[target] over outgoing edges, for three coordinates alike."""

    @staticmethod
    def forward(adjacency: Adjacency, c: Tensor, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
        """The sums, (N, 3 V)."""
        ahead = over_incoming(adjacency, _weighted(p.index_select(0, adjacency.source), c))
        return ahead, over_outgoing(adjacency, _weighted(q.index_select(0, adjacency.target), c))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        """Keep what `backward` needs."""
        ctx.adjacency = inputs[0]
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_ahead: Tensor, grad_back: Tensor) -> tuple[None, Tensor, Tensor, Tensor]:
        """Gradients to c, p and q."""
        c, p, q = ctx.saved_tensors
        adjacency = ctx.adjacency
        onward = grad_ahead.index_select(0, adjacency.target)  # (E, 3 V)
        grad_c = _traced(onward * p.index_select(0, adjacency.source), c)
        grad_p = over_outgoing(adjacency, _weighted(onward, c))
        onward = grad_back.index_select(0, adjacency.source)
        grad_c = grad_c + _traced(onward * q.index_select(0, adjacency.target), c)
        return None, grad_c, grad_p, over_incoming(adjacency, _weighted(onward, c))


def _weighted(rows: Tensor, c: Tensor) -> Tensor:
    """Each of the three parts of the rows times c, in place; (E, 3 V), (E, V) -> (E, 3 V)."""
    rows.view(-1, 3, c.shape[1]).mul_(c[:, None])
    return rows


def _traced(rows: Tensor, c: Tensor) -> Tensor:
    """Sum of the three parts; (E, 3 V) -> (E, V)."""
    return rows.view(-1, 3, c.shape[1]).sum(1)
