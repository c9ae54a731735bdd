"""The baselines: what they read, what they ignore, how they fail."""

import numpy as np
import pytest
import torch

from tests.metanets._graphs import cnn, mlp, num_models, residual_cnn, singles, zoo_of_graphs
from weightspace.errors import WeightspaceError
from weightspace.metanets import DeepSets, MeanBaseline, WeightStatistics, fit_input_scales, weight_statistics


def test_the_mean_predicts_the_mean_for_every_network():
    baseline = MeanBaseline().fit(mlp(models=3), torch.tensor([1.0, 2.0, 6.0]))
    assert baseline.predict([mlp(), residual_cnn(2)]).tolist() == [3.0, 3.0, 3.0]


def test_statistics_are_those_of_numpy():
    graph = mlp(models=3)
    table = weight_statistics([graph])
    values = graph.blocks[1].edge_attr[..., 0].numpy()
    for q in (0.0, 0.25, 0.5, 0.75, 1.0):
        np.testing.assert_allclose(table[f"weight 1 quantile {q:g}"], np.quantile(values, q, axis=1), rtol=1e-12)
    np.testing.assert_allclose(table["weight 1 mean"], values.mean(1), rtol=1e-12)
    np.testing.assert_allclose(table["weight 1 variance"], values.var(1), rtol=1e-12)
    assert table["weight 2 mean"].tolist() == table["weight last mean"].tolist()


def test_what_an_architecture_lacks_is_missing():
    table = weight_statistics([mlp(models=2), mlp((3, 4, 2)), residual_cnn(1)])
    assert np.isnan(table["weight 2 mean"]).tolist() == [False, False, True, False]
    assert np.isnan(table["norm_weight 0 mean"]).tolist() == [True, True, True, False]
    assert table["parameters weight"].tolist() == [3, 3, 2, 3]


def test_statistics_do_not_see_the_order_of_neurons_or_networks():
    graphs = zoo_of_graphs()
    table = weight_statistics(graphs)
    for other in ([g.relabel(torch.Generator().manual_seed(0)) for g in graphs], singles(graphs)):
        found = weight_statistics(other)
        for name, column in table.items():
            np.testing.assert_allclose(found[name], column, rtol=1e-12, atol=1e-13)


def test_boosting_learns_a_spread_and_takes_unseen_architectures():
    sizes = torch.linspace(0.5, 2, 60, dtype=torch.float64)
    graph = mlp(models=60)
    graph = graph.replace(edge_attr=[b.edge_attr * sizes[:, None, None] for b in graph.blocks])
    model = WeightStatistics().fit(graph, sizes)
    assert (model.predict(graph) - sizes).abs().mean() < 0.1
    assert model.predict([residual_cnn(2), cnn()]).shape == (3,)
    assert model.predict(graph).equal(WeightStatistics().fit(graph, sizes).predict(graph))


def test_errors_say_what_to_do():
    with pytest.raises(WeightspaceError, match=r"found targets of shape \(3,\), wanted \(2,\), one per network"):
        WeightStatistics().fit(mlp(models=2), torch.zeros(3))
    with pytest.raises(WeightspaceError, match=r"no fitted model; call fit\(graphs, targets\) first"):
        WeightStatistics().predict(mlp())


def deep_sets(graphs):
    torch.manual_seed(0)
    return DeepSets(2, channels=6, input_scales=fit_input_scales(graphs)).double()


def test_deep_sets_are_invariant_batched_or_not_and_read_every_role():
    graphs = zoo_of_graphs()
    model = deep_sets(graphs)
    output = model(graphs)
    assert output.shape == (sum(map(num_models, graphs)), 2)
    torch.testing.assert_close(
        model([g.relabel(torch.Generator().manual_seed(0)) for g in graphs]), output, rtol=1e-10, atol=1e-12
    )
    torch.testing.assert_close(torch.cat([model(one) for one in singles(graphs)]), output, rtol=1e-10, atol=1e-12)
    graph = residual_cnn()
    for part, values in enumerate(s.x for s in graph.sites):
        if values.numel():
            moved = graph.replace(x=[s.x + 0.1 * (i == part) for i, s in enumerate(graph.sites)])
            assert (model(moved) - model(graph)).abs().min() > 1e-8


def test_deep_sets_are_blind_to_wiring():
    graph = mlp((3, 4, 2))
    generator = torch.Generator().manual_seed(0)
    shuffled = graph.replace(
        edge_attr=[b.edge_attr[torch.randperm(b.num_edges, generator=generator)] for b in graph.blocks]
    )
    torch.testing.assert_close(deep_sets([graph])(shuffled), deep_sets([graph])(graph), rtol=1e-10, atol=1e-12)


def test_deep_sets_have_gradients_everywhere():
    graphs = zoo_of_graphs()
    model = deep_sets(graphs)
    model(graphs).square().sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []
