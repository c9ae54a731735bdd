"""The models of the tables: how each is built and trained. Sizes are the papers' where a name says nothing else.

Learning rates and batch sizes were chosen on validation networks.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import nn

from experiments._budgeted_training import Recipe
from weightspace.metanets import GMN, UNF, DeepSets, InputScales, NetworkReader, TracedNetwork

Builder = Callable[[int, InputScales], nn.Module]


@dataclass(frozen=True)
class Preset:
    """One row of a table.

    Args:
        label: for people.
        build: from number of outputs and input scales.
        recipe: of its training.
    """

    label: str
    build: Builder
    recipe: Recipe = Recipe()


PRESETS = {
    "gmn_small": Preset(
        "GMN, small (64 channels, 16 on edges, 4 layers)",
        lambda outputs, scales: GMN(outputs, channels=64, edge_channels=16, layers=4, input_scales=scales),
    ),
    "gmn": Preset("GMN", lambda outputs, scales: GMN(outputs, input_scales=scales), Recipe(learning_rate=2e-3)),
    "unf": Preset("UNF (on one CNN: NFN's layers)", lambda outputs, scales: UNF(outputs, input_scales=scales)),
    "deep_sets": Preset("DeepSets", lambda outputs, scales: DeepSets(outputs, input_scales=scales)),
}


def build(name: str, outputs: int, scales: InputScales, networks: Iterable[TracedNetwork]) -> nn.Module:
    """The model of a preset, told of the architectures where it must know them."""
    metanet = PRESETS[name].build(outputs, scales)
    if isinstance(metanet, NetworkReader):
        metanet.attach(networks)
    return metanet
