"""Neural Graphs, both networks: slow twins, batches, gradients, saving; MetanetTests stand in a file of their own."""

import math

import pytest
import torch
from torch.nn.functional import gelu, silu

from tests.metanets._graphs import mlp, num_models, residual_cnn, singles, zoo_of_graphs
from tests.metanets._twins import union_edges
from weightspace.errors import ConfigurationError
from weightspace.metanets import (
    NeuralGraphGNN,
    NeuralGraphGNNEditor,
    NeuralGraphTransformer,
    NeuralGraphTransformerEditor,
    _directions,
    fit_input_scales,
    from_pretrained,
    save_pretrained,
    set_execution,
)
from weightspace.metanets._neural_graphs_gnn import NeuralGraphLayer
from weightspace.metanets._neural_graphs_transformer import RelationalLayer
from weightspace.metanets._union import unite

TIGHT = {"rtol": 1e-10, "atol": 1e-12}


def gnn(graphs=(), **options):
    torch.manual_seed(0)
    scales = fit_input_scales(graphs)
    return NeuralGraphGNN(2, channels=6, edge_channels=5, layers=2, input_scales=scales, **options).double()


def transformer(graphs=(), **options):
    torch.manual_seed(0)
    scales = fit_input_scales(graphs)
    sizes = {"channels": 6, "edge_channels": 5, "layers": 2, "heads": 3}
    return NeuralGraphTransformer(2, **sizes, input_scales=scales, **options).double()


def editors():
    torch.manual_seed(0)
    sizes = {"channels": 6, "edge_channels": 5, "layers": 2}
    return [NeuralGraphGNNEditor(**sizes).double(), NeuralGraphTransformerEditor(**sizes, heads=3).double()]


def film_twin(layer, edges, x, e):
    """Every message by itself, edge after edge; mean and standard deviation over lists."""
    here, (scale, shift) = layer.norm(x), layer.film(e).chunk(2, dim=1)
    sent, received, sent_back, received_back = layer.message(here).chunk(4, dim=1)
    into, out_of = [[] for _ in x], [[] for _ in x]
    for k, (i, j) in enumerate(edges.t().tolist()):
        into[j].append(scale[k] * (sent[i] + received[j]) + shift[k])
        out_of[i].append(scale[k] * (sent_back[j] + received_back[i]) + shift[k])
    gathered = torch.stack(
        [torch.cat([here[n], *spread(into[n], x[n]), *spread(out_of[n], x[n])]) for n in range(len(x))]
    )
    x = x + layer.node_out(silu(layer.node_in(gathered)))
    ends = layer.ends(x)
    source, target = ends[:, : e.shape[1]], ends[:, e.shape[1] :]
    return x, e + layer.edge_out(silu(source[edges[0]] + target[edges[1]] + layer.edge_in(e)))


def spread(messages, like):
    found = torch.stack(messages) if messages else torch.zeros(1, len(like), dtype=like.dtype)
    mean = found.mean(0)
    deviation = ((found.square().mean(0) - mean.square()).clamp(min=1e-6)).sqrt()
    amplification = math.log(1 + len(messages))
    return mean, deviation, mean * amplification, deviation * amplification


