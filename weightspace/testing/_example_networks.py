"""Small architectures that a metanet is tested on: one for each thing that a metanet can get wrong."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Architecture = tuple[nn.Module, tuple[Any, ...]]


class Sine(nn.Module):
    """A function of the plane with sines, two hidden layers of one width."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(2, 4), nn.Linear(4, 4), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(points, 2) -> (points, 1)."""
        return self.last(torch.sin(self.middle(torch.sin(3 * self.first(x)))))


class Residual(nn.Module):
    """Convolutions beside shortcuts: one that halves the image and pads channels with zeros, one that is plain."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.down = nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 4, 3, stride=2, padding=1, bias=False)
        self.norm, self.even = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(images, 1, 4, 4) -> (images, 2)."""
        x = torch.relu(self.stem(x))
        short = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 1, 1))
        x = torch.relu(self.norm(self.down(x)) + short)
        x = torch.relu(x + self.even(x))
        return self.head(x.mean((2, 3)))


class Transformer(nn.Module):
    """A block with two heads of two features, maps of their own for queries, keys and values, and an MLP."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.before, self.between = nn.Linear(3, 4), nn.LayerNorm(4), nn.LayerNorm(4)
        self.query, self.key, self.value, self.out = (nn.Linear(4, 4) for _ in range(4))
        self.up, self.down, self.head = nn.Linear(4, 5), nn.Linear(5, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(texts, tokens, 3) -> (texts, 2)."""
        x = self.embed(x)
        here = self.before(x)
        q, k, v = (each(here).unflatten(-1, (2, 2)).transpose(1, 2) for each in (self.query, self.key, self.value))
        mixed = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.out(mixed)
        x = x + self.down(functional.gelu(self.up(self.between(x))))
        return self.head(x.mean(1))


class GroupedQueries(nn.Module):
    """One packed map makes four heads of queries, and two of keys and values that pairs of queries share."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.packed, self.out = nn.Linear(3, 4), nn.Linear(4, 16), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(texts, tokens, 3) -> (texts, tokens, 2)."""
        x = torch.tanh(self.embed(x))
        q, k, v = self.packed(x).split((8, 4, 4), -1)
        q = q.unflatten(-1, (4, 2)).transpose(1, 2)
        k, v = (each.unflatten(-1, (2, 2)).transpose(1, 2).repeat_interleave(2, 1) for each in (k, v))
        mixed = (q @ k.transpose(-1, -2) * 2**-0.5).softmax(-1) @ v
        return self.out(mixed.transpose(1, 2).flatten(2))


class Recurrent(nn.Module):
    """An LSTM of three units, read at the last step."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.last = nn.LSTM(2, 3, batch_first=True), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(sequences, steps, 2) -> (sequences, 2)."""
        return self.last(self.lstm(x)[0][:, -1])


class TiedEmbedding(nn.Module):
    """An embedding that makes the logits, too, and a residual layer between."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.up, self.down = nn.Embedding(4, 3), nn.Linear(3, 4), nn.Linear(4, 3)
        self.logits = nn.Linear(3, 4, bias=False)
        self.logits.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """(texts, tokens) of numbers below 4 -> (texts, tokens, 4)."""
        x = self.embedding(tokens)
        return self.logits(x + self.down(torch.relu(self.up(x))))


def example_architectures() -> Mapping[str, Architecture]:
    """Name -> module and example inputs.

    An MLP with equal widths and a sine network, convolutions with norms and a flatten, a residual network, grouped
    and depthwise convolutions, attention with maps of its own and packed with grouped queries, an LSTM, and an
    embedding tied to the logits. Every dimension is at most 16.

    Example:
        >>> sorted(example_architectures())[:3]
        ['attention', 'convolutions', 'grouped convolutions']
    """
    image, text = torch.zeros(2, 1, 4, 4), torch.zeros(2, 3, 3)
    mlp = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Tanh())
    cnn = nn.Sequential(nn.Conv2d(1, 4, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 2), nn.GroupNorm(2, 4))
    groups = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=2), nn.ReLU())
    groups.extend([nn.Conv2d(4, 4, 2, groups=4), nn.PReLU(4), nn.Conv2d(4, 2, 1), nn.Flatten()])
    return {
        "mlp": (mlp.append(nn.Linear(4, 2)), (torch.zeros(2, 3),)),
        "sine": (Sine(), (torch.zeros(2, 2),)),
        "convolutions": (cnn.extend([nn.Tanh(), nn.Flatten(), nn.Linear(16, 2)]), (image,)),
        "residual": (Residual(), (image,)),
        "grouped convolutions": (groups, (image,)),
        "attention": (Transformer(), (text,)),
        "grouped queries": (GroupedQueries(), (text,)),
        "lstm": (Recurrent(), (torch.zeros(2, 3, 2),)),
        "tied embedding": (TiedEmbedding(), (torch.tensor([[0, 2, 1], [3, 3, 0]]),)),
    }
