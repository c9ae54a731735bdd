"""Wigner matrices that turn every edge onto the polar axis, by one product with trigonometric polynomials."""

import math
from dataclasses import dataclass

import torch
from e3nn import o3
from torch import Tensor

from weightspace.errors import GeometryError
from weightspace.geometric._constants import ExactConstants, exact_tables
from weightspace.geometric._take import take

POLAR_LIMIT = 0.7
"""Edges whose |cosine| with the polar axis is larger are turned in coordinates exchanged cyclically."""


@dataclass(frozen=True)
class EdgeFrames:
    """Rotations into the frames of edges, degree by degree.

    In an edge's frame its direction is e3nn's polar axis y, so that only the harmonics with m = 0 do not vanish.

    Shapes:
        matrices: one (E, 2 l + 1, 2 l + 1) for each l = 0 .. lmax; `matrices[l] @ Y_l(edge)` is Y_l(y).
    """

    matrices: tuple[Tensor, ...]

    @property
    def lmax(self) -> int:
        """The largest degree."""
        return len(self.matrices) - 1

    def rotate(self, x: Tensor, degrees: list[int], *, back: bool = False) -> Tensor:
        """Features (E, D, C) with one slot per degree into the frames, or back from them."""
        sizes = [2 * l + 1 for l in degrees]
        turned = []
        for l, piece in zip(degrees, x.split(sizes, dim=1), strict=True):
            matrix = self.matrices[l].transpose(1, 2) if back else self.matrices[l]
            turned.append(torch.bmm(matrix, piece) if l else piece)
        return torch.cat(turned, dim=1)


def edge_frames(edge_vec: Tensor, lmax: int) -> EdgeFrames:
    """Wigner matrices of a rotation that turns each edge onto the polar axis y, without angles and without poles.

    With the direction (x, y, z), cos b = y and (cos a, sin a) = (z, x) / sqrt(x^2 + z^2), the matrix of degree l is
    d(b) X(a): d is linear in cos(m b), sin(m b), and X(a) mixes the components m and -m. So all degrees of all edges
    take one product of (E, 2 L + 1) trigonometric polynomials with constants. Near the poles, where a is undefined,
    the coordinates are exchanged cyclically first, whose matrices are constants. The rotation about the edge is free;
    what is done in the frame must not depend on it.

    Source:
        Passaro and Zitnick 2023 (arXiv 2302.03655), section 3, for the reduction; Pinchon and Hoggan 2007 for
        D = X(a) J X(b) J X(c). Deviates: no angles, no random third angle, a second chart instead of a singular one.

    Args:
        edge_vec: edge vectors; of length zero counts as along x, with gradient zero.
        lmax: the largest degree.

    Shapes:
        edge_vec: (E, 3).

    Raises:
        GeometryError: a wrong shape or a negative degree.

    Example:
        >>> edge_vec = torch.randn(5, 3)
        >>> frames = edge_frames(edge_vec, 2)
        >>> harmonics = o3.spherical_harmonics(2, edge_vec, True, "component")
        >>> (frames.matrices[2] @ harmonics[:, :, None])[0, :, 0].abs().round(decimals=3)
        tensor([0.0000, 0.0000, 2.2360, 0.0000, 0.0000])
    """
    if edge_vec.ndim != 2 or edge_vec.shape[1] != 3:
        raise GeometryError(f"edge_vec: found {tuple(edge_vec.shape)}, wanted (E, 3)")
    if lmax < 0:
        raise GeometryError(f"lmax: found {lmax}, wanted zero or more")
    constants = frame_constants(lmax)
    direction = _directions(edge_vec)
    polar = direction[:, 1:2].abs() > POLAR_LIMIT
    x, y, z = torch.where(polar, direction.roll(1, dims=1), direction).unbind(1)
    radius = (x * x + z * z).sqrt()
    around = _multiples(z / radius, x / radius, lmax)  # cos(m a), sin(m a)
    down = _multiples(y, radius, lmax)
    features = torch.stack([*down[0], *down[1][1:]], dim=1)  # (E, 2 L + 1)
    small = features @ constants.like("small", features)  # (E, sum of (2 l + 1)^2)
    cosines, sines = torch.stack(around[0], dim=1), torch.stack(around[1], dim=1)
    matrices = []
    for l, flat in enumerate(small.split([(2 * l + 1) ** 2 for l in range(lmax + 1)], dim=1)):
        size = 2 * l + 1
        turned = _about_axis(flat.view(-1, size, size), cosines, sines, l)
        exchanged = turned @ constants.like(f"exchange{l}", turned)
        matrices.append(torch.where(polar[:, :, None], exchanged, turned))
    return EdgeFrames(tuple(matrices))


def _directions(edge_vec: Tensor) -> Tensor:
    length = edge_vec.square().sum(dim=1, keepdim=True)
    empty = length == 0
    along_x = edge_vec.new_tensor([1.0, 0.0, 0.0])
    return torch.where(empty, along_x, edge_vec) / torch.where(empty, torch.ones_like(length), length).sqrt()


def _multiples(cosine: Tensor, sine: Tensor, lmax: int) -> tuple[list[Tensor], list[Tensor]]:
    cosines, sines = [torch.ones_like(cosine)], [torch.zeros_like(sine)]
    for _ in range(lmax):
        c, s = cosines[-1], sines[-1]
        cosines.append(c * cosine - s * sine)
        sines.append(s * cosine + c * sine)
    return cosines, sines


def _about_axis(matrix: Tensor, cosines: Tensor, sines: Tensor, l: int) -> Tensor:
    """The matrix times X(-a): columns m and -m mix; (E, 2 l + 1, 2 l + 1)."""
    if l == 0:
        return matrix
    orders = torch.arange(-l, l + 1, device=matrix.device)
    cosine = take(cosines, 1, orders.abs())[:, None]
    sine = (take(sines, 1, orders.abs()) * orders.sign())[:, None]
    return matrix * cosine - matrix.flip(2) * sine


_KNOWN: dict[int, ExactConstants] = {}  # not a cached function: torch.compile would look through it into e3nn


def frame_constants(lmax: int) -> ExactConstants:
    """What `edge_frames` multiplies by; modules ask when they are built, so that it is there when they compile."""
    if lmax not in _KNOWN:
        with exact_tables():
            _KNOWN[lmax] = ExactConstants(**_tables(lmax))
    return _KNOWN[lmax]


def _tables(lmax: int) -> dict[str, Tensor]:
    number = 2 * lmax + 1
    angles = 2 * math.pi * torch.arange(number) / number
    zeros = torch.zeros(number)
    basis = [torch.cos(m * angles) for m in range(lmax + 1)] + [torch.sin(m * angles) for m in range(1, lmax + 1)]
    inverse = torch.linalg.inv(torch.stack(basis, dim=1))
    small = [o3.wigner_D(l, zeros, angles, zeros).transpose(1, 2).flatten(1) for l in range(lmax + 1)]
    tables = {"small": inverse @ torch.cat(small, dim=1)}
    exchange = torch.eye(3).roll(1, dims=0)  # v -> v.roll(1)
    for l in range(lmax + 1):
        tables[f"exchange{l}"] = o3.Irrep(l, 1).D_from_matrix(exchange)
    return tables
