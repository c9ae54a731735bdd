"""Grids on the sphere with positive weights that integrate polynomials of a given degree exactly."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from e3nn import o3
from numpy.polynomial.legendre import leggauss
from scipy.integrate import lebedev_rule
from torch import Tensor

from weightspace.errors import GeometryError
from weightspace.geometric._constants import exact_tables

LEBEDEV_DEGREES = (3, 5, 7, 9, 11, 15, 17, 19, 21, 23, 29, 31, 35, 41, 47, 53, 59)
"""Degrees of Lebedev's rules with positive weights; those of degree 13, 25 and 27 have negative ones."""

ICOSAHEDRAL_DEGREE = 9
"""Degree of the rule on the vertices of an icosahedron and its dual dodecahedron (32 points)."""

GridName = Literal["auto", "lebedev", "gauss_legendre", "icosahedral"]


@dataclass(frozen=True)
class SphereGrid:
    """Points on the unit sphere, weights that sum to one, and the degree to which they integrate exactly.

    Shapes:
        points: (G, 3), float64; the first half and the second half are antipodes of each other.
        weights: (G,), float64, positive.
    """

    points: Tensor
    weights: Tensor
    degree: int
    name: str


@lru_cache(maxsize=64)
def sphere_grid(degree: int, name: GridName = "auto") -> SphereGrid:
    """The smallest antipodally symmetric grid with positive weights that is exact to a degree.

    Lebedev's rules (Lebedev and Laikov 1999, from scipy) need fewer points than Gauss-Legendre rules wherever a
    positive one is near, and the 32 vertices of an icosahedron and its dual (McLaren 1963) fewer than both at degree 8
    and 9; "auto" compares the numbers of points, which the cost of a product follows.

    Args:
        degree: of the polynomials on the sphere to integrate exactly.
        name: "lebedev", "gauss_legendre", "icosahedral", or "auto" for the one with the fewest points.

    Raises:
        GeometryError: a degree above 59 for Lebedev's rules or 9 for the icosahedral one, or an unknown name.

    Example:
        >>> [len(sphere_grid(3 * l).weights) for l in range(1, 7)]
        [6, 26, 32, 86, 86, 146]
    """
    with exact_tables():
        return _chosen_grid(degree, name)


def _chosen_grid(degree: int, name: GridName) -> SphereGrid:
    rules = {"lebedev": _lebedev, "gauss_legendre": _gauss_legendre, "icosahedral": _icosahedral}
    limits = {"lebedev": LEBEDEV_DEGREES[-1], "icosahedral": ICOSAHEDRAL_DEGREE}
    if name == "auto":
        possible = [rule(degree) for rule_name, rule in rules.items() if degree <= limits.get(rule_name, degree)]
        return min(possible, key=lambda grid: len(grid.weights))
    if name not in rules:
        raise GeometryError(f"grid {name!r}: wanted 'auto' or one of {', '.join(rules)}")
    if degree > limits.get(name, degree):
        raise GeometryError(
            f"grid {name!r} is exact to degree {limits[name]}, wanted {degree}; use grid='gauss_legendre' or 'auto'"
        )
    return rules[name](degree)


def harmonics(points: Tensor, degrees: list[int]) -> Tensor:
    """Real spherical harmonics (G, sum of 2 l + 1) in e3nn's order and component normalisation, in points' dtype."""
    return o3.spherical_harmonics(degrees, points, normalize=True, normalization="component")


def tangential_derivatives(points: Tensor, degrees: list[int]) -> tuple[Tensor, Tensor]:
    """Derivatives of the harmonics along two tangents u, v of every point with u x v = point; (G, D) each."""
    axis = torch.eye(3, dtype=points.dtype)[points.abs().argmin(dim=1)]
    u = torch.nn.functional.normalize(torch.linalg.cross(points, axis), dim=1)
    v = torch.linalg.cross(points, u)
    with torch.enable_grad():
        jacobian = torch.func.vmap(torch.func.jacfwd(lambda point: _harmonics_of_one(point, degrees)))(points)
    return torch.einsum("gda,ga->gd", jacobian, u), torch.einsum("gda,ga->gd", jacobian, v)


def _harmonics_of_one(point: Tensor, degrees: list[int]) -> Tensor:
    return o3.spherical_harmonics(degrees, point, normalize=True, normalization="component")


def _lebedev(degree: int) -> SphereGrid:
    exact = next(found for found in LEBEDEV_DEGREES if found >= degree)
    points, weights = lebedev_rule(exact)
    return _paired(points.T, weights / weights.sum(), exact, f"lebedev-{len(weights)}")


def _gauss_legendre(degree: int) -> SphereGrid:
    heights, height_weights = leggauss(degree // 2 + 1)
    around = degree + 1 + (degree + 1) % 2  # an even number of meridians makes the grid antipodally symmetric
    angles = 2 * np.pi * np.arange(around) / around
    radius = np.sqrt(1 - heights**2)
    points = np.stack(
        [np.outer(radius, np.sin(angles)), np.outer(heights, np.ones(around)), np.outer(radius, np.cos(angles))], -1
    )
    weights = np.repeat(height_weights / (2 * around), around)
    return _paired(points.reshape(-1, 3), weights, 2 * len(heights) - 1, f"gauss-legendre-{len(weights)}")


def two_solids() -> tuple[np.ndarray, np.ndarray, int]:
    """Vertices of an icosahedron and of its dual (32, 3), weights of sum one (32,), and the degree of that rule."""
    golden = (1 + 5**0.5) / 2
    signs = [(a, b) for a in (1, -1) for b in (1, -1)]
    ico = [np.roll([0, a, b * golden], k) for a, b in signs for k in range(3)]
    dodeca = [np.roll([0, a / golden, b * golden], k) for a, b in signs for k in range(3)]
    dodeca += [np.array([a, b, c]) for a, b in signs for c in (1, -1)]
    # with these coordinates corners of one solid lie over faces of the other only after a turn by a quarter
    points = np.array([[-v[1], v[0], v[2]] for v in ico] + dodeca, dtype=float)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return points, np.repeat([5 / 168, 9 / 280], [12, 20]), ICOSAHEDRAL_DEGREE


def _icosahedral(degree: int) -> SphereGrid:
    return _paired(*two_solids(), "icosahedral-32")


def _paired(points: np.ndarray, weights: np.ndarray, degree: int, name: str) -> SphereGrid:
    antipode = np.argmax(-points @ points.T, axis=1)
    first = np.flatnonzero(np.arange(len(points)) < antipode)
    order = np.concatenate([first, antipode[first]])
    half = points[first] / np.linalg.norm(points[first], axis=1, keepdims=True)
    return SphereGrid(
        torch.from_numpy(np.concatenate([half, -half])), torch.from_numpy(weights[order].copy()), degree, name
    )
