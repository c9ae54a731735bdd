"""PONITA on moving particles: where they will be."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from torch import Tensor

from weightspace.geometric._dynamics import AbstractDynamicsModel, ParticleSystem
from weightspace.geometric._point_cloud import PonitaPointCloud, PonitaShape


class PonitaDynamics(AbstractDynamicsModel):
    """PONITA with charges as scalars and velocities as vectors; the vector it gives a particle is its way.

    Source: Bekkers et al. 2024, arXiv 2310.02970, section 5.2, and the published n-body experiment: all pairs and the
    particle itself in the kernels, no window, readouts after every layer; there 128 channels, 5 layers and 256 basis
    functions (`PonitaShape()`), random rotations of the training data and layer scales that start at 1e-6.

    What deviates: the grid has quadrature weights and opposite orientations (see `PonitaPointCloud`), and the default
    shape is smaller, for a processor instead of a graphics card.

    Args:
        grid: what `orientation_grid` takes.
        shape: sizes, a `PonitaShape` or its fields as a mapping.

    Shapes:
        see `AbstractDynamicsModel`; equivariant to the grid's own symmetries, nearly so to others.

    Example:
        >>> import torch
        >>> model = PonitaDynamics(shape={"channels": 8, "layers": 1, "basis_channels": 8})
        >>> model(torch.randn(5, 3), torch.randn(5, 3), torch.ones(5, 1)).shape
        torch.Size([5, 3])
    """

    def __init__(
        self,
        *,
        grid: str | int | Sequence[Sequence[float]] = "antipodal-16",
        shape: PonitaShape | Mapping[str, Any] = PonitaShape(channels=32, basis_channels=32),  # noqa: B008  frozen
    ):
        sizes = shape if isinstance(shape, PonitaShape) else PonitaShape(**shape)
        cloud = PonitaPointCloud(1, 0, in_vectors=1, out_vectors=1, grid=grid, edges=1, shape=sizes)
        super().__init__({"grid": cloud.config["grid"], "shape": asdict(sizes)})
        self.cloud = cloud

    def evaluate(self, system: ParticleSystem) -> Tensor:
        """Later positions (N, 3)."""
        _, way = self.cloud.points(
            system.pos, system.charges, system.velocities[:, None], system.batch, system.edge_index
        )
        return system.pos + way[:, 0]
