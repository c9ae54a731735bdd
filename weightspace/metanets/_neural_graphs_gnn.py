"""Neural Graphs, the message-passing network: messages between neurons, modulated by the weights between them."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import silu

from weightspace.metanets._directions import Direction, both_directions, edge_slices
from weightspace.metanets._edge_mlp import edge_mlp
from weightspace.metanets._input_scales import InputScales
from weightspace.metanets._message_passing import Adjacency
from weightspace.metanets._neural_graphs import AbstractNeuralGraph, AbstractNeuralGraphTrunk, mean_of_outputs
from weightspace.metanets._readout import AbstractEditor, AbstractPredictor
from weightspace.metanets._union import Union


class NeuralGraphLayer(nn.Module):
    """One round: modulated messages both ways, their mean and spread, an update of the nodes, then of the edges.

    Args:
        channels: of nodes.
        edge_channels: of edges.
    """

    def __init__(self, channels: int, edge_channels: int):
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.message = nn.Linear(channels, 4 * channels)
        self.film = nn.Linear(edge_channels, 2 * channels)
        self.node_in = nn.Linear(9 * channels, channels)
        self.node_out = nn.Linear(channels, channels)
        self.ends = nn.Linear(channels, 2 * edge_channels)
        self.edge_in = nn.Linear(edge_channels, edge_channels, bias=False)
        self.edge_out = nn.Linear(edge_channels, edge_channels)

    def forward(self, adjacency: Adjacency, x: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
        """New node and edge features, of the same shapes."""
        here = self.norm(x)
        sums = film_messages(adjacency, e, weight=self.film.weight.t(), bias=self.film.bias, parts=self.message(here))
        gathered = [here]
        for direction, total in zip(both_directions(adjacency), sums, strict=True):
            gathered += _aggregates(total, direction.degree)
        x = x + self.node_out(silu(self.node_in(torch.cat(gathered, dim=1))))
        updates = edge_mlp(
            adjacency,
            e,
            ends=self.ends(x),
            w_in=self.edge_in.weight.t(),
            w_out=self.edge_out.weight.t(),
            bias=self.edge_out.bias,
            activation="silu",
        )
        return x, e + updates


def film_messages(
    adjacency: Adjacency, e: Tensor, *, weight: Tensor, bias: Tensor, parts: Tensor
) -> tuple[Tensor, Tensor]:
    """Sums of the messages that each node receives along and against its edges, and of their squares.

    A message is scale * (received part of the receiver + sent part of the sender) + shift, with scale and shift from
    e W + bias.

    Args:
        adjacency: sources, targets and their orders.
        e: edge features.
        weight: W, scales first.
        bias: of scales and shifts.
        parts: of each node, sent and received along the edges, sent and received against them.

    Shapes:
        e (E, C_e); weight (C_e, 2 C); bias (2 C,); parts (N, 4 C); both results (N, 2 C), sums first.
    """
    device = e.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else e.dtype
    inputs = [tensor.to(dtype) for tensor in (e, weight, bias, parts)]
    with torch.autocast(device, enabled=False):
        return _FilmMessages.apply(adjacency, *inputs)


class _FilmMessages(torch.autograd.Function):
    """Keeps nothing edge-sized but the edge features; messages are made again in the backward pass, run by run."""

    @staticmethod
    def forward(adjacency: Adjacency, e: Tensor, weight: Tensor, bias: Tensor, parts: Tensor) -> tuple[Tensor, Tensor]:
        """What `forward` of the messages returns, run by run."""
        width = weight.shape[1] // 2
        directions = both_directions(adjacency)
        messages = [e.new_empty(e.shape[0], 2 * width) for _ in directions]
        for rows in edge_slices(e):
            scale, shift = torch.addmm(bias, e[rows], weight).chunk(2, dim=1)
            for direction, (sent, received), out in zip(directions, _ends(parts), messages, strict=True):
                message = _joined(direction, rows, sent, received).mul_(scale).add_(shift)
                out[rows, :width] = message
                torch.square(message, out=out[rows, width:])
        along, against = (d.at_receivers(values) for d, values in zip(directions, messages, strict=True))
        return along, against

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        """Keep what `backward` needs."""
        ctx.adjacency = inputs[0]
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients to e, weight, bias and parts."""
        e, weight, bias, parts = ctx.saved_tensors
        width = weight.shape[1] // 2
        directions = both_directions(ctx.adjacency)
        grad_e, grad_weight, grad_bias = torch.empty_like(e), torch.zeros_like(weight), torch.zeros_like(bias)
        grad_joined = e.new_empty(e.shape[0], 2 * width)
        for rows in edge_slices(e):
            film = torch.addmm(bias, e[rows], weight)
            grad_film = torch.zeros_like(film)
            for i, (direction, ends, grad) in enumerate(zip(directions, _ends(parts), grads, strict=True)):
                joined = _joined(direction, rows, *ends)
                onward = grad.index_select(0, direction.receiver[rows])
                grad_joined[rows, i * width : (i + 1) * width] = _film_backward(joined, film, onward, grad_film)
            torch.mm(grad_film, weight.t(), out=grad_e[rows])
            grad_weight.addmm_(e[rows].t(), grad_film)
            grad_bias += grad_film.sum(0)
        along, _ = directions
        sent, received_back = along.at_senders(grad_joined).chunk(2, dim=1)
        received, sent_back = along.at_receivers(grad_joined).chunk(2, dim=1)
        return None, grad_e, grad_weight, grad_bias, torch.cat([sent, received, sent_back, received_back], dim=1)


