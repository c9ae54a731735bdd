"""What an architecture of the tests is: a module, example inputs, and the order of its group in closed form."""

from math import lgamma, log

import torch
from torch import Tensor, nn

Case = tuple[nn.Module, tuple[Tensor, ...], float]


def log_factorial(n: int) -> float:
    """log10 of n!."""
    return lgamma(n + 1) / log(10)


def image(channels: int = 3, size: int = 8, batch: int = 1) -> tuple[Tensor]:
    """An example image."""
    return (torch.zeros(batch, channels, size, size),)


def tokens(vocabulary: int = 11, length: int = 6, batch: int = 1) -> tuple[Tensor]:
    """Example tokens, all different where the vocabulary allows it."""
    return ((torch.arange(batch * length) * 3 % vocabulary).reshape(batch, length),)
