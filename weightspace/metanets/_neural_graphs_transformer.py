"""Neural Graphs, the transformer: relational attention between neurons that weights join."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from weightspace.errors import ConfigurationError
from weightspace.metanets._edge_mlp import edge_mlp
from weightspace.metanets._input_scales import InputScales
from weightspace.metanets._message_passing import Adjacency
from weightspace.metanets._neural_graphs import AbstractNeuralGraph, AbstractNeuralGraphTrunk, mean_of_outputs
from weightspace.metanets._readout import AbstractEditor, AbstractPredictor
from weightspace.metanets._relational_attention import relational_attention
from weightspace.metanets._union import Union


class RelationalLayer(nn.Module):
    """One round: attention of the nodes over their edges, then an update of the edges; LayerNorm behind every sum.

    Args:
        channels: of nodes.
        edge_channels: of edges.
        heads: of the attention, which has twice the channels of a node.
    """

    def __init__(self, channels: int, edge_channels: int, *, heads: int):
        super().__init__()
        self.heads = heads
        self.parts = _linear(channels, 10 * channels, bias=False)
        self.edge_parts = _linear(edge_channels, 8 * channels, bias=False)
        self.own = nn.Parameter(torch.randn(8 * channels) * edge_channels**-0.5)
        self.gather = _linear(2 * channels, channels)
        self.node_norms = nn.ModuleList([nn.LayerNorm(channels), nn.LayerNorm(channels)])
        self.node = _mlp(channels, 2 * channels)
        self.ends = _linear(channels, 4 * edge_channels)
        self.edge_in = _linear(edge_channels, 2 * edge_channels, bias=False)
        self.edge_out = _linear(2 * edge_channels, edge_channels)
        self.edge_norms = nn.ModuleList([nn.LayerNorm(edge_channels), nn.LayerNorm(edge_channels)])
        self.edge = _mlp(edge_channels, 2 * edge_channels)

    def forward(self, adjacency: Adjacency, x: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
        """New node and edge features, of the same shapes."""
        gathered = relational_attention(
            adjacency,
            e,
            weight=self.edge_parts.weight.t(),
            parts=self.parts(x),
            own=self.own,
            heads=self.heads,
        )
        x = self.node_norms[0](x + self.gather(gathered))
        x = self.node_norms[1](x + self.node(x))
        updates = edge_mlp(
            adjacency,
            e,
            ends=self.ends(x),
            w_in=self.edge_in.weight.t(),
            w_out=self.edge_out.weight.t(),
            bias=self.edge_out.bias,
            activation="gelu",
        )
        e = self.edge_norms[0](e + updates)
        return x, self.edge_norms[1](e + self.edge(e))


class NeuralGraphTransformerTrunk(AbstractNeuralGraphTrunk):
    """Encoders, probes and layers of `NeuralGraphTransformer`.

    Args:
        channels: of nodes.
        edge_channels: of edges.
        layers: rounds of attention.
        heads: of the attention.
        owner: the metanet's class, for messages.
        probes: shapes of the stacks of learned inputs.

    Raises:
        ConfigurationError: heads that do not divide the attention's channels.
    """

    def __init__(
        self,
        channels: int,
        edge_channels: int,
        *,
        layers: int,
        heads: int,
        owner: str,
        probes: Sequence[Sequence[int]],
    ):
        super().__init__(channels, edge_channels, owner=owner, probes=probes)
        if 2 * channels % heads:
            raise ConfigurationError(
                f"{owner}: found {heads} heads and {channels} channels, wanted heads that divide 2 * channels"
            )
        self.layers = nn.ModuleList(RelationalLayer(channels, edge_channels, heads=heads) for _ in range(layers))

    def forward(self, union: Union, scales: InputScales) -> tuple[Tensor, Tensor, Tensor]:
        """Node (N, C), edge (E, C_e) and network (G, C) features."""
        x, e = self.start(union, scales)
        for layer in self.layers:
            x, e = self.run(layer, union.adjacency, x, e)
        return x, e, mean_of_outputs(union, x)


class NeuralGraphTransformer(AbstractNeuralGraph, AbstractPredictor):
    """Neural Graphs with a relational transformer: one prediction per network, invariant under relabelling.

    Source: Kofinas, Knyazev, Zhang, Chen, Burghouts, Gavves, Snoek and Zhang 2024, "Graph Neural Networks for Learning
    Equivariant Representations of Neural Networks", arXiv 2403.12143, NG-T, after Diao and Loynd 2023, "Relational
    Attention", arXiv 2210.05062. With linear maps q, k, v of the nodes and of the edges,

        q_ij = q(v_i) + q(e_ij)    k_ij = k(v_j) + k(e_ij)    v_ij = v(v_j) * m(e_ij) + v(e_ij)
        v_i  <- LN(v_i + W softmax_j(q_ij . k_ij / sqrt(D)) v_ij),  then  LN(v_i + MLP(v_i))
        e_ij <- LN(e_ij + MLP(e_ij, v_i, v_j)),                     then  LN(e_ij + MLP(e_ij))

    What deviates: a node attends over its incoming and its outgoing edges (keys and values of their own) and itself,
    not over all pairs of nodes, of which nearly all have no edge; one feature vector per edge serves both directions,
    so the edge update reads no reverse edge; values enter as in the other metanets here (`NodeEncoder`,
    `EdgeEncoder`), without random Fourier features, and layers have no embeddings of their own; the readout pools mean
    and standard deviation over every site and block, beside the mean of the output neurons in place of their
    concatenation. A weight that is zero is still an edge. Default sizes: those of the published configuration.

    Args:
        out_features: outputs per network.
        channels: of nodes; their MLP has twice as many.
        layers: rounds of attention.
        edge_channels: of edges; their MLPs have twice as many.
        heads: of the attention, which has twice the channels of a node.
        probes: learned inputs that run through the networks: (16, 1, 2) is 16 of them for networks with example inputs
            of shape (1, 2); see `input_shapes`. They need `attach`.
        input_scales: what values are divided by, from `fit_input_scales`.

    Shapes:
        graphs of G networks in all -> (G, out_features), in the order graphs, then models.

    Raises:
        ConfigurationError: heads that do not divide the attention's channels, or stacks of probes of different sizes.

    Example:
        >>> NeuralGraphTransformer(1, channels=8, layers=2).config["heads"]
        8
    """

    def __init__(
        self,
        out_features: int,
        *,
        channels: int = 64,
        layers: int = 4,
        edge_channels: int = 32,
        heads: int = 8,
        probes: Sequence[Sequence[int]] = (),
        input_scales: InputScales | Mapping[str, Any] | None = None,
    ):
        probes = [list(shape) for shape in probes]
        super().__init__(
            NeuralGraphTransformerTrunk(
                channels,
                edge_channels,
                layers=layers,
                heads=heads,
                owner="NeuralGraphTransformer",
                probes=probes,
            ),
            out_features,
            arguments={
                "channels": channels,
                "layers": layers,
                "edge_channels": edge_channels,
                "heads": heads,
                "probes": probes,
            },
            input_scales=input_scales,
        )


class NeuralGraphTransformerEditor(AbstractNeuralGraph, AbstractEditor):
    """`NeuralGraphTransformer` that edits: the same networks with a number of its own added to every entry.

    Kofinas et al. 2024 (arXiv 2403.12143), editing of implicit neural representations, with the readout of
    `GMNEditor`: value + gain * scale * (features . row of the entry's role and tap). Equivariant under relabelling.

    Args:
        channels: of nodes; their MLP has twice as many.
        layers: rounds of attention.
        edge_channels: of edges; their MLPs have twice as many.
        heads: of the attention, which has twice the channels of a node.
        probes: learned inputs that run through the networks: (16, 1, 2) is 16 of them for networks with example inputs
            of shape (1, 2); see `input_shapes`. They need `attach`.
        input_scales: what values are divided by, from `fit_input_scales`.
        gain: initial size of an edit, in units of the input scale.
        edit_buffers: whether running statistics are edited, too.

    Raises:
        ConfigurationError: heads that do not divide the attention's channels, or stacks of probes of different sizes.

    Example:
        >>> NeuralGraphTransformerEditor(channels=8, layers=2).config["gain"]
        0.1
    """

    def __init__(
        self,
        *,
        channels: int = 64,
        layers: int = 4,
        edge_channels: int = 32,
        heads: int = 8,
        probes: Sequence[Sequence[int]] = (),
        input_scales: InputScales | Mapping[str, Any] | None = None,
        gain: float = 0.1,
        edit_buffers: bool = False,
    ):
        probes = [list(shape) for shape in probes]
        super().__init__(
            NeuralGraphTransformerTrunk(
                channels,
                edge_channels,
                layers=layers,
                heads=heads,
                owner="NeuralGraphTransformerEditor",
                probes=probes,
            ),
            gain=gain,
            edit_buffers=edit_buffers,
            arguments={
                "channels": channels,
                "layers": layers,
                "edge_channels": edge_channels,
                "heads": heads,
                "probes": probes,
            },
            input_scales=input_scales,
        )


def _linear(inputs: int, outputs: int, *, bias: bool = True) -> nn.Linear:
    """Xavier-uniform weights and no bias at first, as in the published code."""
    linear = nn.Linear(inputs, outputs, bias=bias)
    nn.init.xavier_uniform_(linear.weight)
    if bias:
        nn.init.zeros_(linear.bias)
    return linear


def _mlp(channels: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(_linear(channels, hidden, bias=False), nn.GELU(), _linear(hidden, channels))
