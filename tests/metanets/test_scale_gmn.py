"""ScaleGMN: invariant under permutations, positive scales and signs, in float32, on any architecture."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import weightspace as ws
from weightspace.errors import WeightspaceError
from weightspace.metanets import ScaleGMN, ScaleGMNEditor, TracedNetwork, from_pretrained, save_pretrained
from weightspace.metanets._message_passing import Adjacency
from weightspace.metanets._networks import AttachedNetworks
from weightspace.metanets._scale_frames import Frames
from weightspace.metanets._scale_layers import _ScalePass
from weightspace.testing import MetanetTests, full_state
from weightspace.zoo._architectures import small_cnn_zoo

ALL = frozenset({"permutation", "scale", "sign"})
Architecture = tuple[nn.Module, tuple[Any, ...]]


class Sine(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(30 * x)


class Block(nn.Module):
    def __init__(self, channels: int, norm: type[nn.Module]) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        self.norms = nn.ModuleList(norm(channels) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        inside = self.norms[0](self.first(x)).relu()
        return (x + self.norms[1](self.second(inside))).relu()


def resnet(norm: type[nn.Module]) -> nn.Module:
    stem = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), Block(3, norm), Block(3, norm))
    return stem.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)])


def depthwise() -> nn.Module:
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Conv2d(4, 4, 3, groups=4), nn.Tanh(), nn.Flatten())
    return net.append(nn.Linear(16, 3))


def normed() -> nn.Module:
    net = nn.Sequential(nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 3))
    return net.extend([nn.BatchNorm2d(3), nn.Tanh(), nn.Flatten(), nn.Linear(12, 2)])


def mlp(*widths: int, activation: type[nn.Module]) -> Architecture:
    layers = [nn.Linear(*pair) for pair in zip(widths, widths[1:], strict=False)]
    steps = [step for layer in layers for step in (layer, activation())]
    return nn.Sequential(*steps[:-1]), (torch.zeros(1, widths[0]),)


def architectures() -> dict[str, Architecture]:
    image = torch.zeros(1, 1, 6, 6)
    convolutions = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 3))
    attention = nn.TransformerEncoderLayer(4, 2, 6, batch_first=True, norm_first=True, activation=torch.tanh)
    return {
        "relu": mlp(3, 5, 4, 2, activation=nn.ReLU),
        "tanh": mlp(3, 5, 4, 2, activation=nn.Tanh),
        "siren": mlp(2, 5, 5, 1, activation=Sine),
        "cnn": (convolutions, (image,)),
        "depthwise": (depthwise(), (image,)),
        "norms": (normed(), (torch.zeros(1, 2, 6, 6),)),
        "resnet": (resnet(nn.Identity), (image,)),
        "resnet with norms": (resnet(nn.BatchNorm2d), (image,)),
        "transformer": (attention.eval(), (torch.zeros(1, 3, 4),)),
    }


def some(*names: str) -> dict[str, Architecture]:
    return {name: architectures()[name] for name in names}


def attached(metanet: Any, networks: Iterable[TracedNetwork]) -> Any:
    metanet.attach(networks)
    return metanet


class TestScaleGMN(MetanetTests):
    symmetries = ALL

    def metanet(self, networks: tuple[TracedNetwork, ...]) -> nn.Module:
        return attached(ScaleGMN(2, channels=8, layers=3), networks)

    def architectures(self) -> Mapping[str, Architecture]:
        return some("relu", "siren", "norms", "resnet with norms")


@pytest.mark.slow
class TestScaleGMNOnMore(MetanetTests):
    symmetries = ALL

    def metanet(self, networks: tuple[TracedNetwork, ...]) -> nn.Module:
        return attached(ScaleGMN(2, channels=8, layers=4), networks)

    def architectures(self) -> Mapping[str, Architecture]:
        return {**super().architectures(), **architectures()}


class TestOneWay(MetanetTests):
    symmetries = ALL

    def metanet(self, networks: tuple[TracedNetwork, ...]) -> nn.Module:
        return attached(ScaleGMN(2, channels=8, layers=3, bidirectional=False), networks)

    def architectures(self) -> Mapping[str, Architecture]:
        return some("siren", "cnn", "norms")


class TestScaleGMNEditor(MetanetTests):
    edits = True
    symmetries = ALL

    def metanet(self, networks: tuple[TracedNetwork, ...]) -> nn.Module:
        return attached(ScaleGMNEditor(channels=8, layers=2), networks)

    def architectures(self) -> Mapping[str, Architecture]:
        return some("siren", "cnn", "norms")


@pytest.mark.slow
class TestScaleGMNEditorOnMore(MetanetTests):
    edits = True
    symmetries = ALL

    def metanet(self, networks: tuple[TracedNetwork, ...]) -> nn.Module:
        return attached(ScaleGMNEditor(channels=8, layers=5), networks)

    def architectures(self) -> Mapping[str, Architecture]:
        return {**super().architectures(), **architectures()}


def traced(module: nn.Module, *inputs: Tensor) -> TracedNetwork:
    return TracedNetwork(ws.trace(module, *inputs, symmetries=ALL), module, inputs)


def traced_mlp(*widths: int, activation: type[nn.Module]) -> TracedNetwork:
    module, inputs = mlp(*widths, activation=activation)
    return traced(module, *inputs)


def zoo_cnn() -> TracedNetwork:
    return traced(small_cnn_zoo(), torch.zeros(1, 1, 28, 28))


def rescaled(space: ws.WeightSpace, state: Mapping[str, Tensor], largest: float, seed: int) -> dict[str, Tensor]:
    """A network with scales up to `largest` and down to its inverse, in the dtype of the state."""
    draw = np.random.default_rng(seed).uniform(-np.log(largest), np.log(largest), space.scalings.scales.dimension)
    return space.rescale(space.scalings.element(draw, np.zeros(space.scalings.signs.dimension, dtype=int)), state)


def test_large_scales_in_single_precision():
    """Scales between 1e-3 and 1e3 on the Small CNN Zoo's network: the same output, finite gradients, both ways."""
    network = zoo_cnn()
    torch.manual_seed(0)
    state = {key: value.detach() for key, value in network.module.state_dict().items()}
    states = [state] + [rescaled(network.space, state, 1e3, seed) for seed in range(3)]
    assert max(float(value.abs().max()) for value in states[1].values()) > 100
    graphs = network.space.to_graphs({key: torch.stack([each[key] for each in states]) for key in state})
    for both in (True, False):
        metanet = attached(ScaleGMN(2, channels=16, layers=3, bidirectional=both), [network])
        out = metanet(graphs)
        assert out.dtype == torch.float32
        torch.testing.assert_close(out[1:], out[:1].expand(3, -1), rtol=1e-3, atol=1e-5)
        gradients = torch.autograd.grad(out.square().sum(), list(metanet.parameters()), allow_unused=True)
        assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients if gradient is not None)


