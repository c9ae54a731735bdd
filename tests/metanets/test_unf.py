"""Universal neural functionals: dimension of the layer, symmetry, training on residual networks and transformers."""

from itertools import product

import numpy as np
import pytest
import scipy.sparse
import torch
from torch import nn

import weightspace as ws
from weightspace.errors import WeightspaceError
from weightspace.metanets import UNF, TracedNetwork, UNFEditor, equivariant_dimension, fit_input_scales
from weightspace.metanets._entry_layers import EntryLinear, LinkPlan
from weightspace.metanets._entry_links import entry_pieces
from weightspace.testing import MetanetTests, full_state


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.into, self.a, self.b, self.out = nn.Linear(2, 3), nn.Linear(3, 2), nn.Linear(2, 3), nn.Linear(3, 1)

    def forward(self, x):
        h = self.into(x)
        return self.out(h + self.b(torch.relu(self.a(h))))


class Recurrent(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.cell, self.out = nn.RNN(1, width, batch_first=True), nn.Linear(width, 1)

    def forward(self, x):
        return self.out(self.cell(x)[0][:, -1])


class Heads(nn.Module):
    def __init__(self, width=4, heads=2):
        super().__init__()
        self.into, self.out = nn.Linear(1, width), nn.Linear(width, 1)
        self.attention = nn.MultiheadAttention(width, heads, bias=False, batch_first=True)

    def forward(self, x):
        h = self.into(x)
        return self.out(self.attention(h, h, h, need_weights=False)[0])


def mlp(*widths):
    layers = [layer for i, o in zip(widths, widths[1:], strict=False) for layer in (nn.Linear(i, o), nn.Tanh())]
    return nn.Sequential(*layers[:-1]), (torch.zeros(1, widths[0]),)


def cnn():
    net = nn.Sequential(nn.Conv2d(1, 2, 2), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2))
    return net, (torch.zeros(1, 1, 3, 3),)


CASES = {
    "mlp": lambda: mlp(2, 5, 4, 1),
    "mlp of two neurons": lambda: mlp(2, 2, 3, 1),
    "cnn": cnn,
    "residual": lambda: (Residual(), (torch.zeros(1, 2),)),
    "recurrent": lambda: (Recurrent(4), (torch.zeros(1, 3, 1),)),
    "recurrent, two neurons": lambda: (Recurrent(2), (torch.zeros(1, 3, 1),)),
    "recurrent, three neurons": lambda: (Recurrent(3), (torch.zeros(1, 3, 1),)),
    "heads": lambda: (Heads(), (torch.zeros(1, 3, 1),)),
}


def traced(name):
    module, inputs = CASES[name]()
    return ws.trace(module, *inputs), module, inputs


def orbits(space, elements=6):
    """Number of orbits of the group on pairs of entries: the dimension of its commutant, by brute force."""
    total = sum(spec.numel for spec in space.parameters.values())
    numbers = torch.arange(total, dtype=torch.float64).split([s.numel for s in space.parameters.values()])
    state = {n: v.view(space.parameters[n].shape) for n, v in zip(space.parameters, numbers, strict=True)}
    state |= {key: torch.zeros((), dtype=torch.long) for key in space.keys if key not in state}
    generator, here = torch.Generator().manual_seed(0), np.arange(total)
    pairs = []
    for _ in range(elements):
        moved = space.act(space.random_element(generator), state)
        to = torch.cat([moved[name].flatten() for name in space.parameters]).long().numpy()
        pairs.append([(a[:, None] * total + a).ravel() for a in (here, to)])
    rows, columns = np.concatenate(pairs, axis=1)
    graph = scipy.sparse.coo_matrix((np.ones(len(rows), np.int8), (rows, columns)), shape=(total**2, total**2))
    return scipy.sparse.csgraph.connected_components(graph, directed=False)[0]


@pytest.mark.parametrize("name", CASES)
def test_the_dimension_is_the_number_of_orbits_of_pairs_of_entries(name):
    space, _, _ = traced(name)
    assert equivariant_dimension(space) == orbits(space)


