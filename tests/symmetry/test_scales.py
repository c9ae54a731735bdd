"""Positive scales and signs of single layers: dimensions in closed form, function kept."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.architectures import ResNet

from ._scaling import IMAGE, SEQUENCE, VECTOR, conv, dimensions, error_under_scalings, mlp, trace


@pytest.mark.parametrize(
    ("activation", "wanted"),
    [
        (nn.ReLU(), (11, 0)),
        (nn.LeakyReLU(0.1), (11, 0)),
        (nn.PReLU(), (11, 0)),
        (nn.Tanh(), (0, 11)),
        (nn.Identity(), (11, 11)),
        (nn.Hardtanh(), (0, 11)),
        (nn.ReLU6(), (0, 0)),
        (nn.GELU(), (0, 0)),
        (nn.SiLU(), (0, 0)),
        (nn.Sigmoid(), (0, 0)),
        (nn.Softmax(-1), (0, 0)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_activations(activation, wanted):
    assert dimensions(mlp(activation), VECTOR) == wanted


class Function(nn.Module):
    """A two-layer network with any function in its middle."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.b, self.function = nn.Linear(4, 6), nn.Linear(6, 3), function

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.function(self.a(x)))


@pytest.mark.parametrize(
    ("function", "wanted"),
    [
        (torch.sin, (0, 6)),
        (torch.cos, (0, 6)),
        (torch.abs, (6, 6)),
        (torch.square, (6, 6)),
        (lambda x: x**3, (6, 6)),
        (lambda x: x**1.5, (0, 0)),
        (lambda x: 3 * x / 2, (6, 6)),
        (lambda x: x + 1, (0, 0)),
        (lambda x: 1 / x, (6, 6)),
        (lambda x: x.clamp(min=0), (6, 0)),
        (lambda x: x.clamp(-2, 2), (0, 6)),
        (lambda x: x.clamp(-2, 3), (0, 0)),
        (lambda x: x * x, (6, 6)),
        (lambda x: x * torch.sigmoid(x), (0, 0)),
        (lambda x: x - torch.relu(x), (6, 0)),
        (lambda x: torch.maximum(x, 2 * x), (6, 0)),
        (lambda x: torch.relu(x).exp(), (0, 0)),
        (lambda x: x / (1 + x.abs()), (0, 6)),
        (lambda x: x * x.mean(-1, keepdim=True), (1, 1)),
        (lambda x: x + x.mean(-1, keepdim=True), (1, 1)),
    ],
)
def test_functions(function, wanted):
    module = Function(function)
    space = trace(module, VECTOR)
    assert (space.scale_dim, space.sign_rank) <= wanted
    assert (space.scale_dim, space.sign_rank) == wanted or wanted == (1, 1)
    assert error_under_scalings(space, module, (VECTOR,)) < 1e-10


@pytest.mark.parametrize(
    ("layers", "wanted"),
    [
        ((nn.ReLU(),), (6, 0)),
        ((nn.BatchNorm2d(6), nn.ReLU()), (12, 6)),
        ((nn.BatchNorm2d(6), nn.Tanh()), (6, 12)),
        ((nn.BatchNorm2d(6, affine=False), nn.ReLU()), (6, 0)),
        ((nn.BatchNorm2d(6, track_running_stats=False), nn.ReLU()), (6, 6)),
        ((nn.InstanceNorm2d(6, affine=True), nn.ReLU()), (6, 6)),
        ((nn.InstanceNorm2d(6), nn.ReLU()), (0, 0)),
        ((nn.GroupNorm(2, 6), nn.ReLU()), (6, 2)),
        ((nn.GroupNorm(1, 6), nn.GELU()), (0, 1)),
        ((nn.LayerNorm([6, 6, 6]), nn.ReLU()), (6, 1)),
        ((nn.MaxPool2d(2), nn.ReLU()), (6, 0)),
        ((nn.AvgPool2d(2), nn.Tanh()), (0, 6)),
        ((nn.BatchNorm2d(6), nn.Conv2d(6, 6, 1, groups=6), nn.ReLU()), (18, 12)),
        ((nn.Conv2d(6, 6, 1, groups=2), nn.ReLU()), (12, 6)),
        ((nn.ReLU(), nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6), nn.SiLU()), (12, 6)),
    ],
)
def test_convolutions_and_norms(layers, wanted):
    """A channel has one scale (and one sign) before a batch norm, and one behind it."""
    module = conv(*layers)
    space = trace(module, IMAGE)
    assert (space.scale_dim, space.sign_rank) == wanted
    assert error_under_scalings(space, module, (IMAGE,)) < 1e-10


@pytest.mark.parametrize("norm", [nn.LayerNorm(6), nn.RMSNorm(6)])
def test_norms_over_features(norm):
    """Centring ties all signs before it together; a root mean square leaves them apart."""
    module = nn.Sequential(nn.Linear(4, 6), norm, nn.ReLU(), nn.Linear(6, 3))
    assert dimensions(module, VECTOR) == (6, 1 if isinstance(norm, nn.LayerNorm) else 6)


def test_flattened_channels_keep_one_scale_for_all_pixels():
    module = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(180, 4), nn.ReLU(), nn.Linear(4, 2))
    assert dimensions(module, IMAGE) == (9, 0)


