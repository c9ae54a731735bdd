"""The plainest baseline: an MLP of all entries in the order of their addresses."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from weightspace.errors import WeightspaceError
from weightspace.graph import EdgeBlock, ParameterGraph, Site
from weightspace.metanets._entry_values import scaled_entries
from weightspace.metanets._input_scales import InputScales, as_input_scales
from weightspace.metanets._networks import TracedNetwork, listed
from weightspace.metanets._union import as_graphs


class FlattenedMLP(nn.Module):
    """An MLP of the weights as one vector: the baseline that knows nothing of symmetry.

    All floating entries in address order, divided by their `input_scales`, through an MLP with ReLU, as in the
    baselines of Navon et al. 2023 (arXiv 2301.12780, section 7). It is not invariant: another order of the hidden
    neurons is another input. It serves one architecture.

    Args:
        out_features: outputs per network.
        entries: floating entries of a network of the architecture, the sum of `spec.numel` over `space.parameters`.
        channels: hidden width.
        layers: linear maps.
        input_scales: what values are divided by, from `fit_input_scales`.

    Shapes:
        graphs of G networks in all -> (G, out_features), in the order graphs, then models.

    Example:
        >>> FlattenedMLP(1, entries=4970).config["layers"]
        4
    """

    def __init__(
        self,
        out_features: int,
        *,
        entries: int,
        channels: int = 256,
        layers: int = 4,
        input_scales: InputScales | Mapping[str, Any] | None = None,
    ):
        super().__init__()
        self._arguments = {"out_features": out_features, "entries": entries, "channels": channels, "layers": layers}
        self.input_scales = as_input_scales(input_scales)
        self.signature: str | None = None
        self.entries = entries
        sizes = [entries, *[channels] * (layers - 1), out_features]
        maps = [nn.Linear(a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True)]
        self.maps = nn.Sequential(*[part for linear in maps for part in (linear, nn.ReLU())][:-1])

    @property
    def config(self) -> dict[str, Any]:
        """Constructor arguments as JSON values."""
        return {**self._arguments, "input_scales": self.input_scales.to_dict()}

    def attach(self, networks: Mapping[str, TracedNetwork] | Iterable[TracedNetwork]) -> None:
        """Fix the architecture; see `NetworkReader`. Without, any architecture with the right number of entries goes.

        Raises:
            WeightspaceError: more than one architecture, or one with another number of entries.
        """
        for signature, network in listed(networks, owner="FlattenedMLP"):
            self._check([self.signature or signature, signature])
            entries = sum(spec.numel for spec in network.space.parameters.values())
            self._check_entries(entries, signature)
            self.signature = signature

    def forward(self, graphs: ParameterGraph | Sequence[ParameterGraph]) -> Tensor:
        """One row per network.

        Raises:
            WeightspaceError: several architectures, or one with another number of entries.
        """
        graphs = as_graphs(graphs)
        self._check([graph.signature for graph in graphs] + ([self.signature] if self.signature else []))
        return self.maps(torch.cat([self._flat(graph) for graph in graphs]))

    def _flat(self, graph: ParameterGraph) -> Tensor:
        """Scaled entries in address order, (B, entries)."""
        everything: list[Site | EdgeBlock] = [*graph.sites, *graph.blocks]
        found = 1 + max(int(part.address.max()) for part in everything if part.address.numel())
        self._check_entries(found, graph.signature)
        return scaled_entries(graph, self.input_scales, self.entries, next(self.parameters()).dtype)

    def _check(self, signatures: Sequence[str]) -> None:
        different = sorted(set(signatures))
        if len(different) > 1:
            raise WeightspaceError(
                f"FlattenedMLP: found {len(different)} architectures ({', '.join(s[:12] for s in different[:3])}), "
                "wanted one: its inputs are entries by position; take a metanet that reads graphs for a zoo of several"
            )

    def _check_entries(self, entries: int, signature: str) -> None:
        if entries != self.entries:
            raise WeightspaceError(
                f"FlattenedMLP: architecture {signature[:12]} has {entries} floating entries, wanted {self.entries}; "
                "make one FlattenedMLP(entries=...) for each architecture"
            )
