"""Scales of the input values: the spread of each parameter over the networks that a metanet is trained on."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from weightspace.errors import ConfigurationError
from weightspace.graph import EdgeBlock, ParameterGraph, Site


@dataclass(frozen=True)
class InputScales:
    """What a metanet divides its input values by: per parameter role and layer, and per role for architectures it has
    not seen.

    The scale is the root mean square, and nothing is subtracted, so that signs survive. (Metanets that read SIREN
    weights undivided stay near chance.) A role that was never seen, and one that was always zero, has scale 1.

    Args:
        per_layer: signature -> name of the site or block and role, joined by a slash -> scale.
        per_role: role -> scale.

    Example:
        >>> scales = InputScales(per_role={"weight": 0.5})
        >>> scales.of("unseen", "layer", "weight"), scales.of("unseen", "layer", "bias")
        (0.5, 1.0)
    """

    per_layer: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    per_role: Mapping[str, float] = field(default_factory=dict)

    def of(self, signature: str, name: str, role: str) -> float:
        """Scale of the values with this role at a site or block of an architecture."""
        found = self.per_layer.get(signature, {}).get(f"{name}/{role}")
        return self.per_role.get(role, 1.0) if found is None else found

    def divisors(self, graph: ParameterGraph, part: Site | EdgeBlock) -> Tensor | float:
        """Divisor of a part's values: one number for a block, one per number of a site."""
        if isinstance(part, EdgeBlock):
            return self.of(graph.signature, part.name, part.role)
        return part.x.new_tensor([self.of(graph.signature, part.name, role) for role in part.roles])

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "per_layer": {key: dict(value) for key, value in self.per_layer.items()},
            "per_role": dict(self.per_role),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "InputScales":
        """Back from JSON values.

        Raises:
            ConfigurationError: an unknown key.
        """
        unknown = sorted(set(values) - {"per_layer", "per_role"})
        if unknown:
            raise ConfigurationError(
                f"input scales: found unknown key {unknown[0]!r}, wanted per_layer and per_role only; remove it"
            )
        return cls(**values)


BUFFER_ROLES = frozenset({"running_mean", "running_var", "buffer"})
"""Roles of entries that an edit leaves alone unless asked: a variance must not become negative."""


def edit_sizes(scales: InputScales, graph: ParameterGraph, part: Site | EdgeBlock, *, buffers: bool) -> Tensor | float:
    """What an edit of a part's values is multiplied with: their scales; 0 for buffers unless they are edited, too."""
    sizes = scales.divisors(graph, part)
    roles = (part.role,) if isinstance(part, EdgeBlock) else part.roles
    if buffers or not BUFFER_ROLES.intersection(roles):
        return sizes
    if isinstance(part, EdgeBlock):
        return 0.0
    return sizes * part.x.new_tensor([float(role not in BUFFER_ROLES) for role in roles])


def fit_input_scales(graphs: Iterable[ParameterGraph]) -> InputScales:
    """Root mean square of the values per role and layer, and per role, over networks.

    Args:
        graphs: the training networks, batched or not, any architectures; read one at a time.

    Example:
        >>> fit_input_scales([]).per_role
        {}
    """
    layers: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(lambda: [0.0, 0.0]))
    roles: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for graph in graphs:
        for name, role, squares, count in _squares(graph):
            for total in (layers[graph.signature][f"{name}/{role}"], roles[role]):
                total[0] += squares
                total[1] += count
    return InputScales(
        {signature: {key: _root(total) for key, total in layer.items()} for signature, layer in layers.items()},
        {role: _root(total) for role, total in roles.items()},
    )


def _squares(graph: ParameterGraph) -> Iterable[tuple[str, str, float, int]]:
    for block in graph.blocks:
        if block.role:
            values = block.edge_attr.detach()
            yield block.name, block.role, values.double().square().sum().item(), values.numel()
    for site in graph.sites:
        squares = site.x.detach().double().square().flatten(0, -2).sum(0)
        rows = site.x.numel() // max(1, len(site.roles))
        for role, value in zip(site.roles, squares.tolist(), strict=True):
            yield site.name, role, value, rows


def _root(total: list[float]) -> float:
    squares, count = total
    return (squares / count) ** 0.5 if squares > 0 else 1.0


def as_input_scales(scales: "InputScales | Mapping[str, Any] | None") -> InputScales:
    """Input scales from themselves, from JSON values, or none (all 1)."""
    if isinstance(scales, InputScales):
        return scales
    return InputScales() if scales is None else InputScales.from_dict(scales)


def scaled_values(scales: InputScales, graph: ParameterGraph, part: Site | EdgeBlock, dtype: torch.dtype) -> Tensor:
    """A part's values divided by their scales, models and elements in one leading dimension.

    Shapes:
        result (B n, K) of a site, (B E, K) of a block.
    """
    values = part.x if isinstance(part, Site) else part.edge_attr
    return (values / scales.divisors(graph, part)).to(dtype).flatten(0, -2)
