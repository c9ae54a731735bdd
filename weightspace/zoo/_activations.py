"""Activation functions by name, as specifications of networks name them."""

from collections.abc import Callable

from torch import nn

from weightspace.errors import ConfigurationError

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


def activation_module(name: str) -> nn.Module:
    """A module of one of `ACTIVATIONS`.

    Raises:
        ConfigurationError: an unknown name.

    Example:
        >>> activation_module("tanh")
        Tanh()
    """
    if name not in ACTIVATIONS:
        raise ConfigurationError(f"activation: found {name!r}, wanted one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]()
