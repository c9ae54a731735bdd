"""Grids of eSCN: around edges, around atoms, and where its last functions on the sphere are read."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from e3nn import o3
from numpy.polynomial.legendre import leggauss
from torch import Tensor

from weightspace.geometric._constants import ExactConstants, exact_tables
from weightspace.geometric._quadrature import harmonics, sphere_grid

PUBLISHED_SAMPLES = 128
"""Points at which the published code reads its last features."""


def kept_components(lmax: int, mmax: int) -> list[tuple[int, int]]:
    """Degrees and orders (l, m) with |m| <= mmax, order by order: all (l, 0), then all (l, m) and all (l, -m).

    Example:
        >>> kept_components(2, 1)
        [(0, 0), (1, 0), (2, 0), (1, 1), (2, 1), (1, -1), (2, -1)]
    """
    signed = [0] + [sign * m for m in range(1, mmax + 1) for sign in (1, -1)]
    return [(l, m) for m in signed for l in range(abs(m), lmax + 1)]


def component_numbers(kept: list[tuple[int, int]]) -> list[int]:
    """Places of components among all (L + 1)^2."""
    return [l * l + l + m for l, m in kept]


@dataclass(frozen=True)
class GridSizes:
    """How fine the grids are.

    Args:
        degree: to which the grid around atoms, also read at the end, integrates exactly.
        latitudes, longitudes: of the grid around edges, whose poles are the edge's ends.
    """

    degree: int
    latitudes: int
    longitudes: int


@exact_tables()
def edge_grid(lmax: int, mmax: int, sizes: GridSizes | None) -> ExactConstants:
    """Matrices from components (l, |m| <= mmax) in the frame of an edge to values on a grid, and back.

    Where mmax is 0 one longitude is all.

    Args:
        lmax: largest degree.
        mmax: largest order.
        sizes: None for the published code's.

    Shapes:
        to: (P, M), from: (M, P), in the order of `kept_components`.
    """
    numbers = component_numbers(kept_components(lmax, mmax))
    if sizes is None:
        around = 2 * lmax + 3 if lmax == mmax else 2 * mmax + 1
        return ExactConstants(**_equiangular(lmax, (2 * (lmax + 1), around), numbers))
    heights, weights = leggauss(sizes.latitudes)
    around = sizes.longitudes if mmax else 1
    angles = 2 * np.pi * np.arange(around) / around
    radius = np.sqrt(1 - heights**2)
    points = np.stack(
        [np.outer(radius, np.sin(angles)), np.outer(heights, np.ones(around)), np.outer(radius, np.cos(angles))], -1
    )
    integrals = torch.from_numpy(np.repeat(weights / (2 * around), around))
    return ExactConstants(**_matrices(torch.from_numpy(points.reshape(-1, 3)), integrals, lmax, numbers))


@exact_tables()
def node_grid(lmax: int, sizes: GridSizes | None) -> ExactConstants:
    """Matrices between components (L + 1)^2 and values on a grid around an atom.

    Args:
        lmax: largest degree.
        sizes: None for the published code's.

    Shapes:
        to: (P, D), from: (D, P).
    """
    numbers = list(range((lmax + 1) ** 2))
    if sizes is None:
        return ExactConstants(**_equiangular(lmax, (2 * (lmax + 1), 2 * lmax + 3), numbers))
    grid = sphere_grid(sizes.degree)
    return ExactConstants(**_matrices(grid.points, grid.weights, lmax, numbers))


@exact_tables()
def read_grid(lmax: int, sizes: GridSizes | None) -> ExactConstants:
    """Where the last features are read, and how what is read there adds up to a scalar and a vector.

    Args:
        lmax: largest degree.
        sizes: None for the published code's.

    Shapes:
        to: (P, D); scalar: (P,); vector: (P, 3).
    """
    if sizes is None:
        points = _spiral(PUBLISHED_SAMPLES)
        weights = torch.full((len(points),), 1 / len(points), dtype=torch.float64)
        values = o3.spherical_harmonics(list(range(lmax + 1)), points, normalize=False, normalization="integral")
    else:
        grid = sphere_grid(sizes.degree)
        points, weights = grid.points, grid.weights
        values = harmonics(points, list(range(lmax + 1))) / math.sqrt(4 * math.pi)
    return ExactConstants(to=values, scalar=weights, vector=points * weights[:, None])


def _matrices(points: Tensor, weights: Tensor, lmax: int, numbers: list[int]) -> dict[str, Tensor]:
    values = harmonics(points, list(range(lmax + 1)))[:, numbers] / math.sqrt(4 * math.pi)
    return {"to": values, "from": (values * weights[:, None]).t().contiguous() * 4 * math.pi}


def _equiangular(lmax: int, resolution: tuple[int, int], numbers: list[int]) -> dict[str, Tensor]:
    """e3nn's grid, at equal steps of both angles."""
    to = o3.ToS2Grid(lmax, resolution, normalization="integral")
    back = o3.FromS2Grid(resolution, lmax, normalization="integral")
    values = torch.einsum("mbi,am->bai", to.shb, to.sha).flatten(0, 1)[:, numbers]
    integrals = torch.einsum("am,mbi->iba", back.sha, back.shb).flatten(1)[numbers]
    return {"to": values, "from": integrals}


def _spiral(number: int) -> Tensor:
    """The published code's points (S, 3): a golden spiral, each as long as there is room around it, about one."""
    steps = torch.arange(number, dtype=torch.float64)
    around, height = 4 * math.pi * steps / (1 + math.sqrt(5)), 1 - (2 * steps + 1) / number
    radius = (1 - height.square()).sqrt()
    points = torch.stack([around.cos() * radius, around.sin() * radius, height], dim=1)
    crowding = torch.exp(-torch.cdist(points, points).square() / 0.15).sum(1)
    return points * (number / (crowding * (1 / crowding).sum()))[:, None]
