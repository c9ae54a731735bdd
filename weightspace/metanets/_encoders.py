"""From the numbers and labels of a parameter graph to node and edge features, and from edge features back to numbers.

Values (and two functions of each) reach the features through one matrix per family of blocks, which small networks
make from the role and the position of each tap; so kernels of any size, and architectures never seen, share weights.
Nothing here knows a parameter's name, a layer's number or which neuron of a permutable site it looks at.

Legend of shape comments: N nodes, E edges, C channels, K taps, T families.
"""

from collections.abc import Hashable, Mapping, Sequence
from math import isfinite
from typing import Any
from zlib import crc32

import torch
from torch import Tensor, nn

from weightspace.graph import TAP_FEATURES, EdgeBlock, Site
from weightspace.metanets._input_scales import InputScales, scaled_values
from weightspace.metanets._union import Family, Union
from weightspace.vocabulary import (
    EDGE_TYPES,
    FUNCTIONS,
    NODE_KINDS,
    ROLES,
    edge_type_id,
    function_ids,
    node_kind_id,
    role_id,
)

_TAP_FREQUENCIES = (0.5, 1.5, 4.5)
_INDEX_FREQUENCIES = 8
_ATTRIBUTE_FEATURES = 32
_VALUE_FEATURES = 3


class TapMatrices(nn.Module):
    """One matrix per family, a row per tap, from the tap's role and position.

    Args:
        channels: columns C of each matrix.
        hidden: width of the small network.
    """

    def __init__(self, channels: int, hidden: int = 32):
        super().__init__()
        self.role = nn.Embedding(len(ROLES), hidden)
        positions = (TAP_FEATURES - 1) * (1 + 2 * len(_TAP_FREQUENCIES)) + 3
        self.position = nn.Linear(positions, hidden)
        self.matrix = nn.Linear(hidden, channels)
        nn.init.normal_(self.matrix.weight, std=hidden**-0.5)

    def forward(self, families: Sequence[Family]) -> list[Tensor]:
        """Matrices (K, C) of the families, divided by sqrt(K)."""
        taps = [_taps(family.example) for family in families]
        counts = [len(roles) for roles, _ in taps]
        weight = self.position.weight
        roles = torch.tensor(
            [role_id(role) for roles, _ in taps for role in roles], dtype=torch.long, device=weight.device
        )
        positions = torch.cat([_tap_features(position) for _, position in taps]).to(weight)
        rows = self.matrix(torch.relu(self.role(roles) + self.position(positions)))  # (sum K, C)
        return [matrix / max(1, len(matrix)) ** 0.5 for matrix in rows.split(counts)]


class EdgeLabels(nn.Module):
    """A vector for the type and the attributes of the edges of each family.

    Args:
        channels: edge channels C.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.relation = nn.Embedding(len(EDGE_TYPES), channels)
        self.attributes = nn.Linear(_ATTRIBUTE_FEATURES, channels, bias=False)

    def forward(self, families: Sequence[Family[EdgeBlock]]) -> Tensor:
        """Vectors of the families, (T, C)."""
        weight = self.relation.weight
        kinds = torch.tensor([edge_type_id(family.example.edge_type) for family in families], device=weight.device)
        features = torch.stack([attribute_features(family.example.attributes) for family in families])
        return self.relation(kinds) + self.attributes(features.to(weight))


class EdgeEncoder(nn.Module):
    """Edge features: values at taps times the family's matrix, plus edge type and attributes.

    Args:
        channels: edge channels C.

    Shapes:
        result (E, C), rows as in `Union`.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.taps = TapMatrices(channels * _VALUE_FEATURES)
        self.relation = nn.Embedding(len(EDGE_TYPES), channels)
        self.attributes = nn.Linear(_ATTRIBUTE_FEATURES, channels, bias=False)

    def forward(self, union: Union, scales: InputScales) -> Tensor:
        """Features of all edges."""
        families = union.edge_families
        if not families:
            return self.attributes.weight.new_zeros(0, self.attributes.out_features)
        kinds, features = zip(*(_edge_labels(family.example) for family in families), strict=True)
        weight = self.relation.weight
        label = self.relation(torch.tensor(kinds, device=weight.device)) + self.attributes(
            torch.stack(features).to(weight)
        )  # (T, C)
        return _encode(union, scales, families, self.taps(families), label)


class NodeEncoder(nn.Module):
    """Node features: values, kind, functions, attributes, degrees, and the position of nodes on fixed axes.

    Args:
        channels: node channels C.
        degrees: whether nodes know their degrees, and so the widths of the layers around them.

    Shapes:
        result (N, C), rows as in `Union`.
    """

    def __init__(self, channels: int, *, degrees: bool = True):
        super().__init__()
        self.taps = TapMatrices(channels * _VALUE_FEATURES)
        self.kind = nn.Embedding(len(NODE_KINDS), channels)
        self.function = nn.Embedding(len(FUNCTIONS), channels)
        self.attributes = nn.Linear(_ATTRIBUTE_FEATURES, channels, bias=False)
        self.index = nn.Linear(2 * _INDEX_FREQUENCIES, channels, bias=False)
        self.degree = nn.Linear(2, channels, bias=False) if degrees else None

    def forward(self, union: Union, scales: InputScales) -> Tensor:
        """Features of all nodes."""
        families = union.node_families
        weight = self.kind.weight
        kinds = torch.tensor([node_kind_id(f.example.node_type) for f in families], device=weight.device)
        features = torch.stack([_text_features(f.example.node_type) for f in families]).to(weight)
        label = self.kind(kinds) + self.attributes(features) + self._functions(families)  # (T, C)
        x = _encode(union, scales, families, self.taps(families), label)
        x = x + self.index(index_features(union.index).to(x.dtype))
        if self.degree is None:
            return x
        adjacency = union.adjacency
        degrees = torch.stack([adjacency.out_degree, adjacency.in_degree], 1).to(x.dtype).log1p()
        return x + self.degree(degrees)

    def _functions(self, families: Sequence[Family]) -> Tensor:
        """Sum of the functions' vectors, each rotated by its place, so that order counts; (T, C)."""
        ids = [function_ids(family.example.node_type) for family in families]
        rows = []
        for functions in ids:
            vectors = [self.function.weight[number].roll(place) for place, number in enumerate(functions)]
            rows.append(torch.stack(vectors).sum(0) if vectors else torch.zeros_like(self.function.weight[0]))
        return torch.stack(rows)


