"""Volume, centroid and inertia of what a network says is inside, by lines through the unit ball.

Along each line of a square grid the network is read at equal steps; between two readings it is taken as linear, so
that a crossing is found to second order and the part of the line that lies inside is integrated exactly. Lines run
along each of the three axes in turn and the results are averaged, which evens out what lines that graze the surface
get wrong.

Legend of shape comments: B networks, S steps of a line, L lines.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class SolidMeasures:
    """What is known of a solid of density 1.

    Args:
        volume: of the solid.
        centroid: its centre of mass; zero where there is no volume.
        inertia: inertia tensor about the centroid, tr(J) 1 - J with J the integral of (x - c)(x - c)^T.
        leak: share of the unit sphere at which the network is negative, so that the solid is cut off by the ball.

    Shapes:
        volume, leak (B,); centroid (B, 3); inertia (B, 3, 3).
    """

    volume: Tensor
    centroid: Tensor
    inertia: Tensor
    leak: Tensor


def measure_solids(function: Callable[[Tensor], Tensor], *, resolution: int = 32) -> SolidMeasures:
    """Measure {f < 0} within the unit ball.

    Args:
        function: points (N, 3) -> values (B, N) of all networks.
        resolution: lines per axis; the steps along a line are as long as the lines are apart.

    Example:
        >>> ball = lambda x: x.norm(dim=-1)[None] - 0.5
        >>> found = measure_solids(ball)
        >>> abs(found.volume.item() / (4 / 3 * torch.pi * 0.5**3) - 1) < 0.01
        True
    """
    step = 2 / resolution
    middles = torch.linspace(-1 + step / 2, 1 - step / 2, resolution)
    a, b = torch.meshgrid(middles, middles, indexing="ij")
    lines = torch.stack([a, b], -1).flatten(0, 1)
    lines = lines[lines.square().sum(1) < 1]  # (L, 2)
    half = (1 - lines.square().sum(1)).sqrt()  # lines end at the sphere
    readings = torch.linspace(-1, 1, resolution + 1)[:, None] * half  # (S, L)
    moments, ends = [], []
    for axis in range(3):
        points = torch.stack([*lines.mT[:, None].expand(2, *readings.shape), readings], -1)  # (S, L, 3)
        points = points.roll(axis + 1, -1)  # the third place becomes the place `axis`
        values = function(points.flatten(0, 1)).unflatten(1, readings.shape)  # (B, S, L)
        ends.append((values[:, [0, -1]] < 0).float().mean((1, 2)))
        moments.append(_moments(values, readings, lines, axis))
    volume, first, second = (torch.stack(moments).mean(0) * step * step).split([1, 3, 9], 1)
    centroid = first / volume.clamp(min=1e-9)
    spread = second.unflatten(1, (3, 3)) - volume[..., None] * centroid[:, :, None] * centroid[:, None]
    trace = spread.diagonal(dim1=1, dim2=2).sum(1)
    inertia = trace[:, None, None] * torch.eye(3) - spread
    return SolidMeasures(volume[:, 0], centroid, inertia, torch.stack(ends).mean(0))


def _moments(values: Tensor, readings: Tensor, lines: Tensor, axis: int) -> Tensor:
    """Integrals over the inside parts of lines of 1, x and x x^T, summed over the lines; (B, 13)."""
    start, end = readings[:-1], readings[1:]  # (S, L)
    before, after = values[:, :-1], values[:, 1:]  # (B, S, L)
    crossing = start + (end - start) * (before / (before - after).where(before != after, torch.ones(()))).clamp(0, 1)
    inside_first, inside_last = before < 0, after < 0
    low = torch.where(inside_first, start, torch.where(inside_last, crossing, start))
    high = torch.where(inside_last, end, torch.where(inside_first, crossing, start))
    powers = [((high**k - low**k) / k).sum(1) for k in (1, 2, 3)]  # integrals of 1, z and z^2 along a line, (B, L)
    other = torch.cat([torch.ones(len(lines), 1), lines, lines[:, :1] * lines, lines[:, 1:].square()], 1)
    sums = torch.stack([power @ other for power in powers], 2)  # (B, 6 of {1, a, b, aa, ab, bb}, 3 of {1, z, zz})
    one, a, b, aa, ab, bb = sums.unbind(1)
    first = torch.stack([a[:, 0], b[:, 0], one[:, 1]], 1)
    second = torch.stack(
        [aa[:, 0], ab[:, 0], a[:, 1], ab[:, 0], bb[:, 0], b[:, 1], a[:, 1], b[:, 1], one[:, 2]], 1
    ).unflatten(1, (3, 3))
    first, second = first.roll(axis + 1, 1), second.roll((axis + 1, axis + 1), (1, 2))
    return torch.cat([one[:, :1], first, second.flatten(1)], 1)
