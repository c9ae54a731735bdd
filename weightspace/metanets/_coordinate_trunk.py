"""The trunk of CoordinateGMN: frames, encoders, layers, and centres that move from layer to layer.

Legend of shape comments: N nodes, G networks, R neurons that read coordinates, C channels of nodes, V vector channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from weightspace.metanets._coordinate_axes import AxesFinder
from weightspace.metanets._coordinate_frames import Framed, NeuronVectors, frame
from weightspace.metanets._coordinate_layers import CoordinateFeatures, CoordinateLayer, bounded
from weightspace.metanets._encoders import EdgeEncoder, NodeEncoder, value_features
from weightspace.metanets._input_scales import InputScales
from weightspace.metanets._readout import AbstractTrunk
from weightspace.metanets._union import Union

KINDS = 3  # vectors of a neuron


@dataclass(frozen=True)
class Placed:
    """Neurons of a layer that reads coordinates, and their rows in the union; rows (R,)."""

    rows: Tensor
    vectors: NeuronVectors


class Recentring(nn.Module):
    """Moves the centres of networks by vectors of theirs, and tells the neurons their new heights and feet.

    Args:
        channels: of nodes and of the global feature.
        vector_channels: of vectors.
    """

    def __init__(self, channels: int, vector_channels: int):
        super().__init__()
        self.coefficients = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, vector_channels))
        self.heights = nn.Linear(KINDS, channels)
        self.feet = nn.Linear(KINDS, vector_channels, bias=False)

    def forward(self, union: Union, features: CoordinateFeatures, placed: Sequence[Placed]) -> CoordinateFeatures:
        """Features as seen from the new centres."""
        coefficients = self.coefficients(features.u)[:, None]  # (G, 1, V)
        shift = features.shift + (bounded(features.g) * coefficients).mean(2)
        x, v = features.x, features.v
        for each in placed:
            if each.vectors.moves:
                seen = each.vectors.seen_from(shift[union.node_graph[each.rows]])
                x = x.index_add(0, each.rows, self.heights(value_features(seen.height[:, None])).to(x.dtype))
                v = v.index_add(0, each.rows, self.feet(seen.features).to(v.dtype))
        return replace(features, x=x, v=v, shift=shift)


class CoordinateTrunk(AbstractTrunk):
    """Frames, encoders and layers.

    Args:
        channels: of nodes and of the global feature.
        edge_channels: of edges.
        vector_channels: of vectors.
        layers: rounds of message passing.
        finder: of the coordinates.
        read_vectors: whether vectors are read after the last round, and so updated in it.
    """

    def __init__(
        self,
        channels: int,
        edge_channels: int,
        *,
        vector_channels: int,
        layers: int,
        finder: AxesFinder,
        read_vectors: bool,
    ):
        super().__init__(channels, edge_channels)
        self.finder, self.vector_channels = finder, vector_channels
        self.nodes, self.edges = NodeEncoder(channels), EdgeEncoder(edge_channels)
        moves = finder.coordinates is None or bool(finder.coordinates)
        self.places = nn.Linear(KINDS, vector_channels, bias=False) if moves else None
        self.headings = nn.Linear(KINDS, vector_channels, bias=False) if finder.directions else None
        self.start = nn.Parameter(torch.randn(channels))
        self.layers = nn.ModuleList(
            CoordinateLayer(channels, edge_channels, vector_channels, update_vectors=read_vectors or i < layers - 1)
            for i in range(layers)
        )
        self.recentrings = nn.ModuleList(Recentring(channels, vector_channels) for _ in range(layers - 1) if moves)

    def forward(self, union: Union, scales: InputScales) -> tuple[Tensor, Tensor, Tensor]:
        """Invariant node (N, C), edge (E, C_e) and network (G, C) features, rows as in `Union`."""
        features, _ = self.features(union, scales)
        return features.x, features.e, features.u

    def features(self, union: Union, scales: InputScales) -> tuple[CoordinateFeatures, Tensor]:
        """All features, and the centres (G, 3).

        Raises:
            GeometryError: something else than linear layers reads the coordinates.
        """
        framed = [frame(graph, self.finder(graph), scales) for graph in union.graphs]
        index = union.index.masked_fill(_coordinates(union, framed), -1)  # coordinates are not told apart
        plain = replace(union, graphs=tuple(each.plain for each in framed), index=index)
        x, e = self.nodes(plain, scales), self.edges(plain, scales)
        placed = _placed(union, framed, x.dtype)
        v = x.new_zeros(len(x), 3, self.vector_channels)
        for each in placed:
            linear = self.places if each.vectors.moves else self.headings
            v = v if linear is None else v.index_add(0, each.rows, linear(each.vectors.features))
        g = v.new_zeros(union.num_models, *v.shape[1:])
        features = CoordinateFeatures(x, e, self.start.expand(union.num_models, -1), v, g, g[..., 0])
        for i, layer in enumerate(self.layers):
            features = self.run(layer, plain, features)
            if i < len(self.recentrings):
                features = self.recentrings[i](plain, features, placed)
        return features, torch.cat([each.centre for each in framed]) + features.shift


def _coordinates(union: Union, framed: Sequence[Framed]) -> Tensor:
    """Whether a node is a coordinate, (N,)."""
    parts = [
        union.index.new_full((union.sizes[g] * union.graphs[g].sites[j].num_nodes,), j in framed[g].axes.sites)
        for family in union.node_families
        for g, j in family.members
    ]
    return torch.cat(parts).bool()


def _placed(union: Union, framed: Sequence[Framed], dtype: torch.dtype) -> list[Placed]:
    """The neurons that read coordinates, layer by layer."""
    starts, total = {}, 0
    for family in union.node_families:
        for g, j in family.members:
            starts[g, j] = total
            total += union.sizes[g] * union.graphs[g].sites[j].num_nodes
    found = []
    for g, each in enumerate(framed):
        for layer in each.layers:
            start = starts[g, layer.site]
            rows = torch.arange(start, start + len(layer.w), device=union.index.device)
            found.append(Placed(rows, replace(layer, w=layer.w.to(dtype), height=layer.height.to(dtype))))
    return found
