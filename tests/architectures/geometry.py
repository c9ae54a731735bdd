"""Equivariant networks of e3nn: the copies of each irreducible representation are its neurons.

The multiplicities of every irrep may be permuted, the components inside one are fixed.
"""

from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from tests.architectures.cases import Case, log_factorial


def e3nn_modules() -> tuple[ModuleType, ModuleType]:
    """`e3nn.o3` and `e3nn.nn`, with layers that are plain modules."""
    e3nn = pytest.importorskip("e3nn")
    e3nn.set_optimization_defaults(jit_script_fx=False)
    return pytest.importorskip("e3nn.o3"), pytest.importorskip("e3nn.nn")


class Gated(nn.Module):
    """Linear maps and a gate between them."""

    def __init__(self) -> None:
        super().__init__()
        o3, e3 = e3nn_modules()
        self.gate = e3.Gate("5x0e", [torch.tanh], "3x0e", [torch.sigmoid], "3x1o")
        self.first, self.last = o3.Linear("2x0e + 1x1o", self.gate.irreps_in), o3.Linear("5x0e + 3x1o", "1x0e + 1x1o")

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.gate(self.first(x)))


class Product(nn.Module):
    """Two linear maps, every product of their results, a linear map."""

    def __init__(self) -> None:
        super().__init__()
        o3, _ = e3nn_modules()
        self.a, self.b = o3.Linear("1x0e + 1x1o", "4x0e + 3x1o"), o3.Linear("1x1o", "2x1o")
        self.product = o3.FullyConnectedTensorProduct("4x0e + 3x1o", "2x1o", "5x0e + 3x1o")
        self.last = o3.Linear("5x0e + 3x1o", "1x0e + 1x1o")

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.last(self.product(self.a(x), self.b(y)))


class Convolution(nn.Module):
    """Neighbours' features times harmonics of the edge, weighted by a network on its length (Thomas et al. 2018)."""

    def __init__(self) -> None:
        super().__init__()
        o3, e3 = e3nn_modules()
        self.embed = o3.Linear("3x0e", "4x0e")
        paths = [(0, 0, 0, "uvu", True), (0, 1, 1, "uvu", True)]
        self.product = o3.TensorProduct(
            "4x0e", "1x0e + 1x1o", "4x0e + 4x1o", paths, shared_weights=False, internal_weights=False
        )
        self.radial = e3.FullyConnectedNet([1, 6, self.product.weight_numel], torch.tanh)
        self.last = o3.Linear("4x0e + 4x1o", "1x0e")

    def forward(self, x: Tensor, places: Tensor, edges: Tensor) -> Tensor:
        apart = places[edges[0]] - places[edges[1]] + 0.1
        length = apart.square().sum(-1, keepdim=True)
        harmonics = torch.cat([torch.ones_like(length), apart], -1)
        sent = self.product(self.embed(x)[edges[0]], harmonics, self.radial(length))
        received = torch.zeros(len(x), sent.shape[1], dtype=sent.dtype).index_add(0, edges[1], sent)
        return self.last(received).sum(0)


def irreps_linear() -> Case:
    """8 scalars and 4 vectors."""
    o3, _ = e3nn_modules()
    net = nn.Sequential(o3.Linear("2x0e + 1x1o", "8x0e + 4x1o"), o3.Linear("8x0e + 4x1o", "1x0e + 2x1o"))
    return net, (torch.zeros(2, 5),), log_factorial(8) + log_factorial(4)


def irreps_gate() -> Case:
    """5 scalars, and 3 vectors with the scalars that gate them."""
    return Gated(), (torch.zeros(2, 5),), log_factorial(5) + log_factorial(3)


def irreps_product() -> Case:
    """4 scalars and 3 vectors of one argument, 2 vectors of the other, 5 scalars and 3 vectors of the product."""
    order = sum(log_factorial(n) for n in (4, 3, 2, 5, 3))
    return Product(), (torch.zeros(2, 4), torch.zeros(2, 3)), order


def irreps_convolution() -> Case:
    """The 4 features, with the columns of the network on lengths that weigh them in both paths; its hidden 6."""
    edges = torch.tensor([[0, 1, 2, 3, 1], [1, 2, 3, 0, 0]])
    return Convolution(), (torch.zeros(4, 3), torch.zeros(4, 3), edges), log_factorial(4) + log_factorial(6)


CASES: tuple[Callable[[], Case], ...] = (irreps_linear, irreps_gate, irreps_product, irreps_convolution)
