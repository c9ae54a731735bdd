"""From the features of nodes, edges and networks to one row per network, or to edited networks.

A metanet of the message-passing kind is a trunk, which gives every node, edge and network of a batch a feature vector,
and one of the two readouts below. Each paper's file builds its own trunk.

Legend of shape comments: N nodes, E edges, G networks, C channels of nodes, C_e channels of edges, K taps.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from weightspace.errors import ConfigurationError
from weightspace.graph import ParameterGraph, Site
from weightspace.metanets._encoders import TapMatrices
from weightspace.metanets._input_scales import InputScales, as_input_scales, edit_sizes
from weightspace.metanets._message_passing import mean_by, segment_mean
from weightspace.metanets._union import Family, Union, unite


class AbstractTrunk(nn.Module):
    """Features of the nodes, the edges and the networks of a batch, equivariant under relabelling.

    Args:
        channels: C, of nodes and of networks.
        edge_channels: C_e, of edges.
    """

    def __init__(self, channels: int, edge_channels: int):
        super().__init__()
        self.channels, self.edge_channels = channels, edge_channels
        self.checkpointed = False
        self._apply_layer: Callable[..., Any] = _apply

    def run(self, layer: nn.Module, *inputs: Any) -> Any:
        """What a layer makes of its inputs, in the way that `set_execution` chose."""
        if self.checkpointed and torch.is_grad_enabled():
            return checkpoint(self._apply_layer, layer, *inputs, use_reentrant=False)
        return self._apply_layer(layer, *inputs)

    def set_execution(self, *, compiled: bool, checkpointed: bool) -> None:
        """How layers are run, see the function of this name."""
        self.checkpointed = checkpointed
        self._apply_layer = torch.compile(_apply, dynamic=True) if compiled else _apply

    @abstractmethod
    def forward(self, union: Union, scales: InputScales) -> tuple[Tensor, Tensor, Tensor]:
        """Node (N, C), edge (E, C_e) and network (G, C) features, rows as in `Union`."""


def _apply(layer: nn.Module, *inputs: Any) -> Any:
    return layer(*inputs)


def set_execution(metanet: nn.Module, *, compiled: bool = False, checkpointed: bool = False) -> nn.Module:
    """Choose how the layers of a message-passing metanet are run; its function, its weights and its files stay.

    Args:
        metanet: is returned.
        compiled: by `torch.compile`, one code for all layers and all sizes of batches; compiling takes a minute or so
            at the first batch, afterwards a step of GMN is about a tenth faster on a CPU.
        checkpointed: keep only what goes from layer to layer, and compute the rest again on the way back. The peak of a
            step is that of one layer and the encoders then: with three layers a tenth lower, for a fifth more time.

    Raises:
        ConfigurationError: a metanet that passes no messages.

    Example:
        >>> from weightspace.metanets import GMN
        >>> set_execution(GMN(1, channels=8, layers=2), checkpointed=True).trunk.checkpointed
        True
    """
    trunks = [module for module in metanet.modules() if isinstance(module, AbstractTrunk)]
    if not trunks:
        raise ConfigurationError(
            f"set_execution: {type(metanet).__name__} passes no messages; wanted GMN or another metanet with a trunk"
        )
    for trunk in trunks:
        trunk.set_execution(compiled=compiled, checkpointed=checkpointed)
    return metanet


class AbstractPredictor(nn.Module):
    """A trunk and a readout with one row per network, invariant under relabelling.

    Mean and standard deviation over every site and block, then the mean over the sites and over the blocks of a
    network, beside the network's own feature, behind two linear maps.

    Args:
        trunk: gives the features.
        out_features: outputs per network.
        arguments: of the model's constructor, JSON values.
        input_scales: what values are divided by, from `fit_input_scales`.

    Shapes:
        graphs of G networks in all -> (G, out_features), in the order graphs, then models.
    """

    def __init__(
        self,
        trunk: AbstractTrunk,
        out_features: int,
        *,
        arguments: Mapping[str, Any],
        input_scales: InputScales | Mapping[str, Any] | None,
    ):
        super().__init__()
        self._arguments = {"out_features": out_features, **arguments}
        self.input_scales = as_input_scales(input_scales)
        channels, edge_channels = trunk.channels, trunk.edge_channels
        self.trunk = trunk
        self.site = nn.Linear(2 * channels, channels)
        self.block = nn.Linear(2 * edge_channels, channels)
        self.head = nn.Sequential(nn.Linear(3 * channels, channels), nn.ReLU(), nn.Linear(channels, out_features))

    @property
    def config(self) -> dict[str, Any]:
        """Constructor arguments as JSON values."""
        return {**self._arguments, "input_scales": self.input_scales.to_dict()}

    def forward(self, graphs: ParameterGraph | Sequence[ParameterGraph]) -> Tensor:
        """One row per network."""
        union = unite(graphs)
        return self.read(union, *self.trunk(union, self.input_scales))

    def read(self, union: Union, x: Tensor, e: Tensor, u: Tensor) -> Tensor:
        """One row per network, of the trunk's features."""
        sites = torch.relu(self.site(moments(x, union.node_segments.sizes)))
        blocks = torch.relu(self.block(moments(e, union.edge_segments.sizes)))
        sites = mean_by(union.node_segments.graph, sites, union.num_models)
        blocks = mean_by(union.edge_segments.graph, blocks, union.num_models)
        return self.head(torch.cat([sites, blocks, u], dim=1))


