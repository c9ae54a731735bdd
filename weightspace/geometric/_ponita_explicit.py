"""PONITA with an explicit basis of kernels: radial functions times Legendre polynomials."""

from collections.abc import Sequence

from torch import Tensor, nn

from weightspace.errors import ConfigurationError
from weightspace.geometric._atomistic import AbstractAtomisticModel, PointCloud
from weightspace.geometric._orientation_grids import orientation_grid
from weightspace.geometric._ponita_atoms import check_sizes, read_atoms, trunk_input
from weightspace.geometric._ponita_edges import make_window
from weightspace.geometric._ponita_kernels import LegendreKernel
from weightspace.geometric._ponita_layers import PonitaTrunk


class PonitaExplicitBasis(AbstractAtomisticModel):
    """PONITA's convolutions with kernels that are linear in an explicit basis: no MLP on edges times orientations.

    Source: the architecture of Bekkers et al. 2024, arXiv 2310.02970 (see `Ponita`), another function: in place of an
    MLP of (r . o, norm(r - (r . o) o)) each layer and channel has

        k(r, o) = sum over n, l of w_nl R_n(d) u(d) P_l(r . o / d), d = norm(r)
        k'(o . o') = sum over l of v_l P_l(o . o')

    with Bessel functions R_n, a window u and Legendre polynomials P_l: every function of the two invariants is such a
    sum in the limit. A kernel costs (l + 1) multiplications for each edge, orientation and channel, in place of 256.
    Smooth wherever atoms do not coincide. An atom's own term is a weight for each channel.

    Args:
        channels: C.
        layers: how many blocks.
        grid: what `orientation_grid` takes, of the sphere.
        cutoff: in Å.
        num_rbf: radial functions.
        degree: largest l.
        num_vectors: vectors that each atom gets, beside its energy.
        elements: atomic numbers that the model knows; None for all.

    Shapes:
        as `AbstractAtomisticModel`; "vectors" (N, num_vectors, 3).

    Raises:
        ConfigurationError: sizes that are not positive, or a grid of the circle.
        GeometryError: an unknown grid, or input that does not fit.

    Example:
        >>> import torch
        >>> model = PonitaExplicitBasis(channels=16, layers=2)
        >>> model(torch.tensor([8, 1]), torch.tensor([[0.0, 0, 0], [0.96, 0, 0]]))["energy"].shape
        torch.Size([1])
    """

    shares_pairs = True

    def __init__(
        self,
        channels: int = 128,
        layers: int = 5,
        *,
        grid: str | int | Sequence[Sequence[float]] = "antipodal-16",
        cutoff: float = 5.0,
        num_rbf: int = 8,
        degree: int = 4,
        num_vectors: int = 0,
        elements: Sequence[int] | None = None,
    ):
        config = {
            "channels": channels,
            "layers": layers,
            "grid": grid if isinstance(grid, str | int) else [list(map(float, row)) for row in grid],
            "cutoff": cutoff,
            "num_rbf": num_rbf,
            "degree": degree,
            "num_vectors": num_vectors,
            "elements": None if elements is None else list(elements),
        }
        super().__init__(cutoff, elements=elements, config=config)
        check_sizes("PonitaExplicitBasis", channels=channels, layers=layers, num_rbf=num_rbf, degree=degree)
        orientations = orientation_grid(grid)
        if orientations.dim != 3:
            raise ConfigurationError(
                f"PonitaExplicitBasis: found grid {orientations.name!r} on the circle, wanted it on the sphere"
            )
        self.window = make_window("polynomial", cutoff)
        self.embedding = nn.Embedding(len(self.elements), channels)
        kernel = LegendreKernel(channels=channels, cutoff=cutoff, radial=num_rbf, degree=degree)
        self.trunk = PonitaTrunk(kernel, orientations, channels=channels, layers=layers, outputs=1 + num_vectors)

    def evaluate(self, cloud: PointCloud) -> dict[str, Tensor]:
        """Atomic energies (N,), and vectors (N, V, 3)."""
        return read_atoms(self.trunk, self.embedding, self.window, cloud)

    def calibrate(self, z: Tensor, pos: Tensor, batch: Tensor | None = None) -> None:
        """Scale kernels so that each convolution keeps the standard deviation of its input on this batch."""
        self.trunk.calibrate(*trunk_input(self.trunk, self.embedding, self.window, self.cloud(z, pos, batch)))
