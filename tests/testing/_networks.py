"""Four small networks with the order of their groups, one of each kind."""

from math import factorial, log10

import torch
from torch import Tensor, nn

from tests.architectures.tiny import TiedEmbedding
from weightspace.testing._example_networks import Recurrent

Network = tuple[nn.Module, tuple[Tensor, ...]]


class Layer(nn.Module):
    """A transformer layer between two linear ones: two heads of two features."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 2)
        self.layer = nn.TransformerEncoderLayer(4, 2, 3, dropout=0.0, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.layer(self.first(x)))


def cnn() -> Network:
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 2), nn.ReLU(), nn.Flatten())
    return net.append(nn.Linear(12, 2)), (torch.zeros(1, 1, 5, 5),)


def transformer() -> Network:
    return Layer(), (torch.zeros(2, 3, 3),)


def lstm() -> Network:
    return Recurrent(), (torch.zeros(2, 4, 2),)


def tied_embedding() -> Network:
    return TiedEmbedding(), (torch.tensor([[0, 2, 1], [3, 3, 0]]),)


ORDERS = {
    cnn: log10(factorial(4) * factorial(3)),
    transformer: log10(factorial(4) * factorial(3) * factorial(2) * factorial(2) ** 4),
    lstm: log10(factorial(3)),
    tied_embedding: log10(factorial(3) * factorial(2)),
}
