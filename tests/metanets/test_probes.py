"""Probe features: against a loop over networks, relabelled graphs, gradients, saving, and what the errors say."""

import copy

import pytest
import torch
from torch import nn

import weightspace as ws
from weightspace.errors import ConfigurationError, WeightspaceError
from weightspace.metanets import NeuralGraphGNN, TracedNetwork, from_pretrained, input_shapes, save_pretrained
from weightspace.metanets._node_order import node_order
from weightspace.metanets._probes import ProbeFeatures
from weightspace.metanets._union import unite

TIGHT = {"rtol": 1e-10, "atol": 1e-12}


class Residual(nn.Module):
    """Neurons without a bias, and sums that only structural edges reach."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(2, 4, bias=False), nn.Linear(4, 4, bias=False)
        self.last = nn.Linear(4, 3)

    def forward(self, x):
        x = torch.tanh(self.first(x))
        return self.last(torch.sin(x + self.second(x)))


def traced(module, *shape):
    inputs = (torch.zeros(shape),)
    return TracedNetwork(ws.trace(module, *inputs), module, inputs)


def mlp(width=4):
    return traced(nn.Sequential(nn.Linear(2, width), nn.Tanh(), nn.Linear(width, 3)), 1, 2)


def cnn():
    return traced(
        nn.Sequential(nn.Conv2d(1, 3, 2), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2)), 1, 1, 3, 3
    )


def stacked(network, count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    state = network.module.state_dict()
    return {
        key: torch.rand(count, *value.shape, generator=generator, dtype=torch.float64) + 0.1
        if value.is_floating_point()
        else value.expand(count, *value.shape).clone()
        for key, value in state.items()
    }


def features(networks, count=3):
    torch.manual_seed(0)
    probes = ProbeFeatures(5, [[count, *shape] for shape in input_shapes(networks)], owner="Metanet").double()
    probes.attach(networks)
    return probes


def test_features_are_what_neurons_do_with_the_probes():
    network, probes = mlp(), None
    states = stacked(network, 2)
    probes = features([network])
    found = probes(unite(network.space.to_graphs(states)))
    rows = []
    inputs = probes.probes["1x2"]
    for site in ("hidden", "input", "output"):
        for i in range(2):
            hidden = torch.tanh(inputs @ states["0.weight"][i].t() + states["0.bias"][i])
            output = hidden @ states["2.weight"][i].t() + states["2.bias"][i]
            value = {"hidden": hidden, "input": inputs, "output": output}[site][:, 0]  # (P, n)
            rows.append(torch.cat([value, (value.square() + 1e-12).sqrt()]).t())
    wanted = probes.norm(probes.project(torch.cat(rows)))
    order = [s.node_type for s in network.space.sites]
    assert order == ["linear>tanh", "input", "linear>output"]
    torch.testing.assert_close(found, wanted, **TIGHT)


@pytest.mark.parametrize("network", [mlp(), cnn(), traced(Residual(), 1, 2)], ids=["mlp", "cnn", "residual"])
def test_relabelled_graphs_keep_each_neurons_features(network):
    graph, probes = network.space.to_graphs(stacked(network, 2)), features([network])
    other = graph.relabel(torch.Generator().manual_seed(3))
    order = node_order(other, graph)
    assert node_order(graph, graph) is None and order is not None
    numbers = torch.cat([first + o for first, o in zip(graph.site_offsets, order, strict=True)])
    for block, moved in zip(graph.blocks, other.blocks, strict=True):
        ends = {tuple(pair) for pair in block.edge_index.t().tolist()}
        assert {tuple(pair) for pair in numbers[moved.edge_index].t().tolist()} == ends
    model = NeuralGraphGNN(2, channels=4, layers=1, probes=[[3, *network.inputs[0].shape]]).double()
    model.attach([network])
    torch.testing.assert_close(model(other), model(graph), **TIGHT)
    assert (probes(unite(other)) - probes(unite(graph))).abs().max() > 1e-3  # the nodes did move


def test_a_graph_of_another_topology_is_refused():
    one, two = (
        network.space.to_graph({k: v[0] for k, v in stacked(network, 1).items()}) for network in (mlp(), mlp(5))
    )
    with pytest.raises(WeightspaceError, match="its nodes and edges are no relabelling"):
        node_order(one, two)


def test_a_mixed_batch_is_its_networks_and_gradients_reach_everything():
    networks = [mlp(), mlp(5), cnn()]
    graphs = [
        network.space.to_graphs(stacked(network, 2, seed)) for seed, network in enumerate([*networks, networks[0]])
    ]
    model = NeuralGraphGNN(2, channels=4, layers=2, probes=[[3, *shape] for shape in input_shapes(networks)]).double()
    model.attach(networks)
    mixed = model([*graphs, graphs[0].unbatch(1)])
    alone = [model(graph) for graph in graphs]
    torch.testing.assert_close(torch.cat([*alone, alone[0][1:]]), mixed, **TIGHT)
    mixed.square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for n, p in model.named_parameters() if "probes" in n)


def test_saved_probes_come_back_and_need_attach(tmp_path):
    network = mlp()
    model = NeuralGraphGNN(1, channels=4, layers=1, probes=[[3, 1, 2]])
    model.attach([network])
    graph = network.space.to_graphs({k: v.float() for k, v in stacked(network, 2).items()})
    assert not [name for name in model.state_dict() if "networks" in name]
    again = from_pretrained(save_pretrained(model, tmp_path))
    with pytest.raises(WeightspaceError, match=r"NeuralGraphGNN: found a network of architecture .* not attached"):
        again(graph)
    again.attach({network.signature: network})
    assert torch.equal(again(graph), model(graph))
    assert torch.equal(copy.deepcopy(model)(graph), model(graph))


def test_inputs_that_no_probe_fits_are_named():
    with pytest.raises(
        WeightspaceError, match=r"takes inputs of shape \(1, 1, 3, 3\), there are probes of 1x2; give it"
    ):
        features([mlp()]).attach([cnn()])
    with pytest.raises(ConfigurationError, match=r"NeuralGraphGNN: found probes=\[\[3, 1, 2\], \[4, 1, 3\]\], wanted"):
        NeuralGraphGNN(1, probes=[[3, 1, 2], [4, 1, 3]])


def test_token_networks_get_a_constant_and_recurrent_ones_are_refused():
    tokens = TracedNetwork(
        ws.trace(net := nn.Embedding(4, 3), torch.zeros(1, 2).long()), net, (torch.zeros(1, 2).long(),)
    )
    probes = features([mlp()])
    probes.attach([tokens])
    rows = probes(unite(tokens.space.to_graphs(stacked(tokens, 2))))
    assert torch.equal(rows, rows[:1].expand_as(rows))
    lstm = traced(nn.LSTM(2, 3, batch_first=True), 1, 4, 2)
    model = features([lstm])
    with pytest.raises(
        WeightspaceError, match="Metanet: networks of architecture .* cannot be run at once: Batching rule"
    ):
        model(unite(lstm.space.to_graphs(stacked(lstm, 2))))
