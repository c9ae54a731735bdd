"""Whether two networks have the same graph, up to the order of its nodes."""

from collections import Counter
from collections.abc import Hashable, Mapping
from typing import Any

import torch
from torch import Tensor

from weightspace.graph import ParameterGraph
from weightspace.space import WeightSpace


def assert_isomorphic(space: WeightSpace, state: Mapping[str, Tensor], *, seed: int = 0) -> None:
    """A network and the same one moved by the group have isomorphic graphs, and a changed network has not.

    Args:
        space: of a network whose graph is small.
        state: all entries different from each other.
        seed: of the element.
    """
    moved = space.act(space.random_element(torch.Generator().manual_seed(seed)), state)
    name = max(space.parameters, key=lambda key: space.parameters[key].numel)
    changed = {key: value + 1 if space.tied.get(key, key) == name else value for key, value in moved.items()}
    own, same, other = (space.to_graph(s) for s in (state, moved, changed))
    assert networks_are_isomorphic(own, same), "a network moved by the group has a graph that is not isomorphic to its"
    assert not networks_are_isomorphic(own, other), f"a network with another {name} has an isomorphic graph"


def networks_are_isomorphic(a: ParameterGraph, b: ParameterGraph) -> bool:
    """Whether colour refinement takes two graphs of single networks for the same, their numbers included.

    Exact where refinement tells every node apart, which random weights see to; nodes that carry no number and that
    nothing tells apart are taken as alike.
    """
    palette: dict[Hashable, int] = {}
    graphs = [_labelled(graph, palette) for graph in (a, b)]
    found = 0
    while True:
        counts = [Counter(colours) for colours, _ in graphs]
        if counts[0] != counts[1]:
            return False
        if len(counts[0]) == found:
            return True
        found = len(counts[0])
        palette = {}
        graphs = [
            (
                [
                    palette.setdefault(
                        (own, *sorted((label, colours[other]) for label, other in arcs[node])), len(palette)
                    )
                    for node, own in enumerate(colours)
                ],
                arcs,
            )
            for colours, arcs in graphs
        ]


Labelled = tuple[list[int], list[list[tuple[int, int]]]]


def _labelled(graph: ParameterGraph, palette: dict[Hashable, int]) -> Labelled:
    """A colour for each node; for each node (label, other node) of its edges, direction and numbers in the label."""
    view = graph.to_networkx()
    number = {node: k for k, node in enumerate(view.nodes)}

    def label(*key: Any) -> int:
        return palette.setdefault(repr(key), len(palette))

    colours = [label("node", at["node_type"], at.get("index"), at["x"]) for at in view.nodes.values()]
    arcs: list[list[tuple[int, int]]] = [[] for _ in colours]
    for source, target, at in view.edges(data=True):
        key = (at["edge_type"], sorted(at["attributes"].items()), at["edge_attr"])
        arcs[number[source]].append((label("to", *key), number[target]))
        arcs[number[target]].append((label("from", *key), number[source]))
    return colours, arcs
