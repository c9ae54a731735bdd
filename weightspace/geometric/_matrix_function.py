"""Matrix Function Networks: features of atoms from the resolvents of a learned Hamiltonian."""

import math
from collections.abc import Sequence

import torch
from e3nn import o3
from torch import Tensor, nn

from weightspace.errors import ConfigurationError
from weightspace.geometric._atomistic import AbstractAtomisticModel, PointCloud
from weightspace.geometric._equivariant_layers import Blocks, IrrepsLinear, scaled_silu
from weightspace.geometric._matrix_blocks import BlockMatrices, Resolvents
from weightspace.geometric._nequip import Convolution
from weightspace.geometric._radial import BesselBasis, cutoff_function
from weightspace.geometric._take import take


class MatrixFunctionNetwork(AbstractAtomisticModel):
    """Matrix Function Network (MFN): every layer makes matrices H of the graph and reads functions f(H) at the atoms.

    Source: Batatia, Schaaf, Csányi, Ortner and Faber 2024, "Equivariant Matrix Function Neural Networks",
    arXiv 2310.10434: a local equivariant layer; self-adjoint matrices with blocks H_ij between the
    orbitals of atoms i and j (one scalar, one vector), H(Q x) = D(Q) H(x) D(Q)^T; the resolvent expansion
    f(H) = sum_k w_k (z_k - H)^-1, real and imaginary parts; its diagonal blocks as features of the atoms. One f sees
    paths of all lengths, so that features are non-local. Default sizes are those of the published training on
    cumulenes (16 matrices, 16 poles of each, 2 layers of 64 channels, cutoff 3 Å, 8 Bessel functions).

    What deviates. The local layer is a convolution of `NequIP` with features up to `lmax` instead of one of MACE.
    H = (M + M^T) / sqrt(2), with M_ij a Clebsch-Gordan product of x_j and the harmonics of the edge, times a scalar of
    x_i, and a linear map of x_i on the diagonal. Poles are learned, with Im z >= 1; the published code normalises H by
    the mean and variance of its eigenvalues instead, which makes energies of molecules that do not touch depend on
    each other, and fixes z = i. Off-diagonal blocks of f(H) are not read.

    Weights of the published code (github.com/ilyes319/mfn, commit c51b666) cannot be loaded: it makes the block of
    each pair once, for i < j, from a product of x_i and x_j that is not symmetric, so that its energies change when
    atoms are renumbered.

    A molecule of n atoms takes K P inversions of complex 4n x 4n matrices: time grows with n^3, memory with n^2.
    Molecules of like size are inverted together, in chunks of bounded size; how many atoms each has is read on the
    host, which `torch.compile` cannot trace (`ForceField(model, compile=True)` says so). In a crystal H has one row for
    each atom of the cell (wave vector zero): energies of a cell and of its supercell agree only as far as f(H) does not
    reach beyond the cell. Half precision does not invert matrices: under autocast the model keeps its own precision.

    Args:
        channels: features of each irrep.
        layers: local layers, each with its matrices.
        lmax: largest degree of features and harmonics.
        radial: widths of the radial networks: Bessel functions, then hidden layers.
        resolvents: matrices K, and poles P of each.
        cutoff: in Å.
        average_neighbours: messages are divided by its square root.
        elements: atomic numbers that the model knows, H, C, N and O if left out; None for 1..118.

    Shapes:
        see `AbstractAtomisticModel`; features (N, C).

    Raises:
        ConfigurationError: no layer, degree, matrix or pole.

    Example:
        >>> model = MatrixFunctionNetwork(channels=4, layers=1, lmax=1, radial=(4, 8), resolvents=(2, 2))
        >>> model(torch.tensor([1, 8]), torch.eye(3)[:2])["energy"].shape
        torch.Size([1])
    """

    def __init__(
        self,
        *,
        channels: int = 64,
        layers: int = 2,
        lmax: int = 2,
        radial: Sequence[int] = (8, 64, 64),
        resolvents: tuple[int, int] = (16, 16),
        cutoff: float = 3.0,
        average_neighbours: float = 4.0,
        elements: Sequence[int] | None = (1, 6, 7, 8),
    ):
        config = {"channels": channels, "layers": layers, "lmax": lmax, "radial": list(radial)}
        config |= {"resolvents": list(resolvents), "cutoff": cutoff, "average_neighbours": average_neighbours}
        super().__init__(cutoff, elements=elements, config={**config, "elements": elements})
        matrices, poles = resolvents
        if min(layers, lmax, matrices, poles, len(radial)) < 1:
            raise ConfigurationError(
                f"MatrixFunctionNetwork: found layers={layers}, lmax={lmax}, radial={list(radial)}, "
                f"resolvents={(matrices, poles)}, wanted at least one of each"
            )
        self.lmax, self.average_neighbours = lmax, average_neighbours
        self.rbf = BesselBasis(radial[0], cutoff)
        self.envelope = cutoff_function("polynomial", cutoff)
        self.embedding = nn.Parameter(torch.randn(len(self.elements), channels))
        irreps = [f"{l}{'eo'[l % 2]}" for l in range(lmax + 1)]
        self.convolutions, self.matrices = nn.ModuleList(), nn.ModuleList()
        self.resolvents, self.mixes = nn.ModuleList(), nn.ModuleList()
        for k in range(layers):
            before, after = irreps if k else irreps[:1], irreps if k < layers - 1 else irreps[:1]
            number = len(self.elements)
            self.convolutions.append(
                Convolution(before, irreps, channels=channels, lmax=lmax, radial=radial, elements=number)
            )
            self.matrices.append(BlockMatrices(irreps, channels=channels, matrices=matrices, lmax=lmax, radial=radial))
            found = Resolvents(matrices, poles)
            self.resolvents.append(found)
            self.mixes.append(IrrepsLinear(found.channels_out, dict.fromkeys(after, channels)))
        hidden = max(1, channels // 2)
        self.early = nn.ModuleList(IrrepsLinear({"0e": channels}, {"0e": 1}) for _ in range(layers - 1))
        self.late = nn.ModuleList([IrrepsLinear({"0e": a}, {"0e": b}) for a, b in ((channels, hidden), (hidden, 1))])

    def evaluate(self, cloud: PointCloud) -> dict[str, Tensor]:
        """Atomic energies (N,) and features (N, C)."""
        with torch.autocast(cloud.pos.device.type, enabled=False):
            return self._evaluate(cloud)

    def _evaluate(self, cloud: PointCloud) -> dict[str, Tensor]:
        scaled = self.embedding / math.sqrt(len(self.embedding))
        x: Blocks = {"0e": take(scaled, 0, cloud.species)[:, None]}
        rbf = self.rbf(cloud.edge_len) * self.envelope(cloud.edge_len)[:, None]
        harmonics = o3.Irreps.spherical_harmonics(self.lmax)
        edge_sh = o3.spherical_harmonics(harmonics, cloud.edge_unit(), False, "component")
        edge_sh = edge_sh / math.sqrt(self.average_neighbours)
        energy = 0
        for k, (convolution, matrices) in enumerate(zip(self.convolutions, self.matrices, strict=True)):
            x = convolution(x, edge_sh, rbf, cloud)
            far = self.mixes[k](self.resolvents[k](*matrices(x, edge_sh, rbf, cloud), cloud))
            x = {ir: x[ir] + value for ir, value in far.items()}
            if k < len(self.early):
                energy = energy + self.early[k](x)["0e"].flatten()
        first, second = self.late
        hidden = {"0e": scaled_silu(first(x)["0e"])}
        return {"node_energy": energy + second(hidden)["0e"].flatten(), "features": x["0e"].squeeze(1)}
