"""Layers of models whose features are irreps: linear maps, radial networks, gates, messages path by path.

Features are blocks: irrep -> (N, 2 l + 1, channels), components before channels, so that a linear map is one matrix
product. Parameters are normal numbers of variance one and are divided by the square root of what they sum over in
`forward`, as in e3nn.
"""

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import torch
from e3nn import o3
from torch import Tensor, nn
from torch.nn import functional as F

from weightspace.geometric._atomistic import PointCloud
from weightspace.geometric._edge_product import EdgeTensorProduct
from weightspace.geometric._take import take

SILU_GAIN, TANH_GAIN = 1.6791767923989418, 1.5937334472592695
"""1 / sqrt(mean of f(z)^2) over the million normal numbers that e3nn's `normalize2mom` draws; published weights rely
on them (the integrals give 1.67653 and 1.59254)."""

Blocks = dict[str, Tensor]

MOST_EXPANDED = 8  # elements up to which one product with one-hot features costs less than a matrix for each atom


def scaled_silu(x: Tensor) -> Tensor:
    """SiLU whose outputs have mean square one for normal inputs."""
    return F.silu(x) * SILU_GAIN


def scaled_tanh(x: Tensor) -> Tensor:
    """Tanh whose outputs have mean square one for normal inputs."""
    return torch.tanh(x) * TANH_GAIN


class IrrepsLinear(nn.Module):
    """Mixes the channels of each irrep: x[n, m, i] W[i, o] / sqrt(I).

    Args:
        channels_in: irrep -> channels that come in.
        channels_out: irrep -> channels that go out; irreps that do not come in are left out.
    """

    def __init__(self, channels_in: Mapping[str, int], channels_out: Mapping[str, int]):
        super().__init__()
        self.weights = nn.ParameterDict(
            {ir: torch.randn(channels_in[ir], width) for ir, width in channels_out.items() if ir in channels_in}
        )

    def forward(self, x: Mapping[str, Tensor]) -> Blocks:
        """Blocks with channels_out."""
        return {ir: x[ir] @ (weight / math.sqrt(len(weight))) for ir, weight in self.weights.items()}


class ElementLinear(nn.Module):
    """Mixes the channels of each irrep with a matrix for each element: x[n, m, i] W[z_n, i, o] / sqrt(Z I).

    It is e3nn's `FullyConnectedTensorProduct` with one-hot elements, constants included.

    Args:
        elements: Z, how many.
        channels_in: irrep -> channels that come in.
        channels_out: irrep -> channels that go out; irreps that do not come in are left out.
    """

    def __init__(self, elements: int, channels_in: Mapping[str, int], channels_out: Mapping[str, int]):
        super().__init__()
        self.elements = elements
        self.weights = nn.ParameterDict(
            {
                ir: torch.randn(elements, channels_in[ir], width)
                for ir, width in channels_out.items()
                if ir in channels_in
            }
        )

    def forward(self, x: Mapping[str, Tensor], species: Tensor) -> Blocks:
        """Blocks with channels_out; species (N,)."""
        found = {}
        one_hot = F.one_hot(species, self.elements)[:, None, :, None] if self.elements <= MOST_EXPANDED else None
        for ir, weight in self.weights.items():
            scaled = weight / math.sqrt(weight.shape[0] * weight.shape[1])
            if one_hot is None:
                found[ir] = torch.bmm(x[ir], take(scaled, 0, species))
            else:
                found[ir] = (x[ir][:, :, None] * one_hot.to(scaled)).flatten(2) @ scaled.flatten(0, 1)
        return found


class RadialNetwork(nn.Module):
    """A multilayer perceptron without biases on radial functions: zero where they are zero.

    Args:
        widths: of input, hidden layers and output.
    """

    def __init__(self, widths: Sequence[int]):
        super().__init__()
        self.weights = nn.ParameterList(torch.randn(a, b) for a, b in zip(widths, widths[1:], strict=False))

    def forward(self, rbf: Tensor) -> Tensor:
        """(E, widths[0]) -> (E, widths[-1])."""
        x = rbf
        for number, weight in enumerate(self.weights):
            x = (x if number == 0 else scaled_silu(x)) @ (weight / math.sqrt(len(weight)))
        return x


