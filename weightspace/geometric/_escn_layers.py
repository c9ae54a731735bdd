"""Layers of eSCN: convolutions over the orders of features in the frames of edges, and what acts on the sphere."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from weightspace.errors import ConfigurationError
from weightspace.geometric._atomistic import PointCloud
from weightspace.geometric._constants import ExactConstants, exact_tables
from weightspace.geometric._edge_frames import EdgeFrames
from weightspace.geometric._escn_grids import GridSizes, edge_grid, kept_components, node_grid
from weightspace.geometric._take import take

ESCNActivation = Literal["grid", "gate", "published"]


@dataclass(frozen=True)
class ESCNShape:
    """Sizes of an eSCN, and what acts on the sphere; see `ESCN`.

    Args:
        channels: functions on the sphere of an atom.
        layers: rounds of messages.
        lmax: largest degree.
        mmax: largest order in the frames of edges.
        hidden_channels: within a convolution.
        edge_channels: of what is read of an edge's length and elements.
        num_rbf: Gaussians between zero and the cutoff.
        rbf_width: their width in steps between them.
        activation: "grid", "gate" or "published".
        grid_degree: to which the grid around atoms is exact; None for 4 lmax - 1, at least 7.
        longitudes: of the grid around edges; None for 4 mmax + 8.
        mirror: whether reflections are a symmetry.

    Raises:
        ConfigurationError: mmax above lmax, grids that lose components, or an activation that is not there.
    """

    channels: int = 128
    layers: int = 12
    lmax: int = 6
    mmax: int = 2
    hidden_channels: int = 256
    edge_channels: int = 128
    num_rbf: int = 600
    rbf_width: float = 2.0
    activation: ESCNActivation = "grid"
    grid_degree: int | None = None
    longitudes: int | None = None
    mirror: bool = False

    def __post_init__(self) -> None:
        if self.activation not in ("grid", "gate", "published"):
            raise ConfigurationError(
                f"ESCN: found activation={self.activation!r}, wanted 'grid', 'gate' or 'published'"
            )
        if self.channels < 1 or self.layers < 1 or not (self.lmax >= 1 and 0 <= self.mmax <= self.lmax):
            raise ConfigurationError(
                f"ESCN: found channels={self.channels}, layers={self.layers}, lmax={self.lmax}, mmax={self.mmax}, "
                "wanted all at least 1, and mmax from 0 to lmax"
            )
        grid = self.grid
        if grid is not None and (grid.degree < 2 * self.lmax or grid.longitudes < 2 * self.mmax + 1):
            raise ConfigurationError(
                f"ESCN: found grid_degree={grid.degree} and longitudes={grid.longitudes}, wanted at least 2 lmax = "
                f"{2 * self.lmax} and 2 mmax + 1 = {2 * self.mmax + 1}; coarser grids lose components"
            )

    @property
    def gate(self) -> bool:
        """Whether gates stand instead of functions on grids."""
        return self.activation == "gate"

    @property
    def grid(self) -> GridSizes | None:
        """Of the grids; None for the published code's."""
        if self.activation == "published":
            return None
        degree = max(4 * self.lmax - 1, 7) if self.grid_degree is None else self.grid_degree
        longitudes = 4 * self.mmax + 8 if self.longitudes is None else self.longitudes
        return GridSizes(degree, self.lmax + 2, longitudes)

    @property
    def sizes(self) -> list[int]:
        """Numbers of components of each degree."""
        return [2 * l + 1 for l in range(self.lmax + 1)]


class Turn:
    """Features (E, D, C) into the frames of edges and back, keeping orders up to mmax; (E, M, C) order by order.

    Args:
        frames: of the edges.
        mmax: largest order.
        places: of these degrees and orders, from `turn_places`.

    The order within a degree does not matter to the products with Wigner matrices; only kept rows are computed.
    """

    def __init__(self, frames: EdgeFrames, mmax: int, places: ExactConstants):
        self.rows = [m[:, l - min(l, mmax) : l + min(l, mmax) + 1] for l, m in enumerate(frames.matrices)]
        self.places = places

    def into(self, x: Tensor) -> Tensor:
        """(E, D, C) -> (E, M, C)."""
        pieces = x.split([row.shape[2] for row in self.rows], dim=1)
        turned = [torch.bmm(row, piece) for row, piece in zip(self.rows, pieces, strict=True)]
        return take(torch.cat(turned, dim=1), 1, self.places.like("into", x))

    def back(self, x: Tensor) -> Tensor:
        """(E, M, C) -> (E, D, C)."""
        pieces = take(x, 1, self.places.like("back", x)).split([row.shape[1] for row in self.rows], dim=1)
        return torch.cat(
            [torch.bmm(row.transpose(1, 2), piece) for row, piece in zip(self.rows, pieces, strict=True)], dim=1
        )


