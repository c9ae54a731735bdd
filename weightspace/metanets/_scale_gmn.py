"""ScaleGMN: graph metanetworks that are equivariant to positive scales and sign flips of hidden neurons, too."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from weightspace.graph import EdgeBlock, ParameterGraph, Site
from weightspace.metanets._encoders import EdgeEncoder, NodeEncoder, TapMatrices
from weightspace.metanets._input_scales import InputScales, edit_sizes
from weightspace.metanets._networks import AttachedNetworks, TracedNetwork
from weightspace.metanets._readout import AbstractEditor, AbstractPredictor, AbstractTrunk, edited_parts
from weightspace.metanets._scale_encoders import SignedEncoder, flips_of
from weightspace.metanets._scale_frames import Framed, Frames
from weightspace.metanets._scale_layers import ScaleLayer
from weightspace.metanets._scale_signs import SiteSigns
from weightspace.metanets._union import Family, Union, unite


@dataclass(frozen=True)
class ScaleFeatures:
    """What the trunk makes of a batch.

    Args:
        framed: the graphs of the batch in the balanced gauge.
        x, e, u: features of nodes, edges and networks that neither scales nor signs reach.
        y, o: features of nodes and edges that follow the signs.
    """

    framed: list[Framed]
    x: Tensor
    e: Tensor
    u: Tensor
    y: Tensor
    o: Tensor


class ScaleTrunk(AbstractTrunk):
    """Gauge, encoders and layers, shared by the graph-level and the per-parameter readout.

    Args:
        channels: of nodes and of the global feature.
        edge_channels: of edges.
        layers: rounds of message passing.
        bidirectional: whether messages run against the edges, too.
        graph_level: whether the global feature is read after the last round, and so updated in it.
        owner: name of the model, for messages.
    """

    def __init__(
        self, channels: int, edge_channels: int, *, layers: int, bidirectional: bool, graph_level: bool, owner: str
    ):
        super().__init__(channels, edge_channels)
        self.networks = AttachedNetworks(owner)
        self.frames = Frames(self.networks)
        self.nodes, self.edges = NodeEncoder(channels), EdgeEncoder(edge_channels)
        self.signed = SignedEncoder(channels, edge_channels)
        self.fixed = nn.Linear(channels, channels)
        self.start = nn.Parameter(torch.randn(channels))
        options = [{"update_graph": i < layers - 1, "update_signed": i < layers - 1} for i in range(layers)]
        options[-1] = {"update_graph": graph_level, "update_signed": not graph_level}
        self.layers = nn.ModuleList(
            ScaleLayer(channels, edge_channels, bidirectional=bidirectional, **last) for last in options
        )

    def forward(self, union: Union, scales: InputScales) -> tuple[Tensor, Tensor, Tensor]:
        """Invariant node (N, C), edge (E, C_e) and network (G, C) features, rows as in `Union`."""
        features = self.features(union, scales)
        return features.x, features.e, features.u

    def features(self, union: Union, scales: InputScales) -> ScaleFeatures:
        """All features.

        Raises:
            WeightspaceError: an architecture was not attached.
        """
        framed = [self.frames(graph) for graph in union.graphs]
        plain = replace(union, graphs=tuple(each.plain for each in framed))
        x, e = self.nodes(plain, scales), self.edges(plain, scales)
        u = self.start.expand(union.num_models, -1)
        flips = flips_of(union, framed, x.dtype)
        signed = replace(union, graphs=tuple(each.signed for each in framed))
        y = self.signed.nodes(signed, scales, framed) + self.fixed(x) * (flips > 0)
        o = self.signed.edges(signed, scales, framed)
        for layer in self.layers:
            (x, e, u), y = self.run(layer, union, (x, e, u), (y, o), flips)
        return ScaleFeatures(framed, x, e, u, y, o)


class ScaleGMN(AbstractPredictor):
    """ScaleGMN: one prediction per network, invariant under relabelling, positive scales and sign flips of neurons.

    Source: Kalogeropoulos, Bouritsas and Panagakis 2024, "Scale Equivariant Graph Metanetworks", arXiv 2406.10685.
    There a neuron's feature follows the neuron's scale or sign, and with a canonical form x~ of a feature x (that no
    scale or sign changes), rho, phi: MLPs, and P, Gamma: linear maps without bias,

        ScaleInv(x) = rho(x~)                              ScaleEq(x) = Gamma x * ScaleInv(x)
        ReScaleEq(x, e) = P x * e                          m_i = sum_j ReScaleEq(x_j, e_ij)
        x_i <- ScaleEq(x_i, m_i)                           e_ij <- e_ij * ScaleInv(x_i, x_j)

    with x~ = x / norm(x) for positive scales and rho(x~) = phi(x) + phi(-x) for signs; the readout pools ScaleInv(x_i).

    What deviates. Which scales and signs there are is not said by hand but derived by `trace` (give it
    `symmetries={"permutation", "scale", "sign"}`) for every node and entry: norms, residual sums, shared weights and
    products included; to what it does not find, the metanet is not invariant. Positive scales are made canonical for
    the whole network at once: a network is read in its balanced gauge (`_scale_balance.py`), where no scale is left.
    So the messages against the edges, for which the published model takes the reciprocals of weights (these overflow
    in float32), are plain products, and the layers need care for signs alone. Features that no sign reaches are a
    stream of their own, updated as in a graph metanetwork and begun with absolute values where a sign flips the entry;
    they take the place of ScaleInv everywhere, edge updates included (`ScaleLayer` has the equations). Updates are
    added to what was there; no dropout, no layer norm inside MLPs; the readout pools every site and block.

    Args:
        out_features: outputs per network.
        channels: of nodes and of the global feature.
        layers: rounds of message passing.
        edge_channels: of edges, by default `channels`.
        bidirectional: whether messages run against the edges, too.
        input_scales: what values are divided by, from `fit_input_scales`.

    Shapes:
        graphs of G networks in all -> (G, out_features), in the order graphs, then models.

    Raises:
        WeightspaceError: a network of an architecture that was not attached.

    Example:
        >>> ScaleGMN(1, channels=8, layers=2).config["bidirectional"]
        True
    """

    trunk: ScaleTrunk

    def __init__(
        self,
        out_features: int,
        *,
        channels: int = 128,
        layers: int = 4,
        edge_channels: int | None = None,
        bidirectional: bool = True,
        input_scales: InputScales | Mapping[str, Any] | None = None,
    ):
        edge_channels = channels if edge_channels is None else edge_channels
        trunk = ScaleTrunk(
            channels, edge_channels, layers=layers, bidirectional=bidirectional, graph_level=True, owner="ScaleGMN"
        )
        arguments = {
            "channels": channels,
            "layers": layers,
            "edge_channels": edge_channels,
            "bidirectional": bidirectional,
        }
        super().__init__(trunk, out_features, arguments=arguments, input_scales=input_scales)

    def attach(self, networks: Mapping[str, TracedNetwork] | Iterable[TracedNetwork]) -> None:
        """Make architectures known; their spaces say which scales and signs there are.

        Raises:
            WeightspaceError: a key that is not the network's signature.
        """
        self.trunk.networks.add(networks)


class ScaleGMNEditor(AbstractEditor):
    """ScaleGMN that edits: the same networks with a number of its own added to every entry, equivariant under
    relabelling, positive scales and sign flips of neurons.

    Source, symmetries and deviations: `ScaleGMN`. An edit is made in the balanced gauge and taken back to that of the
    input. An entry that no sign flips gets a number from plain features; one that takes the sign of its source to that
    of its target gets one from signed features, its own and the product of those of its ends; any entry that a sign
    flips gets a multiple of itself. (In the paper edits of edges are multiples of the entry alone.)

    Args:
        channels: of nodes and of the global feature.
        layers: rounds of message passing.
        edge_channels: of edges, by default `channels`.
        bidirectional: whether messages run against the edges, too.
        input_scales: what values are divided by, from `fit_input_scales`.
        gain: initial size of an edit, in units of the input scale.
        edit_buffers: whether running statistics are edited, too.

    Raises:
        WeightspaceError: a network of an architecture that was not attached.

    Example:
        >>> ScaleGMNEditor(channels=8, layers=2).config["gain"]
        0.1
    """

    trunk: ScaleTrunk

    def __init__(
        self,
        *,
        channels: int = 128,
        layers: int = 10,
        edge_channels: int | None = None,
        bidirectional: bool = True,
        input_scales: InputScales | Mapping[str, Any] | None = None,
        gain: float = 0.1,
        edit_buffers: bool = False,
    ):
        edge_channels = channels if edge_channels is None else edge_channels
        trunk = ScaleTrunk(
            channels, edge_channels, layers=layers, bidirectional=bidirectional, graph_level=False,
            owner="ScaleGMNEditor",
        )  # fmt: skip
        arguments = {
            "channels": channels,
            "layers": layers,
            "edge_channels": edge_channels,
            "bidirectional": bidirectional,
        }
        super().__init__(trunk, gain=gain, edit_buffers=edit_buffers, arguments=arguments, input_scales=input_scales)
        self.signed_sites, self.signed_blocks = TapMatrices(channels), TapMatrices(edge_channels)
        self.relative_sites, self.relative_blocks = TapMatrices(channels), TapMatrices(edge_channels)
        self.here = nn.Linear(channels, edge_channels, bias=False)
        self.there = nn.Linear(channels, edge_channels, bias=False)

    def attach(self, networks: Mapping[str, TracedNetwork] | Iterable[TracedNetwork]) -> None:
        """Make architectures known; their spaces say which scales and signs there are.

        Raises:
            WeightspaceError: a key that is not the network's signature.
        """
        self.trunk.networks.add(networks)

    def forward(self, graphs: ParameterGraph | Sequence[ParameterGraph]) -> ParameterGraph | list[ParameterGraph]:
        """Edited graphs, in the form of the input: one graph, or a list."""
        union = unite(graphs)
        found = self.trunk.features(union, self.input_scales)
        ends = self.here(found.y)[union.adjacency.source] * self.there(found.y)[union.adjacency.target]
        taps = (self.sites, self.signed_sites, self.relative_sites)
        sites = self._frame_edits(union, found.framed, union.node_families, (found.x, found.y), taps)
        taps = (self.blocks, self.signed_blocks, self.relative_blocks)
        signed = torch.addcmul(ends + found.o, found.o, found.e)
        blocks = self._frame_edits(union, found.framed, union.edge_families, (found.e, signed), taps)
        edited = edited_parts(union, sites, blocks)
        return edited[0] if isinstance(graphs, ParameterGraph) else edited

    def _frame_edits(
        self,
        union: Union,
        framed: Sequence[Framed],
        families: Sequence[Family[Any]],
        features: tuple[Tensor, Tensor],
        taps: tuple[TapMatrices, TapMatrices, TapMatrices],
    ) -> dict[tuple[int, int], Tensor]:
        """What is added to the values of each site (block), in the gauge of the input, by graph and site."""
        edits: dict[tuple[int, int], Tensor] = {}
        matrices = [each(families) if families else [] for each in taps]
        for family, *rows in zip(families, *matrices, strict=True):
            plain, signed = (each[family.start : family.stop] for each in features)
            size = self.gain / plain.shape[1] ** 0.5
            values = (
                torch.stack([plain @ rows[0].t(), signed @ rows[1].t(), plain @ rows[2].t()]) * size
            )  # (3, rows, K)
            parts = [_part(union.graphs[g], family, j) for g, j in family.members]
            counts = [
                union.sizes[g] * part.address.shape[0] for (g, _), part in zip(family.members, parts, strict=True)
            ]
            for (g, j), part, piece in zip(family.members, parts, values.split(counts, dim=1), strict=True):
                edits[g, j] = self._edit(union.graphs[g], framed[g], part, j, piece)
        return edits

    def _edit(self, graph: ParameterGraph, framed: Framed, part: Site | EdgeBlock, j: int, pieces: Tensor) -> Tensor:
        """Plain edits where no sign reaches, signed ones where the entry's sign is known, multiples of the entry."""
        value = part.x if isinstance(part, Site) else part.edge_attr
        plain, signed, relative = pieces.reshape(3, *value.shape)
        signs = (framed.topology.sites if isinstance(part, Site) else framed.topology.blocks)[j]
        follows = signs.own if isinstance(signs, SiteSigns) else signs.passes[:, None]
        new = plain * ~signs.moved + signed * follows
        sizes = edit_sizes(self.input_scales, graph, part, buffers=self.edit_buffers)
        return new * framed.sizes(part) * sizes + relative * value * (torch.as_tensor(sizes) != 0)


def _part(graph: ParameterGraph, family: Family[Any], j: int) -> Site | EdgeBlock:
    return graph.sites[j] if isinstance(family.example, Site) else graph.blocks[j]
