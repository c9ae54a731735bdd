"""A graph metanetwork whose prediction stays when a network is widened without changing its function."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from weightspace.graph import ParameterGraph
from weightspace.metanets._encoders import EdgeLabels, NodeEncoder, TapMatrices, family_values
from weightspace.metanets._input_scales import InputScales, as_input_scales
from weightspace.metanets._message_passing import Adjacency, mean_by, over_incoming, over_outgoing, segment_mean
from weightspace.metanets._union import Union, unite

_TYPICAL_FAN_IN = 64


class MatrixProductGMN(nn.Module):
    """Matrix-product GMN: one prediction per network, which function-preserving widening does not change.

    Source: Ma, Dayan, Eitan, Maron and Villar 2026, "Transferable Graph Metanetworks" (as in their repository,
    yuxinma98/transferable-graph-metanetworks). Weights enter by matrix products alone: with node states H of a layer,

        Z = W H A                (their (1 / n) (n W) H A: fan-in rescaling and a mean)
        h_v <- UPD(h_v, z_v)

    A network is widened by copies of neurons with the same incoming weights, whose outgoing weights add up to those of
    the original. All copies have the same h, and W H has the same rows, for any number of copies and any shares.

    What deviates. A = sum_k w_k diag(t_k) A with a vector t_k for each tap of a kernel, in place of a matrix for each.
    Where the published model runs against the edges as well, it needs equal shares, and its readout (the mean over a
    layer) equal numbers of copies. Here the way back carries a second state g that is linear in itself, so that shares
    add up, as gradients do:

        g_v <- g_v + (sum_i w_iv t * (Q g_i)) * rho(h_v)        from g = V h at the network's inputs and outputs

    and a site is read out as sum_v g_v * phi(h_v), where copies count by their shares, beside the mean of h where it
    is an input or output. So the prediction is invariant under every such widening, both ways. Structural edges have
    means in place of sums, and states also run against those that are the only one of their kind at their source;
    nodes that nothing reads (the normalisers of norms) begin the way back as outputs do. Nodes do not know degrees;
    input scales are those of the roles, which do not depend on an architecture. Updates are added to what was there; a
    network has a global feature that reads the sites.

    Args:
        out_features: outputs per network.
        channels: of nodes and of the global feature.
        layers: rounds of message passing.
        input_scales: what values are divided by, from `fit_input_scales`; those per layer are not used.

    Shapes:
        graphs of G networks in all -> (G, out_features), in the order graphs, then models.

    Example:
        >>> MatrixProductGMN(1, channels=8, layers=2).config["layers"]
        2
    """

    def __init__(
        self,
        out_features: int,
        *,
        channels: int = 128,
        layers: int = 4,
        input_scales: InputScales | Mapping[str, Any] | None = None,
    ):
        super().__init__()
        self._arguments = {"out_features": out_features, "channels": channels, "layers": layers}
        self.input_scales = as_input_scales(input_scales)
        self.nodes = NodeEncoder(channels, degrees=False)
        self.taps, self.labels, self.wires = TapMatrices(channels), EdgeLabels(channels), EdgeLabels(channels)
        self.start = nn.Parameter(torch.randn(channels))
        self.ends = nn.Linear(channels, channels)
        self.layers = nn.ModuleList(MatrixProductLayer(channels) for _ in range(layers))
        self.read = SiteReadout(channels)
        self.head = nn.Sequential(nn.Linear(2 * channels, channels), nn.ReLU(), nn.Linear(channels, out_features))

    @property
    def config(self) -> dict[str, Any]:
        """Constructor arguments as JSON values."""
        return {**self._arguments, "input_scales": self.input_scales.to_dict()}

    def forward(self, graphs: ParameterGraph | Sequence[ParameterGraph]) -> Tensor:
        """One row per network."""
        union = unite(graphs)
        scales = InputScales(per_role=self.input_scales.per_role)
        h, o = self.nodes(union, scales), self._edges(union, scales)
        fixed = (union.index >= 0)[:, None].to(h.dtype)
        g = self.ends(h) * ((union.index >= 0) | (union.adjacency.out_degree == 0))[:, None]
        u = self.start.expand(union.num_models, -1)
        wires = self._wires(union)
        for layer in self.layers:
            h, g, u = layer(union, (h, g, u), o, wires=wires, fixed=fixed)
        return self.head(torch.cat([self.read(union, h, g, fixed), u], dim=1))

    def _edges(self, union: Union, scales: InputScales) -> Tensor:
        """Entries times the vectors of their taps, and vectors for structural edges, shared out; (E, C)."""
        families = union.edge_families
        if not families:
            return self.start.new_zeros(0, len(self.start))
        found, structural = [], union.adjacency.source.new_zeros(len(union.adjacency.source))
        for family, matrix, label in zip(families, self.taps(families), self.labels(families), strict=True):
            if len(matrix):
                values = family_values(union, scales, family, matrix.dtype) / _TYPICAL_FAN_IN**0.5
                found.append(values @ (matrix * (1 + label)))
            else:
                structural[family.start : family.stop] = 1
                found.append(label.expand(family.stop - family.start, -1))
        target = union.adjacency.target
        degree = structural.new_zeros(len(union.index)).index_add(0, target, structural)[target]
        share = torch.where(structural > 0, degree, 1).to(self.start.dtype)
        return torch.cat(found) / share[:, None]

    def _wires(self, union: Union) -> tuple[Tensor, Tensor]:
        """Structural edges that are their source's only one of their block: numbers (W,), and vectors (W, C)."""
        families = union.edge_families
        numbers = [union.adjacency.source[:0]]
        rows = [self.start.new_zeros(0, len(self.start))]
        for family, label in zip(families, self.wires(families) if families else (), strict=True):
            start = family.start
            for g, j in family.members:
                block = union.graphs[g].blocks[j]
                stop = start + union.sizes[g] * block.num_edges
                if not block.role and len(block.edge_index[0].unique()) == block.num_edges:
                    numbers.append(torch.arange(start, stop, device=label.device))
                    rows.append(label.expand(stop - start, -1))
                start = stop
        return torch.cat(numbers), torch.cat(rows)


