"""The automorphisms of the parameter graph are the derived group: no more, no fewer.

Weights and addresses are dropped, so what is counted is a property of the topology: node types, positions on fixed
axes, edge types, attributes, numbers of taps, and which edges hold the same entry.
"""

from itertools import islice

import networkx
import pytest
import torch
from networkx.algorithms.isomorphism import DiGraphMatcher

import weightspace as ws
from tests.architectures import CASES
from tests.architectures.tiny import TINY
from tests.tracing._refinement import coloured, log10_actions, log10_automorphisms, plain

pytestmark = [
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning"),
    pytest.mark.filterwarnings("ignore:enable_nested_tensor is True:UserWarning"),
]
KNOWN = {
    "petersen": (networkx.petersen_graph, 120),
    "cycle": (lambda: networkx.cycle_graph(7), 14),
    "cube": (lambda: networkx.hypercube_graph(3), 48),
    "bipartite": (lambda: networkx.complete_bipartite_graph(3, 4), 144),
    "forest": (lambda: networkx.disjoint_union_all([networkx.star_graph(3)] * 2), 72),
    "rigid": (lambda: networkx.frucht_graph(), 1),
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_graphs_are_counted_right(name):
    make, wanted = KNOWN[name]
    assert round(10 ** log10_automorphisms(plain(make()))) == wanted


def topology(make) -> tuple[ws.WeightSpace, networkx.MultiDiGraph]:
    torch.manual_seed(0)
    module, inputs, _ = make()
    space = ws.trace(module, *inputs, verify=False)
    return space, space.to_graph(module.state_dict()).to_networkx()


@pytest.mark.parametrize("make", TINY, ids=lambda make: make.__name__)
def test_tiny_networks(make):
    space, graph = topology(make)
    order = make()[2]
    assert round(10**space.log10_order) == order
    assert round(10 ** log10_actions(graph)) == order


SEARCHED = [
    pytest.param(make, marks=[pytest.mark.slow] * (make.__name__ == "grouped_queries"), id=make.__name__)
    for make in TINY
    if make()[2] <= 72
]


@pytest.mark.parametrize("make", SEARCHED)
def test_the_count_is_that_of_a_search_without_refinement(make):
    """Every isomorphism of the graph with itself, by the matcher of networkx; those that move no entry are one."""
    space, graph = topology(make)
    cells = coloured(graph)
    simple = networkx.DiGraph()
    for node, colour in enumerate(cells.colours):
        simple.add_node(node, colour=colour)
    for node, arcs in enumerate(cells.arcs):
        for (way, label), other in arcs:
            if way == "to":
                simple.add_edge(node, other)
                simple[node][other].setdefault("labels", []).append(repr(label))
    for *_, at in simple.edges(data=True):
        at["labels"].sort()
    holds_entries = [node for node, colour in enumerate(cells.colours) if colour[0] == "edge" or colour[3:4] != (0,)]
    matcher = DiGraphMatcher(simple, simple, node_match=dict.__eq__, edge_match=dict.__eq__)
    images = islice(matcher.isomorphisms_iter(), 2000)
    assert len({tuple(image[node] for node in holds_entries) for image in images}) == make()[2]


@pytest.mark.slow
@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_architectures(make):
    space, graph = topology(make)
    assert log10_actions(graph) == pytest.approx(space.log10_order, abs=1e-6)


def test_the_count_sees_what_a_graph_forgets():
    """Without the position of the groups' channels the count is another one."""
    net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    space = ws.trace(net, torch.zeros(1, 2))
    graph = space.to_graph(net.state_dict()).to_networkx()
    assert round(10 ** log10_actions(graph)) == 6
    for at in graph.nodes.values():
        at.pop("index", None)
    assert round(10 ** log10_actions(graph)) == 24
