"""Layers that multiply: gates, bilinear forms, mixtures of experts; and layers whose weights are computed."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from tests.architectures.cases import Case, log_factorial


class SwiGLU(nn.Module):
    """A residual layer with a gate, both halves of one linear layer (Shazeer 2020)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.both, self.down = nn.Linear(4, 5), nn.Linear(5, 12, bias=False), nn.Linear(6, 5, bias=False)
        self.last = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        up, gate = torch.split(self.both(x), 6, -1)
        return self.last(x + self.down(F.silu(gate) * up))


class Highway(nn.Module):
    """A gate between a layer and its argument (Srivastava et al. 2015)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.plain, self.gate, self.last = (nn.Linear(*n) for n in ((4, 6), (6, 6), (6, 6), (6, 2)))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        gate = torch.sigmoid(self.gate(x))
        return self.last(gate * torch.relu(self.plain(x)) + (1 - gate) * x)


class Modulated(nn.Module):
    """Scales and shifts of channels, made from a second input (Perez et al. 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 5, 3), nn.InstanceNorm2d(5)
        self.hidden, self.film, self.last = nn.Linear(2, 4), nn.Linear(4, 10), nn.Conv2d(5, 2, 1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.film(F.silu(self.hidden(condition)))[:, :, None, None].chunk(2, 1)
        return self.last(torch.relu(self.norm(self.conv(x)) * (1 + scale) + shift))


class LowRank(nn.Module):
    """A linear layer with an added product of two thin ones (Hu et al. 2022)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.plain, self.last = nn.Linear(4, 6), nn.Linear(6, 7), nn.Linear(7, 2)
        self.a, self.b = nn.Parameter(torch.randn(3, 6)), nn.Parameter(torch.randn(7, 3))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        return self.last(torch.relu(F.linear(x, self.plain.weight + 0.5 * self.b @ self.a, self.plain.bias)))


class Bilinear(nn.Module):
    """A bilinear form of two hidden layers, or of one with itself."""

    def __init__(self, same: bool) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 4), None if same else nn.Linear(3, 5)
        self.form, self.last = nn.Bilinear(4, 4 if same else 5, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        left = torch.tanh(self.a(x))
        right = left if self.b is None else torch.tanh(self.b(x))
        return self.last(torch.relu(self.form(left, right)))


class BatchedExperts(nn.Module):
    """All experts in one tensor, mixed by a softmax; the result is read on (Jacobs et al. 1991)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.gate, self.last = nn.Linear(4, 5), nn.Linear(5, 3, bias=False), nn.Linear(6, 2)
        self.up, self.shift = nn.Parameter(torch.randn(3, 5, 4)), nn.Parameter(torch.randn(3, 4))
        self.down = nn.Parameter(torch.randn(3, 4, 6))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        weights = self.gate(x).softmax(-1)
        h = torch.relu(torch.einsum("bi,eio->beo", x, self.up) + self.shift)
        return self.last(torch.einsum("be,beh,eho->bo", weights, h, self.down))


class ListedExperts(nn.Module):
    """Every expert a module; their results are stacked."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.gate, self.last = nn.Linear(4, 5), nn.Linear(5, 3), nn.Linear(6, 2)
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 6)) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        results = torch.stack([expert(x) for expert in self.experts], 1)
        return self.last((F.softmax(self.gate(x), -1).unsqueeze(-1) * results).sum(1))


class Exponential(nn.Module):
    """Weights that stay positive."""

    def forward(self, x: Tensor) -> Tensor:
        return F.softplus(x) + 0.1


class Splines(nn.Module):
    """A sum of learned functions of each argument, on a basis of five bumps (Liu et al. 2024)."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.randn(6, 3, 5)), nn.Parameter(torch.randn(2, 6, 5))
        self.register_buffer("knots", torch.linspace(-1, 1, 5), persistent=False)

    def basis(self, x: Tensor) -> Tensor:
        return torch.exp(-((x.unsqueeze(-1) - self.knots) ** 2))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.einsum("bik,oik->bo", self.basis(x), self.a)
        return torch.einsum("bik,oik->bo", self.basis(x), self.b)


def glu() -> Case:
    """The gated 5, whose gates are the other half of the same layer, and 4 behind."""
    net = nn.Sequential(nn.Linear(3, 10), nn.GLU(), nn.Linear(5, 4), nn.Softplus(), nn.Linear(4, 2))
    return net, (torch.zeros(1, 3),), log_factorial(5) + log_factorial(4)


def swiglu() -> Case:
    """The stream of 5 and the gated 6."""
    return SwiGLU(), (torch.zeros(1, 4),), log_factorial(5) + log_factorial(6)


def highway() -> Case:
    """One stream of 6."""
    return Highway(), (torch.zeros(1, 4),), log_factorial(6)


def film() -> Case:
    """The 5 channels, on which both halves of the condition's layer lie, and its hidden 4."""
    return Modulated(), (torch.zeros(1, 3, 6, 6), torch.zeros(1, 2)), log_factorial(5) + log_factorial(4)


def low_rank() -> Case:
    """Hidden layers of 6 and 7, and the rank of 3 between the thin ones."""
    return LowRank(), (torch.zeros(1, 4),), log_factorial(6) + log_factorial(7) + log_factorial(3)


def bilinear() -> Case:
    """Both arguments, 4 and 5, and the result, 6."""
    order = log_factorial(4) + log_factorial(5) + log_factorial(6)
    return Bilinear(same=False), (torch.zeros(1, 3),), order


def bilinear_with_itself() -> Case:
    """One argument of 4 on two dimensions of the form, and the result, 6."""
    return Bilinear(same=True), (torch.zeros(1, 3),), log_factorial(4) + log_factorial(6)


def experts_batched() -> Case:
    """S_4 wr S_3: the three experts, and the 4 hidden of each; the layers before and behind, 5 and 6."""
    order = log_factorial(3) + 3 * log_factorial(4) + log_factorial(5) + log_factorial(6)
    return BatchedExperts(), (torch.zeros(1, 4),), order


def experts_listed() -> Case:
    """The 4 hidden of each of three experts, which stay where they are; the layers before and behind, 5 and 6."""
    return ListedExperts(), (torch.zeros(1, 4),), 3 * log_factorial(4) + log_factorial(5) + log_factorial(6)


def weight_norm() -> Case:
    """Weights as direction and length: a convolution of 5 channels and a layer of 4."""
    norm = parametrizations.weight_norm
    net = nn.Sequential(norm(nn.Conv2d(3, 5, 3)), nn.ELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    net += nn.Sequential(norm(nn.Linear(5, 4)), nn.ELU(), norm(nn.Linear(4, 2)))
    return net, (torch.zeros(1, 3, 6, 6),), log_factorial(5) + log_factorial(4)


def positive_weights() -> Case:
    """Layers of 5 and 4 whose weights go through a function of each entry."""
    net = nn.Sequential(nn.Linear(3, 5), nn.Softplus(), nn.Linear(5, 4), nn.Softplus(), nn.Linear(4, 2))
    for layer in (net[2], net[4]):
        parametrize.register_parametrization(layer, "weight", Exponential())
    return net, (torch.zeros(1, 3),), log_factorial(5) + log_factorial(4)


def splines() -> Case:
    """The hidden 6; the five functions of the basis stay."""
    return Splines(), (torch.zeros(1, 3),), log_factorial(6)


CASES: tuple[Callable[[], Case], ...] = (
    glu, swiglu, highway, film, low_rank, bilinear, bilinear_with_itself, experts_batched, experts_listed,
    weight_norm, positive_weights, splines,
)  # fmt: skip