class Residual(nn.Module):
    """A stream that several branches read and add to: they share its scale."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 3)
        self.inner = nn.ModuleList(nn.Linear(6, 7) for _ in range(blocks))
        self.outer = nn.ModuleList(nn.Linear(7, 6) for _ in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        for inner, outer in zip(self.inner, self.outer, strict=True):
            h = h + outer(F.relu(inner(h)))
        return self.last(h)


@pytest.mark.parametrize("blocks", [1, 3])
def test_residual_networks_share(blocks):
    assert dimensions(Residual(blocks), VECTOR) == (6 + 7 * blocks, 6)


def test_resnet20():
    """Before each of 21 batch norms a scale and a sign per channel, behind it one scale, which each stream shares."""
    torch.manual_seed(0)
    space = trace(ResNet(3, (16, 32, 64)), torch.zeros(1, 3, 32, 32))
    assert space.scale_dim == 11 * 16 + 11 * 32 + 11 * 64
    assert space.sign_rank == 7 * 16 + 7 * 32 + 7 * 64


class Attention(nn.Module):
    """Heads of width 3."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(6, 3)
        self.way = way

    def forward(self, x: Tensor) -> Tensor:
        if self.way == "one":
            scores = torch.einsum("bid,bjd->bij", self.q(x), self.k(x))
            return self.o(scores.softmax(-1) @ self.v(x))
        q, k, v = (f(x).unflatten(-1, (2, 3)).transpose(1, 2) for f in (self.q, self.k, self.v))
        return self.o(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


@pytest.mark.parametrize("way", ["one", "heads"])
def test_attention(way):
    """Queries and keys: one per coordinate, k divides by what q is multiplied with; values and the output: another."""
    module = Attention(way)
    assert dimensions(module, SEQUENCE) == (12, 12)
    assert error_under_scalings(trace(module, SEQUENCE), module, (SEQUENCE,)) < 1e-10


class Gated(nn.Module):
    """Gated linear unit; its gate may be anything."""

    def __init__(self, gate: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.b, self.c, self.gate = nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(6, 3), gate

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.a(x) * self.gate(self.b(x)))


def test_gated_linear_units():
    module = nn.Sequential(nn.Linear(4, 12), nn.GLU(), nn.Linear(6, 3))
    assert dimensions(module, VECTOR) == (6, 6)
    assert error_under_scalings(trace(module, VECTOR), module, (VECTOR,)) < 1e-10


@pytest.mark.parametrize(
    ("gate", "wanted"),
    [(torch.sigmoid, (6, 6)), (F.silu, (6, 6)), (F.relu, (12, 6)), (torch.tanh, (6, 12)), (lambda x: x, (12, 12))],
)
def test_gates(gate, wanted):
    """Degrees add up in a product."""
    assert dimensions(Gated(gate), VECTOR) == wanted


class SqueezeExcite(nn.Module):
    """The gate is a function of all channels, so what it reads has its own scales."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.out = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Conv2d(6, 2, 1)
        self.down, self.up = nn.Linear(6, 4), nn.Linear(4, 6)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.norm(self.conv(x)))
        gate = torch.sigmoid(self.up(F.relu(self.down(h.mean((2, 3))))))
        return self.out(h * gate[:, :, None, None])


def test_squeeze_and_excite():
    """Before and behind the batch norm, and in the gate's hidden layer."""
    assert dimensions(SqueezeExcite(), IMAGE) == (6 + 6 + 4, 6)


class Recurrent(nn.Module):
    """A recurrent layer between two linear ones."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.a, self.layer, self.b = nn.Linear(4, 3), layer, nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.layer(self.a(x))[0])


@pytest.mark.parametrize(
    ("layer", "wanted"),
    [
        (nn.RNN(3, 5, batch_first=True), (3, 8)),
        (nn.RNN(3, 5, nonlinearity="relu", batch_first=True), (8, 3)),
        (nn.GRU(3, 5, batch_first=True), (3, 8)),
        (nn.LSTM(3, 5, batch_first=True), (3, 8)),
    ],
    ids=["tanh", "relu", "gru", "lstm"],
)
@pytest.mark.filterwarnings("ignore:The tensor attributes:UserWarning")
def test_recurrent_layers(layer, wanted):
    """The unit before has both; a hidden unit of tanh a sign, one of ReLU a scale."""
    module = Recurrent(layer)
    space = trace(module, SEQUENCE)
    assert (space.scale_dim, space.sign_rank) == wanted
    assert error_under_scalings(space, module, (SEQUENCE,)) < 1e-10


class Shared(nn.Module):
    """One layer twice: its rows and columns have one scale."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(F.relu(self.b(F.relu(self.b(F.relu(self.a(x)))))))


def test_shared_layers():
    assert dimensions(Shared(), VECTOR) == (6, 0)


class Mixing(nn.Module):
    """A bias along one dimension of a map is the same for all elements of the other: these have no scale."""

    def __init__(self, *, bias: bool) -> None:
        super().__init__()
        self.features, self.tokens = nn.Linear(4, 6, bias=False), nn.Linear(5, 7, bias=bias)
        self.last = nn.Linear(42, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.relu(self.tokens(self.features(x).transpose(1, 2))).flatten(1))


def test_what_lies_beside_a_bias_has_no_scale():
    module = Mixing(bias=True)
    space = trace(module, SEQUENCE)
    assert space.scale_dim == 7
    assert error_under_scalings(space, module, (SEQUENCE,)) < 1e-10
    module = Mixing(bias=False)
    assert error_under_scalings(trace(module, SEQUENCE), module, (SEQUENCE,)) < 1e-10


class Outer(nn.Module):
    """The outer product of two layers, whose columns are then mixed."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.mix, self.last = nn.Linear(4, 3), nn.Linear(4, 5), nn.Linear(5, 6), nn.Linear(18, 2)

    def forward(self, x: Tensor) -> Tensor:
        pairs = self.a(x)[:, :, None] * self.b(x)[:, None, :]
        return self.last(F.relu(self.mix(pairs)).flatten(1))


def test_outer_products():
    module = Outer()
    assert error_under_scalings(trace(module, VECTOR), module, (VECTOR,)) < 1e-10