def turn_places(lmax: int, mmax: int) -> ExactConstants:
    """From components degree by degree to order by order, and back; made with a model, so that it compiles."""
    by_degree = [(l, m) for l in range(lmax + 1) for m in range(-min(l, mmax), min(l, mmax) + 1)]
    kept = kept_components(lmax, mmax)
    with exact_tables():
        into = torch.tensor([by_degree.index(each) for each in kept])
        back = torch.tensor([kept.index(each) for each in by_degree])
    return ExactConstants(into=into, back=back)


class OrderConvolution(nn.Module):
    """What one order |m| of both ends of an edge gives: one product with a matrix for each end, and one out of them.

    For m > 0, features are complex numbers x_m + i x_-m, and weights are; without the imaginary ones the function
    commutes with reflections, too.

    Args:
        order: |m|.
        width_in: degrees times channels of an end.
        width_out: of what comes out.
        hidden: channels within.
        mirror: whether to leave out imaginary weights.

    Shapes:
        ends: two of (E, 1 or 2, width_in); radial (E, 4 or 2 hidden) -> (E, 1 or 2, width_out).
    """

    def __init__(self, order: int, *, width_in: int, width_out: int, hidden: int, mirror: bool):
        super().__init__()
        self.imaginary = order > 0 and not mirror
        parts = 2 if self.imaginary else 1
        self.source = nn.Linear(width_in, parts * hidden, bias=False)
        self.target = nn.Linear(width_in, parts * hidden, bias=False)
        self.out = nn.Linear(2 * parts * hidden, width_out, bias=False)
        bound = 1 / math.sqrt(hidden)  # as if each end and part had its own matrix out
        nn.init.uniform_(self.out.weight, -bound, bound)

    def forward(self, ends: tuple[Tensor, Tensor], radial: Tensor) -> Tensor:
        inside = torch.cat([self.source(ends[0]), self.target(ends[1])], dim=2) * radial[:, None]
        if self.imaginary:  # times i
            inside = inside.unflatten(2, (2, 2, -1))  # (E, 2, ends, parts, H)
            real, imaginary = inside.unbind(3)
            turned = torch.stack([-imaginary[:, 1], imaginary[:, 0]], dim=1)
            inside = torch.stack([real, turned], dim=3).flatten(2)
        return self.out(inside)


