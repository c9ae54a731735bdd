"""Networks whose groups are so small that every element can be counted, with the order of the group.

The order is a number here, not a logarithm.
"""

from collections.abc import Callable
from math import factorial

import torch
from torch import Tensor, nn

from tests.architectures.attention import SelfAttention
from tests.architectures.grouped_queries import GroupedQueries, repeat_interleave
from tests.architectures.image_tokens import FusedAttention
from tests.architectures.recurrent import Recurrent

Tiny = tuple[nn.Module, tuple[Tensor, ...], int]


class Residual(nn.Module):
    """A stream of 3 and a hidden layer of 2 beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.up, self.down, self.last = (nn.Linear(*n) for n in ((2, 3), (3, 2), (2, 3), (3, 1)))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.last(x + self.down(torch.relu(self.up(x))))


class Concatenated(nn.Module):
    """Two branches side by side, a norm over both."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.norm, self.last = nn.Linear(2, 3), nn.Linear(2, 2), nn.LayerNorm(5), nn.Linear(5, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.norm(torch.cat([torch.relu(self.a(x)), torch.tanh(self.b(x))], -1)))


class TiedEmbedding(nn.Module):
    """An embedding that makes the logits, too, and a layer between."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.up, self.down = nn.Embedding(4, 3), nn.Linear(3, 2), nn.Linear(2, 3)

    def forward(self, numbers: Tensor) -> Tensor:
        x = self.embedding(numbers)
        return (x + self.down(torch.relu(self.up(x)))) @ self.embedding.weight.T


class WithItself(nn.Module):
    """A bilinear form of one hidden layer with itself, and of two."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.form, self.other = (
            nn.Linear(2, 3),
            nn.Linear(2, 2),
            nn.Bilinear(3, 3, 2),
            nn.Bilinear(2, 2, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        a, b = torch.relu(self.a(x)), torch.relu(self.b(x))
        return self.other(torch.relu(self.form(a, a)), b)


class Maxout(nn.Module):
    """Three units of two pieces."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(2, 6), nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).view(-1, 3, 2).amax(-1))


class Gated(nn.Module):
    """Halves of one layer, multiplied."""

    def __init__(self) -> None:
        super().__init__()
        self.both, self.last = nn.Linear(2, 8), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.both(x).chunk(2, -1)
        return self.last(value * torch.sigmoid(gate))


class Experts(nn.Module):
    """Three experts of two hidden neurons in one tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.up = nn.Linear(2, 3), nn.Parameter(torch.randn(3, 2, 2))
        self.down = nn.Parameter(torch.randn(3, 2, 1))

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(torch.einsum("bi,eih->beh", x, self.up))
        return torch.einsum("be,beh,eho->bo", self.gate(x).softmax(-1), h, self.down)


def mlp() -> Tiny:
    net = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1))
    return net, (torch.zeros(1, 2),), factorial(4) * factorial(3)


def cnn() -> Tiny:
    net = nn.Sequential(nn.Conv2d(1, 3, 2), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 2), nn.ReLU(), nn.Flatten())
    return net.append(nn.Linear(8, 1)), (torch.zeros(1, 1, 4, 4),), factorial(3) * factorial(2)


def group_norm() -> Tiny:
    """S_3 wr S_2."""
    net = nn.Sequential(nn.Conv2d(1, 6, 1), nn.GroupNorm(2, 6), nn.ReLU(), nn.Conv2d(6, 1, 1))
    return net, (torch.zeros(1, 1, 2, 2),), factorial(2) * factorial(3) ** 2


def grouped_convolution() -> Tiny:
    """Two groups of two channels before and of two behind."""
    net = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1, groups=2), nn.ReLU(), nn.Conv2d(4, 1, 1))
    return net, (torch.zeros(1, 1, 2, 2),), factorial(2) * factorial(2) ** 2 * factorial(2) ** 2


def nested() -> Tiny:
    """(S_2 wr S_2) wr S_2 on eight channels, then one channel for each of the two groups."""
    net = nn.Sequential(nn.Conv2d(1, 8, 1), nn.GroupNorm(4, 8), nn.ReLU(), nn.Conv2d(8, 2, 1, groups=2), nn.ReLU())
    return (
        net.append(nn.Conv2d(2, 1, 1)),
        (torch.zeros(1, 1, 2, 2),),
        factorial(2) * factorial(2) ** 2 * factorial(2) ** 4,
    )


def residual() -> Tiny:
    return Residual(), (torch.zeros(1, 2),), factorial(3) * factorial(2)


def concatenated() -> Tiny:
    return Concatenated(), (torch.zeros(1, 2),), factorial(3) * factorial(2)


def attention() -> Tiny:
    """The stream of 3; two heads with two features of keys and two of values."""
    order = factorial(3) * factorial(2) * factorial(2) ** 2 * factorial(2) ** 2
    return SelfAttention(3, FusedAttention(3, 2, 2)), (torch.zeros(1, 3, 3),), order


def grouped_queries() -> Tiny:
    """The stream of 2; two pairs of keys and values, two queries each; two features of keys, one of values."""
    order = factorial(2) * factorial(2) * factorial(2) ** 2 * factorial(2) ** 2
    net = SelfAttention(2, GroupedQueries(2, 2, 2, 2, wide=1, repeat=repeat_interleave))
    return net, (torch.zeros(1, 3, 3),), order


def lstm() -> Tiny:
    return Recurrent(nn.LSTM(2, 3, batch_first=True), 3), (torch.zeros(1, 3, 2),), factorial(3)


def gated() -> Tiny:
    return Gated(), (torch.zeros(1, 2),), factorial(4)


def tied_embedding() -> Tiny:
    return TiedEmbedding(), (torch.tensor([[0, 2, 1]]),), factorial(3) * factorial(2)


def bilinear() -> Tiny:
    return WithItself(), (torch.zeros(1, 2),), factorial(3) * factorial(2) * factorial(2)


def maxout() -> Tiny:
    """S_2 wr S_3."""
    return Maxout(), (torch.zeros(1, 2),), factorial(3) * factorial(2) ** 3


def experts() -> Tiny:
    """S_2 wr S_3."""
    return Experts(), (torch.zeros(1, 2),), factorial(3) * factorial(2) ** 3


ALL: tuple[Callable[[], Tiny], ...] = (
    mlp, cnn, group_norm, grouped_convolution, nested, residual, concatenated, attention, grouped_queries, lstm, gated,
    tied_embedding, bilinear, maxout, experts,
)  # fmt: skip
# Names of networks for which a rule is missing; the tests leave them out.
PENDING: frozenset[str] = frozenset()
TINY = tuple(make for make in ALL if make.__name__ not in PENDING)
