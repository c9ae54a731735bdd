"""Networks with published weights: the CIFAR-10 ResNets of akamaster/pytorch_resnet_cifar10, shortcuts of option A."""

from collections.abc import Callable

import torch

from experiments.akamaster_resnet import resnet
from tests.architectures.cases import Case, log_factorial


def option_a(depth: int) -> Case:
    """The first stage's stream of 16; the 16 and 32 new channels of the others; every block's hidden ones.

    A shortcut hands on the stream of the stage before, so that stage's permutation acts on the middle of the next. The
    channels around it, half of them in front and half behind, are zero in the shortcut: they move among themselves.
    """
    blocks = (depth - 2) // 6
    streams = log_factorial(16) + log_factorial(16) + log_factorial(32)
    hidden = blocks * sum(log_factorial(n) for n in (16, 32, 64))
    return resnet(depth), (torch.zeros(1, 3, 32, 32),), streams + hidden


def resnet20() -> Case:
    """Three blocks in each stage."""
    return option_a(20)


def resnet32() -> Case:
    """Five blocks in each stage."""
    return option_a(32)


def resnet44() -> Case:
    """Seven blocks in each stage."""
    return option_a(44)


def resnet56() -> Case:
    """Nine blocks in each stage."""
    return option_a(56)


CASES: tuple[Callable[[], Case], ...] = (resnet20, resnet32, resnet44, resnet56)
