"""The parameter graph: what lies where, PyG and networkx, edits, tied entries."""

import networkx
import pytest
import torch
from torch import nn

import weightspace as ws
from tests import architectures
from weightspace.vocabulary import EDGE_TYPES, NODE_KINDS, split_node_type


@pytest.fixture(scope="module")
def small() -> tuple[ws.WeightSpace, nn.Module]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(27, 2))
    return ws.trace(net, torch.zeros(1, 2, 5, 5)), net


def test_entries_lie_between_their_neurons(small):
    space, net = small
    graph = space.to_graph(net.state_dict())
    offsets = dict(zip((site.node_type for site in graph.sites), graph.site_offsets, strict=True))
    conv, head = (next(b for b in graph.blocks if b.name == name) for name in ("0.weight", "4.weight"))
    for (source, target), taps in zip(conv.edge_index.t().tolist(), conv.edge_attr, strict=True):
        wanted = net[0].weight[target - offsets["conv"], source - offsets["input"]].flatten()
        assert torch.equal(taps, wanted)
    norm = offsets["batch_norm(eps=1e-05)>relu"]
    for (source, target), taps in zip(head.edge_index.t().tolist(), head.edge_attr, strict=True):
        wanted = net[4].weight[target - offsets["linear>output"]].reshape(3, 9)[source - norm]
        assert torch.equal(taps, wanted)
    site = graph.sites[[s.node_type for s in graph.sites].index("batch_norm(eps=1e-05)>relu")]
    assert site.roles == ("norm_weight", "norm_bias", "running_mean", "running_var")
    assert torch.equal(site.x[:, 2], net[1].running_mean) and graph.constants.keys() == {"1.num_batches_tracked"}


def test_only_nodes_of_fixed_axes_carry_an_index(small):
    space, net = small
    index = {site.node_type: site.index.tolist() for site in space.to_graph(net.state_dict()).sites}
    assert index == {"conv": [-1] * 3, "input": [0, 1], "batch_norm(eps=1e-05)>relu": [-1] * 3, "linear>output": [0, 1]}


def test_taps_know_their_place(small):
    space, net = small
    conv, head = (b for b in space.to_graph(net.state_dict()).blocks if b.role == "weight")
    assert conv.tap_position[:, 3].unique().tolist() == [1] and conv.tap_position[0].tolist() == [-1, -1, 0, 1]
    assert head.tap_position[:, 3].unique().tolist() == [2] and head.tap_position[-1].tolist() == [1, 1, 0, 2]
    assert head.attributes == {"taps": ["p0:3", "p1:3"]} and conv.attributes["kernel"] == [3, 3]


def test_transposed_pixels_are_another_graph_and_signature():
    class Net(nn.Module):
        def __init__(self, swap: bool) -> None:
            super().__init__()
            self.conv, self.head, self.swap = nn.Conv2d(1, 3, 3), nn.Linear(27, 2), swap

        def forward(self, x):
            h = self.conv(x)
            return self.head((h.transpose(2, 3) if self.swap else h).flatten(1))

    a, b = (ws.trace(Net(swap), torch.zeros(1, 1, 5, 5)) for swap in (False, True))
    assert a.signature != b.signature
    assert b.to_graph(Net(True).state_dict()).blocks[1].attributes == {"taps": ["p1:3", "p0:3"]}


def test_types_come_from_the_shared_vocabulary():
    for make in architectures.BASIC:
        module, inputs, _ = make()
        graph = ws.trace(module, *inputs, verify=False).to_graph(module.state_dict())
        assert all(split_node_type(site.node_type)[0] in NODE_KINDS for site in graph.sites)
        assert all(block.edge_type in EDGE_TYPES for block in graph.blocks)


def test_every_site_is_tied_to_the_rest():
    for make in architectures.BASIC:
        module, inputs, _ = make()
        graph = ws.trace(module, *inputs, verify=False).to_graph(module.state_dict()).to_networkx()
        graph.remove_nodes_from([n for n, d in graph.nodes(data=True) if d["node_type"] == "unused"])
        if make is not architectures.mixer:  # tokens and features are two axes of one value
            assert networkx.is_weakly_connected(graph), make.__name__


def test_networkx_attributes(small):
    space, net = small
    graph = space.to_graph(net.state_dict()).to_networkx()
    assert isinstance(graph, networkx.MultiDiGraph)
    assert {frozenset(d) for _, d in graph.nodes(data=True)} == {
        frozenset({"x", "node_type", "x_address"}),
        frozenset({"x", "node_type", "x_address", "index"}),
    }
    assert {frozenset(d) for _, _, d in graph.edges(data=True)} == {
        frozenset({"edge_attr", "edge_type", "attributes", "edge_address"})
    }


