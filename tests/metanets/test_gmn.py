"""GMN and its editor: slow twin, symmetry, batches, sensitivity, gradients."""

from dataclasses import replace

import pytest
import torch

import weightspace as ws
from tests.metanets._graphs import attention, cnn, mlp, num_models, residual_cnn, singles, zoo_of_graphs
from tests.metanets._twins import trunk_twin
from weightspace.metanets import GMN, GMNEditor, fit_input_scales
from weightspace.metanets._union import unite

TIGHT = {"rtol": 1e-10, "atol": 1e-12}


def gmn(graphs=(), *, channels=6, edge_channels=5, layers=2):
    torch.manual_seed(0)
    return GMN(
        2, channels=channels, edge_channels=edge_channels, layers=layers, input_scales=fit_input_scales(graphs)
    ).double()


def editor(graphs=(), *, channels=6, edge_channels=5, layers=2, edit_buffers=False):
    torch.manual_seed(0)
    return GMNEditor(
        channels=channels,
        edge_channels=edge_channels,
        layers=layers,
        input_scales=fit_input_scales(graphs),
        edit_buffers=edit_buffers,
    ).double()


def by_address(graph):
    """Every entry of a graph at its address, (entries,) or (B, entries)."""
    parts = [(s.x, s.address) for s in graph.sites] + [(b.edge_attr, b.address) for b in graph.blocks]
    total = sum(address.numel() for _, address in parts)
    result = torch.full((*graph.batch_shape, total), float("nan"), dtype=torch.float64)
    for values, address in parts:
        result[..., address.flatten()] = values.flatten(-2)
    return result


def test_the_factorised_trunk_equals_gather_concatenate_scatter_with_gradients():
    graphs = zoo_of_graphs()
    model = gmn(graphs)
    union = unite(graphs)
    found, wanted = model.trunk(union, model.input_scales), trunk_twin(model.trunk, union, model.input_scales)
    for f, w in zip(found, wanted, strict=True):
        torch.testing.assert_close(f, w, **TIGHT)
    weights = [torch.randn_like(f) for f in found]
    parameters = list(model.trunk.parameters())
    gradients = [
        torch.autograd.grad(sum((o * r).sum() for o, r in zip(side, weights, strict=True)), parameters)
        for side in (found, wanted)
    ]
    for f, w in zip(*gradients, strict=True):
        torch.testing.assert_close(f, w, **TIGHT)


@pytest.mark.parametrize("make", [mlp, residual_cnn, attention])
def test_relabelling_leaves_the_prediction_and_moves_the_edit(make):
    graph = make(models=2)
    other = graph.relabel(torch.Generator().manual_seed(1))
    torch.testing.assert_close(gmn([graph])(other), gmn([graph])(graph), **TIGHT)
    torch.testing.assert_close(by_address(editor([graph])(other)), by_address(editor([graph])(graph)), **TIGHT)


def test_a_permutation_of_hidden_neurons_is_no_news_and_one_of_outputs_is():
    graph = mlp((3, 5, 4, 2), models=2)
    model = gmn([graph])
    hidden = permuted(graph, 1, torch.tensor([3, 0, 4, 1, 2]))
    torch.testing.assert_close(model(hidden), model(graph), **TIGHT)
    assert not by_address(hidden).equal(by_address(graph))
    outputs = permuted(graph, 3, torch.tensor([1, 0]))
    assert (model(outputs) - model(graph)).abs().max() > 1e-6


def permuted(graph, site, order):
    """An MLP's weights with the neurons of one site in another order, on the same topology."""
    x = [s.x[..., order, :] if i == site else s.x for i, s in enumerate(graph.sites)]
    attr = []
    for i, block in enumerate(graph.blocks):
        table = block.edge_attr[..., 0].unflatten(-1, (graph.sites[i + 1].num_nodes, graph.sites[i].num_nodes))
        table = table[..., order, :] if i + 1 == site else table
        table = table[..., order] if i == site else table
        attr.append(table.flatten(-2)[..., None])
    return graph.replace(x=x, edge_attr=attr)