class Gate(nn.Module):
    """Scalars through SiLU (even) or tanh (odd), other irreps times SiLU of further even scalars, one for each channel.

    Args:
        irreps: that go out, 0e first; the channels of 0e that come in are its own and then those of each gated irrep.
        channels: of each irrep that goes out.
    """

    def __init__(self, irreps: Sequence[str], channels: int):
        super().__init__()
        self.channels = channels
        self.gated = [ir for ir in irreps if not ir.startswith("0")]

    @property
    def channels_in(self) -> int:
        """Even scalars that come in."""
        return self.channels * (1 + len(self.gated))

    def forward(self, x: Mapping[str, Tensor]) -> Blocks:
        """Blocks of `channels` each."""
        even = scaled_silu(x["0e"]).split(self.channels, dim=-1)
        found = {"0e": even[0]}
        if "0o" in x:
            found["0o"] = scaled_tanh(x["0o"])
        return found | {ir: x[ir] * gate for ir, gate in zip(self.gated, even[1:], strict=True)}


def message_paths(
    irreps_in: Sequence[str], lmax: int, irreps_out: Collection[str], *, lmax_sh: int | None = None
) -> list[tuple[str, int, str]]:
    """Which (irrep in, degree of the harmonics, irrep out) couple, in the order of e3nn's loops.

    Args:
        irreps_in: of the features.
        lmax: of irreps that go out.
        irreps_out: which of them are wanted.
        lmax_sh: of the harmonics; None for lmax.
    """
    return [
        (ir_in, l, str(ir_out))
        for ir_in in irreps_in
        for l in range((lmax if lmax_sh is None else lmax_sh) + 1)
        for ir_out in o3.Irrep(ir_in) * o3.Irrep(l, (-1) ** l)
        if ir_out.l <= lmax and str(ir_out) in irreps_out
    ]


class PathMessages(nn.Module):
    """Sums of messages over edges with weights per path, channel and edge, paths kept apart.

    e3nn's 'uvu' product whose every path has an output of its own, and the sum over edges. One `EdgeTensorProduct` for
    each irrep that comes in makes all its paths with a matrix of the edge that channels share; weights come after, for
    all paths between two irreps at once.

    Args:
        paths: from `message_paths`.
        channels: of each irrep that comes in.
        lmax: of the harmonics.

    Attributes:
        paths: in the order of the weights: those between two irreps beside each other.
        channels_out: irrep -> channels of the sums, in the order of `paths`.
    """

    def __init__(self, paths: Sequence[tuple[str, int, str]], channels: int, lmax: int):
        super().__init__()
        ends = list(dict.fromkeys(ir_out for _, _, ir_out in paths))
        starts = list(dict.fromkeys(ir_in for ir_in, _, _ in paths))
        self.paths = sorted(paths, key=lambda path: (starts.index(path[0]), ends.index(path[2]), path[1]))
        self.channels_out = {ir: channels * number for ir, number in Counter(path[2] for path in self.paths).items()}
        self.products = nn.ModuleDict()
        self.pieces: list[list[tuple[str, int]]] = []  # irreps out and how many paths lead there, for each irrep in
        for ir_in in starts:
            mine = [(l, ir_out) for start, l, ir_out in self.paths if start == ir_in]
            self.products[ir_in] = EdgeTensorProduct(
                f"{channels}x{ir_in}",
                o3.Irreps.spherical_harmonics(lmax),
                o3.Irreps([(channels, ir_out) for _, ir_out in mine]),
                instructions=[(0, l, place) for place, (l, _) in enumerate(mine)],
            )
            self.pieces.append(list(Counter(ir_out for _, ir_out in mine).items()))

    def forward(self, x: Mapping[str, Tensor], edge_sh: Tensor, weight: Tensor, cloud: PointCloud) -> Blocks:
        """Irrep out -> (N, 2 l + 1, paths * C), channels of a path beside each other.

        Args:
            x: blocks of the atoms.
            edge_sh: harmonics (E, (lmax + 1)^2).
            weight: (E, P, C).
            cloud: for its edges.
        """
        found: dict[str, list[Tensor]] = {ir: [] for ir in self.channels_out}
        weights = iter(weight.split([number for pieces in self.pieces for _, number in pieces], dim=1))
        for (ir_in, product), pieces in zip(self.products.items(), self.pieces, strict=True):
            source = take(x[ir_in], 0, cloud.source).transpose(1, 2)  # (E, C, d)
            messages = product(source, edge_sh).transpose(1, 2)  # (E, D, C)
            sizes = [number * o3.Irrep(ir_out).dim for ir_out, number in pieces]
            for (ir_out, number), message in zip(pieces, messages.split(sizes, dim=1), strict=True):
                weighted = message.unflatten(1, (number, -1)) * next(weights)[:, :, None]  # (E, paths, 2 l + 1, C)
                # no concatenation at edges: a second derivative would fill as many arrays with zeros
                found[ir_out].append(cloud.sum_edges(weighted))
        return {ir: torch.cat(sums, dim=1).transpose(1, 2).flatten(2) for ir, sums in found.items()}
