"""Graph metanetworks: message passing with node, edge and global features on parameter graphs."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from weightspace.metanets._encoders import EdgeEncoder, NodeEncoder
from weightspace.metanets._input_scales import InputScales
from weightspace.metanets._message_passing import Sent, edge_pass, mean_by
from weightspace.metanets._readout import AbstractEditor, AbstractPredictor, AbstractTrunk
from weightspace.metanets._union import Union


class GMNLayer(nn.Module):
    """One round of message passing in both directions, with edge and global updates.

    Args:
        channels: of nodes and of the global feature.
        edge_channels: of edges, and of the hidden vector of an edge.
        update_graph: whether the global feature is updated; without, it is returned unchanged.
        aggregate: of messages, "mean" or "sum".
    """

    def __init__(self, channels: int, edge_channels: int, *, update_graph: bool = True, aggregate: str = "mean"):
        super().__init__()
        self.aggregate = aggregate
        self.norm = nn.LayerNorm(channels)
        self.source = nn.Linear(channels, edge_channels)
        self.target = nn.Linear(channels, edge_channels, bias=False)
        self.context = nn.Linear(channels, edge_channels, bias=False)
        self.ahead = nn.Linear(channels, edge_channels)
        self.back = nn.Linear(channels, edge_channels)
        self.edge_in = nn.Linear(edge_channels, edge_channels, bias=False)
        self.edge_out = nn.Linear(edge_channels, edge_channels, bias=False)
        self.node = _mlp(2 * channels + 4 * edge_channels, channels)
        self.graph = _mlp(2 * channels + edge_channels, channels) if update_graph else None

    def forward(self, union: Union, x: Tensor, e: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """New node, edge and global features, of the same shapes."""
        here = self.norm(x)
        a = self.source(here) + self.context(u)[union.node_graph]  # (N, H)
        sent = Sent(a, self.target(here), self.ahead(here), self.back(here))
        w_in, w_out = self.edge_in.weight.t(), self.edge_out.weight.t()
        messages, products, e = edge_pass(
            union.adjacency, e, sent=sent, w_in=w_in, w_out=w_out, aggregate=self.aggregate
        )
        x = x + self.node(torch.cat([here, *messages, *products, u[union.node_graph]], dim=1))
        if self.graph is None:
            return x, e, u
        pooled = mean_by(union.node_graph, torch.cat([x, messages[0]], dim=1), union.num_models)
        return x, e, u + self.graph(torch.cat([u, pooled], dim=1))


class GMNTrunk(AbstractTrunk):
    """Encoders and layers, shared by the graph-level and the per-parameter readout.

    Args:
        channels: of nodes and of the global feature.
        edge_channels: of edges.
        layers: rounds of message passing.
        graph_level: whether the global feature is read after the last round, and so updated in it.
        aggregate: of messages, "mean" or "sum".
    """

    def __init__(self, channels: int, edge_channels: int, layers: int, *, graph_level: bool, aggregate: str):
        super().__init__(channels, edge_channels)
        self.nodes = NodeEncoder(channels)
        self.edges = EdgeEncoder(edge_channels)
        self.start = nn.Parameter(torch.randn(channels))
        last = layers - 1
        self.layers = nn.ModuleList(
            GMNLayer(channels, edge_channels, update_graph=graph_level or i < last, aggregate=aggregate)
            for i in range(layers)
        )

    def forward(self, union: Union, scales: InputScales) -> tuple[Tensor, Tensor, Tensor]:
        """Node (N, C), edge (E, C_e) and global (G, C) features."""
        x, e = self.nodes(union, scales), self.edges(union, scales)
        u = self.start.expand(union.num_models, -1)
        for layer in self.layers:
            x, e, u = self.run(layer, union, x, e, u)
        return x, e, u


class GMN(AbstractPredictor):
    """Graph metanetwork: one prediction per network, invariant under every relabelling of its neurons.

    Source: Lim, Maron, Law, Lorraine and Lucas 2024, "Graph Metanetworks for Processing Diverse Neural Architectures",
    arXiv 2312.04501. With nodes v, edges e_ij and a global feature u, a layer is

        e_ij <- MLP_e(v_i, v_j, e_ij, u)
        v_i  <- MLP_v2(v_i, mean_j MLP_v1(v_i, v_j, e_ij, u), u)
        u    <- MLP_u(u, mean v, mean e)

    What deviates: messages run along edges and against them, with weights of their own; the MLPs that read an edge
    share its hidden vector, so that both directions cost one pass over the edges (`edge_pass`; a hidden vector of
    three times the width, which contains one for each MLP, predicted accuracies no better); the second linear map of
    a message stands behind the mean, in the first of MLP_v2; updates are added to what was there, nodes behind a
    LayerNorm; the global update reads mean messages in place of edges. Beside the mean of MLP_v1 a node gets, both
    ways, the sum over its edges of (edge feature) * (linear map of the neighbour), divided by the root of their
    number: an MLP of a concatenation learns products slowly, and a network is made of products of weights and
    activations. The readout pools mean and standard deviation over every site and block, then over sites and blocks,
    beside the global feature.

    Args:
        out_features: outputs per network.
        channels: of nodes and of the global feature.
        layers: rounds of message passing.
        edge_channels: of edges, by default `channels`; they take most of the time.
        aggregate: of messages, "mean" (as in the paper) or "sum", which tells degrees apart.
        input_scales: what values are divided by, from `fit_input_scales`.

    Shapes:
        graphs of G networks in all -> (G, out_features), in the order graphs, then models.

    Example:
        >>> GMN(1, channels=8, layers=2).config["layers"]
        2
    """

    def __init__(
        self,
        out_features: int,
        *,
        channels: int = 64,
        layers: int = 4,
        edge_channels: int | None = None,
        aggregate: str = "mean",
        input_scales: InputScales | Mapping[str, Any] | None = None,
    ):
        edge_channels = channels if edge_channels is None else edge_channels
        super().__init__(
            GMNTrunk(channels, edge_channels, layers, graph_level=True, aggregate=aggregate),
            out_features,
            arguments={
                "channels": channels,
                "layers": layers,
                "edge_channels": edge_channels,
                "aggregate": aggregate,
            },
            input_scales=input_scales,
        )


class GMNEditor(AbstractEditor):
    """Graph metanetwork that edits: the same networks with a number of its own added to every entry, equivariant
    under relabelling.

    The new value is value + gain * scale * (features . row of the entry's role and tap), with the scale from
    `input_scales`. Entries of equal address (tied weights) get edits of their own; `space.to_state_dict(graph,
    tied="mean")` averages them. Running statistics stay as they are unless `edit_buffers`.

    Args:
        channels: of nodes and of the global feature.
        layers: rounds of message passing.
        edge_channels: of edges, by default `channels`.
        aggregate: of messages, "mean" (as in the paper) or "sum", which tells degrees apart.
        input_scales: what values are divided by, from `fit_input_scales`.
        gain: initial size of an edit, in units of the input scale.
        edit_buffers: whether running statistics are edited, too.

    Example:
        >>> GMNEditor(channels=8, layers=2).config["gain"]
        0.1
    """

    def __init__(
        self,
        *,
        channels: int = 64,
        layers: int = 4,
        edge_channels: int | None = None,
        aggregate: str = "mean",
        input_scales: InputScales | Mapping[str, Any] | None = None,
        gain: float = 0.1,
        edit_buffers: bool = False,
    ):
        edge_channels = channels if edge_channels is None else edge_channels
        super().__init__(
            GMNTrunk(channels, edge_channels, layers, graph_level=False, aggregate=aggregate),
            gain=gain,
            edit_buffers=edit_buffers,
            arguments={
                "channels": channels,
                "layers": layers,
                "edge_channels": edge_channels,
                "aggregate": aggregate,
            },
            input_scales=input_scales,
        )


def _mlp(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, outputs), nn.ReLU(), nn.Linear(outputs, outputs))
