"""Layers compiled and layers checkpointed compute what they compute otherwise."""

import copy

import pytest
import torch

from tests.metanets._graphs import mlp, residual_cnn, zoo_of_graphs
from weightspace.errors import ConfigurationError
from weightspace.metanets import GMN, DeepSets, GMNEditor, fit_input_scales, set_execution


def outputs_and_gradients(model, graphs):
    model.zero_grad()
    result = model(graphs)
    tensors = [result] if torch.is_tensor(result) else [b.edge_attr for graph in result for b in graph.blocks]
    sum(tensor.square().sum() for tensor in tensors).backward()
    return [tensor.detach() for tensor in tensors], [p.grad.clone() for p in model.parameters() if p.grad is not None]


def models(graphs):
    scales = fit_input_scales(graphs)
    torch.manual_seed(0)
    for aggregate in ("mean", "sum"):
        yield GMN(2, channels=6, layers=3, edge_channels=4, aggregate=aggregate, input_scales=scales).double()
    yield GMNEditor(channels=6, layers=2, edge_channels=4, input_scales=scales).double()


def assert_same(found, wanted):
    for ours, theirs in zip((*found[0], *found[1]), (*wanted[0], *wanted[1]), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_checkpointed_layers_give_the_same_gradients_and_keep_less():
    graphs = zoo_of_graphs()
    for model in models(graphs):
        wanted, kept = outputs_and_gradients(model, graphs), saved_numbers(model, graphs)
        set_execution(model, checkpointed=True)
        assert_same(outputs_and_gradients(model, graphs), wanted)
        assert saved_numbers(model, graphs) < 0.7 * kept
        set_execution(model)
        assert saved_numbers(model, graphs) == kept


def saved_numbers(model, graphs):
    """Numbers that autograd keeps for the way back."""
    seen = {}
    with torch.autograd.graph.saved_tensors_hooks(lambda t: seen.update({t.data_ptr(): t.numel()}) or t, lambda t: t):
        result = model(graphs)
    del result
    return sum(seen.values())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch's compiler about itself
def test_compiled_layers_give_the_same_gradients_whatever_the_batch():
    graphs = [mlp(models=3), residual_cnn(2)]
    model = next(models(graphs))
    compiled = set_execution(copy.deepcopy(model), compiled=True)
    for batch in (graphs, graphs[:1], graphs[::-1]):
        assert_same(outputs_and_gradients(compiled, batch), outputs_and_gradients(model, batch))


def test_a_metanet_without_messages_is_refused():
    with pytest.raises(ConfigurationError, match="set_execution: DeepSets passes no messages; wanted GMN"):
        set_execution(DeepSets(1), compiled=True)
