"""Baselines that look at no wiring: the mean of the targets, and weight statistics with gradient boosting."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingRegressor
from torch import Tensor

from weightspace.errors import WeightspaceError
from weightspace.graph import ParameterGraph
from weightspace.vocabulary import EDGE_TYPES, FUNCTIONS, NODE_KINDS, edge_type_id, function_ids, node_kind_id

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Quantiles of a parameter's entries, as in Unterthiner et al. 2020."""


class MeanBaseline:
    """Predicts the mean of the training targets for every network.

    Example:
        >>> baseline = MeanBaseline().fit([], torch.tensor([0.2, 0.4]))
        >>> round(baseline.mean, 2)
        0.3
    """

    mean: float = float("nan")

    def fit(self, graphs: ParameterGraph | Sequence[ParameterGraph], targets: Tensor) -> "MeanBaseline":
        """Remember the mean of `targets`; the graphs are not read."""
        self.mean = targets.double().mean().item()
        return self

    def predict(self, graphs: ParameterGraph | Sequence[ParameterGraph]) -> Tensor:
        """One number per network, shape (G,)."""
        graphs = [graphs] if isinstance(graphs, ParameterGraph) else graphs
        return torch.full((sum(_models(graph) for graph in graphs),), self.mean, dtype=torch.float64)


class WeightStatistics:
    """Statistics of each parameter's entries, read by gradient boosting.

    Unterthiner et al. 2020 (arXiv 2002.11448): mean, variance and the quantiles 0, 25, 50, 75 and 100 % of the
    entries of every layer's weights and biases, read by gradient-boosted trees. Deviations: scikit-learn's histogram
    boosting in place of LightGBM; to serve mixed architectures, a parameter's columns are named by its role and its
    place among the parameters of that role, from the front, and once more for the last of each role, columns that an
    architecture lacks are missing values, and descriptors of the architecture (depth, sizes, node kinds, functions)
    stand beside them.

    Args:
        seed: of the boosting.
        max_iter: boosting rounds.
        learning_rate: of the boosting.

    Raises:
        WeightspaceError: numbers of networks and targets differ, or `predict` before `fit`.
    """

    def __init__(self, *, seed: int = 0, max_iter: int = 200, learning_rate: float = 0.05):
        self.columns: dict[str, int] = {}
        self.model: HistGradientBoostingRegressor | None = None
        self.seed, self.max_iter, self.learning_rate = seed, max_iter, learning_rate

    def fit(self, graphs: ParameterGraph | Sequence[ParameterGraph], targets: Tensor) -> "WeightStatistics":
        """Fit on networks; targets in the order graphs, then models."""
        features = weight_statistics(graphs)
        rows = len(next(iter(features.values())))
        if targets.shape != (rows,):
            raise WeightspaceError(
                f"WeightStatistics.fit: found targets of shape {tuple(targets.shape)}, "
                f"wanted ({rows},), one per network"
            )
        self.columns = {name: i for i, name in enumerate(features)}
        self.model = HistGradientBoostingRegressor(
            max_iter=self.max_iter, learning_rate=self.learning_rate, random_state=self.seed
        )
        self.model.fit(self._table(features), targets.double().numpy())
        return self

    def predict(self, graphs: ParameterGraph | Sequence[ParameterGraph]) -> Tensor:
        """One number per network, shape (G,)."""
        if self.model is None:
            raise WeightspaceError("WeightStatistics.predict: found no fitted model; call fit(graphs, targets) first")
        return torch.from_numpy(self.model.predict(self._table(weight_statistics(graphs))))

    def _table(self, features: dict[str, np.ndarray]) -> np.ndarray:
        rows = len(next(iter(features.values())))
        table = np.full((rows, len(self.columns)), np.nan)
        for name, values in features.items():
            if name in self.columns:
                table[:, self.columns[name]] = values
        return table


def weight_statistics(graphs: ParameterGraph | Sequence[ParameterGraph]) -> dict[str, np.ndarray]:
    """Layer-wise statistics and architecture descriptors, one column each, missing values as NaN.

    Shapes:
        each column (G,), networks in the order graphs, then models.
    """
    graphs = [graphs] if isinstance(graphs, ParameterGraph) else list(graphs)
    total = sum(_models(graph) for graph in graphs)
    table: dict[str, np.ndarray] = {}
    start = 0
    for graph in graphs:
        stop = start + _models(graph)
        for name, values in _columns(graph):
            table.setdefault(name, np.full(total, np.nan))[start:stop] = values
        start = stop
    return table


def _models(graph: ParameterGraph) -> int:
    return graph.batch_shape[0] if graph.batch_shape else 1


def _columns(graph: ParameterGraph) -> Iterator[tuple[str, np.ndarray | float]]:
    names = ("mean", "variance", *(f"quantile {q:g}" for q in QUANTILES))
    parameters = list(_parameters(graph))
    last = {role: i for i, (role, _) in enumerate(parameters)}
    seen: Counter[str] = Counter()
    for i, (role, values) in enumerate(parameters):
        quantiles = torch.quantile(values, values.new_tensor(QUANTILES), dim=1)
        rows = [values.mean(1), values.var(1, correction=0), *quantiles]
        for place in [str(seen[role])] + (["last"] if last[role] == i else []):
            for name, row in zip(names, rows, strict=True):
                yield f"{role} {place} {name}", row.numpy()
        seen[role] += 1
    yield from _descriptors(graph, seen)


def _parameters(graph: ParameterGraph) -> Iterator[tuple[str, Tensor]]:
    """Role and entries (B, entries) of every parameter piece."""
    for site in graph.sites:
        for role in dict.fromkeys(site.roles):
            columns = [k for k, other in enumerate(site.roles) if other == role]
            yield role, site.x[..., columns].detach().double().cpu().reshape(_models(graph), -1)
    for block in graph.blocks:
        if block.role:
            yield block.role, block.edge_attr.detach().double().cpu().reshape(_models(graph), -1)


def _descriptors(graph: ParameterGraph, seen: Counter[str]) -> Iterator[tuple[str, float]]:
    kinds = Counter(NODE_KINDS[node_kind_id(site.node_type)] for site in graph.sites)
    functions = Counter(FUNCTIONS[i] for site in graph.sites for i in function_ids(site.node_type))
    edges = Counter(EDGE_TYPES[edge_type_id(block.edge_type)] for block in graph.blocks)
    for what, counts in (("kind", kinds), ("function", functions), ("edges", edges), ("parameters", seen)):
        for name, count in counts.items():
            yield f"{what} {name}", float(count)
    yield "nodes", float(graph.num_nodes)
    yield "edges", float(graph.num_edges)
    yield "entries", float(sum(s.address.numel() for s in graph.sites) + sum(b.address.numel() for b in graph.blocks))
