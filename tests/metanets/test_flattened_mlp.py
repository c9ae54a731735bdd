"""The flattened MLP: what it reads, and which networks it refuses."""

import pytest
import torch

from tests.metanets._graphs import mlp, residual_cnn
from tests.metanets.test_probes import mlp as traced_mlp
from tests.metanets.test_probes import stacked
from weightspace.errors import WeightspaceError
from weightspace.metanets import FlattenedMLP, fit_input_scales, from_pretrained, save_pretrained


def flattened(entries, graphs=(), **options):
    torch.manual_seed(0)
    return FlattenedMLP(
        2, entries=entries, channels=8, layers=3, input_scales=fit_input_scales(graphs), **options
    ).double()


def test_it_reads_the_entries_in_the_order_of_their_addresses():
    network, state = traced_mlp(), stacked(traced_mlp(), 3)
    graph = network.space.to_graphs(state)
    flat = torch.cat([state[name].flatten(1) for name in network.space.parameters], dim=1)
    model = flattened(flat.shape[1])
    torch.testing.assert_close(model(graph), model.maps(flat))
    torch.testing.assert_close(model(graph.relabel(torch.Generator().manual_seed(0))), model.maps(flat))
    torch.testing.assert_close(model([graph.unbatch(0), graph]), torch.cat([model(graph)[:1], model(graph)]))


def test_it_is_not_invariant_and_scales_divide():
    network, state = traced_mlp(), stacked(traced_mlp(), 3)
    graph = network.space.to_graphs(state)
    moved = network.space.act(network.space.random_element(torch.Generator().manual_seed(0)), state)
    model = flattened(sum(spec.numel for spec in network.space.parameters.values()), [graph])
    assert (model(network.space.to_graphs(moved)) - model(graph)).abs().max() > 1e-4
    scaled = graph.replace(x=[5 * s.x for s in graph.sites], edge_attr=[5 * b.edge_attr for b in graph.blocks])
    torch.testing.assert_close(flattened(model.entries, [scaled])(scaled), model(graph))


def test_several_architectures_and_other_sizes_are_refused():
    with pytest.raises(
        WeightspaceError, match="FlattenedMLP: found 2 architectures .* take a metanet that reads graphs"
    ):
        flattened(10)([mlp(), residual_cnn()])
    with pytest.raises(WeightspaceError, match=r"has 54 floating entries, wanted 10; make one FlattenedMLP"):
        flattened(10)(mlp())
    one, other = traced_mlp(), traced_mlp(5)
    entries = sum(spec.numel for spec in one.space.parameters.values())
    model = flattened(entries)
    with pytest.raises(WeightspaceError, match=f"floating entries, wanted {entries}"):
        model.attach([other])
    model.attach([one])
    with pytest.raises(WeightspaceError, match="found 2 architectures"):
        model.attach([other])
    with pytest.raises(WeightspaceError, match="found 2 architectures"):
        model(other.space.to_graphs(stacked(other, 1)))


def test_a_saved_model_comes_back(tmp_path):
    graph = mlp(models=2, dtype=torch.float32)
    model = flattened(54, [graph]).float()
    again = from_pretrained(save_pretrained(model, tmp_path))
    assert again.config == model.config and torch.equal(again(graph), model(graph))
