"""From a graph on positions to a cloud in position-orientation space."""

from dataclasses import dataclass

import torch
from torch import Tensor

from weightspace.geometric._neighbours import edge_lengths


@dataclass(frozen=True)
class OrientedCloud:
    """Points with an orientation each.

    Args:
        pos: positions (M, d).
        ori: unit vectors (M, d).
        point: which point of the graph each lies at (M,).
        edge_index: (2, E).
    """

    pos: Tensor
    ori: Tensor
    point: Tensor
    edge_index: Tensor


def lift_edges(pos: Tensor, edge_index: Tensor) -> OrientedCloud:
    """Every edge becomes a point at its target with the direction of its source, such as bonds of a molecule.

    Source: the published code of Bekkers et al. 2024, arXiv 2310.02970, for QM9 (num_ori = -1). New points are joined
    where their old points are joined or are the same; a point's own term stands for the loops. Points without edges
    are not in the cloud. Values at new points go back to the old ones by a mean over `point`.

    Args:
        pos: positions.
        edge_index: edges without loops and repetitions, between points that differ in position.

    Shapes:
        pos (N, d), edge_index (2, M) -> M points.

    Example:
        >>> cloud = lift_edges(torch.tensor([[0.0, 0, 0], [2, 0, 0]]), torch.tensor([[0, 1], [1, 0]]))
        >>> cloud.ori.tolist(), cloud.edge_index.tolist()
        ([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]], [[0, 1], [1, 0]])
    """
    order = edge_index[1].argsort(stable=True)
    source, target = edge_index[:, order]
    count = torch.bincount(target, minlength=len(pos))
    first = count.cumsum(0) - count
    loops = torch.arange(len(pos), device=pos.device).expand(2, -1)
    old_source, old_target = torch.cat([edge_index, loops], dim=1)
    pairs = count[old_source] * count[old_target]
    old = torch.arange(len(pairs), device=pos.device).repeat_interleave(pairs)
    place = torch.arange(len(old), device=pos.device) - (pairs.cumsum(0) - pairs)[old]
    width = count[old_target[old]]
    joined = torch.stack([first[old_source[old]] + place // width, first[old_target[old]] + place % width])
    vec = pos[source] - pos[target]
    return OrientedCloud(
        pos[target],
        vec / edge_lengths(vec)[:, None],
        target,
        joined[:, joined[0] != joined[1]],
    )
