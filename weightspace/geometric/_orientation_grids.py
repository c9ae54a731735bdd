"""Grids of orientations on the sphere and the circle, with quadrature weights."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import pi

import numpy as np
import torch
from e3nn import o3
from scipy.integrate import lebedev_rule
from scipy.optimize import minimize
from torch import Tensor

from weightspace.errors import GeometryError
from weightspace.geometric._constants import exact_tables
from weightspace.geometric._quadrature import two_solids

_LEBEDEV = {6: 3, 14: 5, 26: 7, 38: 9, 50: 11, 86: 15, 110: 17}  # points: degree; those with positive weights
_SAME = 1e-9


@dataclass(frozen=True)
class OrientationGrid:
    """Unit vectors that stand for all orientations, with quadrature weights.

    Args:
        ori: unit vectors (O, 3) on the sphere or (O, 2) on the circle, float64.
        weights: positive, their sum is one (O,), float64.
        antipode: place of -ori among ori (O,), or None where one is missing.
        name: what `orientation_grid` was asked for.
        degree: polynomials (on the circle: frequencies) up to this degree are integrated exactly.
    """

    ori: Tensor
    weights: Tensor
    antipode: Tensor | None
    name: str
    degree: int

    @property
    def dim(self) -> int:
        """3 on the sphere, 2 on the circle."""
        return self.ori.shape[1]

    def __len__(self) -> int:
        return len(self.ori)

    def symmetries(self) -> Tensor:
        """All orthogonal maps, improper ones included, that send the grid with its weights to itself (S, dim, dim)."""
        frame = _frame(self.ori)
        basis = self.ori[frame]  # (dim, dim)
        gram, images = self.ori @ self.ori.T, torch.arange(len(self))[:, None]  # tuples of images of the frame
        for k in range(1, self.dim):
            images = torch.cat(
                [
                    images.repeat_interleave(len(self), 0),
                    images.new_tensor(range(len(self))).repeat(len(images))[:, None],
                ],
                dim=1,
            )
            for earlier in range(k):
                fits = (gram[images[:, earlier], images[:, k]] - gram[frame[earlier], frame[k]]).abs() < 1e-7
                images = images[fits]
        maps = torch.linalg.solve(basis, self.ori[images]).mT  # (S, dim, dim)
        sent = torch.einsum("sij,oj->soi", maps, self.ori)
        distance, place = torch.cdist(sent, self.ori.expand(len(sent), -1, -1)).min(-1)
        kept = (distance < 1e-6).all(-1) & ((self.weights[place] - self.weights).abs() < 1e-9).all(-1)
        return _orthogonalised(maps[kept])


def orientation_grid(name_or_size: str | int | Sequence[Sequence[float]]) -> OrientationGrid:
    """A grid of orientations with quadrature weights.

    "antipodal-N": N/2 axes and their opposites. Axes repel each other (energy sum 1/d, from a Fibonacci start), then
    axes and weights together move to the nearest rule of the highest odd degree that their number of freedoms and
    positive weights allow; 16 points: degree 5. "lebedev-N" with N in 6, 14, 26, 38, 50, 86, 110: degree 3, 5, 7, 9,
    11, 15, 17, octahedral symmetry (Lebedev 1976; `scipy.integrate.lebedev_rule`). "icosahedron-dodecahedron-32":
    both solids' corners, weights 25/840 and 27/840: degree 9, icosahedral symmetry. "fibonacci-N": a spiral with equal
    weights, exact for constants alone, for comparison. "circle-N": N angles, exact below frequency N.

    A number takes, on the sphere: 6, 14, 26, 38, 50, 86, 110 Lebedev; 32 the two solids; any other even number an
    antipodal grid; an odd one Fibonacci. Rows of numbers are a grid with equal weights, such as one of the random
    grids that published models were trained on.

    Args:
        name_or_size: a name, a number of points, or the points themselves.

    Raises:
        GeometryError: no such grid, or rows that are not unit vectors of length 2 or 3.

    Example:
        >>> grid = orientation_grid("antipodal-16")
        >>> grid.ori.shape, grid.degree, grid.antipode.tolist()[:3]
        (torch.Size([16, 3]), 5, [8, 9, 10])
    """
    if not isinstance(name_or_size, str | int):
        return _given(name_or_size)
    name = _name_of_size(name_or_size) if isinstance(name_or_size, int) else name_or_size
    match = re.fullmatch(r"([a-z-]+)-(\d+)", name)
    family, points = (match[1], int(match[2])) if match else ("", 0)
    if family not in _FAMILIES or points < 2 or points > 1000:
        raise GeometryError(_unknown(name))
    return _built(name)


@lru_cache(maxsize=64)
def _built(name: str) -> OrientationGrid:
    family, points = name.rsplit("-", 1)
    with exact_tables():
        ori, weights, degree = _FAMILIES[family](int(points))
        return _grid(torch.as_tensor(ori), torch.as_tensor(weights), name=name, degree=degree)


def _name_of_size(points: int) -> str:
    if points in _LEBEDEV:
        return f"lebedev-{points}"
    if points == 32:
        return "icosahedron-dodecahedron-32"
    return f"fibonacci-{points}" if points % 2 else f"antipodal-{points}"


def _unknown(name: str) -> str:
    return (
        f"orientation_grid: found {name!r}, wanted antipodal-N (N even, from 6), lebedev-N with N in "
        f"{', '.join(map(str, _LEBEDEV))}, icosahedron-dodecahedron-32, fibonacci-N or circle-N"
    )


def _grid(ori: Tensor, weights: Tensor, *, name: str, degree: int) -> OrientationGrid:
    antipode = (ori @ ori.T).argmin(-1)
    away = torch.cat([ori[antipode] + ori, (weights[antipode] - weights)[:, None]], dim=1)
    closed = bool(away.abs().max() < _SAME)
    return OrientationGrid(ori, weights / weights.sum(), antipode if closed else None, name, degree)


def _given(rows: Sequence[Sequence[float]]) -> OrientationGrid:
    ori = torch.as_tensor(rows, dtype=torch.float64)
    if ori.dim() != 2 or ori.shape[1] not in (2, 3) or not len(ori):
        raise GeometryError(f"orientation_grid: found points of shape {tuple(ori.shape)}, wanted (O, 3) or (O, 2)")
    length = torch.linalg.vector_norm(ori, dim=1, keepdim=True)
    if (length - 1).abs().max() > 1e-3:
        raise GeometryError(f"orientation_grid: found a point of length {float(length.min()):.3g}, wanted unit vectors")
    return _grid(ori / length, torch.ones(len(ori), dtype=torch.float64), name=f"given-{len(ori)}", degree=0)


def _lebedev(points: int) -> tuple[np.ndarray, np.ndarray, int]:
    if points not in _LEBEDEV:
        raise GeometryError(_unknown(f"lebedev-{points}"))
    ori, weights = lebedev_rule(_LEBEDEV[points])
    return ori.T.copy(), weights / weights.sum(), _LEBEDEV[points]


def _two_solids(points: int) -> tuple[np.ndarray, np.ndarray, int]:
    if points != 32:
        raise GeometryError(_unknown(f"icosahedron-dodecahedron-{points}"))
    return two_solids()


def _fibonacci(points: int) -> tuple[np.ndarray, np.ndarray, int]:
    k = np.arange(points) + 0.5
    z, angle = 1 - 2 * k / points, pi * (1 + 5**0.5) * k
    ring = np.sqrt(1 - z * z)
    ori = np.stack([ring * np.cos(angle), ring * np.sin(angle), z], axis=1)
    return ori, np.full(points, 1 / points), 0


def _circle(points: int) -> tuple[np.ndarray, np.ndarray, int]:
    angle = 2 * pi * np.arange(points) / points
    return np.stack([np.cos(angle), np.sin(angle)], axis=1), np.full(points, 1 / points), points - 1


def _antipodal(points: int) -> tuple[Tensor, Tensor, int]:
    if points % 2 or points < 6:
        raise GeometryError(_unknown(f"antipodal-{points}"))
    axes = _repelled(points // 2)
    for degree in range(2 * int(points**0.5) + 1, 0, -2):
        rule = _nearest_rule(axes, degree)
        if rule is not None:
            break
    axes, weights = rule or (axes, axes.new_full((len(axes),), 1 / len(axes)))
    return torch.cat([axes, -axes]), torch.cat([weights, weights]) / 2, degree if rule else 1


def _repelled(axes: int) -> Tensor:
    """Axes at a minimum of the energy sum 1/d among all ends, the first along z, the second in the x-z half plane."""

    def energy(flat: Tensor) -> Tensor:
        u = torch.nn.functional.normalize(flat.view(-1, 3), dim=1)
        c = (u @ u.T)[tuple(torch.triu_indices(axes, axes, 1))]
        return ((2 - 2 * c).rsqrt() + (2 + 2 * c).rsqrt()).sum()

    def with_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        x = torch.tensor(flat, requires_grad=True)
        value = energy(x)
        return value.item(), torch.autograd.grad(value, x)[0].numpy()

    start = _fibonacci(2 * axes)[0][:axes].ravel()
    flat = torch.tensor(minimize(with_gradient, start, jac=True, method="BFGS", options={"gtol": 1e-9}).x)
    for _ in range(3):  # Newton steps: the same digits on every machine
        x = flat.clone().requires_grad_()
        slope = torch.autograd.grad(energy(x), x)[0]
        curvature = torch.autograd.functional.hessian(energy, flat)
        flat = flat - torch.linalg.pinv(curvature, rtol=1e-7, hermitian=True) @ slope
    u = torch.nn.functional.normalize(flat.view(-1, 3), dim=1)
    x = torch.nn.functional.normalize(u[1] - (u[1] @ u[0]) * u[0], dim=0)
    return u @ torch.stack([x, torch.linalg.cross(u[0], x), u[0]], dim=1)


def _nearest_rule(axes: Tensor, degree: int) -> tuple[Tensor, Tensor] | None:
    """Axes and positive weights of sum one close to the given axes, exact to an odd degree; None if there are none."""
    even = range(2, degree, 2)
    if 1 + sum(2 * l + 1 for l in even) > 3 * len(axes) - 3:
        return None

    def residual(x: Tensor) -> Tensor:
        u, w = torch.nn.functional.normalize(x[: 3 * len(axes)].view(-1, 3), dim=1), x[3 * len(axes) :]
        sh = o3.spherical_harmonics([0, *even], u, normalize=True, normalization="component")  # (A, 1 + 5 + 9 + ...)
        return w @ sh - torch.nn.functional.one_hot(torch.tensor(0), sh.shape[1])

    x = torch.cat([axes.flatten(), axes.new_full((len(axes),), 1 / len(axes))])
    for _ in range(50):
        step = torch.linalg.pinv(torch.autograd.functional.jacobian(residual, x), rtol=1e-7) @ residual(x)
        x = x - step
    u, w = torch.nn.functional.normalize(x[: 3 * len(axes)].view(-1, 3), dim=1), x[3 * len(axes) :]
    exact = bool(residual(x).abs().max() < 1e-12) and bool(w.min() > 0.2 / len(axes))
    return (u, w) if exact else None


def _frame(ori: Tensor) -> list[int]:
    """Places of `dim` points that span the space."""
    chosen = [0]
    for place in range(1, len(ori)):
        if len(chosen) < ori.shape[1]:
            candidate = ori[[*chosen, place]]
            if torch.linalg.svdvals(candidate)[-1] > 0.1:
                chosen.append(place)
    if len(chosen) < ori.shape[1]:
        raise GeometryError(f"OrientationGrid.symmetries: found points that do not span {ori.shape[1]} dimensions")
    return chosen


def _orthogonalised(maps: Tensor) -> Tensor:
    left, _, right = torch.linalg.svd(maps)
    return left @ right


_FAMILIES: dict[str, Callable[[int], tuple]] = {
    "antipodal": _antipodal,
    "lebedev": _lebedev,
    "icosahedron-dodecahedron": _two_solids,
    "fibonacci": _fibonacci,
    "circle": _circle,
}
