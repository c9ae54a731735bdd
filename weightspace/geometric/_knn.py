"""Edges from the nearest neighbours of each point."""

import torch
from torch import Tensor

from weightspace.errors import GeometryError

_PAIRS_AT_ONCE = 2**21


@torch.no_grad()
def nearest_neighbours(pos: Tensor, k: int, *, batch: Tensor | None = None, num_graphs: int | None = None) -> Tensor:
    """Edges to each point from the k nearest others of its graph, or from all where there are fewer, sorted by target.

    All distances of a graph are compared on the device of `pos`, in pieces. Unlike a list of all pairs within a
    distance it is not symmetric, and which of several equally distant points counts is not determined.

    Args:
        pos: positions.
        k: how many.
        batch: graph of each point, ascending; None for one graph.
        num_graphs: how many graphs there are; None to count them.

    Shapes:
        pos (N, d), batch (N,) -> edge_index (2, E) with sources in row 0 and targets in row 1.

    Raises:
        GeometryError: k is not positive.

    Example:
        >>> nearest_neighbours(torch.tensor([[0.0], [1.0], [3.0]]), 1).tolist()
        [[1, 0, 1], [0, 1, 2]]
    """
    if k < 1:
        raise GeometryError(f"nearest_neighbours: found k={k}, wanted a positive number")
    if not len(pos):
        return pos.new_zeros(2, 0, dtype=torch.long)
    batch = pos.new_zeros(len(pos), dtype=torch.long) if batch is None else batch
    graphs = int(batch[-1]) + 1 if num_graphs is None else num_graphs
    sizes = torch.bincount(batch, minlength=graphs)
    first, longest = sizes.cumsum(0) - sizes, int(sizes.max())
    column = torch.arange(longest, device=pos.device)
    edges = []
    for targets in torch.arange(len(pos), device=pos.device).split(max(1, _PAIRS_AT_ONCE // longest)):
        graph = batch[targets]
        sources = torch.where(column < sizes[graph, None], first[graph, None] + column, targets[:, None])  # (T, M)
        square = (pos[targets, None] - pos[sources]).square().sum(-1)
        square = square.masked_fill(sources == targets[:, None], torch.inf)
        distance, place = square.topk(min(k, longest), dim=1, largest=False)
        found = torch.stack([sources.gather(1, place), targets[:, None].expand_as(place)])
        edges.append(found[:, torch.isfinite(distance)])
    return torch.cat(edges, dim=1)