def attention_twin(layer, edges, x, e):
    """Softmax over the list of each node's pairs, head after head."""
    width, heads = layer.gather.in_features, layer.heads
    q, k, v, k_back, v_back = layer.parts(x).chunk(5, dim=1)
    of_edges, own = layer.edge_parts(e), layer.own
    pairs = [[(own, k[n], v[n])] for n in range(len(x))]
    for row, (i, j) in zip(of_edges, edges.t().tolist(), strict=True):
        pairs[j].append((row, k[i], v[i]))
        pairs[i].append((row, k_back[j], v_back[j]))
    gathered = []
    for n in range(len(x)):
        rows, keys, values = (torch.stack(parts) for parts in zip(*pairs[n], strict=True))
        q_e, k_e, v_e, m_e = rows.chunk(4, dim=1)
        products = ((q[n] + q_e) * (keys + k_e)).view(len(rows), heads, -1).sum(-1) / width**0.5
        shares = products.softmax(0).repeat_interleave(width // heads, dim=1)
        gathered.append((shares * (values * m_e + v_e)).sum(0))
    x = layer.node_norms[0](x + layer.gather(torch.stack(gathered)))
    x = layer.node_norms[1](x + layer.node(x))
    source, target = layer.ends(x).chunk(2, dim=1)
    e = layer.edge_norms[0](e + layer.edge_out(gelu(source[edges[0]] + target[edges[1]] + layer.edge_in(e))))
    return x, layer.edge_norms[1](e + layer.edge(e))


@pytest.mark.parametrize(
    ("layer", "twin"),
    [(NeuralGraphLayer(4, 3), film_twin), (RelationalLayer(4, 3, heads=2), attention_twin)],
    ids=["film", "attention"],
)
@pytest.mark.parametrize("rows", [7, 1024])
def test_a_layer_equals_its_slow_twin_with_gradients(layer, twin, rows, monkeypatch):
    monkeypatch.setattr(_directions, "_ROWS_ON_CPU", rows)
    union = unite(zoo_of_graphs())
    generator = torch.Generator().manual_seed(0)
    layer = layer.double()
    inputs = [
        (3 * torch.randn(rows, width, generator=generator, dtype=torch.float64)).requires_grad_()
        for rows, width in ((union.adjacency.num_nodes, 4), (len(union.adjacency.ends), 3))
    ]
    found, wanted = layer(union.adjacency, *inputs), twin(layer, union_edges(union), *inputs)
    weights = [torch.randn(side.shape, generator=generator, dtype=torch.float64) for side in found]
    for f, w in zip(found, wanted, strict=True):
        torch.testing.assert_close(f, w, **TIGHT)
    leaves = [*inputs, *layer.parameters()]
    gradients = [
        torch.autograd.grad(sum((o * r).sum() for o, r in zip(side, weights, strict=True)), leaves)
        for side in (found, wanted)
    ]
    for f, w in zip(*gradients, strict=True):
        torch.testing.assert_close(f, w, rtol=1e-9, atol=1e-10)


def test_attention_survives_large_logits():
    torch.manual_seed(0)
    union, layer = unite(residual_cnn(2)), RelationalLayer(4, 3, heads=2)
    x, e = 1e4 * torch.randn(union.adjacency.num_nodes, 4), 1e4 * torch.randn(len(union.adjacency.ends), 3)
    x, e = layer(union.adjacency, x.requires_grad_(), e.requires_grad_())
    (x.sum() + e.sum()).backward()
    assert x.isfinite().all() and e.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())


@pytest.mark.parametrize("make", [gnn, transformer])
def test_mixed_batches_equal_homogeneous_ones_and_single_networks(make):
    graphs = zoo_of_graphs()
    model = make(graphs)
    mixed = model(graphs)
    assert mixed.shape == (sum(map(num_models, graphs)), 2)
    torch.testing.assert_close(torch.cat([model(graph) for graph in graphs]), mixed, **TIGHT)
    torch.testing.assert_close(model(singles(graphs)), mixed, **TIGHT)
    torch.testing.assert_close(
        model([graph.relabel(torch.Generator().manual_seed(1)) for graph in graphs]), mixed, **TIGHT
    )


def test_every_parameter_has_a_gradient():
    graphs = zoo_of_graphs()
    for model in (gnn(graphs), transformer(graphs), *editors()):
        output = model(graphs)
        parts = [output] if torch.is_tensor(output) else [v for g in output for v in values(g)]
        sum(part.square().sum() for part in parts).backward()
        silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
        last = "layers.1." if torch.is_tensor(output) else ""
        assert [name for name in silent if last not in name] == [], type(model).__name__


def values(graph):
    return [site.x for site in graph.sites] + [block.edge_attr for block in graph.blocks]


def test_bfloat16_keeps_two_digits_and_has_gradients():
    graphs = [mlp(models=2, dtype=torch.float32), residual_cnn(2, dtype=torch.float32)]
    for make in (gnn, transformer):
        model = make(graphs).float()
        with torch.autocast("cpu", torch.bfloat16):
            output = model(graphs)
        torch.testing.assert_close(output.float(), model(graphs), rtol=0.05, atol=0.05)
        output.float().square().sum().backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_saved_models_come_back(tmp_path):
    graph = residual_cnn(2, dtype=torch.float32)
    for model in (gnn([graph]), transformer([graph]), *editors()):
        model = model.float()
        again = from_pretrained(save_pretrained(model, tmp_path / type(model).__name__))
        assert type(again) is type(model) and again.config == model.config
        found, wanted = again(graph), model(graph)
        pairs = [(found, wanted)] if torch.is_tensor(found) else zip(values(found), values(wanted), strict=True)
        assert all(torch.equal(f, w) for f, w in pairs)


def test_heads_must_divide_the_attention():
    with pytest.raises(ConfigurationError, match="NeuralGraphTransformer: found 5 heads and 6 channels"):
        NeuralGraphTransformer(1, channels=6, heads=5)


def test_layers_can_be_checkpointed_and_not_compiled():
    graphs = zoo_of_graphs()
    for make in (gnn, transformer):
        model = make(graphs)
        wanted = gradients(model, graphs)
        for found, value in zip(gradients(set_execution(model, checkpointed=True), graphs), wanted, strict=True):
            torch.testing.assert_close(found, value, **TIGHT)
        with pytest.raises(ConfigurationError, match=f"compiled=True for {type(model).__name__}, wanted False"):
            set_execution(model, compiled=True)


def gradients(model, graphs):
    return torch.autograd.grad(model(graphs).square().sum(), list(model.trunk.layers[0].parameters()))