def test_edits_of_large_scales_in_single_precision():
    network = zoo_cnn()
    torch.manual_seed(0)
    state = {key: value.detach() for key, value in network.module.state_dict().items()}
    metanet = attached(ScaleGMNEditor(channels=8, layers=2), [network])
    with torch.no_grad():
        graphs = [network.space.to_graph(each) for each in (state, rescaled(network.space, state, 1e3, 0))]
        edited, moved = (network.space.to_state_dict(metanet(graph)) for graph in graphs)
    for key, value in rescaled(network.space, edited, 1e3, 0).items():
        torch.testing.assert_close(moved[key], value, rtol=1e-3, atol=1e-4 * float(value.abs().max()))


@pytest.mark.parametrize("key", ["0.weight", "0.bias", "2.weight", "all"])
def test_dead_neurons(key):
    """Rows of zeros, columns of zeros and networks of zeros: finite outputs, edits and gradients."""
    network = traced_mlp(3, 5, 4, 2, activation=nn.ReLU)
    state = full_state(network.space, network.module, torch.Generator().manual_seed(0))
    for name, value in state.items():
        if name == key or (key == "0.bias" and name == "0.weight"):
            value[..., :2] = 0
        elif key == "all":
            value.zero_()
    graph = network.space.to_graph({name: value.requires_grad_() for name, value in state.items()})
    for metanet in (ScaleGMN(1, channels=8, layers=2), ScaleGMNEditor(channels=8, layers=2)):
        out = attached(metanet.double(), [network])(graph)
        if not isinstance(out, Tensor):
            out = torch.cat([value.flatten() for value in network.space.to_state_dict(out).values()])
        gradients = torch.autograd.grad(out.square().sum(), list(state.values()), allow_unused=True)
        assert bool(torch.isfinite(out).all())
        assert all(bool(torch.isfinite(g).all()) for g in gradients if g is not None)


