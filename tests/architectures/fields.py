"""Networks on coordinates: sines, encodings, planes and hash tables of features, radiance fields."""

from collections.abc import Callable
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.architectures.cases import Case, log_factorial


class Sine(nn.Module):
    """sin(30 W x + b), the layer of a SIREN (Sitzmann et al. 2020)."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.linear = nn.Linear(before, after)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(30 * self.linear(x))


def encode(x: Tensor, octaves: int = 3) -> Tensor:
    """The coordinates, their sines and cosines at doubling frequencies."""
    angles = (x.unsqueeze(-1) * 2.0 ** torch.arange(octaves)).flatten(-2)
    return torch.cat([x, angles.sin(), angles.cos()], -1)


class RadianceField(nn.Module):
    """A point and a direction to a colour and a density; the encoding comes in again half-way (Mildenhall et al.)."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(21, 6), nn.Linear(6, 7), nn.Linear(28, 5)
        self.density, self.feature = nn.Linear(5, 1), nn.Linear(5, 4)
        self.view, self.colour = nn.Linear(25, 8), nn.Linear(8, 3)

    def forward(self, point: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
        point, direction = encode(point), encode(direction)
        h = F.relu(self.b(F.relu(self.a(point))))
        h = F.relu(self.c(torch.cat([point, h], -1)))
        colour = F.relu(self.view(torch.cat([self.feature(h), direction], -1)))
        return torch.sigmoid(self.colour(colour)), F.softplus(self.density(h)).squeeze(-1)


class Fourier(nn.Module):
    """Random frequencies, kept with the weights, and a layer on their sines and cosines (Tancik et al. 2020)."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.randn(2, 6))
        self.hidden, self.last = nn.Linear(12, 5), nn.Linear(5, 1)

    def forward(self, x: Tensor) -> Tensor:
        angles = 2 * torch.pi * x @ self.frequencies
        return self.last(torch.relu(self.hidden(torch.cat([angles.sin(), angles.cos()], -1))))


class Filters(nn.Module):
    """Products of sines of the coordinates and linear layers (Fathony et al. 2021)."""

    def __init__(self) -> None:
        super().__init__()
        self.filters = nn.ModuleList(nn.Linear(2, n) for n in (5, 6, 4))
        self.layers, self.last = nn.ModuleList([nn.Linear(5, 6), nn.Linear(6, 4)]), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.sin(self.filters[0](x))
        for layer, filter in zip(self.layers, self.filters[1:], strict=True):
            h = layer(h) * torch.sin(filter(x))
        return self.last(h)


class Planes(nn.Module):
    """Features read from three planes, added, and a network behind (Chan et al. 2022)."""

    def __init__(self, summed: bool) -> None:
        super().__init__()
        self.planes, self.summed = nn.Parameter(torch.randn(3, 4, 5, 5)), summed
        self.hidden, self.last = nn.Linear(4 if summed else 12, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        places = torch.stack([x[..., [0, 1]], x[..., [0, 2]], x[..., [1, 2]]])
        read = F.grid_sample(self.planes, places.unsqueeze(2), align_corners=True).squeeze(-1)
        read = read.sum(0).T if self.summed else read.permute(2, 0, 1).flatten(1)
        return self.last(F.relu(self.hidden(read)))


class HashGrid(nn.Module):
    """Tables of features at three resolutions, rows by a hash of the corner, trilinear weights (Müller et al. 2022)."""

    def __init__(self) -> None:
        super().__init__()
        self.tables, self.sizes = nn.ModuleList(nn.Embedding(16, 2) for _ in range(3)), (2, 4, 8)
        self.density, self.hidden, self.last = nn.Linear(6, 5), nn.Linear(5, 7), nn.Linear(7, 4)
        self.register_buffer("primes", torch.tensor([1, 2654435761, 805459861]), persistent=False)
        self.register_buffer("corners", torch.tensor(list(product((0, 1), repeat=3))), persistent=False)

    def read(self, x: Tensor, table: nn.Embedding, size: int) -> Tensor:
        x = torch.sigmoid(x) * size
        low = x.floor()
        apart = (x - low).unsqueeze(-2)
        corners = low.long().unsqueeze(-2) + self.corners
        hashed = corners * self.primes
        rows = (hashed[..., 0] ^ hashed[..., 1] ^ hashed[..., 2]) % table.num_embeddings
        weights = torch.where(self.corners.bool(), apart, 1 - apart).prod(-1, keepdim=True)
        return (weights * table(rows)).sum(-2)

    def forward(self, x: Tensor) -> Tensor:
        read = [self.read(x, table, size) for table, size in zip(self.tables, self.sizes, strict=True)]
        h = F.relu(self.density(torch.cat(read, -1)))
        return self.last(F.relu(self.hidden(h)))


class Decoder(nn.Module):
    """A signed distance from a code of the shape and a point; the code comes in again (Park et al. 2019)."""

    def __init__(self) -> None:
        super().__init__()
        self.codes = nn.Embedding(7, 4)
        self.a, self.b, self.last = nn.Linear(7, 5), nn.Linear(12, 6), nn.Linear(6, 1)

    def forward(self, x: Tensor, shape: Tensor) -> Tensor:
        given = torch.cat([self.codes(shape), x], -1)
        return torch.tanh(self.last(F.relu(self.b(torch.cat([F.relu(self.a(given)), given], -1)))))


def siren() -> Case:
    """Three hidden layers of 5, 6, 7."""
    net = nn.Sequential(Sine(2, 5), Sine(5, 6), Sine(6, 7), nn.Linear(7, 3))
    return net, (torch.zeros(4, 2),), sum(log_factorial(n) for n in (5, 6, 7))


def positional_encoding() -> Case:
    """The hidden 5 and 4 behind an encoding, which is fixed."""

    class Net(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(encode(x, 4))

    net = Net(nn.Linear(18, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 1))
    return net, (torch.zeros(4, 2),), log_factorial(5) + log_factorial(4)


def radiance_field() -> Case:
    """Hidden 6, 7, 5, the feature's 4, and the 8 that see the direction."""
    return RadianceField(), (torch.zeros(4, 3), torch.zeros(4, 3)), sum(log_factorial(n) for n in (6, 7, 5, 4, 8))


def fourier_features() -> Case:
    """The six frequencies, whose sines and cosines move together, and the hidden 5."""
    return Fourier(), (torch.zeros(4, 2),), log_factorial(6) + log_factorial(5)


def multiplicative_filters() -> Case:
    """Widths 5, 6, 4, each on a filter and a layer."""
    return Filters(), (torch.zeros(4, 2),), sum(log_factorial(n) for n in (5, 6, 4))


def triplane() -> Case:
    """The four features of all planes together, as they are added, and the hidden 6."""
    return Planes(summed=True), (torch.zeros(5, 3),), log_factorial(4) + log_factorial(6)


def triplane_concatenated() -> Case:
    """The four features of each of the three planes, and the hidden 6."""
    return Planes(summed=False), (torch.zeros(5, 3),), 3 * log_factorial(4) + log_factorial(6)


def hash_grid() -> Case:
    """The two features of each of three tables, and the hidden 5 and 7."""
    return HashGrid(), (torch.zeros(5, 3),), 3 * log_factorial(2) + log_factorial(5) + log_factorial(7)


def shape_codes() -> Case:
    """The code's 4, which stands in two concatenations, and the hidden 5 and 6."""
    inputs = (torch.zeros(3, 3), torch.tensor([1, 4, 2]))
    return Decoder(), inputs, sum(log_factorial(n) for n in (4, 5, 6))


CASES: tuple[Callable[[], Case], ...] = (
    siren, positional_encoding, radiance_field, fourier_features, multiplicative_filters, triplane,
    triplane_concatenated, hash_grid, shape_codes,
)  # fmt: skip
