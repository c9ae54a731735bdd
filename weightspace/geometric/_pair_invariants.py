"""Invariants of pairs of points with orientations, and their polynomial embedding."""

from itertools import combinations_with_replacement

import torch
from torch import Tensor

from weightspace.geometric._neighbours import edge_lengths


def grid_invariants(edge_vec: Tensor, ori: Tensor) -> Tensor:
    """What an edge looks like from each orientation of a grid at its target.

    Source: Bekkers et al. 2024, arXiv 2310.02970, Theorem 1 and Table 1. With r = pos[source] - pos[target]: on the
    sphere (r . o, |r - (r . o) o|); on the circle (r . o, r . o') with o' = o turned by +90 degrees, so reflections
    are told apart there.

    Args:
        edge_vec: pos[target] - pos[source].
        ori: the orientations.

    Shapes:
        edge_vec (E, d), ori (O, d) -> (E, O, 2), d = 2 or 3.
    """
    along = -edge_vec @ ori.T  # (E, O)
    if ori.shape[1] == 2:
        return torch.stack([along, -edge_vec @ _turned(ori).T], dim=-1)
    return torch.stack([along, _across(-edge_vec[:, None], ori, along)], dim=-1)


def fiber_invariants(ori: Tensor) -> Tensor:
    """O . o' of all pairs of a grid: ori (O, d) -> (O, O, 1)."""
    return (ori @ ori.T)[..., None]


def position_invariants(edge_vec: Tensor) -> Tensor:
    """The length of each edge, for points without orientation: edge_vec (E, d) -> (E, 1, 1)."""
    return edge_lengths(edge_vec)[:, None, None]


def oriented_invariants(edge_vec: Tensor, ori_source: Tensor, ori_target: Tensor) -> Tensor:
    """Invariants of two points that carry an orientation each: `grid_invariants` at the target's, and o . o'.

    Shapes:
        edge_vec (E, d), ori_source (E, d), ori_target (E, d) -> (E, 1, 3), d = 2 or 3.
    """
    along = (-edge_vec * ori_target).sum(-1)
    if edge_vec.shape[1] == 2:
        second = (-edge_vec * _turned(ori_target)).sum(-1)
    else:
        second = _across(-edge_vec, ori_target, along)
    return torch.stack([along, second, (ori_source * ori_target).sum(-1)], dim=-1)[:, None]


def monomials(x: Tensor, degree: int) -> Tensor:
    """All products of 1..degree entries, each once: (..., d) -> (..., number of `monomial_places`).

    Example:
        >>> monomials(torch.tensor([2.0, 3.0]), 2).tolist()
        [2.0, 3.0, 4.0, 6.0, 9.0]
    """
    entries = x.unbind(-1)
    found: dict[tuple[int, ...], Tensor] = {}
    for places in monomial_places(len(entries), degree):
        found[places] = found[places[:-1]] * entries[places[-1]] if len(places) > 1 else entries[places[0]]
    return torch.stack(list(found.values()), dim=-1)


def monomial_places(entries: int, degree: int) -> list[tuple[int, ...]]:
    """Which entries each monomial multiplies, in ascending order."""
    return [p for d in range(1, degree + 1) for p in combinations_with_replacement(range(entries), d)]


def legendre(x: Tensor, degree: int) -> Tensor:
    """Legendre polynomials P_0..P_degree: (...) -> (..., degree + 1)."""
    values = [torch.ones_like(x), x]
    for l in range(1, degree):
        values.append(((2 * l + 1) * x * values[l] - l * values[l - 1]) / (l + 1))
    return torch.stack(values[: degree + 1], dim=-1)


def _turned(ori: Tensor) -> Tensor:
    return torch.stack([-ori[..., 1], ori[..., 0]], dim=-1)


def _across(rel: Tensor, ori: Tensor, along: Tensor) -> Tensor:
    square = (rel - along[..., None] * ori).square().sum(-1)
    # where an edge is parallel to an orientation, what is left is rounding, whose direction means nothing
    zero = square <= (4 * torch.finfo(rel.dtype).eps) ** 2 * rel.square().sum(-1)
    return square.masked_fill(zero, 1).sqrt().masked_fill(zero, 0)