def test_pyg_pads_with_address_minus_one(small):
    space, net = small
    graph = space.to_graph(net.state_dict())
    data = graph.to_pyg()
    data.validate(raise_on_error=True)
    assert data.num_nodes == graph.num_nodes and data.edge_index.shape[1] == graph.num_edges
    flat = torch.cat([value.flatten() for value in net.state_dict().values() if value.is_floating_point()])
    found = torch.full_like(flat, torch.nan)
    for values, addresses in ((data.x, data.x_address), (data.edge_attr, data.edge_address)):
        assert not values[addresses < 0].any()
        found[addresses[addresses >= 0]] = values[addresses >= 0]
    order = torch.cat([net.state_dict()[name].flatten() for name in space.parameters])
    assert torch.equal(found, order)


def test_pyg_refuses_much_padding_unless_asked():
    net = nn.Sequential(nn.Conv2d(1, 4, 7), nn.Conv2d(4, 40, 1), nn.Conv2d(40, 40, 1))
    graph = ws.trace(net, torch.zeros(1, 1, 9, 9)).to_graph(net.state_dict())
    with pytest.raises(ws.WeightspaceError, match=r"takes .*x the .* entries \(allowed 2x\); use the ragged blocks"):
        graph.to_pyg()
    assert graph.to_pyg(max_padding=None).edge_attr.shape[1] == 49


def test_batches_are_unbatched_first(small):
    space, net = small
    batch = space.to_graphs({key: torch.stack([value] * 2) for key, value in net.state_dict().items()})
    for convert in (batch.to_pyg, batch.to_networkx):
        with pytest.raises(ws.WeightspaceError, match=r"batch of 2 networks, wanted one"):
            convert()
    with pytest.raises(ws.WeightspaceError, match="this graph holds one network"):
        batch.unbatch(0).unbatch(0)


def test_replacing_numbers_edits_the_network(small):
    space, net = small
    graph = space.to_graph(net.state_dict())
    edited = graph.replace(x=[2 * s.x for s in graph.sites], edge_attr=[2 * b.edge_attr for b in graph.blocks])
    state = space.to_state_dict(edited)
    floating = {k: v for k, v in net.state_dict().items() if v.is_floating_point()}
    assert all(torch.equal(state[key], 2 * value) for key, value in floating.items())
    with pytest.raises(ws.WeightspaceError, match=r"edge_attr\[0\] has shape \(1, 2\), wanted"):
        graph.replace(edge_attr=[torch.zeros(1, 2) for _ in graph.blocks])
    with pytest.raises(ws.WeightspaceError, match="found 1 tensors for x"):
        graph.replace(x=[graph.sites[0].x])


def test_half_precision_comes_back_bit_for_bit(small):
    space, net = small
    state = {k: v.to(torch.bfloat16) if k.startswith("0.") else v for k, v in net.state_dict().items()}
    back = space.to_state_dict(space.to_graph(state))
    assert all(torch.equal(back[key], value) and back[key].dtype == value.dtype for key, value in state.items())


def test_entries_on_several_edges_agree_or_are_averaged():
    """One weight under two names, with a bias each: its entries lie on two blocks."""
    module, inputs, _ = architectures.tied()
    space = ws.trace(module, *inputs)
    graph = space.to_graph(module.state_dict())
    weight = module.b.weight.detach()
    first, second = (i for i, b in enumerate(graph.blocks) if b.address.numel() and b.name.startswith("b.weight"))
    assert torch.equal(graph.blocks[first].address, graph.blocks[second].address)
    assert torch.equal(space.to_state_dict(graph)["c.weight"], weight)
    values = [block.edge_attr for block in graph.blocks]
    values[first] = values[first] + 1
    edited = graph.replace(edge_attr=values)
    with pytest.raises(ws.StateDictError, match=r"entries of b\.weight lie on several edges.*tied='mean'"):
        space.to_state_dict(edited)
    torch.testing.assert_close(space.to_state_dict(edited, tied="mean")["b.weight"], weight + 0.5)
    with pytest.raises(ws.StateDictError, match="tied='sum' is not known"):
        space.to_state_dict(graph, tied="sum")


def test_there_and_back_is_the_identity_for_gradients_too():
    for make in (architectures.tied, architectures.mlp):
        module, inputs, _ = make()
        space = ws.trace(module, *inputs)
        state = {k: v.detach().double().requires_grad_(v.is_floating_point()) for k, v in module.state_dict().items()}
        state |= {key: state[name] for key, name in space.tied.items()}
        for tied in ("check", "mean"):
            back = space.to_state_dict(space.to_graph(state), tied=tied)
            names = list(space.parameters)
            weights = [torch.randn_like(state[name]) for name in names]
            total = sum((back[name] * weight).sum() for name, weight in zip(names, weights, strict=True))
            for found, wanted in zip(torch.autograd.grad(total, [state[n] for n in names]), weights, strict=True):
                torch.testing.assert_close(found, wanted)


def test_a_zero_weight_is_still_an_edge(small):
    space, net = small
    graph = space.to_graph({key: torch.zeros_like(value) for key, value in net.state_dict().items()})
    assert graph.num_edges == space.to_graph(net.state_dict()).num_edges


def test_moving_to_another_dtype(small):
    space, net = small
    graph = space.to_graph(net.state_dict()).to(torch.float64)
    assert graph.blocks[0].edge_attr.dtype == torch.float64 and graph.blocks[0].edge_index.dtype == torch.long