def test_mixed_batches_equal_homogeneous_ones_and_single_networks():
    graphs = zoo_of_graphs()
    model, edit = gmn(graphs), editor(graphs)
    mixed = model(graphs)
    assert mixed.shape == (sum(map(num_models, graphs)), 2)
    torch.testing.assert_close(torch.cat([model(graph) for graph in graphs]), mixed, **TIGHT)
    torch.testing.assert_close(torch.cat([model(one) for one in singles(graphs)]), mixed, **TIGHT)
    torch.testing.assert_close(model(singles(graphs)), mixed, **TIGHT)
    torch.testing.assert_close(
        model(graphs[::-1]), torch.cat(mixed.split([num_models(g) for g in graphs])[::-1]), **TIGHT
    )
    for one, other in zip(edit(singles(graphs)), singles(edit(graphs)), strict=True):
        torch.testing.assert_close(by_address(one), by_address(other), **TIGHT)


def test_an_edit_keeps_the_form_of_its_input():
    graph = cnn(models=2)
    edited = editor()(graph)
    assert edited.batch_shape == (2,) and edited.signature == graph.signature
    assert [b.edge_attr.shape for b in edited.blocks] == [b.edge_attr.shape for b in graph.blocks]
    assert isinstance(editor()([graph, mlp()]), list)
    change = [(new.x - old.x).abs() for new, old in zip(edited.sites, graph.sites, strict=True)]
    held = {
        role for s, c in zip(graph.sites, change, strict=True) for k, role in enumerate(s.roles) if not c[..., k].any()
    }
    assert held == {"running_mean", "running_var"}
    everything = editor(edit_buffers=True)(graph)
    assert (by_address(everything) - by_address(graph)).abs().min() > 0  # every entry its own


def moved(graph, role):
    """The graph with all values of one role changed a little."""
    sites = [s.x + 0.1 * torch.tensor([float(r == role) for r in s.roles], dtype=torch.float64) for s in graph.sites]
    blocks = [b.edge_attr + 0.1 * (b.role == role) for b in graph.blocks]
    return graph.replace(x=sites, edge_attr=blocks)


@pytest.mark.parametrize("role", ["weight", "bias", "norm_weight", "norm_bias", "running_mean", "running_var"])
def test_every_role_moves_the_output(role):
    graph = residual_cnn(2)
    model = gmn([graph])
    assert (model(moved(graph, role)) - model(graph)).abs().amax(-1).min() > 1e-8


def test_taps_types_and_positions_move_the_output():
    graph = residual_cnn(2)
    model = gmn([graph])
    swapped = graph.replace(edge_attr=[b.edge_attr.flip(-1) for b in graph.blocks])
    retyped = replace(
        graph, blocks=tuple(replace(b, edge_type="multiply") if b.edge_type == "add" else b for b in graph.blocks)
    )
    strided = replace(
        graph, blocks=tuple(replace(b, attributes={**b.attributes, "stride": [3, 1]}) for b in graph.blocks)
    )
    smooth = replace(graph, sites=tuple(replace(s, node_type=s.node_type.replace("relu", "gelu")) for s in graph.sites))
    for other in (swapped, retyped, strided, smooth):
        assert (model(other) - model(graph)).abs().amax(-1).min() > 1e-8


def test_the_order_and_the_attributes_of_functions_move_the_output():
    graph = mlp()
    model = gmn([graph])

    def labelled(text):
        return model(
            replace(graph, sites=tuple(replace(s, node_type=s.node_type.replace("relu", text)) for s in graph.sites))
        )

    outputs = [
        labelled(text)
        for text in ("relu>sin", "sin>relu", "relu", "leaky_relu(negative_slope=0.1)", "leaky_relu(negative_slope=0.2)")
    ]
    assert all((a - b).abs().max() > 1e-8 for i, a in enumerate(outputs) for b in outputs[:i])


def test_query_key_and_value_are_told_apart():
    graph = attention(2)
    model = gmn([graph])
    values = [block.edge_attr for block in graph.blocks]
    for i, j in ((0, 1), (0, 2), (1, 2)):
        exchanged = list(values)
        exchanged[i], exchanged[j] = values[j], values[i]
        assert (model(graph.replace(edge_attr=exchanged)) - model(graph)).abs().amax(-1).min() > 1e-8


