"""NequIP: equivariant convolutions with spherical harmonics and Clebsch-Gordan products."""

import math
from collections.abc import Sequence

import torch
from e3nn import o3
from torch import Tensor, nn

from weightspace.errors import ConfigurationError
from weightspace.geometric._atomistic import AbstractAtomisticModel, PointCloud
from weightspace.geometric._equivariant_layers import (
    Blocks,
    ElementLinear,
    Gate,
    IrrepsLinear,
    PathMessages,
    RadialNetwork,
    message_paths,
)
from weightspace.geometric._radial import BesselBasis, cutoff_function
from weightspace.geometric._take import take


class NequIP(AbstractAtomisticModel):
    """NequIP: features of all degrees and both parities, convolved with filters R(d) Y(direction).

    Source: Batzner, Musaelian, Sun, Geiger, Mailoa, Kornbluth, Molinari, Smidt and Kozinsky 2022, "E(3)-equivariant
    graph neural networks for data-efficient and accurate interatomic potentials", arXiv 2101.03164, section "Network
    architecture" (convolution filters, equations 4-6), with the details of the published code: a layer is

        x <- gate(mix(sum_j R(d_ij) (mix(x_j) x Y(r_ij))) / sqrt(average_neighbours) + W_z x),

    where x is the Clebsch-Gordan product with a radial weight for each path and channel, mix are linear maps of
    channels, and W_z x (self-interaction by element) has a matrix for each element.

    What deviates: features that cannot reach the energy are not computed (in the last layer all but even scalars); the
    function is the same. Products are one matrix for each edge that channels share, followed by their weights.

    Default sizes are moderate ones (lmax 2, 32 features, 4 layers), with the published code's choices for molecules of
    MD17 where they do not change the width: both parities, 8 trained Bessel functions, radial networks 64-64 and a
    cutoff of 4 Å with p = 6. Large models are `lmax=3`, `channels=64`, `layers=5`.

    Args:
        channels: features of each irrep.
        layers: convolutions.
        lmax: largest degree of features and harmonics.
        radial: widths of the radial networks: Bessel functions, whose frequencies are trained, then hidden layers.
        cutoff: in Å.
        cutoff_fn: "polynomial" (the paper's), "cosine" or "mollifier".
        average_neighbours: messages are divided by its square root; 8 is ethanol's within 4 Å.
        elements: atomic numbers that the model knows, H, C, N and O if left out; None for 1..118. Matrices for each
            element make the model's size grow with them.

    Shapes:
        see `AbstractAtomisticModel`; features (N, C).

    Raises:
        ConfigurationError: no layer, a negative degree, no radial functions.

    Example:
        >>> model = NequIP(channels=4, layers=2, lmax=1, radial=(8, 8))
        >>> model(torch.tensor([1, 8]), torch.eye(3)[:2])["energy"].shape
        torch.Size([1])
    """

    def __init__(
        self,
        *,
        channels: int = 32,
        layers: int = 4,
        lmax: int = 2,
        radial: Sequence[int] = (8, 64, 64),
        cutoff: float = 4.0,
        cutoff_fn: str = "polynomial",
        average_neighbours: float = 8.0,
        elements: Sequence[int] | None = (1, 6, 7, 8),
    ):
        config = {"channels": channels, "layers": layers, "lmax": lmax, "radial": list(radial)}
        config |= {"cutoff": cutoff, "cutoff_fn": cutoff_fn, "average_neighbours": average_neighbours}
        super().__init__(cutoff, elements=elements, config={**config, "elements": elements})
        if layers < 1 or lmax < 0 or len(radial) < 1:
            raise ConfigurationError(
                f"NequIP: found layers={layers}, lmax={lmax}, radial={list(radial)}, wanted at least one layer, a "
                "degree of 0 or more and the number of Bessel functions, such as radial=(8, 64, 64)"
            )
        self.lmax, self.average_neighbours = lmax, average_neighbours
        self.rbf = BesselBasis(radial[0], cutoff, trainable=True)
        self.envelope = cutoff_function(cutoff_fn, cutoff)
        self.embedding = nn.Parameter(torch.randn(len(self.elements), channels))
        irreps = layer_irreps(lmax, layers)
        self.layers = nn.ModuleList(
            Convolution(a, b, channels=channels, lmax=lmax, radial=radial, elements=len(self.elements))
            for a, b in zip(irreps, irreps[1:], strict=False)
        )
        hidden = max(1, channels // 2)
        self.readout = nn.ModuleList([IrrepsLinear({"0e": a}, {"0e": b}) for a, b in ((channels, hidden), (hidden, 1))])

    def evaluate(self, cloud: PointCloud) -> dict[str, Tensor]:
        """Atomic energies (N,) and features (N, C)."""
        scaled = self.embedding / math.sqrt(len(self.embedding))
        x = {"0e": take(scaled, 0, cloud.species)[:, None]}
        rbf = self.rbf(cloud.edge_len) * self.envelope(cloud.edge_len)[:, None]
        rest = math.sqrt(self.average_neighbours)
        edge_sh = o3.spherical_harmonics(
            o3.Irreps.spherical_harmonics(self.lmax), cloud.edge_unit(), False, "component"
        )
        for layer in self.layers:
            x = layer(x, edge_sh / rest, rbf, cloud)
        energy = x
        for linear in self.readout:
            energy = linear(energy)
        return {"node_energy": energy["0e"].flatten(), "features": x["0e"].squeeze(1)}


class Convolution(nn.Module):
    """One layer of `NequIP`.

    Args:
        irreps_in: of the features before.
        irreps_out: of the features after.
        channels: of each irrep.
        lmax: of the harmonics.
        radial: as for `NequIP`.
        elements: how many.
    """

    def __init__(
        self,
        irreps_in: Sequence[str],
        irreps_out: Sequence[str],
        *,
        channels: int,
        lmax: int,
        radial: Sequence[int],
        elements: int,
    ):
        super().__init__()
        self.gate = Gate(irreps_out, channels)
        paths = message_paths(irreps_in, lmax, irreps_out)
        channels_in = dict.fromkeys(irreps_in, channels)
        channels_out = dict.fromkeys(irreps_out, channels) | {"0e": self.gate.channels_in}
        self.before = IrrepsLinear(channels_in, {path[0]: channels for path in paths})
        self.messages = PathMessages(paths, channels, lmax)
        self.radial = RadialNetwork((*radial, len(paths) * channels))
        self.after = IrrepsLinear(self.messages.channels_out, channels_out)
        self.own = ElementLinear(elements, channels_in, channels_out)

    def forward(self, x: Blocks, edge_sh: Tensor, rbf: Tensor, cloud: PointCloud) -> Blocks:
        """Blocks of irreps_out, from those of irreps_in, harmonics and radial functions of the edges."""
        weight = self.radial(rbf).unflatten(1, (len(self.messages.paths), -1))  # (E, P, C)
        got = self.after(self.messages(self.before(x), edge_sh, weight, cloud))
        own = self.own(x, cloud.species)
        return self.gate({ir: value + own[ir] if ir in own else value for ir, value in got.items()})


def reached_irreps(lmax: int, layers: int) -> list[list[str]]:
    """Irreps of the features before and after each layer, in the order of the published code.

    Scalars come first, then even and then odd irreps; an irrep is there where a path leads to it.

    Args:
        lmax: largest degree.
        layers: how many.

    Example:
        >>> reached_irreps(1, 3)
        [['0e'], ['0e', '1o'], ['0e', '1e', '1o'], ['0e', '0o', '1e', '1o']]
    """
    order = ["0e", "0o", *(f"{l}{parity}" for parity in "eo" for l in range(1, lmax + 1))]
    found = [["0e"]]
    for _ in range(layers):
        ends = {end for _, _, end in message_paths(found[-1], lmax, order)}
        found.append([ir for ir in order if ir in ends])
    return found


def layer_irreps(lmax: int, layers: int) -> list[list[str]]:
    """`reached_irreps` without those from which no path leads to an even scalar after the last layer.

    Args:
        lmax: largest degree.
        layers: how many.

    Example:
        >>> layer_irreps(1, 3)
        [['0e'], ['0e', '1o'], ['0e', '1o'], ['0e']]
    """
    reached = reached_irreps(lmax, layers)
    wanted = [["0e"]]
    for here in reversed(reached[:-1]):
        after = wanted[0]
        used = {start for start, _, _ in message_paths(here, lmax, after)} | set(after)
        wanted.insert(0, [ir for ir in here if ir in used])
    return wanted
