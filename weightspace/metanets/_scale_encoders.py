"""Features that follow sign flips: linear in odd functions of the values, wherever the flips of both ends allow it."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from weightspace.graph import Site
from weightspace.metanets._encoders import EdgeLabels, TapMatrices, family_values
from weightspace.metanets._input_scales import InputScales, scaled_values
from weightspace.metanets._scale_frames import Framed
from weightspace.metanets._union import Family, Union

_ODD_FEATURES = 2


def flips_of(union: Union, framed: Sequence[Framed], dtype: torch.dtype) -> Tensor:
    """-1 at nodes that a sign flip reaches, 1 at all others; (N, 1)."""
    found = [
        framed[g].topology.sites[j].flipped.repeat(union.sizes[g])
        for family in union.node_families
        for g, j in family.members
    ]
    return 1 - 2 * torch.cat(found)[:, None].to(dtype)


class SignedEncoder(nn.Module):
    """Signed features of nodes and edges.

    A number on a node counts where it has the node's sign. An entry of an edge counts where it takes the sign of the
    source's value to that of the target's; a structural edge then counts with a vector of its own, and one on which a
    number of the target does so (a norm's weight, a depthwise kernel) with that number.

    Args:
        channels: of nodes.
        edge_channels: of edges.
    """

    def __init__(self, channels: int, edge_channels: int):
        super().__init__()
        self.sites, self.blocks = TapMatrices(channels * _ODD_FEATURES), TapMatrices(edge_channels * _ODD_FEATURES)
        self.carriers = TapMatrices(edge_channels * _ODD_FEATURES)
        self.labels = EdgeLabels(edge_channels)

    def nodes(self, union: Union, scales: InputScales, framed: Sequence[Framed]) -> Tensor:
        """Features of nodes, (N, C)."""
        families, matrices = union.node_families, self.sites(union.node_families)
        found = []
        for family, matrix in zip(families, matrices, strict=True):
            own = _stacked(union, [framed[g].topology.sites[j].own for g, j in family.members], family)
            found.append(_odd(family_values(union, scales, family, matrix.dtype) * own, matrix))
        y = torch.cat(found)
        by_site = _by_member(families, matrices)
        for edges in union.edge_families:
            start = edges.start
            for g, j in edges.members:
                stop = start + union.sizes[g] * union.graphs[g].blocks[j].num_edges
                if columns := framed[g].topology.blocks[j].returned:
                    y = y.index_add(
                        0, union.adjacency.source[start:stop], _of_targets(union, scales, (g, j), columns, by_site)
                    )
                start = stop
        return y

    def edges(self, union: Union, scales: InputScales, framed: Sequence[Framed]) -> Tensor:
        """Features of edges, (E, C_e)."""
        families = union.edge_families
        if not families:
            return self.labels.relation.weight.new_zeros(0, self.labels.relation.embedding_dim)
        by_site = _by_member(union.node_families, self.carriers(union.node_families))
        found = []
        for family, matrix, label in zip(families, self.blocks(families), self.labels(families), strict=True):
            passes = [framed[g].topology.blocks[j].passes[:, None] for g, j in family.members]
            passing = _stacked(union, passes, family)
            if len(matrix):
                found.append(_odd(family_values(union, scales, family, matrix.dtype) * passing, matrix) * (1 + label))
                continue
            carried = [
                _of_targets(union, scales, (g, j), framed[g].topology.blocks[j].carriers, by_site)
                for g, j in family.members
            ]
            found.append((passing.to(label.dtype) + torch.cat(carried)) * label)
        return torch.cat(found)


def _by_member(families: Sequence[Family[Site]], matrices: Sequence[Tensor]) -> dict[tuple[int, int], Tensor]:
    """The matrix of each site of the batch."""
    return {member: m for family, m in zip(families, matrices, strict=True) for member in family.members}


def _of_targets(
    union: Union,
    scales: InputScales,
    member: tuple[int, int],
    columns: tuple[int, ...],
    matrices: Mapping[tuple[int, int], Tensor],
) -> Tensor:
    """What some numbers of the targets make of the edges of a structural block; (B E, C)."""
    g, j = member
    graph, block = union.graphs[g], union.graphs[g].blocks[j]
    rows = union.sizes[g] * block.num_edges
    at = bisect_right(graph.site_offsets, int(block.edge_index[1, 0])) - 1 if columns else 0
    site, matrix = graph.sites[at], matrices[g, at]
    if not columns:
        return matrix.new_zeros(rows, matrix.shape[1] // _ODD_FEATURES)
    values = scaled_values(scales, graph, site, matrix.dtype).view(union.sizes[g], *site.address.shape)
    local = block.edge_index[1] - graph.site_offsets[at]
    return _odd(values[:, local][:, :, list(columns)].reshape(rows, -1), matrix[list(columns)])


def _stacked(union: Union, masks: Sequence[Tensor], family: Family[Any]) -> Tensor:
    """Masks of a family's members, once for each model; (rows, K) or (rows, 1)."""
    return torch.cat([mask.repeat(union.sizes[g], 1) for mask, (g, _) in zip(masks, family.members, strict=True)])


def _odd(values: Tensor, matrix: Tensor) -> Tensor:
    """Odd functions of values times a matrix; (rows, K), (K, C F) -> (rows, C)."""
    features = torch.stack([values, torch.asinh(5 * values)], dim=-1).flatten(1)
    return features @ matrix.reshape(-1, matrix.shape[1] // _ODD_FEATURES)