@pytest.mark.parametrize("name", sorted(architectures()))
def test_the_balanced_gauge_keeps_the_function(name):
    module, inputs = architectures()[name]
    network = traced(module, *inputs)
    module, state = module.double().eval(), full_state(network.space, module, torch.Generator().manual_seed(1))
    networks = AttachedNetworks("test")
    networks.add([network])
    framed = Frames(networks)(network.space.to_graph(state))
    x = torch.randn(4, *inputs[0].shape[1:], dtype=torch.float64)
    runs = [torch.func.functional_call(module, each, x) for each in (state, network.space.to_state_dict(framed.signed))]
    torch.testing.assert_close(*runs, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("both", [True, False])
def test_the_pass_is_its_loop(both):
    """The fast kernel equals gather, multiply, scatter, with gradients."""
    torch.manual_seed(0)
    nodes, edge_index = 6, torch.randint(0, 6, (2, 15))
    adjacency = Adjacency.from_edge_index(edge_index, nodes)
    sizes = [(15, 4), (15, 4), *[(nodes, 4)] * 3, (nodes if both else 0, 4), (4, 4), (4, 4)]
    inputs = [torch.randn(*size, dtype=torch.float64, requires_grad=True) for size in sizes]
    e, o, a, b, p, q, w_in, w_out = inputs
    source, target = edge_index
    h = torch.relu(e @ w_in + a[source] + b[target])
    c = o * (1 + e)

    def total(values: Tensor, at: Tensor) -> Tensor:
        return torch.zeros(nodes, 4, dtype=torch.float64).index_add(0, at, values)

    wanted = [total(h, target), total(c * p[source], target), e + h @ w_out]
    passed = _ScalePass.apply(adjacency, *inputs)
    fast = [passed[0], passed[2], passed[4]]
    if both:
        wanted += [total(h, source), total(c * q[target], source)]
        fast += [passed[1], passed[3]]
    weights = [torch.randn_like(value) for value in wanted]
    used = inputs if both else [e, o, a, b, p, w_in, w_out]
    sums = [sum((v * w).sum() for v, w in zip(values, weights, strict=True)) for values in (wanted, fast)]
    slow, quick = (torch.autograd.grad(value, used) for value in sums)
    for right, found in zip([*wanted, *slow], [*fast, *quick], strict=True):
        torch.testing.assert_close(found, right, rtol=1e-10, atol=1e-12)


def test_signs_that_keep_the_function_alone_are_lost():
    """A flip of one row keeps the function only with that of the column behind it."""
    network = traced_mlp(3, 5, 2, activation=nn.Tanh)
    state = full_state(network.space, network.module, torch.Generator().manual_seed(0))
    metanet = attached(ScaleGMN(1, channels=8, layers=3).double(), [network])
    flip = torch.tensor([1.0, -1.0, 1.0, 1.0, 1.0], dtype=torch.float64)
    half = {**state, "0.weight": state["0.weight"] * flip[:, None], "0.bias": state["0.bias"] * flip}
    whole = {**half, "2.weight": state["2.weight"] * flip}
    with torch.no_grad():
        out, other, same = (metanet(network.space.to_graph(each)) for each in (state, half, whole))
    torch.testing.assert_close(same, out, rtol=1e-10, atol=0)
    assert float((other - out).abs()) > 1e-6


def test_spaces_without_scales_leave_permutations():
    module, inputs = mlp(3, 5, 2, activation=nn.ReLU)
    network = TracedNetwork(ws.trace(module, *inputs), module, inputs)
    state = full_state(network.space, module, torch.Generator().manual_seed(0))
    metanet = attached(ScaleGMN(1, channels=8, layers=2).double(), [network])
    factors = {"0.weight": 2, "0.bias": 2, "2.weight": 0.5, "2.bias": 1}
    louder = {key: value * factors[key] for key, value in state.items()}
    with torch.no_grad():
        out, other = (metanet(network.space.to_graph(each)) for each in (state, louder))
    assert float((other - out).abs()) > 1e-6


def test_architectures_must_be_attached():
    network = traced_mlp(2, 3, 1, activation=nn.ReLU)
    graph = network.space.to_graph(network.module.state_dict())
    with pytest.raises(WeightspaceError, match=r"ScaleGMN: found a network of architecture .* which is not attached"):
        ScaleGMN(1, channels=8, layers=1)(graph)


def test_a_graph_of_another_space_is_refused():
    mine, other = (traced_mlp(2, width, 1, activation=nn.ReLU) for width in (3, 4))
    graph = mine.space.to_graph(mine.module.state_dict())
    wrong = dataclasses.replace(graph, signature=other.signature)
    with pytest.raises(WeightspaceError, match="its nodes and edges are no relabelling of that architecture"):
        attached(ScaleGMN(1, channels=8, layers=1), [other])(wrong)


@pytest.mark.parametrize("kind", [ScaleGMN, ScaleGMNEditor])
def test_saved_and_loaded(kind, tmp_path):
    network = traced_mlp(2, 3, 1, activation=nn.ReLU)
    graph = network.space.to_graph(network.module.state_dict())
    metanet = kind(1, channels=8, layers=2) if kind is ScaleGMN else kind(channels=8, layers=2)
    save_pretrained(metanet, tmp_path)
    loaded = attached(from_pretrained(tmp_path), [network])
    runs = [each(graph) for each in (attached(metanet, [network]), loaded)]
    found = [run if isinstance(run, Tensor) else run.blocks[0].edge_attr for run in runs]
    assert torch.equal(*found)
