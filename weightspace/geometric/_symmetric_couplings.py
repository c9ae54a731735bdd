"""All equivariant symmetric products of one feature with itself, as polynomials."""

from collections.abc import Iterator
from functools import lru_cache
from itertools import combinations_with_replacement

import torch
from torch import Tensor

from weightspace.geometric._paths import clebsch_gordan

Couplings = Iterator[tuple[int, int, Tensor]]


def generalised_couplings(lmax: int, factors: int) -> Couplings:
    """Iterated Clebsch-Gordan couplings of features with degrees 0..lmax and natural parity.

    Source: Batatia et al. 2022 (MACE), arXiv 2206.07697, equation 10: factors are coupled one after the other, with the
    component normalisation of each step.

    Args:
        lmax: largest degree of a factor.
        factors: how many.

    Yields:
        Degree, parity and tensor (2 l + 1, D, ..., D) with D = (lmax + 1)^2.
    """
    dim = (lmax + 1) ** 2
    if factors == 1:
        for l in range(lmax + 1):
            yield l, (-1) ** l, torch.eye(dim, dtype=torch.float64)[l**2 : (l + 1) ** 2]
        return
    for left, parity, tensor in generalised_couplings(lmax, factors - 1):
        for right in range(lmax + 1):
            for out in range(abs(left - right), left + right + 1):
                step = (2 * out + 1) ** 0.5 * clebsch_gordan(out, left, right)
                found = tensor.new_zeros(2 * out + 1, *tensor.shape[1:], dim)
                found[..., right**2 : (right + 1) ** 2] = torch.tensordot(step, tensor, ([1], [0])).movedim(1, -1)
                yield out, parity * (-1) ** right, found


def monomials(dim: int, factors: int) -> Tensor:
    """Which entries each monomial multiplies, in ascending order; (number of monomials, factors)."""
    return torch.tensor(list(combinations_with_replacement(range(dim), factors))).view(-1, factors)


def monomial_coefficients(tensor: Tensor, factors: int) -> Tensor:
    """Coefficients of the polynomial tensor[..., i, j, ...] x_i x_j ...; the last `factors` dimensions are summed up.

    Shapes:
        (..., D, ..., D) -> (..., number of monomials).
    """
    dim = tensor.shape[-1]
    index = torch.cartesian_prod(*[torch.arange(dim)] * factors).view(-1, factors).sort(dim=1).values
    chosen = monomials(dim, factors)
    powers = dim ** torch.arange(factors)
    number = torch.zeros(dim**factors, dtype=torch.long)
    number[(chosen * powers).sum(1)] = torch.arange(len(chosen))
    flat = tensor.flatten(-factors)
    found = flat.new_zeros(*flat.shape[:-1], len(chosen))
    return found.index_add(-1, number[(index * powers).sum(1)], flat)


@lru_cache(maxsize=256)
def symmetric_basis(lmax: int, l_out: int, factors: int) -> Tensor:
    """A basis of the equivariant polynomials of one degree, from features up to `lmax` to an irrep of natural parity.

    The generalised couplings, whose factors are now equal, orthonormalised one after the other (as vectors of
    coefficients); those that depend on earlier ones, most of them, drop out. The basis depends on nothing else.

    Args:
        lmax: largest degree of the feature.
        l_out: degree of the result.
        factors: degree of the polynomials.

    Shapes:
        -> (R, 2 l_out + 1, number of monomials), float64.

    Example:
        >>> [len(symmetric_basis(3, 0, factors)) for factors in (1, 2, 3)]
        [1, 4, 8]
    """
    found: list[Tensor] = []
    for l, parity, tensor in generalised_couplings(lmax, factors):
        if l != l_out or parity != (-1) ** l_out:
            continue
        rest = monomial_coefficients(tensor, factors)
        size = rest.norm()
        for _ in range(2):  # twice for rounding
            for earlier in found:
                rest = rest - (earlier * rest).sum() * earlier
        if rest.norm() > 1e-8 * size and size > 1e-8:
            found.append(rest / rest.norm())
    if not found:
        return torch.zeros(0, 2 * l_out + 1, len(monomials((lmax + 1) ** 2, factors)), dtype=torch.float64)
    return torch.stack(found)
