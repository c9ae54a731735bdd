"""A network of Gaunt products, with and without their antisymmetric paths: what the Poisson bracket buys.

It is one's own model in the sense of the benchmark: a class that derives from `AbstractAtomisticModel` and is named by
its path.
"""

from collections.abc import Sequence

import torch
from e3nn import o3
from torch import Tensor, nn

from weightspace.geometric import (
    AbstractAtomisticModel,
    BesselBasis,
    GridTensorProduct,
    PointCloud,
    PolynomialCutoff,
    natural_irreps,
)


class GauntNetwork(AbstractAtomisticModel):
    """Sums of harmonics over neighbours, multiplied twice as functions on the sphere; scalars travel between atoms.

    With A the sum of R(r) Y(r) h over an atom's neighbours (natural parities), B = (W A) x (W' A) and
    C = (W'' B) x (W''' A), where x is the pointwise product, with `antisymmetric` the Poisson bracket added: then B has
    pseudotensors, too, and C the couplings through them. Scalars of A, B and C, and the inner products of C and A (the
    mean of a bracket is zero, so what it adds to C shows there first), update h. Everything else is the same.

    Args:
        channels: of scalars and of each degree.
        layers: rounds of messages.
        lmax: largest degree.
        antisymmetric: whether products have the paths with l1 + l2 + l3 odd.
        cutoff: in Å.
        num_rbf: Bessel functions.
        average_neighbours: sums over neighbours are divided by its square root.
        elements: atomic numbers that the model knows.
    """

    def __init__(
        self,
        *,
        channels: int = 32,
        layers: int = 2,
        lmax: int = 2,
        antisymmetric: bool = True,
        cutoff: float = 5.0,
        num_rbf: int = 8,
        average_neighbours: float = 8.0,
        elements: Sequence[int] | None = None,
    ):
        config = {"channels": channels, "layers": layers, "lmax": lmax, "antisymmetric": antisymmetric}
        config |= {"cutoff": cutoff, "num_rbf": num_rbf, "average_neighbours": average_neighbours}
        super().__init__(cutoff, elements=elements, config={**config, "elements": elements})
        self.lmax, self.average_neighbours = lmax, average_neighbours
        self.rbf, self.envelope = BesselBasis(num_rbf, cutoff), PolynomialCutoff(cutoff)
        self.embedding = nn.Embedding(len(self.elements), channels)
        self.layers = nn.ModuleList(
            _Layer(channels, lmax, antisymmetric=antisymmetric, num_rbf=num_rbf) for _ in range(layers)
        )
        self.readout = nn.Sequential(nn.Linear(channels, channels), nn.SiLU(), nn.Linear(channels, 1))

    def evaluate(self, cloud: PointCloud) -> dict[str, Tensor]:
        """Atomic energies (N,) and scalars (N, C)."""
        irreps = o3.Irreps.spherical_harmonics(self.lmax)
        sh = o3.spherical_harmonics(irreps, cloud.edge_unit(), False, "component") / self.average_neighbours**0.5
        rbf = self.rbf(cloud.edge_len) * self.envelope(cloud.edge_len)[:, None]
        h = self.embedding(cloud.species)
        for layer in self.layers:
            h = layer(h, sh, rbf, cloud)
        return {"node_energy": self.readout(h).squeeze(-1), "features": h}


class _Layer(nn.Module):
    def __init__(self, channels: int, lmax: int, *, antisymmetric: bool, num_rbf: int):
        super().__init__()
        self.register_buffer("degree", torch.arange(lmax + 1).repeat_interleave(2 * torch.arange(lmax + 1) + 1))
        natural = natural_irreps(lmax, channels)
        between = natural_irreps(lmax, channels, both_parities=antisymmetric)
        self.radial = nn.Sequential(nn.Linear(num_rbf, 32), nn.SiLU(), nn.Linear(32, channels * (lmax + 1), bias=False))
        self.source = nn.Linear(channels, channels)
        for linear in (self.radial[0], self.radial[2], self.source):  # sums of order one, so that their products are
            nn.init.normal_(linear.weight, std=1.7 / linear.in_features**0.5)
        self.first = GridTensorProduct(natural, natural, between, antisymmetric=antisymmetric)
        self.second = GridTensorProduct(between, natural, natural, antisymmetric=antisymmetric)
        self.mixes = nn.ModuleList(_Mix(channels, lmax + 1) for _ in range(5))
        self.mix_between = _Mix(channels, (lmax + 1) * (2 if antisymmetric else 1))
        self.update = nn.Sequential(nn.Linear(5 * channels, channels), nn.SiLU(), nn.Linear(channels, channels))

    def forward(self, h: Tensor, sh: Tensor, rbf: Tensor, cloud: PointCloud) -> Tensor:
        weight = self.radial(rbf).unflatten(1, (h.shape[1], -1)).index_select(2, self.degree)  # (E, C, D)
        messages = weight * sh[:, None] * self.source(h).index_select(0, cloud.source)[:, :, None]
        a = self.mixes[0](cloud.sum_edges(messages), self.degree)  # (N, C, D)
        b = self.first(self.mixes[1](a, self.degree), self.mixes[2](a, self.degree))
        degrees = self.degree if b.shape[2] == len(self.degree) else self._both
        c = self.second(self.mix_between(b, degrees), self.mixes[3](a, self.degree))
        inner = (c * self.mixes[4](a, self.degree)).mean(2)
        return h + self.update(torch.cat([h, a[:, :, 0], b[:, :, 0], c[:, :, 0], inner], dim=1))

    @property
    def _both(self) -> Tensor:
        return torch.cat([self.degree, self.degree + self.degree[-1] + 1])


class _Mix(nn.Module):
    """A matrix of channels for each irrep."""

    def __init__(self, channels: int, irreps: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(irreps, channels, channels) / channels**0.5)

    def forward(self, x: Tensor, degree: Tensor) -> Tensor:
        return torch.einsum("ncd,dck->nkd", x, self.weight.index_select(0, degree))
