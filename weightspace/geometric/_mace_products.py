"""The many-body products of MACE: all symmetric Clebsch-Gordan products, or powers on a grid."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from weightspace.geometric._constants import ExactConstants
from weightspace.geometric._grid_power import GridPower
from weightspace.geometric._layout import natural_irreps
from weightspace.geometric._symmetric_couplings import monomials, symmetric_basis
from weightspace.geometric._take import take


class GridProduct(nn.Module):
    """Powers of a feature on one grid, with weights for each element, power, degree and channel.

    With f(s) = sum over l, m of a[z, l, c] x[l, m, c] Y[l, m](s) / (L + 1), the result is the coefficients of
    w[z, 1, c] f + w[z, 2, c] f^2 + ..., times b[z, l, c]. See `GridPower` for what it spans.

    Args:
        lmax: largest degree of the feature.
        lmax_out: of the result.
        correlation: largest power.
        channels: of the feature.
        elements: how many.

    Shapes:
        x (N, C, (lmax + 1)^2), species (N,) -> (N, C, (lmax_out + 1)^2).
    """

    def __init__(self, lmax: int, lmax_out: int, correlation: int, *, channels: int, elements: int):
        super().__init__()
        powers = tuple(range(1, correlation + 1))
        self.power = GridPower(natural_irreps(lmax, channels), natural_irreps(lmax_out, channels), powers)
        self.before = nn.Parameter(torch.randn(elements, channels, lmax + 1))
        self.weight = nn.Parameter(torch.randn(elements, len(powers), channels))
        self.after = nn.Parameter(torch.randn(elements, channels, lmax_out + 1))
        self._degrees = ExactConstants(before=_degree_of_components(lmax), after=_degree_of_components(lmax_out))

    def forward(self, x: Tensor, species: Tensor) -> Tensor:
        """The products of each atom's feature."""
        before = take(take(self.before, 0, species), 2, self._degrees.like("before", x))
        after = take(take(self.after, 0, species), 2, self._degrees.like("after", x))
        found = self.power(x * before / math.sqrt(x.shape[2]), take(self.weight, 0, species))
        return found * after


class SymmetricProduct(nn.Module):
    """All equivariant polynomials of a feature up to a degree, with weights for each element and channel.

    Source: Batatia et al. 2022 (MACE), arXiv 2206.07697, equations 10 and 11. Deviates: generalised couplings that are
    equal or dependent once their factors are the same feature are left out (a basis of the same space), and products
    are summed over monomials instead of all index tuples.

    Args:
        lmax: largest degree of the feature.
        lmax_out: of the result.
        correlation: largest degree of the polynomials.
        channels: of the feature.
        elements: how many.

    Shapes:
        x (N, C, (lmax + 1)^2), species (N,) -> (N, C, (lmax_out + 1)^2).
    """

    def __init__(self, lmax: int, lmax_out: int, correlation: int, *, channels: int, elements: int):
        super().__init__()
        self.correlation, self.lmax_out = correlation, lmax_out
        self.weights = nn.ParameterDict()
        constants: dict[str, Tensor] = {}
        for factors in range(1, correlation + 1):
            index = monomials((lmax + 1) ** 2, factors)
            for l in range(lmax_out + 1):
                basis = symmetric_basis(lmax, l, factors)
                if not len(basis):
                    continue
                used = (basis.abs() > 1e-12).any(0).any(0)
                name = product_name(l, factors)
                constants[f"index {name}"] = index[used].t().contiguous()
                constants[f"basis {name}"] = (
                    basis[:, :, used].flatten(0, 1).t().contiguous()
                )  # (monomials, R (2 l + 1))
                self.weights[name] = torch.randn(elements, channels, len(basis)) / len(basis)
        self._constants = ExactConstants(**constants)

    def forward(self, x: Tensor, species: Tensor) -> Tensor:
        """The products of each atom's feature."""
        found: list[Tensor] = []
        for l in range(self.lmax_out + 1):
            total = x.new_zeros(*x.shape[:2], 2 * l + 1)
            for factors in range(1, self.correlation + 1):
                name = product_name(l, factors)
                if name in self.weights:
                    weight = take(self.weights[name], 0, species)  # (N, C, R)
                    total = total + (weight[..., None] * self._polynomials(x, name, 2 * l + 1)).sum(2)
            found.append(total)
        return torch.cat(found, dim=2)

    def _polynomials(self, x: Tensor, name: str, size: int) -> Tensor:
        """(N, C, R, 2 l + 1)."""
        product: Tensor | None = None
        for entries in self._constants.like(f"index {name}", x):
            factor = take(x, 2, entries)
            product = factor if product is None else product * factor
        assert product is not None
        return (product @ self._constants.like(f"basis {name}", x)).unflatten(2, (-1, size))


def product_name(l: int, factors: int) -> str:
    """Of the polynomials of one degree into one irrep."""
    return f"{l}{'eo'[l % 2]}^{factors}"


def _degree_of_components(lmax: int) -> Tensor:
    return torch.tensor([l for l in range(lmax + 1) for _ in range(2 * l + 1)])


def product_of(kind: str, sizes: Sequence[int], *, channels: int, elements: int) -> GridProduct | SymmetricProduct:
    """The product of a name, "grid" or "clebsch_gordan"; sizes are lmax, lmax_out and correlation."""
    made = GridProduct if kind == "grid" else SymmetricProduct
    return made(*sizes, channels=channels, elements=elements)
