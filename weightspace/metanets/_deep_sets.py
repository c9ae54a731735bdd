"""DeepSets over parameters: a baseline that sees every entry, its role and its layer, and none of the wiring."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from weightspace.graph import ParameterGraph, Site
from weightspace.metanets._encoders import TapMatrices, family_values
from weightspace.metanets._input_scales import InputScales, as_input_scales
from weightspace.metanets._message_passing import mean_by, segment_mean
from weightspace.metanets._union import Family, Segments, Union, unite

_DEPTH_FEATURES = 4


class DeepSets(nn.Module):
    """A set function of a network's parameter entries: rho(mean of phi(entry, role and tap, depth)).

    Zaheer et al. 2017 (arXiv 1703.06114, theorem 2), with the set of all entries of a network, each with an encoding
    of its role, its tap and the relative depth of its layer. Deviation: the mean over each layer first, then over
    layers, and beside it the plain mean over all entries and the logarithm of their number, because a plain sum over
    sets of 700 to 7,000 entries does not train.

    Args:
        out_features: outputs per network.
        channels: hidden width.
        input_scales: what values are divided by, from `fit_input_scales`.

    Shapes:
        graphs of G networks in all -> (G, out_features), in the order graphs, then models.

    Example:
        >>> DeepSets(1, channels=8).config["channels"]
        8
    """

    def __init__(
        self, out_features: int, *, channels: int = 64, input_scales: InputScales | Mapping[str, Any] | None = None
    ):
        super().__init__()
        self._arguments = {"out_features": out_features, "channels": channels}
        self.input_scales = as_input_scales(input_scales)
        self.site_taps, self.block_taps = TapMatrices(channels), TapMatrices(channels)
        self.site_labels, self.block_labels = TapMatrices(channels), TapMatrices(channels)
        self.depth = nn.Linear(2 * _DEPTH_FEATURES, channels)
        self.entry = nn.Sequential(nn.ReLU(), nn.Linear(channels, channels), nn.ReLU())
        self.head = nn.Sequential(
            nn.Linear(4 * channels + 1, channels),
            nn.ReLU(),
            nn.Linear(channels, channels),
            nn.ReLU(),
            nn.Linear(channels, out_features),
        )

    @property
    def config(self) -> dict[str, Any]:
        """Constructor arguments as JSON values."""
        return {**self._arguments, "input_scales": self.input_scales.to_dict()}

    def forward(self, graphs: ParameterGraph | Sequence[ParameterGraph]) -> Tensor:
        """One row per network."""
        union = unite(graphs)
        pooled: list[Tensor] = []
        entries = self.depth.weight.new_zeros(union.num_models, 1)
        parts: list[tuple[Sequence[Family], Segments, TapMatrices, TapMatrices]] = [
            (union.node_families, union.node_segments, self.site_taps, self.site_labels),
            (union.edge_families, union.edge_segments, self.block_taps, self.block_labels),
        ]
        for families, segments, taps, labels in parts:
            rows, counts = (
                self._entries(union, families, taps(families), labels(families)) if families else self._nothing()
            )
            by_layer, by_entry, total = _pool(rows, counts, segments, union.num_models)
            pooled += [by_layer, by_entry]
            entries = entries + total
        return self.head(torch.cat([*pooled, entries.log1p()], dim=1))

    def _entries(
        self, union: Union, families: Sequence[Family], taps: Sequence[Tensor], labels: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Mean of phi over the entries of each row of the union, and their number."""
        rows, counts = [], []
        for family, tap, label in zip(families, taps, labels, strict=True):
            size, width = family.stop - family.start, len(tap)
            counts.append(tap.new_full((size, 1), width))
            if not width:
                rows.append(tap.new_zeros(size, tap.shape[1]))
                continue
            values = family_values(union, self.input_scales, family, tap.dtype)
            hidden = (
                values[:, :, None] * tap * width**0.5 + label * width**0.5 + self._depths(union, family)[:, None]
            )  # (rows, K, C)
            rows.append(self.entry(hidden).mean(1))
        return torch.cat(rows), torch.cat(counts)

    def _depths(self, union: Union, family: Family) -> Tensor:
        """Encoding of the relative depth of each row's layer, (rows, C)."""
        weight = self.depth.weight
        depths, sizes = [], []
        for g, j in family.members:
            graph = union.graphs[g]
            parts = graph.sites if isinstance(family.example, Site) else graph.blocks
            depths.append(j / max(1, len(parts) - 1))
            sizes.append(union.sizes[g] * parts[j].address.shape[0])
        steps = torch.arange(1, _DEPTH_FEATURES + 1, device=weight.device)
        angles = torch.tensor(depths, device=weight.device)[:, None] * steps * torch.pi
        encoded = self.depth(torch.cat([angles.sin(), angles.cos()], dim=1).to(weight.dtype))
        return encoded.repeat_interleave(torch.tensor(sizes, device=weight.device), dim=0)

    def _nothing(self) -> tuple[Tensor, Tensor]:
        weight = self.depth.weight
        return weight.new_zeros(0, weight.shape[0]), weight.new_zeros(0, 1)


def _pool(rows: Tensor, counts: Tensor, segments: Segments, models: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean over layers of means over entries, mean over entries, and number of entries; (G, C), (G, C), (G, 1)."""
    layers = segment_mean(rows, segments.sizes)
    per_layer = segment_mean(counts, segments.sizes) * segments.sizes[:, None]  # entries of each layer
    total = counts.new_zeros(models, 1).index_add(0, segments.graph, per_layer)
    by_entry = rows.new_zeros(models, rows.shape[1]).index_add(0, segments.graph, layers * per_layer) / total.clamp(
        min=1
    )
    return mean_by(segments.graph, layers, models), by_entry, total