class EdgeConvolution(nn.Module):
    """Messages along edges: features of both ends in the edge's frame, order by order, then a nonlinearity there.

    Args:
        shape: sizes.
        first: whether features are scalars yet, so that orders other than zero are zero.
        elements: how many.
    """

    def __init__(self, shape: ESCNShape, *, first: bool, elements: int):
        super().__init__()
        self.shape, self.first = shape, first
        self.mmax = 0 if first else shape.mmax
        lmax, channels = shape.lmax, shape.channels
        self.distance = nn.Linear(shape.num_rbf, shape.edge_channels)
        self.source_element = nn.Embedding(elements, shape.edge_channels)
        self.target_element = nn.Embedding(elements, shape.edge_channels)
        for embedding in (self.source_element, self.target_element):
            nn.init.uniform_(embedding.weight, -0.001, 0.001)
        self.edge = nn.Linear(shape.edge_channels, shape.edge_channels)
        self.orders = nn.ModuleList(
            OrderConvolution(
                m,
                width_in=channels * (1 if first else lmax + 1 - m),
                width_out=channels * (lmax + 1 - m + (lmax if shape.gate and m == 0 else 0)),
                hidden=shape.hidden_channels,
                mirror=shape.mirror,
            )
            for m in range(self.mmax + 1)
        )
        self.widths = [order_width(shape, m) for m in range(self.mmax + 1)]
        self.radial = nn.Linear(shape.edge_channels, sum(self.widths))
        if shape.gate:
            with exact_tables():
                degrees = torch.tensor([l for l, _ in kept_components(lmax, self.mmax)])
            self.degrees = ExactConstants(of=degrees)
        else:
            self.grid = edge_grid(lmax, self.mmax, shape.grid)

    def forward(self, x: Tensor, cloud: PointCloud, rbf: Tensor, turn: Turn) -> Tensor:
        """(N, D, C) -> (E, D, C)."""
        elements = self.source_element(cloud.species)[cloud.source] + self.target_element(cloud.species)[cloud.target]
        silu = nn.functional.silu
        radial = silu(self.radial(silu(self.edge(silu(elements + self.distance(rbf))))))
        ends = [take(x, 0, end) for end in (cloud.source, cloud.target)]
        return turn.back(self.in_frame(ends if self.first else [turn.into(end) for end in ends], radial))

    def in_frame(self, ends: list[Tensor], radial: Tensor) -> Tensor:
        """Features of both ends (E, M, C), and what multiplies them (E, R) -> (E, M, C), in the frames of edges."""
        lmax, channels, edges = self.shape.lmax, self.shape.channels, len(radial)
        sizes = [1] if self.first else _order_sizes(lmax, self.mmax)
        pieces = zip(*(end.split(sizes, dim=1) for end in ends), strict=True)
        radials = radial.split(self.widths, dim=1)
        found = []
        for m, (order, pair, r) in enumerate(zip(self.orders, pieces, radials, strict=True)):
            parts = 2 if m else 1
            flat = tuple(end.reshape(edges, parts, sizes[m] // parts * channels) for end in pair)
            out = order(flat, r)  # (E, parts, degrees * C)
            found.append(out.reshape(edges, parts * out.shape[2] // channels, channels))
        return self.activate(found)

    def activate(self, found: list[Tensor]) -> Tensor:
        """What follows the convolution, from one tensor for each order."""
        if self.shape.gate:
            return self._gated(found)
        y = torch.cat(found, dim=1)  # (E, M, C)
        values = torch.matmul(self.grid.like("to", y), y)  # (E, P, C)
        return torch.matmul(self.grid.like("from", y), nn.functional.silu(values))

    def _gated(self, found: list[Tensor]) -> Tensor:
        lmax = self.shape.lmax
        zeroth, gates = found[0].split([lmax + 1, lmax], dim=1)
        gates = torch.cat([zeroth[:, :1], gates], dim=1).sigmoid()  # silu(y) = y sigmoid(y)
        return torch.cat([zeroth, *found[1:]], dim=1) * take(gates, 1, self.degrees.like("of", gates))


class GridUpdate(nn.Module):
    """A perceptron of features and messages at every point of a grid around an atom; (N, D, C) twice -> (N, D, C)."""

    def __init__(self, shape: ESCNShape):
        super().__init__()
        channels = shape.channels
        self.grid = node_grid(shape.lmax, shape.grid)
        self.mlp = nn.Sequential(
            nn.Linear(2 * channels, channels, bias=False),
            nn.SiLU(),
            nn.Linear(channels, channels, bias=False),
            nn.SiLU(),
            nn.Linear(channels, channels, bias=False),
        )

    def forward(self, x: Tensor, messages: Tensor) -> Tensor:
        values = torch.matmul(self.grid.like("to", x), torch.cat([x, messages], dim=2))  # (N, P, 2 C)
        return torch.matmul(self.grid.like("from", x), self.mlp(values))


class GateUpdate(nn.Module):
    """Linear maps of features and messages degree by degree, with gates between; (N, D, C) twice -> (N, D, C)."""

    def __init__(self, shape: ESCNShape):
        super().__init__()
        self.shape = shape
        channels, degrees = shape.channels, shape.lmax + 1
        self.maps = nn.ModuleList(
            nn.ModuleList(nn.Linear(width, channels, bias=False) for _ in range(degrees))
            for width in (2 * channels, channels, channels)
        )
        self.gates = nn.ModuleList(nn.Linear(channels, shape.lmax * channels) for _ in range(2))

    def forward(self, x: Tensor, messages: Tensor) -> Tensor:
        x = torch.cat([x, messages], dim=2)
        for maps, gate in zip(self.maps[:2], self.gates, strict=True):
            pieces = self._mapped(maps, x)
            gates = gate(pieces[0]).unflatten(2, (self.shape.lmax, -1)).sigmoid()  # (N, 1, L, C)
            others = [piece * gates[:, :, l] for l, piece in enumerate(pieces[1:])]
            x = torch.cat([nn.functional.silu(pieces[0]), *others], dim=1)
        return torch.cat(self._mapped(self.maps[2], x), dim=1)

    def _mapped(self, maps: nn.Module, x: Tensor) -> list[Tensor]:
        assert isinstance(maps, nn.ModuleList)
        return [linear(piece) for linear, piece in zip(maps, x.split(self.shape.sizes, dim=1), strict=True)]


def order_width(shape: ESCNShape, order: int) -> int:
    """How many numbers of an edge multiply what is inside the convolution of an order."""
    return (4 if order and not shape.mirror else 2) * shape.hidden_channels


def _order_sizes(lmax: int, mmax: int) -> list[int]:
    return [(2 if m else 1) * (lmax + 1 - m) for m in range(mmax + 1)]
