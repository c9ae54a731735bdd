"""The models of the tables: how each is built and trained.

Sizes are the library's defaults, which are the papers', where a label says nothing else. The recipe of GMN was chosen
on validation networks of the first table's zoo; the other learning rates were set without a search.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from experiments._budgeted_training import Recipe
from weightspace.graph import ParameterGraph
from weightspace.metanets import (
    GMN,
    UNF,
    DeepSets,
    FlattenedMLP,
    GMNEditor,
    InputScales,
    MatrixProductGMN,
    NetworkReader,
    NeuralGraphGNN,
    NeuralGraphGNNEditor,
    NeuralGraphTransformer,
    ProbeGen,
    ScaleGMN,
    ScaleGMNEditor,
    TracedNetwork,
    UNFEditor,
    input_shapes,
)


@dataclass(frozen=True)
class Setting:
    """What a model is built for.

    Args:
        outputs: per network.
        scales: of the training networks.
        networks: their architectures.
    """

    outputs: int
    scales: InputScales
    networks: Sequence[TracedNetwork]

    @property
    def entries(self) -> int:
        """Numbers of a network, of the first architecture."""
        return sum(spec.numel for spec in self.networks[0].space.parameters.values())

    @property
    def input_shape(self) -> list[int]:
        """Of an example input."""
        return input_shapes(self.networks)[0]

    @property
    def answers(self) -> int:
        """Numbers that a network gives for an example input."""
        network = self.networks[0]
        return network.module(*network.inputs)[0].numel()

    def probes(self, count: int) -> list[list[int]]:
        """So many inputs that are learned."""
        return [[count, *self.input_shape]]


@dataclass(frozen=True)
class Preset:
    """One row of a table.

    Args:
        label: for people.
        build: for a setting.
        recipe: of its training.
        one_architecture: whether it reads networks of one architecture only, or learns each by itself.
        scalings: whether it must know the positive scales and signs that keep a network's function.
    """

    label: str
    build: Callable[[Setting], nn.Module]
    recipe: Recipe = Recipe()
    one_architecture: bool = False
    scalings: bool = False


class EachGraphAlone(nn.Module):
    """Architectures that differ in their activation only, read one after the other by a model of their entries."""

    def __init__(self, metanet: nn.Module):
        super().__init__()
        self.metanet = metanet

    def forward(self, graphs: Sequence[ParameterGraph]) -> Tensor:
        return torch.cat([self.metanet(graph) for graph in graphs])


PRESETS = {
    "deep_sets": Preset("DeepSets over entries", lambda s: DeepSets(s.outputs, input_scales=s.scales)),
    "flattened_mlp": Preset(
        "Flattened MLP",
        lambda s: EachGraphAlone(FlattenedMLP(s.outputs, entries=s.entries, input_scales=s.scales)),
        Recipe(learning_rate=1e-3, weight_decay=0.1),
        one_architecture=True,
    ),
    "gmn": Preset("GMN", lambda s: GMN(s.outputs, input_scales=s.scales), Recipe(learning_rate=3e-3)),
    "gmn_small": Preset(
        "GMN, small (16 channels on edges)", lambda s: GMN(s.outputs, edge_channels=16, input_scales=s.scales)
    ),
    "ng_gnn": Preset("NG-GNN", lambda s: NeuralGraphGNN(s.outputs, input_scales=s.scales), Recipe(learning_rate=2e-3)),
    "ng_gnn_small": Preset(
        "NG-GNN, small (32 channels, 16 on edges)",
        lambda s: NeuralGraphGNN(s.outputs, channels=32, edge_channels=16, input_scales=s.scales),
    ),
    "ng_gnn_probes": Preset(
        "NG-GNN, small, 64 probes",
        lambda s: NeuralGraphGNN(s.outputs, channels=32, edge_channels=16, probes=s.probes(64), input_scales=s.scales),
        Recipe(learning_rate=2e-3),
    ),
    "ng_t": Preset(
        "NG-T", lambda s: NeuralGraphTransformer(s.outputs, input_scales=s.scales), Recipe(learning_rate=1e-3)
    ),
    "unf": Preset(
        "UNF (on an MLP DWSNets, on a CNN NFN)",
        lambda s: UNF(s.outputs, input_scales=s.scales),
        Recipe(learning_rate=2e-3, batch_size=16),
        one_architecture=True,
    ),
    "scale_gmn": Preset(
        "ScaleGMN-B",
        lambda s: ScaleGMN(s.outputs, input_scales=s.scales),
        Recipe(learning_rate=2e-3),
        scalings=True,
    ),
    "scale_gmn_small": Preset(
        "ScaleGMN-B, small (64 channels, 16 on edges)",
        lambda s: ScaleGMN(s.outputs, channels=64, edge_channels=16, input_scales=s.scales),
        scalings=True,
    ),
    "matrix_product_gmn": Preset(
        "Matrix-product GMN",
        lambda s: MatrixProductGMN(s.outputs, input_scales=s.scales),
        Recipe(learning_rate=2e-3),
    ),
    "matrix_product_gmn_small": Preset(
        "Matrix-product GMN, small (32 channels)",
        lambda s: MatrixProductGMN(s.outputs, channels=32, input_scales=s.scales),
    ),
    "probe_gen": Preset(
        "ProbeGen",
        lambda s: ProbeGen(s.outputs, input_shape=s.input_shape, outputs=s.answers),
        Recipe(learning_rate=1e-3, batch_size=64),
    ),
    "probe_gen_small": Preset(
        "ProbeGen, small (16 probes)",
        lambda s: ProbeGen(s.outputs, input_shape=s.input_shape, outputs=s.answers, probes=16, width=8),
        Recipe(learning_rate=2e-3),
    ),
}

EDITORS = {
    "gmn_small": Preset(
        "GMN, small (16 channels on edges)",
        lambda s: GMNEditor(edge_channels=16, gain=0.01, input_scales=s.scales),
    ),
    "gmn": Preset("GMN", lambda s: GMNEditor(gain=0.01, input_scales=s.scales), Recipe(learning_rate=3e-3)),
    "ng_gnn": Preset("NG-GNN", lambda s: NeuralGraphGNNEditor(input_scales=s.scales), Recipe(learning_rate=2e-3)),
    "unf": Preset(
        "UNF (on an MLP DWSNets)", lambda s: UNFEditor(gain=0.01, input_scales=s.scales), Recipe(learning_rate=2e-3)
    ),
    "scale_gmn_small": Preset(
        "ScaleGMN-B, small (64 channels, 16 on edges, 4 layers)",
        lambda s: ScaleGMNEditor(channels=64, edge_channels=16, layers=4, gain=0.01, input_scales=s.scales),
        scalings=True,
    ),
}


def build(preset: Preset, setting: Setting) -> nn.Module:
    """The model of a preset, told of the architectures where it must know them."""
    metanet = preset.build(setting)
    attach(metanet, preset, setting.networks)
    return metanet


def attach(metanet: nn.Module, preset: Preset, networks: Sequence[TracedNetwork]) -> None:
    """Tell a model of architectures, where it must know them."""
    if isinstance(metanet, NetworkReader):
        metanet.attach([_with_scalings(network) for network in networks] if preset.scalings else networks)


def _with_scalings(network: TracedNetwork) -> TracedNetwork:
    """The same network, traced for scales and signs as well."""
    return replace(network, space=replace(network.space, symmetries=("permutation", "scale", "sign")))