def _ends(parts: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Sent and received parts of the nodes, along the edges and against them."""
    a, b, c, d = parts.chunk(4, dim=1)
    return (a, b), (c, d)


def _joined(direction: Direction, rows: slice, sent: Tensor, received: Tensor) -> Tensor:
    """Sum of the parts of both ends of some edges, (rows, C)."""
    return sent.index_select(0, direction.sender[rows]).add_(received.index_select(0, direction.receiver[rows]))


def _film_backward(joined: Tensor, film: Tensor, grad: Tensor, grad_film: Tensor) -> Tensor:
    """Gradient of what the ends' parts sum to; that of scale and shift is added to `grad_film`.

    Shapes:
        joined, result (rows, C); film, grad, grad_film (rows, 2 C).
    """
    scale, shift = film.chunk(2, dim=1)
    grad_scale, grad_shift = grad_film.chunk(2, dim=1)
    grad_message, grad_square = grad.chunk(2, dim=1)
    message = torch.addcmul(shift, scale, joined)
    grad_message.addcmul_(message, grad_square, value=2)
    grad_shift += grad_message
    grad_scale.addcmul_(grad_message, joined)
    return torch.mul(grad_message, scale, out=joined)


def _aggregates(sums: Tensor, degree: Tensor) -> list[Tensor]:
    """Mean and standard deviation of the messages, plain and times log(1 + degree); (N, 2 C) -> four of (N, C)."""
    mean, square = (sums / degree.clamp(min=1).to(sums.dtype)[:, None]).chunk(2, dim=1)
    deviation = (square - mean.square()).clamp(min=1e-6).sqrt()
    amplification = degree.to(sums.dtype).log1p()[:, None]
    return [mean, deviation, mean * amplification, deviation * amplification]


class NeuralGraphGNNTrunk(AbstractNeuralGraphTrunk):
    """Encoders, probes and layers of `NeuralGraphGNN`.

    Args:
        channels: of nodes.
        edge_channels: of edges.
        layers: rounds of message passing.
        owner: the metanet's class, for messages.
        probes: shapes of the stacks of learned inputs.
    """

    def __init__(
        self,
        channels: int,
        edge_channels: int,
        *,
        layers: int,
        owner: str,
        probes: Sequence[Sequence[int]],
    ):
        super().__init__(channels, edge_channels, owner=owner, probes=probes)
        self.layers = nn.ModuleList(NeuralGraphLayer(channels, edge_channels) for _ in range(layers))

    def forward(self, union: Union, scales: InputScales) -> tuple[Tensor, Tensor, Tensor]:
        """Node (N, C), edge (E, C_e) and network (G, C) features."""
        x, e = self.start(union, scales)
        for layer in self.layers:
            x, e = self.run(layer, union.adjacency, x, e)
        return x, e, mean_of_outputs(union, x)


class NeuralGraphGNN(AbstractNeuralGraph, AbstractPredictor):
    """Neural Graphs with a message-passing network: one prediction per network, invariant under relabelling.

    Source: Kofinas, Knyazev, Zhang, Chen, Burghouts, Gavves, Snoek and Zhang 2024, "Graph Neural Networks for Learning
    Equivariant Representations of Neural Networks", arXiv 2403.12143, NG-GNN. With nodes v (biases) and edges e
    (weights), a layer of principal neighbourhood aggregation (PNA, Corso et al. 2020, arXiv 2004.05718) with messages
    that the edges modulate (FiLM) is

        m_ij <- scale(e_ij) * phi_m(v_i, v_j) + shift(e_ij)
        v_i  <- phi_v(v_i, [mean, std, ...]_j m_ij times [1, log(1 + degree)])
        e_ij <- phi_e(v_i, e_ij, v_j)

    What deviates: messages run along edges and against them, with phi_m of their own and one scale and shift (the paper
    adds reverse edges); mean and standard deviation without minimum and maximum, whose backward pass is several times
    slower on a CPU, and the log-degree without its training mean; updates are added to what was there, nodes behind a
    LayerNorm; values enter as in the other metanets here (`NodeEncoder`, `EdgeEncoder`), without random Fourier
    features, and layers have no embeddings of their own, because their number differs; the readout pools mean and
    standard deviation over every site and block, beside the mean of the output neurons in place of their
    concatenation. A weight that is zero is still an edge. Default sizes: 64 channels, 4 layers.

    Args:
        out_features: outputs per network.
        channels: of nodes.
        layers: rounds of message passing.
        edge_channels: of edges, by default `channels`; they take most of the time.
        probes: learned inputs that run through the networks: (16, 1, 2) is 16 of them for networks with example inputs
            of shape (1, 2); see `input_shapes`. They need `attach`.
        input_scales: what values are divided by, from `fit_input_scales`.

    Shapes:
        graphs of G networks in all -> (G, out_features), in the order graphs, then models.

    Raises:
        ConfigurationError: stacks of probes of different sizes.

    Example:
        >>> NeuralGraphGNN(1, channels=8, layers=2).config["layers"]
        2
    """

    def __init__(
        self,
        out_features: int,
        *,
        channels: int = 64,
        layers: int = 4,
        edge_channels: int | None = None,
        probes: Sequence[Sequence[int]] = (),
        input_scales: InputScales | Mapping[str, Any] | None = None,
    ):
        probes = [list(shape) for shape in probes]
        edge_channels = channels if edge_channels is None else edge_channels
        super().__init__(
            NeuralGraphGNNTrunk(channels, edge_channels, layers=layers, owner="NeuralGraphGNN", probes=probes),
            out_features,
            arguments={
                "channels": channels,
                "layers": layers,
                "edge_channels": edge_channels,
                "probes": probes,
            },
            input_scales=input_scales,
        )


class NeuralGraphGNNEditor(AbstractNeuralGraph, AbstractEditor):
    """`NeuralGraphGNN` that edits: the same networks with a number of its own added to every entry.

    Kofinas et al. 2024 (arXiv 2403.12143), editing of implicit neural representations, with the readout of
    `GMNEditor`: value + gain * scale * (features . row of the entry's role and tap). Equivariant under relabelling,
    biases included.

    Args:
        channels: of nodes.
        layers: rounds of message passing.
        edge_channels: of edges, by default `channels`.
        probes: learned inputs that run through the networks: (16, 1, 2) is 16 of them for networks with example inputs
            of shape (1, 2); see `input_shapes`. They need `attach`.
        input_scales: what values are divided by, from `fit_input_scales`.
        gain: initial size of an edit, in units of the input scale.
        edit_buffers: whether running statistics are edited, too.

    Raises:
        ConfigurationError: stacks of probes of different sizes.

    Example:
        >>> NeuralGraphGNNEditor(channels=8, layers=2).config["gain"]
        0.1
    """

    def __init__(
        self,
        *,
        channels: int = 64,
        layers: int = 4,
        edge_channels: int | None = None,
        probes: Sequence[Sequence[int]] = (),
        input_scales: InputScales | Mapping[str, Any] | None = None,
        gain: float = 0.1,
        edit_buffers: bool = False,
    ):
        probes = [list(shape) for shape in probes]
        edge_channels = channels if edge_channels is None else edge_channels
        super().__init__(
            NeuralGraphGNNTrunk(channels, edge_channels, layers=layers, owner="NeuralGraphGNNEditor", probes=probes),
            gain=gain,
            edit_buffers=edit_buffers,
            arguments={
                "channels": channels,
                "layers": layers,
                "edge_channels": edge_channels,
                "probes": probes,
            },
            input_scales=input_scales,
        )
