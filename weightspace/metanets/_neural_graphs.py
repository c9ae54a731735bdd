"""What the two networks of Neural Graphs share: features of nodes with probes, and of a network from its outputs."""

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from weightspace.errors import ConfigurationError
from weightspace.metanets._encoders import EdgeEncoder, NodeEncoder
from weightspace.metanets._input_scales import InputScales
from weightspace.metanets._message_passing import mean_by
from weightspace.metanets._networks import TracedNetwork, listed
from weightspace.metanets._probes import ProbeFeatures
from weightspace.metanets._readout import AbstractTrunk
from weightspace.metanets._union import Union
from weightspace.vocabulary import split_node_type


class AbstractNeuralGraphTrunk(AbstractTrunk):
    """A trunk that starts from encoded numbers and, where wanted, from responses to probes.

    Args:
        channels: of nodes.
        edge_channels: of edges.
        owner: the metanet's class, for messages.
        probes: shapes of the stacks of learned inputs, one for each shape of input.
    """

    def __init__(self, channels: int, edge_channels: int, *, owner: str, probes: Sequence[Sequence[int]]):
        super().__init__(channels, edge_channels)
        self.owner = owner
        self.nodes, self.edges = NodeEncoder(channels), EdgeEncoder(edge_channels)
        self.probes = ProbeFeatures(channels, probes, owner=owner) if probes else None

    def attach(self, networks: Mapping[str, TracedNetwork] | Iterable[TracedNetwork]) -> None:
        """Make architectures known, which only probes need."""
        if self.probes is None:
            listed(networks, owner=self.owner)
        else:
            self.probes.attach(networks)

    def set_execution(self, *, compiled: bool, checkpointed: bool) -> None:
        """Layers can be checkpointed, but not compiled: their passes over the edges are written out run by run.

        Raises:
            ConfigurationError: `compiled`.
        """
        if compiled:
            raise ConfigurationError(
                f"set_execution: found compiled=True for {self.owner}, wanted False: its layers work through the edges "
                "in runs, which torch.compile would unroll; checkpointed=True works"
            )
        super().set_execution(compiled=False, checkpointed=checkpointed)

    def start(self, union: Union, scales: InputScales) -> tuple[Tensor, Tensor]:
        """First node (N, C) and edge (E, C_e) features."""
        x, e = self.nodes(union, scales), self.edges(union, scales)
        return (x if self.probes is None else x + self.probes(union)), e


class AbstractNeuralGraph(nn.Module):
    """A predictor or editor on such a trunk, which learns of architectures by it."""

    trunk: AbstractTrunk

    def attach(self, networks: Mapping[str, TracedNetwork] | Iterable[TracedNetwork]) -> None:
        """Make architectures known that probes run through; see `NetworkReader`."""
        cast(AbstractNeuralGraphTrunk, self.trunk).attach(networks)


def mean_of_outputs(union: Union, x: Tensor) -> Tensor:
    """Mean over the nodes that are outputs of each network; 0 for a network that marks none.

    Shapes:
        x (N, C); result (G, C).
    """
    families = [f for f in union.node_families if "output" in split_node_type(f.example.node_type)[1]]
    if not families:
        return x.new_zeros(union.num_models, x.shape[1])
    rows = torch.cat([torch.arange(family.start, family.stop, device=x.device) for family in families])
    return mean_by(union.node_graph[rows], x[rows], union.num_models)