class MatrixProductLayer(nn.Module):
    """One round: states ahead by products with weights, linear ones back.

    Args:
        channels: of all states.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.ahead, self.back, self.wire = (_linear(channels, channels) for _ in range(3))
        self.update = _mlp(4 * channels + 1, channels)
        self.factor = nn.Linear(channels, channels)
        self.read = SiteReadout(channels)
        self.context = _mlp(2 * channels, channels)

    def forward(
        self,
        union: Union,
        states: tuple[Tensor, Tensor, Tensor],
        o: Tensor,
        *,
        wires: tuple[Tensor, Tensor],
        fixed: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """New node states ahead and back, and new global features, of the same shapes.

        Shapes:
            states (N, C), (N, C), (G, C); o (E, C); wires (W,), (W, C); fixed (N, 1).
        """
        h, g, u = states
        here = self.norm(h)
        numbers, rows = wires
        wired = self.wire(here)[union.adjacency.target[numbers]] * rows
        beside = torch.zeros_like(h).index_add(0, union.adjacency.source[numbers], wired)
        z, back = matrix_products(union.adjacency, o, self.ahead(here), self.back(g))
        size = z.square().mean(1, keepdim=True)
        z = torch.cat([z / (size + 1).sqrt(), (size + 1e-4).log()], dim=1)
        h = h + self.update(torch.cat([here, z, torch.tanh(beside), u[union.node_graph]], dim=1))
        g = g + back * self.factor(self.norm(h))
        return h, g, u + self.context(torch.cat([u, self.read(union, h, g, fixed)], dim=1))


class SiteReadout(nn.Module):
    """What a network's sites amount to: sums of states back times functions of states ahead, and means of states ahead
    where neurons are inputs or outputs.

    Args:
        channels: of all states.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.weigh = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, channels), nn.Tanh())
        self.site = nn.Linear(2 * channels, channels)

    def forward(self, union: Union, h: Tensor, g: Tensor, fixed: Tensor) -> Tensor:
        """One row per network, (G, C)."""
        sizes = union.node_segments.sizes
        count = sizes.clamp(min=1).to(h.dtype)[:, None]
        total = segment_mean(g * self.weigh(h), sizes) * count
        total = torch.asinh(total)
        ends = segment_mean(h * fixed, sizes)
        sites = torch.relu(self.site(torch.cat([total, ends], dim=1)))
        return mean_by(union.node_segments.graph, sites, union.num_models)


def matrix_products(adjacency: Adjacency, o: Tensor, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    """Sums of o * p[source] over the edges into each node, and of o * q[target] over those out of it.

    Shapes:
        o (E, C); p, q (N, C); results (N, C).
    """
    device = o.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else o.dtype
    with torch.autocast(device, enabled=False):
        ahead, back = _MatrixProducts.apply(adjacency, o.to(dtype), p.to(dtype), q.to(dtype))
    return ahead, back


class _MatrixProducts(torch.autograd.Function):
    """Backward written out: every gather and sum over a neighbourhood is one `embedding_bag`."""

    @staticmethod
    def forward(adjacency: Adjacency, o: Tensor, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
        """Sums of o * p[source] over incoming and of o * q[target] over outgoing edges."""
        ahead = over_incoming(adjacency, p.index_select(0, adjacency.source).mul_(o))
        back = over_outgoing(adjacency, q.index_select(0, adjacency.target).mul_(o))
        return ahead, back

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Keep what `backward` needs."""
        ctx.adjacency = inputs[0]
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_ahead: Tensor, grad_back: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients to o, p and q."""
        o, p, q = ctx.saved_tensors
        adjacency = ctx.adjacency
        onward = grad_ahead.index_select(0, adjacency.target)  # (E, C)
        grad_p = over_outgoing(adjacency, onward * o)
        grad_o = onward.mul_(p.index_select(0, adjacency.source))
        onward = grad_back.index_select(0, adjacency.source)
        grad_q = over_incoming(adjacency, onward * o)
        return None, grad_o.addcmul_(onward, q.index_select(0, adjacency.target)), grad_p, grad_q


def _mlp(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(_linear(inputs, outputs, gain=2**0.5), nn.ReLU(), _linear(outputs, outputs))


def _linear(inputs: int, outputs: int, *, gain: float = 1.0) -> nn.Linear:
    """A linear map that keeps sizes: several hops lie between a weight and what is read out."""
    linear = nn.Linear(inputs, outputs, bias=False)
    nn.init.normal_(linear.weight, std=gain * inputs**-0.5)
    return linear
