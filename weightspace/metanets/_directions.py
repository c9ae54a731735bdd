"""Edges as seen by the nodes that receive messages along them: each edge carries one both ways.

What is here works on plain tensors, for the forward and backward passes that layers write out by hand; `join_ends` is
differentiable.

Legend of shape comments: N nodes, E edges, C channels.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from weightspace.metanets._message_passing import Adjacency, _ends_sum, _over_incoming, _over_outgoing


@dataclass(frozen=True)
class Direction:
    """Messages along the edges, or against them.

    Args:
        adjacency: the edges.
        along: whether an edge's source sends and its target receives.
    """

    adjacency: Adjacency
    along: bool

    @property
    def sender(self) -> Tensor:
        """Of each edge, (E,)."""
        return self.adjacency.source if self.along else self.adjacency.target

    @property
    def receiver(self) -> Tensor:
        """Of each edge, (E,)."""
        return self.adjacency.target if self.along else self.adjacency.source

    @property
    def degree(self) -> Tensor:
        """Messages that each node receives, (N,)."""
        return self.adjacency.in_degree if self.along else self.adjacency.out_degree

    def join(self, sent: Tensor, received: Tensor) -> Tensor:
        """Sum of the sender's and the receiver's rows of each edge; (N, C), (N, C) -> (E, C)."""
        return _ends_sum(self.adjacency, *((sent, received) if self.along else (received, sent)))

    def at_receivers(self, values: Tensor) -> Tensor:
        """Sum over the messages that each node receives; (E, C) -> (N, C)."""
        return (_over_incoming if self.along else _over_outgoing)(self.adjacency, values)

    def at_senders(self, values: Tensor) -> Tensor:
        """Sum over the messages that each node sends; (E, C) -> (N, C)."""
        return (_over_outgoing if self.along else _over_incoming)(self.adjacency, values)


def both_directions(adjacency: Adjacency) -> tuple[Direction, Direction]:
    """Along the edges, and against them."""
    return Direction(adjacency, along=True), Direction(adjacency, along=False)


def join_ends(adjacency: Adjacency, a: Tensor, b: Tensor) -> Tensor:
    """a[source] + b[target], differentiable.

    Shapes:
        a, b (N, C); result (E, C).

    Example:
        >>> adjacency = Adjacency.from_edge_index(torch.tensor([[0, 1], [2, 2]]), num_nodes=3)
        >>> join_ends(adjacency, torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[0.1], [0.2], [0.3]])).tolist()
        [[1.2999999523162842], [2.299999952316284]]
    """
    return _JoinEnds.apply(adjacency, a, b)


class _JoinEnds(torch.autograd.Function):
    @staticmethod
    def forward(adjacency: Adjacency, a: Tensor, b: Tensor) -> Tensor:
        return _ends_sum(adjacency, a, b)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.adjacency = inputs[0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, Tensor]:
        grad = grad.contiguous()
        return None, _over_outgoing(ctx.adjacency, grad), _over_incoming(ctx.adjacency, grad)
