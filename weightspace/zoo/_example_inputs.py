"""Example inputs for a module that came without any."""

import torch
from torch import Tensor, nn

from weightspace.errors import ConfigurationError

IMAGE_SIZE = 32
CONVOLUTIONS = {nn.Conv1d: 1, nn.Conv2d: 2, nn.Conv3d: 3}


def example_inputs_of(module: nn.Module) -> tuple[Tensor, ...]:
    """The module's `example_input_array` (a convention of Lightning), or a guess from its first layer.

    A linear layer asks for (1, in_features), a convolution for (1, channels, 32, ...). A wrong guess fails in the
    trace.

    Raises:
        ConfigurationError: neither is there.

    Example:
        >>> [tuple(x.shape) for x in example_inputs_of(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()))]
        [(1, 3, 32, 32)]
    """
    given = getattr(module, "example_input_array", None)
    if given is not None:
        return tuple(given) if isinstance(given, tuple | list) else (given,)
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            return (torch.zeros(1, layer.in_features),)
        for kind, dimensions in CONVOLUTIONS.items():
            if isinstance(layer, kind):
                return (torch.zeros(1, layer.in_channels, *[IMAGE_SIZE] * dimensions),)
    raise ConfigurationError(
        f"inputs: no example inputs for {type(module).__name__}, and its first layer does not tell; "
        "give their shapes (inputs=..., --input on the command line) or a module with example_input_array"
    )
