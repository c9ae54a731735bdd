"""Edges as seen by the nodes that receive messages along them: each edge carries one both ways.

What is here works on plain tensors, for the forward and backward passes that layers write out by hand.

Legend of shape comments: N nodes, E edges, C channels.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from weightspace.metanets._message_passing import Adjacency, over_incoming, over_outgoing

_ROWS_ON_CPU, _ROWS_ON_GPU = 1024, 2**18


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

    def at_receivers(self, values: Tensor) -> Tensor:
        """Sum over the messages that each node receives; (E, C) -> (N, C)."""
        return (over_incoming if self.along else over_outgoing)(self.adjacency, values)

    def at_senders(self, values: Tensor) -> Tensor:
        """Sum over the messages that each node sends; (E, C) -> (N, C)."""
        return (over_outgoing if self.along else over_incoming)(self.adjacency, values)


def both_directions(adjacency: Adjacency) -> tuple[Direction, Direction]:
    """Along the edges, and against them."""
    return Direction(adjacency, along=True), Direction(adjacency, along=False)


def edge_slices(e: Tensor) -> Iterator[slice]:
    """Runs of edges, so many that what a layer makes of one run stays in the caches of a processor core.

    On a GPU a run is as long as memory is worth saving: kernels want many rows.
    """
    rows = _ROWS_ON_CPU if e.device.type == "cpu" else _ROWS_ON_GPU
    return (slice(first, min(first + rows, len(e))) for first in range(0, len(e), rows))