def dws_dimension(widths):
    """Navon et al. 2023 (appendix, tables of the blocks): inputs and outputs fixed, each pair of layers on its own.

    A pair of tensors has a general matrix between their fixed positions for every choice of "keep or average" on each
    group of neurons that they share.
    """
    last = len(widths) - 1
    pieces = []
    for layer, (i, o) in enumerate(zip(widths, widths[1:], strict=False), start=1):
        rows, columns = ({layer}, 1) if layer < last else (set(), o)
        before, inputs = ({layer - 1}, 1) if layer > 1 else (set(), i)
        pieces += [(rows | before, columns * inputs), (rows, columns)]
    return sum(k * m * 2 ** len(a & b) for (a, k), (b, m) in product(pieces, repeat=2))


@pytest.mark.parametrize("widths", [(2, 5, 1), (3, 4, 6, 2), (2, 5, 5, 5, 3)])
def test_on_an_mlp_it_is_the_layer_of_dwsnets_and_nfn(widths):
    module, inputs = mlp(*widths)
    space = ws.trace(module, *inputs)
    assert equivariant_dimension(space) == dws_dimension(widths)


@pytest.mark.parametrize("layers", [1, 2, 3, 5])
def test_with_all_neurons_permuted_it_is_the_np_layer_of_nfn(layers):
    """Zhou et al. 2023, equations of the NP layer: a1 and a7 for each pair of layers, a2 to a6, a8, a9 for neighbours;
    likewise for biases: 4 L^2 + 10 L - 4 coefficients."""
    module, inputs = mlp(*[4] * (layers + 1))
    assert equivariant_dimension(ws.trace(module, *inputs), max_fixed=0) == 4 * layers**2 + 10 * layers - 4


@pytest.mark.parametrize("name", CASES)
def test_the_layer_spans_all_equivariant_maps(name):
    space, _, _ = traced(name)
    pieces = entry_pieces(space, 100)
    address = torch.cat([piece.address.flatten() for piece in pieces])
    assert address.sort().values.equal(torch.arange(len(address)))  # every entry lies in one piece
    layer = EntryLinear(LinkPlan.of(space, pieces), [1] * len(pieces), 1).double()
    unit = torch.eye(len(address), dtype=torch.float64).split([p.address.numel() for p in pieces], dim=1)
    features = [u.view(len(address), *p.address.shape, 1) for u, p in zip(unit, pieces, strict=True)]
    weights = {n: p.detach() for n, p in layer.named_parameters() if n.endswith("weight")}
    zeros = {n: torch.zeros_like(p) for n, p in layer.named_parameters()}

    def matrix(name, k):
        one = torch.zeros(weights[name].numel(), dtype=torch.float64).index_fill(0, torch.tensor(k), 1.0)
        values = zeros | {name: one.view(weights[name].shape)}
        return torch.cat([f.flatten(1) for f in torch.func.functional_call(layer, values, (features,))], 1).flatten()

    basis = torch.stack([matrix(n, k) for n in weights for k in range(weights[n].numel())])
    assert int(torch.linalg.matrix_rank(basis)) == equivariant_dimension(space)


def stack_of(space, module, models=3):
    generator = torch.Generator().manual_seed(0)
    states = [full_state(space, module, generator) for _ in range(models)]
    return {key: torch.stack([state[key] for state in states]) for key in states[0]}


def test_a_batch_may_mix_architectures():
    graphs, spaces = [], []
    for name in ("mlp", "cnn", "heads"):
        space, module, _ = traced(name)
        spaces.append(space)
        graphs.append(space.to_graphs(stack_of(space, module)))
    model = UNF(2, channels=4, layers=2, spaces=spaces, input_scales=fit_input_scales(graphs)).double()
    shuffled = [graphs[2].unbatch(0), graphs[0], graphs[2].unbatch(1), graphs[1], graphs[2].unbatch(2)]
    apart = [model(graph) for graph in graphs]
    wanted = torch.cat([apart[2][:1], apart[0], apart[2][1:2], apart[1], apart[2][2:]])
    torch.testing.assert_close(model(shuffled), wanted, rtol=1e-12, atol=1e-14)


