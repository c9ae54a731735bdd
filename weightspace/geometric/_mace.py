"""MACE: messages of many bodies in few layers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from e3nn import o3
from torch import Tensor, nn

from weightspace.errors import ConfigurationError
from weightspace.geometric._atomistic import AbstractAtomisticModel, PointCloud
from weightspace.geometric._equivariant_layers import (
    Blocks,
    ElementLinear,
    IrrepsLinear,
    PathMessages,
    RadialNetwork,
    message_paths,
    scaled_silu,
)
from weightspace.geometric._mace_products import product_of
from weightspace.geometric._radial import BesselBasis, PolynomialCutoff
from weightspace.geometric._take import take

MACEProduct = Literal["grid", "clebsch_gordan"]


@dataclass(frozen=True)
class MACEShape:
    """Sizes of a MACE, and its many-body product; see `MACE`.

    Args:
        channels: features of each irrep.
        layers: rounds of messages.
        lmax: largest degree of harmonics and of summed messages.
        hidden_lmax: of the features that layers hand on.
        correlation: how many factors the many-body products have at most.
        radial: widths of the radial networks: Bessel functions, then hidden layers.
        readout: hidden width of the last layer's readout.
        product: "grid" or "clebsch_gordan".
        first_skips: whether the first layer, too, adds its input to its output; otherwise its summed messages are mixed
            with a matrix for each element.
        average_neighbours: summed messages are divided by it; 8 is ethanol's within 5 Å.

    Raises:
        ConfigurationError: sizes below one, hidden_lmax above lmax, or a product that is not there.
    """

    channels: int = 256
    layers: int = 2
    lmax: int = 3
    hidden_lmax: int = 2
    correlation: int = 3
    radial: Sequence[int] = (8, 64, 64, 64)
    readout: int = 16
    product: MACEProduct = "grid"
    first_skips: bool = False
    average_neighbours: float = 8.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "radial", tuple(self.radial))
        if self.product not in ("grid", "clebsch_gordan"):
            raise ConfigurationError(f"MACE: found product={self.product!r}, wanted 'grid' or 'clebsch_gordan'")
        least = min(self.channels, self.layers, self.correlation, self.readout, len(self.radial))
        if least < 1 or not 0 <= self.hidden_lmax <= self.lmax:
            raise ConfigurationError(
                f"MACE: found {self}, wanted channels, layers, correlation and readout of at least 1, hidden_lmax from "
                "0 to lmax, and the number of Bessel functions first in radial"
            )


class MACE(AbstractAtomisticModel):
    """MACE: atoms sum messages, and take products of the sums with themselves.

    Source: Batatia, Kovács, Simm, Ortner and Csányi 2022, "MACE: Higher Order Equivariant Message Passing Neural
    Networks for Fast and Accurate Force Fields", arXiv 2206.07697. A layer sums messages
    A_i = sum_j R(d_ij) (mix(x_j) x Y(r_ij)) with radial weights for each path and channel (equations 8 and 9), makes
    many-body features B of A_i with itself and weights by element (10, 11), and returns mix(B) + W_z x (12); energies
    are read from the even scalars of every layer, in the last by a perceptron (13).

    What deviates: with product="grid", equations 10 and 11: instead of all symmetric Clebsch-Gordan products, powers of
    A_i as a function on the sphere, on the smallest exact grid, with weights for each element, power, degree and
    channel. Rotations and reflections are exact; couplings through pseudo-tensors are missing, and couplings of
    equal degrees share weights (`GridPower`). "clebsch_gordan" is the published product, which published weights need.

    Default sizes are those of the paper's L = 2 models for 3BPA: 256x0e + 256x1o + 256x2e, with lmax 3 in messages,
    correlation 3, two layers, 8 Bessel functions, radial networks 64-64-64, cutoff 5 Å with p = 5 (the radial
    part from the published code's defaults). `hidden_lmax=1` is smaller and faster.

    Args:
        shape: sizes, a `MACEShape` or its fields as a mapping.
        cutoff: in Å.
        cutoff_power: p of the cutoff function.
        elements: atomic numbers that the model knows, H, C, N and O if left out; None for 1..118. Weights for each
            element make the model's size grow with them.

    Shapes:
        see `AbstractAtomisticModel`; features (N, C), the even scalars after the last layer.

    Raises:
        ConfigurationError: as `MACEShape`.

    Example:
        >>> model = MACE({"channels": 4, "lmax": 2, "radial": (4, 8)})
        >>> model(torch.tensor([1, 8]), torch.eye(3)[:2])["features"].shape
        torch.Size([2, 4])
    """

    def __init__(
        self,
        shape: MACEShape | Mapping[str, Any] = MACEShape(),  # noqa: B008  frozen
        *,
        cutoff: float = 5.0,
        cutoff_power: int = 5,
        elements: Sequence[int] | None = (1, 6, 7, 8),
    ):
        shape = shape if isinstance(shape, MACEShape) else MACEShape(**shape)
        config = {"shape": asdict(shape), "cutoff": cutoff, "cutoff_power": cutoff_power, "elements": elements}
        super().__init__(cutoff, elements=elements, config=config)
        self.shape, channels = shape, shape.channels
        self.rbf = BesselBasis(shape.radial[0], cutoff)
        self.envelope = PolynomialCutoff(cutoff, p=cutoff_power)
        self.embedding = nn.Parameter(torch.randn(len(self.elements), channels))
        degrees = [0, *[shape.hidden_lmax] * (shape.layers - 1), 0]
        skips = [shape.first_skips, *[True] * (shape.layers - 1)]
        self.layers = nn.ModuleList(
            Interaction(shape, (a, b), skips=skip, elements=len(self.elements))
            for a, b, skip in zip(degrees, degrees[1:], skips, strict=False)
        )
        self.reads = nn.ModuleList(IrrepsLinear({"0e": channels}, {"0e": 1}) for _ in range(shape.layers - 1))
        sizes = (channels, shape.readout, 1)
        if shape.layers == 1:
            self.readout = nn.ModuleList([IrrepsLinear({"0e": channels}, {"0e": 1})])
        else:
            self.readout = nn.ModuleList(
                IrrepsLinear({"0e": a}, {"0e": b}) for a, b in zip(sizes, sizes[1:], strict=False)
            )

    def evaluate(self, cloud: PointCloud) -> dict[str, Tensor]:
        """Atomic energies (N,) and features (N, C)."""
        scaled = self.embedding / math.sqrt(len(self.embedding))
        x = {"0e": take(scaled, 0, cloud.species)[:, None]}
        rbf = self.rbf(cloud.edge_len) * self.envelope(cloud.edge_len)[:, None]
        irreps_sh = o3.Irreps.spherical_harmonics(self.shape.lmax)
        edge_sh = o3.spherical_harmonics(irreps_sh, cloud.edge_unit(), False, "component")
        energy = edge_sh.new_zeros(len(cloud.z))
        for number, layer in enumerate(self.layers):
            x = layer(x, edge_sh, rbf, cloud)
            if number < len(self.reads):
                energy = energy + self.reads[number](x)["0e"].flatten()
        last = x
        for number, linear in enumerate(self.readout):
            last = linear(last if number == 0 else {"0e": scaled_silu(last["0e"])})
        return {"node_energy": energy + last["0e"].flatten(), "features": x["0e"].squeeze(1)}


class Interaction(nn.Module):
    """One layer of `MACE`: summed messages, and their products.

    Args:
        shape: of the model.
        degrees: largest of the features before and after.
        skips: whether the input, mixed by element, is added to the output.
        elements: how many.
    """

    def __init__(self, shape: MACEShape, degrees: tuple[int, int], *, skips: bool, elements: int):
        super().__init__()
        channels, self.average_neighbours = shape.channels, shape.average_neighbours
        before, after, between = (_natural(degree) for degree in (*degrees, shape.lmax))
        every = dict.fromkeys(between, channels)
        paths = message_paths(before, shape.lmax, between)
        self.skips = skips
        self.before = IrrepsLinear(every, dict.fromkeys(before, channels))
        self.messages = PathMessages(paths, channels, shape.lmax)
        self.radial = RadialNetwork((*shape.radial, len(paths) * channels))
        self.sum = IrrepsLinear(self.messages.channels_out, every)
        mixed = (dict.fromkeys(before, channels), dict.fromkeys(after, channels)) if skips else (every, every)
        self.own = ElementLinear(elements, *mixed)
        sizes = (shape.lmax, degrees[1], shape.correlation)
        self.product = product_of(shape.product, sizes, channels=channels, elements=elements)
        self.after = IrrepsLinear(every, dict.fromkeys(after, channels))

    def forward(self, x: Blocks, edge_sh: Tensor, rbf: Tensor, cloud: PointCloud) -> Blocks:
        """Blocks of the atoms, from those before, harmonics and radial functions of the edges."""
        weight = self.radial(rbf).unflatten(1, (len(self.messages.paths), -1))  # (E, P, C)
        sums = self.sum(self.messages(self.before(x), edge_sh / self.average_neighbours, weight, cloud))
        own = self.own(x if self.skips else sums, cloud.species)
        sums = sums if self.skips else own
        products = self.product(torch.cat(list(sums.values()), dim=1).transpose(1, 2), cloud.species)
        sizes = [2 * l + 1 for l in range(len(self.after.weights))]
        blocks = dict(zip(self.after.weights, products.transpose(1, 2).split(sizes, dim=1), strict=True))
        found = self.after(blocks)
        return {ir: y + own[ir] if self.skips and ir in own else y for ir, y in found.items()}


def _natural(lmax: int) -> list[str]:
    return [f"{l}{'eo'[l % 2]}" for l in range(lmax + 1)]
