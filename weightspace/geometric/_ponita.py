"""PONITA on molecules: separable convolutions on positions times orientations."""

from collections.abc import Sequence

from torch import Tensor, nn

from weightspace.errors import ConfigurationError
from weightspace.geometric._atomistic import AbstractAtomisticModel, PointCloud
from weightspace.geometric._orientation_grids import orientation_grid
from weightspace.geometric._ponita_atoms import check_sizes, read_atoms, trunk_input
from weightspace.geometric._ponita_edges import make_window
from weightspace.geometric._ponita_kernels import MLPKernel
from weightspace.geometric._ponita_layers import PonitaTrunk


class Ponita(AbstractAtomisticModel):
    """PONITA: features at each atom for a grid of orientations, convolved with kernels of invariants alone.

    Source: Bekkers, Vadgama, Hesselink, van der Linden and Romero 2024, "Fast, Expressive SE(n) Equivariant Networks
    through Weight-Sharing in Position-Orientation Space", arXiv 2310.02970, Theorem 1 and section 4; sizes as in the
    published code's rMD17 runs. With r = x_j - x_i, features f of atom i at orientation o, depthwise,

        f1_i(o) = sum over j of k(r . o, norm(r - (r . o) o)) f_j(o), the atom itself among the j
        f2_i(o) = sum over o' of w(o') k'(o . o') f1_i(o') + bias
        f_i <- f_i + linear(gelu(linear(LayerNorm(f2_i))))

    k and k' are linear maps, one for each layer, of a shared MLP of all monomials up to degree 3 of the invariants,
    k times a window. Each layer has a readout; their mean over layers and orientations is the atom's energy, and
    sum over o of w(o) o readout(o) its vectors.

    What deviates: sums over orientations carry quadrature weights w (with equal weights, as on a grid given by rows,
    they are the paper's means); the grid is fixed, not random; each monomial occurs once (the published code repeats
    r1 r2 and r2 r1; a sum of their columns is the same function); the atom's own term is evaluated once for all atoms
    in place of a loop in the edge list; atoms that coincide do not see each other; kernels are scaled to a batch by
    `calibrate` when asked, not silently at the first training step; no layer scale, as in those runs.

    Rotations are exact for the symmetries of the grid and approximate else (`rotation_error`); inversion and
    translations are exact. The energy is continuous everywhere, but its gradient is not where an edge is parallel to
    an orientation of the grid, where norm(r - (r . o) o) has a corner (`PonitaExplicitBasis` has none).

    Args:
        channels: C.
        layers: how many blocks.
        grid: what `orientation_grid` takes, or None for the position-only model (PNITA), whose kernels read lengths.
        cutoff: in Å; None for all pairs, without a window, as in the published runs on molecules.
        window: "polynomial" (as published; two derivatives vanish at the cutoff) or "mollifier" (all do).
        basis_channels: of the shared MLP.
        num_vectors: vectors that each atom gets, beside its energy.
        elements: atomic numbers that the model knows; None for all.

    Shapes:
        as `AbstractAtomisticModel`; "vectors" (N, num_vectors, 3).

    Raises:
        ConfigurationError: sizes that are not positive, vectors without a grid of the sphere, an unknown window.
        GeometryError: an unknown grid, or input that does not fit.

    Example:
        >>> import torch
        >>> model = Ponita(channels=16, layers=2, basis_channels=16, num_vectors=1)
        >>> found = model(torch.tensor([8, 1, 1]), torch.tensor([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]))
        >>> found["energy"].shape, found["vectors"].shape
        (torch.Size([1]), torch.Size([3, 1, 3]))
    """

    shares_pairs = True

    def __init__(
        self,
        channels: int = 128,
        layers: int = 5,
        *,
        grid: str | int | Sequence[Sequence[float]] | None = "antipodal-16",
        cutoff: float | None = 5.0,
        window: str = "polynomial",
        basis_channels: int = 256,
        num_vectors: int = 0,
        elements: Sequence[int] | None = None,
    ):
        config = {
            "channels": channels,
            "layers": layers,
            "grid": grid if grid is None or isinstance(grid, str | int) else [list(map(float, row)) for row in grid],
            "cutoff": cutoff,
            "window": window,
            "basis_channels": basis_channels,
            "num_vectors": num_vectors,
            "elements": None if elements is None else list(elements),
        }
        super().__init__(cutoff, elements=elements, config=config)
        check_sizes("Ponita", channels=channels, layers=layers, basis_channels=basis_channels)
        orientations = None if grid is None else orientation_grid(grid)
        if orientations is not None and orientations.dim != 3:
            raise ConfigurationError(f"Ponita: found grid {orientations.name!r} on the circle, wanted it on the sphere")
        if orientations is None and num_vectors:
            raise ConfigurationError(f"Ponita: found num_vectors={num_vectors} and grid=None, wanted a grid")
        self.window = make_window(window, cutoff)
        self.embedding = nn.Embedding(len(self.elements), channels)
        kernel = MLPKernel(
            channels=channels,
            basis_channels=basis_channels,
            own=(0.0,) if orientations is None else (0.0, 0.0),
            fiber=orientations is not None,
        )
        self.trunk = PonitaTrunk(kernel, orientations, channels=channels, layers=layers, outputs=1 + num_vectors)

    def evaluate(self, cloud: PointCloud) -> dict[str, Tensor]:
        """Atomic energies (N,), and vectors (N, V, 3)."""
        return read_atoms(self.trunk, self.embedding, self.window, cloud)

    def calibrate(self, z: Tensor, pos: Tensor, batch: Tensor | None = None) -> None:
        """Scale kernels so that each convolution keeps the standard deviation of its input on this batch."""
        self.trunk.calibrate(*trunk_input(self.trunk, self.embedding, self.window, self.cloud(z, pos, batch)))
