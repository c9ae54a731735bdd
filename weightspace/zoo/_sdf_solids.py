"""Random solids as signed distances: unions and differences of ellipsoids, boxes, cylinders and tori, many at once.

Legend of shape comments: B solids, P parts of a solid, N points.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

KINDS = ("ellipsoid", "box", "cylinder", "torus")
MOST_PARTS = 4
REACH = 0.85  # solids stay within this distance of the origin
TINY = 1e-9


@dataclass(frozen=True)
class Solids:
    """A stack of solids, each made of parts in a frame of its own, which a pose places in space.

    The sign is that of the solid: part after part is added, or cut out. The distance is exact to the surface of a box,
    cylinder or torus and of first order near an ellipsoid's; where parts meet it is a bound, as by minimum and maximum.

    Args:
        kind: of each part, a position in `KINDS`.
        size: semi-axes of an ellipsoid, half edges of a box; radius, anything and half height of a cylinder; radius,
            anything and tube radius of a torus.
        rotation: of each part in the solid's frame.
        offset: of each part's centre.
        sign: 1 adds the part, -1 cuts it out, 0 leaves it away.
        pose_rotation: of the solid.
        pose_translation: of the solid.

    Shapes:
        kind, sign (B, P); size, offset (B, P, 3); rotation (B, P, 3, 3); pose_rotation (B, 3, 3);
        pose_translation (B, 3).
    """

    kind: Tensor
    size: Tensor
    rotation: Tensor
    offset: Tensor
    sign: Tensor
    pose_rotation: Tensor
    pose_translation: Tensor

    def distance(self, points: Tensor) -> Tensor:
        """Signed distance, negative inside.

        Shapes:
            points (B, N, 3) -> (B, N).

        Example:
            >>> solids = random_solids(2, torch.Generator().manual_seed(0))
            >>> bool((solids.distance(torch.full((2, 5, 3), 2.0)) > 0).all())
            True
        """
        local = (points - self.pose_translation[:, None]) @ self.pose_rotation  # rows: R^T (x - t)
        total = points.new_full(points.shape[:2], float("inf"))
        for j in range(self.kind.shape[1]):
            own = (local - self.offset[:, None, j]) @ self.rotation[:, j]  # (B, N, 3)
            part = _by_kind(own, self.size[:, None, j], self.kind[:, j])
            sign = self.sign[:, j, None]
            total = torch.where(sign > 0, torch.minimum(total, part), total)
            total = torch.where(sign < 0, torch.maximum(total, -part), total)
        return total

    def describe(self, i: int) -> str:
        """The parts of a solid in words.

        Example:
            >>> random_solids(1, torch.Generator().manual_seed(3)).describe(0).split()[0] in KINDS
            True
        """
        words = []
        for kind, sign in zip(self.kind[i].tolist(), self.sign[i].tolist(), strict=True):
            if sign:
                words += [{1: "+", -1: "-"}[sign], KINDS[kind]]
        return " ".join(words[1:])


def random_solids(count: int, generator: torch.Generator) -> Solids:
    """Solids with a body and up to three smaller parts at its surface, in random poses within the unit ball.

    In its own frame the body's longest axis is the third. The pose is a uniform rotation and a translation for which
    the solid stays within 0.85 of the origin.

    Args:
        count: B.
        generator: of everything that is random.
    """

    def uniform(*shape: int, low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator)

    parts = MOST_PARTS
    kind = torch.randint(len(KINDS), (count, parts), generator=generator)
    body = uniform(count, 1, 3, low=0.3, high=0.8).sort(dim=2).values
    size = torch.cat([body, uniform(count, parts - 1, 3, low=0.12, high=0.4)], 1)
    size = torch.where((kind == 3)[..., None], _tube(size), size)
    rotation = random_rotations(count * parts, generator).view(count, parts, 3, 3)
    rotation[:, 0] = torch.eye(3)
    direction = torch.nn.functional.normalize(torch.randn(count, parts, 3, generator=generator), dim=2)
    offset = direction * size[:, :1] * uniform(count, parts, 1, low=0.6, high=1.1)
    offset[:, 0] = 0
    number = torch.randint(1, parts + 1, (count, 1), generator=generator)
    sign = torch.where(torch.rand(count, parts, generator=generator) < 0.3, -1, 1)
    sign[:, 0] = 1
    sign = torch.where(torch.arange(parts) < number, sign, 0)
    reach = (offset.norm(dim=2) + size.norm(dim=2)) * (sign > 0)  # (B, P)
    radius = uniform(count, low=0.45, high=0.8)
    factor = (radius / reach.amax(1))[:, None, None]
    away = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=1)
    shift = away * (torch.rand(count, generator=generator) ** (1 / 3) * (REACH - radius))[:, None]
    pose = random_rotations(count, generator)
    return Solids(kind, size * factor, rotation, offset * factor, sign, pose, shift)


def random_rotations(count: int, generator: torch.Generator) -> Tensor:
    """Uniform rotations, from normalised quaternions.

    Shapes:
        result (count, 3, 3).

    Example:
        >>> r = random_rotations(5, torch.Generator().manual_seed(0))
        >>> torch.allclose(r @ r.mT, torch.eye(3).expand(5, 3, 3), atol=1e-6), bool((torch.linalg.det(r) > 0).all())
        (True, True)
    """
    w, x, y, z = torch.nn.functional.normalize(torch.randn(count, 4, generator=generator), dim=1).unbind(1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, -1) for row in rows], 1)


def _tube(size: Tensor) -> Tensor:
    """Sizes of a torus: its tube is at most half as thick as it is wide."""
    radius = size[..., 2]
    tube = torch.minimum(size[..., 0], 0.5 * radius)
    return torch.stack([0.7 * radius, 0.7 * radius, tube], -1)


def _by_kind(p: Tensor, size: Tensor, kind: Tensor) -> Tensor:
    """Distance (B, N) to a part of each solid, of the kind (B,) that it is; size (B, 1, 3)."""
    found = torch.stack([_ellipsoid(p, size), _box(p.abs() - size), _cylinder(p, size), _torus(p, size)])
    return found.gather(0, kind[None, :, None].expand(1, *p.shape[:2]))[0]


def _ellipsoid(p: Tensor, size: Tensor) -> Tensor:
    scaled = (p / size).norm(dim=-1)
    slope = (p / size.square()).norm(dim=-1)
    return (scaled - 1) * torch.where(slope > TINY, scaled / slope.clamp(min=TINY), size.amin(-1))


def _box(q: Tensor) -> Tensor:
    return q.clamp(min=0).norm(dim=-1) + q.amax(-1).clamp(max=0)


def _cylinder(p: Tensor, size: Tensor) -> Tensor:
    radial = p[..., :2].norm(dim=-1) - size[..., 0]
    return _box(torch.stack([radial, p[..., 2].abs() - size[..., 2]], -1))


def _torus(p: Tensor, size: Tensor) -> Tensor:
    ring = p[..., :2].norm(dim=-1) - size[..., 0]
    return torch.stack([ring, p[..., 2]], -1).norm(dim=-1) - size[..., 2]