def _encode(
    union: Union, scales: InputScales, families: Sequence[Family], matrices: Sequence[Tensor], label: Tensor
) -> Tensor:
    encoded = []
    for family, matrix, row in zip(families, matrices, label, strict=True):
        if len(matrix):
            features = value_features(family_values(union, scales, family, matrix.dtype))
            encoded.append(torch.addmm(row, features, matrix.reshape(-1, len(row))))
        else:
            encoded.append(row.expand(family.stop - family.start, -1))
    return torch.cat(encoded)


def value_features(values: Tensor) -> Tensor:
    """A value, the same with large values drawn in, and the logarithm of its size; (rows, K) -> (rows, K * 3).

    Sums over neurons of a linear encoding see nothing of a layer but its mean; these see its scale and its tails, too.
    """
    size = (values.abs() + 0.01).log() / 2 + 0.5
    return torch.stack([values, torch.asinh(5 * values), size], dim=-1).flatten(1)


def family_values(union: Union, scales: InputScales, family: Family, dtype: torch.dtype) -> Tensor:
    """The scaled values of a family, one row per row of the union; shape (rows, K)."""
    values = []
    for g, j in family.members:
        graph = union.graphs[g]
        part = graph.sites[j] if isinstance(family.example, Site) else graph.blocks[j]
        values.append(scaled_values(scales, graph, part, dtype))
    return torch.cat(values)


def _taps(example: Site | EdgeBlock) -> tuple[tuple[str, ...], Tensor]:
    if isinstance(example, Site):
        return example.roles, example.tap_position
    return (example.role,) * example.tap_position.shape[0], example.tap_position


def _tap_features(position: Tensor) -> Tensor:
    """Offsets, their sines and cosines, and which kind of tap it is; (K, 4) -> (K, F)."""
    offsets, kind = position[:, :-1].float(), position[:, -1:]
    waves = [wave(offsets * f) for f in _TAP_FREQUENCIES for wave in (torch.sin, torch.cos)]
    kinds = (kind == torch.arange(3, device=kind.device)).float()
    return torch.cat([offsets, *waves, kinds], dim=1)


def index_features(index: Tensor) -> Tensor:
    """Sines and cosines of the position of nodes on fixed axes, zeros on all others; (N,) -> (N, F)."""
    steps = torch.arange(_INDEX_FREQUENCIES, device=index.device)
    angles = index[:, None] * 1000.0 ** (-steps / _INDEX_FREQUENCIES)
    return torch.cat([angles.sin(), angles.cos()], dim=1) * (index >= 0)[:, None]


def _edge_labels(block: EdgeBlock) -> tuple[int, Tensor]:
    return edge_type_id(block.edge_type), attribute_features(block.attributes)


def attribute_features(attributes: Mapping[str, Any]) -> Tensor:
    """JSON values of any keys as a vector of fixed length, by signed hashing; numbers enter as sign(v) log(1 + |v|),
    infinite ones (the value of a mask) as words.

    Example:
        >>> attribute_features({"stride": [2, 2]}).equal(attribute_features({"stride": [1, 1]}))
        False
    """
    features = [0.0] * _ATTRIBUTE_FEATURES
    for key, value in _leaves("", attributes):
        if isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value):
            size = torch.tensor(float(value)).abs().log1p().item() * (1 if value >= 0 else -1)
        else:
            key, size = f"{key}={value}", 1.0
        digest = crc32(key.encode())
        features[digest % _ATTRIBUTE_FEATURES] += size if digest & 0x10000 else -size
    return torch.tensor(features)


def _text_features(node_type: str) -> Tensor:
    """Features of the attributes in a node type's parentheses, e.g. `max_pool(kernel=2,2;stride=2,2)`."""
    attributes: dict[str, Any] = {}
    for place, part in enumerate(node_type.split(">")):
        name, _, inside = part.partition("(")
        for item in filter(None, inside.rstrip(")").split(";")):
            key, _, text = item.partition("=")
            attributes[f"{place}.{name}.{key}"] = [_number(word) for word in text.split(",")]
    return attribute_features(attributes)


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _leaves(key: str, value: Any) -> list[tuple[str, Hashable]]:
    if isinstance(value, Mapping):
        return [leaf for name in sorted(value) for leaf in _leaves(f"{key}.{name}", value[name])]
    if isinstance(value, (list, tuple)):
        return [leaf for i, item in enumerate(value) for leaf in _leaves(f"{key}[{i}]", item)]
    return [(key, value)]