def test_a_batch_may_be_empty():
    space, module, _ = traced("cnn")
    graph = space.to_graphs({key: value[:0] for key, value in stack_of(space, module).items()})
    assert UNF(2, channels=4, layers=2, spaces=[space]).double()(graph).shape == (0, 2)
    assert UNFEditor(channels=4, layers=2, spaces=[space]).double()(graph).batch_shape == (0,)


def test_long_fixed_axes_are_linked_and_still_told_apart():
    module, inputs = mlp(40, 3, 30)
    space = ws.trace(module, *inputs)
    model = UNF(1, channels=4, layers=2, spaces=[space]).double()
    assert sum(p.numel() for p in model.parameters()) < 20_000
    state = stack_of(space, module)
    swapped = dict(state)
    swapped["0.weight"] = state["0.weight"].index_select(2, torch.tensor([1, 0, *range(2, 40)]))
    assert (model(space.to_graphs(swapped)) - model(space.to_graphs(state))).abs().min() > 1e-8


def test_an_unknown_architecture_is_named_and_attach_makes_it_known():
    space, module, inputs = traced("mlp")
    model = UNF(1, channels=4, layers=2).double()
    graph = space.to_graphs(stack_of(space, module))
    with pytest.raises(WeightspaceError, match="UNF: found a network of architecture .* call attach before the optimi"):
        model(graph)
    model.attach([TracedNetwork(space, module, inputs)])
    assert model(graph).shape == (3, 1)


def test_running_statistics_are_left_alone_unless_asked():
    space, module, _ = traced("cnn")
    graph = space.to_graphs(stack_of(space, module))
    for asked in (False, True):
        edited = UNFEditor(channels=4, layers=2, spaces=[space], edit_buffers=asked).double()(graph)
        state, old = space.to_state_dict(edited), space.to_state_dict(graph)
        changed = {name for name in space.parameters if not state[name].equal(old[name])}
        assert ("1.running_var" in changed) is asked and "1.weight" in changed


class SmallResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.a, self.b, self.head = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 3)

    def forward(self, x):
        h = torch.relu(self.norm(self.stem(x)))
        h = torch.relu(h + self.b(torch.relu(self.a(h))))
        return self.head(h.mean((2, 3)))


def transformer():
    layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True, dropout=0.0)
    return nn.Sequential(nn.Linear(2, 8), layer, nn.Linear(8, 2)), (torch.zeros(1, 3, 2),)


def residual():
    return SmallResNet(), (torch.zeros(1, 1, 5, 5),)


@pytest.mark.parametrize("make", [residual, pytest.param(transformer, marks=pytest.mark.slow)])
def test_it_learns_what_networks_do_on_a_traced_resnet_and_on_a_transformer(make):
    """Predict the spread of a network's outputs on fixed inputs, from its weights; better than the mean on new ones."""
    torch.manual_seed(0)
    module, inputs = make()
    space = ws.trace(module, *inputs)
    scale = torch.rand(160) * 2 + 0.2
    stacked = {
        key: torch.stack([value * s if value.dim() > 1 else value for s in scale])
        for key, value in module.state_dict().items()
    }
    stacked = {k: v + 0.1 * torch.randn_like(v) if v.dim() > 2 else v for k, v in stacked.items()}
    outputs = ws.Runner(space, module)(stacked, torch.randn(16, *inputs[0].shape[1:]))
    target = outputs.flatten(1).std(1).log().detach()[:, None]
    target = (target - target.mean()) / target.std()
    graph = space.to_graphs(stacked)
    model = UNF(1, channels=4, layers=2, spaces=[space], input_scales=fit_input_scales([graph]))
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(40):
        loss = (model(graph)[:120] - target[:120]).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        assert float((model(graph)[120:] - target[120:]).square().mean()) < 0.5 * float(target[120:].square().mean())


class TestUNF(MetanetTests):
    def metanet(self, networks):
        return UNF(2, channels=4, layers=3, spaces=[network.space for network in networks])


class TestUNFEditor(MetanetTests):
    edits = True

    def metanet(self, networks):
        return UNFEditor(channels=4, layers=2, max_fixed=1, spaces=[network.space for network in networks])
