"""The drawing of a parameter graph: columns, subsampling, colours, errors."""

import matplotlib.collections
import numpy as np
import pytest
import torch

from weightspace.errors import WeightspaceError
from weightspace.graph import ParameterGraph
from weightspace.reports import draw_parameter_graph
from weightspace.reports._drawing import place_nodes

from ._graphs import Builder, cnn, mlp, residual


def lines(figure):
    return [c for c in figure.axes[0].collections if isinstance(c, matplotlib.collections.LineCollection)]


@pytest.mark.parametrize("graph", [mlp(), cnn(), residual()], ids=["mlp", "cnn", "residual"])
def test_draws_and_saves(graph, tmp_path):
    draw_parameter_graph(graph, title="a network").savefig(tmp_path / "graph.png")
    assert (tmp_path / "graph.png").stat().st_size > 5_000


def test_columns_follow_the_longest_path():
    assert place_nodes(residual(), 16).column == (0, 1, 2, 3, 4, 5)


def test_a_parameter_of_its_own_stands_before_what_uses_it():
    b = Builder()
    sites = [
        b.site(2, "input", fixed=True),
        b.site(3, "linear"),
        b.site(3, "linear>prelu"),
        b.site(1, "parameter", numbers=1),
    ]
    b.dense(sites[0], sites[1])
    b.dense(sites[1], sites[2])
    b.dense(sites[3], sites[2], taps=0, edge_type="scalar")
    assert place_nodes(b.graph(), 16).column == (0, 1, 2, 1)


def test_a_recurrent_cycle_shares_a_column():
    b = Builder()
    sites = [b.site(2, "input", fixed=True), b.site(3, "linear"), b.site(3, "function>tanh")]
    b.dense(sites[0], sites[1])
    b.dense(sites[1], sites[2])
    b.dense(sites[2], sites[1])
    assert place_nodes(b.graph(), 16).column == (0, 1, 1)
    draw_parameter_graph(b.graph())


def test_every_edge_between_drawn_nodes_is_drawn():
    assert sum(len(c.get_segments()) for c in lines(draw_parameter_graph(residual()))) == residual().num_edges
    drawn = lines(draw_parameter_graph(cnn(), max_nodes=4))
    assert sorted(len(c.get_segments()) for c in drawn) == [4, 16, 16]


def test_large_sites_are_subsampled_with_a_note():
    figure = draw_parameter_graph(cnn(), max_nodes=6)
    texts = [t.get_text() for t in figure.axes[0].texts]
    assert "6 of 24" in texts and "6 of 40" in texts and "6 of 10" in texts
    layout = place_nodes(cnn(), 6)
    assert layout.shown == (1, 6, 6, 6)
    assert (~np.isnan(layout.xy[:, 0])).sum() == 19


def test_sign_is_colour():
    b = Builder()
    sites = [b.site(1, "input", fixed=True), b.site(2, "linear>output", fixed=True)]
    b.dense(sites[0], sites[1])
    graph = b.graph().replace(edge_attr=[torch.tensor([[-2.0], [1.0]])])
    [collection] = lines(draw_parameter_graph(graph))
    strong_negative, weak_positive = collection.get_colors()[::-1]
    assert strong_negative[2] > strong_negative[0] and weak_positive[0] > weak_positive[2]
    assert strong_negative[3] > weak_positive[3]


def test_one_shown_per_site_and_batches_are_refused():
    graph = mlp()
    batch = ParameterGraph.replace(
        graph, x=[s.x[None] for s in graph.sites], edge_attr=[b.edge_attr[None] for b in graph.blocks]
    )
    with pytest.raises(WeightspaceError, match=r"found a batch of 1 networks, wanted one: graph.unbatch\(i\)"):
        draw_parameter_graph(batch)
    with pytest.raises(WeightspaceError, match="found max_nodes=1, wanted at least 2"):
        draw_parameter_graph(graph, max_nodes=1)
