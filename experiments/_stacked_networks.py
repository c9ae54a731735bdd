"""A zoo in memory: all networks of an architecture as one stacked parameter graph, taken apart by position."""

from dataclasses import replace

import torch
from torch import Tensor

from weightspace.graph import ParameterGraph
from weightspace.space import WeightSpace
from weightspace.zoo import Zoo


class StackedNetworks:
    """Networks by their positions, as graphs.

    Args:
        spaces: architectures by signature.
        graphs: all networks of each architecture, stacked.
        positions: of these networks, for each architecture.
    """

    def __init__(self, spaces: dict[str, WeightSpace], graphs: dict[str, ParameterGraph], positions: dict[str, Tensor]):
        self.spaces, self.graphs, self.names = spaces, graphs, list(graphs)
        total = sum(len(rows) for rows in positions.values())
        self.kind, self.row = (torch.zeros(total, dtype=torch.long) for _ in range(2))
        for k, name in enumerate(self.names):
            self.kind[positions[name]] = k
            self.row[positions[name]] = torch.arange(len(positions[name]))

    @classmethod
    def of_zoo(cls, zoo: Zoo) -> "StackedNetworks":
        """All networks of a zoo."""
        graphs = {name: zoo.spaces[name].to_graphs(zoo.stacked(rows)) for name, rows in zoo.positions.items()}
        return cls(zoo.spaces, graphs, zoo.positions)

    def take(self, index: Tensor) -> tuple[list[ParameterGraph], Tensor]:
        """Graphs, one per architecture present, and for each position its row in the order of these graphs."""
        kinds = self.kind[index]
        present = kinds.unique().tolist()
        graphs = [rows_of(self.graphs[self.names[k]], self.row[index[kinds == k]]) for k in present]
        return graphs, kinds.argsort(stable=True).argsort()


def rows_of(graph: ParameterGraph, rows: Tensor) -> ParameterGraph:
    """Some networks of a stacked graph."""
    chosen = graph.replace(
        x=[site.x[rows] for site in graph.sites], edge_attr=[block.edge_attr[rows] for block in graph.blocks]
    )
    return replace(chosen, constants={name: value[rows] for name, value in graph.constants.items()})
