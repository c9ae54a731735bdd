"""What CoordinateGMN gives for a network: invariant numbers, vectors, positions and symmetric tensors.

Legend of shape comments: N nodes, G networks, C channels of nodes, V vector channels, K coefficients.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from weightspace.errors import ConfigurationError
from weightspace.metanets._coordinate_layers import CoordinateFeatures, bounded
from weightspace.metanets._message_passing import mean_by, segment_mean
from weightspace.metanets._union import Union

COLUMNS = {"scalar": 1, "vector": 3, "position": 3, "tensor": 9}


def check_outputs(outputs: Sequence[str]) -> tuple[str, ...]:
    """The kinds of outputs.

    Raises:
        ConfigurationError: none, or a kind that is not known.
    """
    kinds = (outputs,) if isinstance(outputs, str) else tuple(outputs)
    for kind in kinds or ("nothing",):
        if kind not in COLUMNS:
            raise ConfigurationError(
                f"CoordinateGMN: found output {kind!r}, wanted a sequence of {', '.join(COLUMNS)}, e.g. "
                "['scalar', 'position']"
            )
    return kinds


class CoordinateReadout(nn.Module):
    """Vectors and tensors of networks, and with them the outputs, from invariant coefficients.

    The vectors of a network are means over its sites of gated vectors of nodes, beside its own; its tensors are means
    of symmetrised outer products of vectors of nodes, and such products of its own vectors. An output is a sum over
    channels with coefficients that are invariant.

    Args:
        outputs: kinds of the outputs.
        channels: of nodes.
        vector_channels: of vectors.
    """

    def __init__(self, outputs: Sequence[str], channels: int, vector_channels: int):
        super().__init__()
        v = vector_channels
        self.outputs = tuple(outputs)
        self.vectors = any(kind in ("vector", "position") for kind in outputs)
        self.tensors = "tensor" in outputs
        self.sizes = [{"scalar": 1, "tensor": 2 * v + 1}.get(kind, 2 * v) for kind in outputs]
        self.norm = nn.LayerNorm(channels) if self.vectors or self.tensors else None
        if self.vectors:
            self.vector = nn.Linear(v, v, bias=False)
            self.vector_gate = nn.Linear(channels, v)
        if self.tensors:
            self.factors = nn.Linear(v, 2 * v, bias=False)
            self.tensor_gate = nn.Linear(channels, v)
            self.own_factors = nn.Linear(v, 2 * v, bias=False)

    def forward(self, union: Union, features: CoordinateFeatures, coefficients: Tensor, centre: Tensor) -> Tensor:
        """The outputs of each network side by side.

        Shapes:
            coefficients (G, K); centre (G, 3); result (G, columns).
        """
        if self.norm is not None:
            features = replace(features, x=self.norm(features.x), v=bounded(features.v), g=bounded(features.g))
        vectors = self._vectors(union, features) if self.vectors else None
        tensors = self._tensors(union, features) if self.tensors else None
        found = []
        for kind, part in zip(self.outputs, coefficients.split(self.sizes, dim=1), strict=True):
            if kind == "tensor" and tensors is not None:
                trace = part[:, -1:, None] * torch.eye(3, dtype=part.dtype, device=part.device)
                found.append((_summed(tensors, part[:, :-1]).unflatten(1, (3, 3)) + trace).flatten(1))
            elif vectors is not None and kind != "scalar":
                summed = _summed(vectors, part)
                found.append(summed + centre.to(summed.dtype) if kind == "position" else summed)
            else:
                found.append(part)
        return torch.cat(found, dim=1)

    def _vectors(self, union: Union, features: CoordinateFeatures) -> Tensor:
        """Vectors of networks, (G, 3, 2 V)."""
        gated = self.vector(features.v) * self.vector_gate(features.x)[:, None]
        return torch.cat([_over_sites(union, gated), features.g], dim=2)

    def _tensors(self, union: Union, features: CoordinateFeatures) -> Tensor:
        """Symmetric tensors of networks, (G, 9, 2 V)."""
        first, second = self.factors(features.v).chunk(2, dim=2)
        second = second * self.tensor_gate(features.x)[:, None]
        own = _products(*self.own_factors(features.g).chunk(2, dim=2))
        return torch.cat([_over_sites(union, _products(first, second)), own], dim=2)


def _over_sites(union: Union, values: Tensor) -> Tensor:
    """Mean over the nodes of each site, then over the sites of a network; (N, R, V) -> (G, R, V)."""
    means = segment_mean(values.flatten(1), union.node_segments.sizes)
    return mean_by(union.node_segments.graph, means, union.num_models).unflatten(1, values.shape[1:])


def _products(first: Tensor, second: Tensor) -> Tensor:
    """Symmetrised outer products, channel by channel; (N, 3, V) twice -> (N, 9, V)."""
    outer = first[:, :, None] * second[:, None]  # (N, 3, 3, V)
    return (0.5 * (outer + outer.transpose(1, 2))).flatten(1, 2)


def _summed(values: Tensor, coefficients: Tensor) -> Tensor:
    """Sum over channels with coefficients; (G, R, K), (G, K) -> (G, R)."""
    return (values * coefficients[:, None]).sum(2) / coefficients.shape[1] ** 0.5