class AbstractEditor(nn.Module):
    """A trunk and a readout per entry: the same networks with a number of its own added to every entry, equivariant
    under relabelling.

    The new value is value + gain * scale * (features . row of the entry's role and tap), with the scale from
    `input_scales`. Entries of equal address (tied weights) get edits of their own; `space.to_state_dict(graph,
    tied="mean")` averages them. Running statistics stay as they are unless `edit_buffers`.

    Args:
        trunk: gives the features.
        gain: initial size of an edit, in units of the input scale.
        edit_buffers: whether running statistics are edited, too.
        arguments: of the model's constructor, JSON values.
        input_scales: what values are divided by, from `fit_input_scales`.
    """

    def __init__(
        self,
        trunk: AbstractTrunk,
        *,
        gain: float,
        edit_buffers: bool,
        arguments: Mapping[str, Any],
        input_scales: InputScales | Mapping[str, Any] | None,
    ):
        super().__init__()
        self._arguments = {"gain": gain, "edit_buffers": edit_buffers, **arguments}
        self.edit_buffers = edit_buffers
        self.input_scales = as_input_scales(input_scales)
        self.trunk = trunk
        self.sites, self.blocks = TapMatrices(trunk.channels), TapMatrices(trunk.edge_channels)
        self.gain = nn.Parameter(torch.tensor(gain))

    @property
    def config(self) -> dict[str, Any]:
        """Constructor arguments as JSON values."""
        return {**self._arguments, "input_scales": self.input_scales.to_dict()}

    def forward(self, graphs: ParameterGraph | Sequence[ParameterGraph]) -> ParameterGraph | list[ParameterGraph]:
        """Edited graphs, in the form of the input: one graph, or a list."""
        union = unite(graphs)
        x, e, _ = self.trunk(union, self.input_scales)
        sites = self._edits(union, union.node_families, x, self.sites)
        blocks = self._edits(union, union.edge_families, e, self.blocks)
        edited = edited_parts(union, sites, blocks)
        return edited[0] if isinstance(graphs, ParameterGraph) else edited

    def _edits(
        self, union: Union, families: Sequence[Family], features: Tensor, taps: TapMatrices
    ) -> dict[tuple[int, int], Tensor]:
        """What is added to the values of each site (block), by graph and site; (B n, K)."""
        edits = {}
        for family, matrix in zip(families, taps(families) if families else [], strict=True):
            rows = features[family.start : family.stop] @ (matrix.t() * self.gain / matrix.shape[1] ** 0.5)  # (rows, K)
            parts = [
                (union.graphs[g].sites if isinstance(family.example, Site) else union.graphs[g].blocks)[j]
                for g, j in family.members
            ]
            sizes = [union.sizes[g] * part.address.shape[0] for (g, _), part in zip(family.members, parts, strict=True)]
            for (g, j), part, piece in zip(family.members, parts, rows.split(sizes), strict=True):
                sizes_of = edit_sizes(self.input_scales, union.graphs[g], part, buffers=self.edit_buffers)
                edits[g, j] = piece * sizes_of
        return edits


def edited_parts(
    union: Union, sites: Mapping[tuple[int, int], Tensor], blocks: Mapping[tuple[int, int], Tensor]
) -> list[ParameterGraph]:
    """The graphs of a batch with something added to the values of each site and block.

    Args:
        union: of the batch.
        sites: what is added, by numbers of graph and site; (B n, K) each.
        blocks: likewise of blocks; (B E, K) each.
    """
    edited = []
    for g, graph in enumerate(union.graphs):
        new_x = [site.x + sites[g, j].view_as(site.x).to(site.x.dtype) for j, site in enumerate(graph.sites)]
        new_e = [
            block.edge_attr + blocks[g, j].view_as(block.edge_attr).to(block.edge_attr.dtype)
            for j, block in enumerate(graph.blocks)
        ]
        edited.append(graph.replace(x=new_x, edge_attr=new_e))
    return edited


def moments(values: Tensor, sizes: Tensor) -> Tensor:
    """Mean and standard deviation over runs of consecutive rows.

    Shapes:
        values (rows, C); sizes (runs,), summing to rows; result (runs, 2 C).
    """
    mean = segment_mean(values, sizes)
    variance = segment_mean(values.square(), sizes) - mean.square()
    return torch.cat([mean, variance.clamp(min=1e-6).sqrt()], dim=1)
