"""The matrix-product GMN: what every metanet must get right, and predictions that widening does not change."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import weightspace as ws
from weightspace.metanets import GMN, InputScales, MatrixProductGMN, TracedNetwork, from_pretrained, save_pretrained
from weightspace.metanets._matrix_product_gmn import matrix_products
from weightspace.metanets._message_passing import Adjacency
from weightspace.symmetry import widen
from weightspace.testing import MetanetTests, full_state

Architecture = tuple[nn.Module, tuple[Any, ...]]


class Sine(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(30 * x)


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.inside = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inside(x)


def mlp(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 2))


def siren(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(2, width), Sine(), nn.Linear(width, width), Sine(), nn.Linear(width, 1))


def cnn(width: int) -> nn.Module:
    net = nn.Sequential(nn.Conv2d(1, width, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(width, width, 3), nn.ReLU())
    return net.extend([nn.Flatten(), nn.Linear(4 * width, 3)])


def resnet(width: int) -> nn.Module:
    net = nn.Sequential(nn.Conv2d(1, width, 3), Residual(width), Residual(width), nn.AdaptiveAvgPool2d(1))
    return net.extend([nn.Flatten(), nn.Linear(width, 3)])


NETS: dict[str, tuple[Callable[[int], nn.Module], tuple[int, ...]]] = {
    "mlp": (mlp, (1, 3)),
    "siren": (siren, (1, 2)),
    "cnn": (cnn, (1, 1, 10, 10)),
    "resnet": (resnet, (1, 1, 6, 6)),
}


class TestMatrixProductGMN(MetanetTests):
    def metanet(self, networks: tuple[TracedNetwork, ...]) -> nn.Module:
        return MatrixProductGMN(2, channels=8, layers=4)

    def architectures(self) -> Mapping[str, Architecture]:
        return {name: (make(4), (torch.zeros(shape),)) for name, (make, shape) in NETS.items()}


@pytest.mark.slow
class TestMatrixProductGMNOnMore(MetanetTests):
    def metanet(self, networks: tuple[TracedNetwork, ...]) -> nn.Module:
        return MatrixProductGMN(2, channels=16, layers=8)


@pytest.mark.parametrize("name", NETS)
def test_widening_keeps_the_prediction(name):
    """Twice and four times as wide, with equal and random shares, and with random numbers of copies."""
    torch.manual_seed(0)
    scales = InputScales({"seen": {"0:linear/weight": 3.0}}, {"weight": 0.3, "bias": 0.2})
    metanet = MatrixProductGMN(3, channels=8, layers=3, input_scales=scales).double()
    make, shape = NETS[name]
    net = make(4)
    space = ws.trace(net, torch.zeros(shape))
    state = full_state(space, net, torch.Generator().manual_seed(0))
    graphs = [space.to_graph(state)]
    for width, seed, even in ((8, None, True), (16, 0, True), (16, 1, False)):
        wider = ws.trace(make(width), torch.zeros(shape))
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        graphs.append(wider.to_graph(widen(space, state, wider, generator=generator, even=even)))
    other = space.to_graph(full_state(space, net, torch.Generator().manual_seed(1)))
    plain = GMN(1, channels=8, layers=2).double()
    with torch.no_grad():
        first, *rest, different = metanet([*graphs, other])
        for row in rest:
            torch.testing.assert_close(row, first, rtol=1e-10, atol=0)
        assert float((different - first).abs().max()) > 1e-4
        assert float((plain(graphs[1]) - plain(graphs[0])).abs()) > 1e-6


def test_the_products_are_their_loop():
    """The fast kernel equals gather, multiply, scatter, with gradients."""
    torch.manual_seed(0)
    edge_index = torch.randint(0, 6, (2, 15))
    inputs = [torch.randn(n, 4, dtype=torch.float64, requires_grad=True) for n in (15, 6, 6)]
    o, p, q = inputs
    source, target = edge_index
    zeros = torch.zeros(6, 4, dtype=torch.float64)
    slow = zeros.index_add(0, target, o * p[source]), zeros.index_add(0, source, o * q[target])
    quick = matrix_products(Adjacency.from_edge_index(edge_index, 6), o, p, q)
    weights = [torch.randn_like(value) for value in slow]
    sums = [sum((v * w).sum() for v, w in zip(values, weights, strict=True)) for values in (slow, quick)]
    gradients = [torch.autograd.grad(value, inputs) for value in sums]
    for right, found in zip([*slow, *gradients[0]], [*quick, *gradients[1]], strict=True):
        torch.testing.assert_close(found, right, rtol=1e-10, atol=1e-12)


def test_saved_and_loaded(tmp_path):
    net = mlp(4)
    graph = ws.trace(net, torch.zeros(1, 3)).to_graph(net.state_dict())
    metanet = MatrixProductGMN(1, channels=8, layers=2, input_scales=InputScales(per_role={"weight": 0.5}))
    save_pretrained(metanet, tmp_path)
    assert torch.equal(from_pretrained(tmp_path)(graph), metanet(graph))