def test_a_neuron_moved_across_heads_is_seen():
    graph = attention()
    model = gmn([graph], layers=3)  # token to channel, channel to head, head to channel
    scope = graph.blocks[3]
    ends = scope.edge_index.clone()
    ends[0, 1], ends[0, 2] = scope.edge_index[0, 2], scope.edge_index[0, 1]
    blocks = list(graph.blocks)
    blocks[3] = replace(scope, edge_index=ends)
    assert (model(replace(graph, blocks=tuple(blocks))) - model(graph)).abs().amax(-1).min() > 1e-11


def test_a_zero_weight_is_not_a_missing_edge():
    graph = mlp((2, 3, 1))
    model = gmn([graph])
    zeroed = graph.replace(
        edge_attr=[graph.blocks[0].edge_attr * torch.tensor([0.0] + [1.0] * 5)[:, None], graph.blocks[1].edge_attr]
    )
    first = zeroed.blocks[0]
    kept = replace(first, edge_index=first.edge_index[:, 1:], edge_attr=first.edge_attr[1:], address=first.address[1:])
    assert (model(replace(zeroed, blocks=(kept, zeroed.blocks[1]))) - model(zeroed)).abs().amax(-1).min() > 1e-8


def test_every_parameter_has_a_gradient():
    graphs = zoo_of_graphs()
    for model in (gmn(graphs), editor(graphs)):
        output = model(graphs)
        parts = [output] if torch.is_tensor(output) else [by_address(graph) for graph in output]
        sum(part.square().sum() for part in parts).backward()
        silent = [
            name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()
        ]
        assert silent == []


def test_gradients_reach_the_networks():
    graph = residual_cnn()
    model, edit = (
        gmn([graph], channels=3, edge_channels=2, layers=1),
        editor([graph], channels=3, edge_channels=2, layers=1),
    )
    leaves = [s.x.clone().requires_grad_() for s in graph.sites if s.roles] + [
        b.edge_attr.clone().requires_grad_() for b in graph.blocks if b.role
    ]

    def rebuilt(*values):
        values = iter(values)
        x = [next(values) if s.roles else s.x for s in graph.sites]
        return graph.replace(x=x, edge_attr=[next(values) if b.role else b.edge_attr for b in graph.blocks])

    assert torch.autograd.gradcheck(lambda *v: model(rebuilt(*v)), leaves, fast_mode=True)
    assert torch.autograd.gradcheck(lambda *v: by_address(edit(rebuilt(*v))), leaves, fast_mode=True)


def test_outputs_follow_the_parameters_dtype_and_edits_the_networks():
    graph = mlp(models=2, dtype=torch.float32)
    assert gmn()(graph).dtype == torch.float64
    assert editor()(graph).blocks[0].edge_attr.dtype == torch.float32
    assert gmn().float()(graph).dtype == torch.float32


def test_autocast_keeps_three_digits_and_has_gradients():
    graphs = [mlp(models=2, dtype=torch.float32), residual_cnn(2, dtype=torch.float32)]
    model = gmn(graphs).float()
    with torch.autocast("cpu", torch.bfloat16):
        output = model(graphs)
    torch.testing.assert_close(output.float(), model(graphs), rtol=0.02, atol=0.02)
    output.float().square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())


def test_scaling_all_networks_together_changes_nothing():
    graph = residual_cnn(3)
    scaled = graph.replace(x=[s.x * 7 for s in graph.sites], edge_attr=[b.edge_attr * 7 for b in graph.blocks])
    torch.testing.assert_close(gmn([scaled])(scaled), gmn([graph])(graph), **TIGHT)
    assert (gmn([graph])(scaled) - gmn([graph])(graph)).abs().amax(-1).min() > 1e-6


class Causal(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = (torch.nn.Linear(2, 3) for _ in range(3))

    def forward(self, x):
        scores = self.query(x) @ self.key(x).transpose(1, 2)
        later = torch.ones(scores.shape[1:], dtype=torch.bool, device=x.device).triu(1)
        return scores.masked_fill(later, -torch.inf).softmax(-1) @ self.value(x)


def test_masks_with_infinite_values_are_read():
    module = Causal()
    graph = ws.trace(module, torch.zeros(1, 4, 2)).to_graph(module.double().state_dict())
    assert any("inf" in site.node_type for site in graph.sites)
    assert gmn()(graph).isfinite().all()
    assert all(block.edge_attr.isfinite().all() for block in editor()(graph).blocks)
