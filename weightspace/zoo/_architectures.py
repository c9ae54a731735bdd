"""The networks that population training draws from, each built from a small JSON specification.

A specification names one of the factories below and its arguments, so that a zoo can rebuild its modules without
importing anything that a file names: `{"factory": "cnn", "channels": [8, 16], "activation": "relu"}`.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from weightspace.errors import ConfigurationError
from weightspace.zoo._activations import activation_module
from weightspace.zoo._sdf_network import sdf
from weightspace.zoo._siren import siren
from weightspace.zoo._varied_cnn import varied_cnn

HEADS = ("gap", "flatten")


class ResidualBlock(nn.Module):
    """`act(bn(conv(act(bn(conv(x))))) + skip(x))`, the basic block of He et al. 2015 (arXiv 1512.03385, figure 2).

    The skip is the identity, or a 1x1 convolution with BatchNorm (option B) where shape or stride change.

    Shapes:
        (B, in_channels, H, W) -> (B, out_channels, H / stride, W / stride)
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, activation: str):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.activation1 = activation_module(activation)
        self.activation2 = activation_module(activation)
        same = in_channels == out_channels and stride == 1
        self.skip = nn.Identity() if same else _projection(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        h = self.activation1(self.bn1(self.conv1(x)))
        return self.activation2(self.bn2(self.conv2(h)) + self.skip(x))


def cnn(
    *,
    channels: Sequence[int] = (8, 16),
    strides: Sequence[int] | None = None,
    padding: int = 1,
    head: str = "gap",
    activation: str = "relu",
    image: Sequence[int] = (1, 8, 8),
    classes: int = 10,
) -> nn.Module:
    """3x3 convolutions, then global average pooling (`head="gap"`) or `head="flatten"`, then one linear layer.

    Args:
        channels: output channels of each convolution.
        strides: stride of each convolution; 2 first, then 1, by default.
        padding: of each convolution.
        head: "gap" or "flatten".
        activation: one of `ACTIVATIONS`.
        image: (channels, height, width) of the inputs.
        classes: number of outputs.

    Example:
        >>> import torch
        >>> cnn(channels=(4, 6))(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 10])
    """
    strides = [2] + [1] * (len(channels) - 1) if strides is None else strides
    if head not in HEADS or len(strides) != len(channels):
        raise ConfigurationError(
            f"cnn: found head={head!r}, {len(strides)} strides; wanted one of {HEADS}, {len(channels)} strides"
        )
    layers: list[nn.Module] = []
    width, (height, breadth) = image[0], image[1:]
    for out, stride in zip(channels, strides, strict=True):
        layers += [nn.Conv2d(width, out, 3, stride=stride, padding=padding), activation_module(activation)]
        width, height, breadth = out, _after(height, stride, padding), _after(breadth, stride, padding)
    if head == "gap":
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes)]
    else:
        layers += [nn.Flatten(), nn.Linear(width * height * breadth, classes)]
    return nn.Sequential(*layers)


def resnet(
    *,
    channels: Sequence[int] = (8, 12),
    stem_stride: int = 2,
    activation: str = "relu",
    image: Sequence[int] = (1, 8, 8),
    classes: int = 10,
) -> nn.Module:
    """A small residual network with BatchNorm: stem, one block per entry of `channels`, global average pooling, linear.

    Args:
        channels: of the blocks; the stem has the first. A block that changes the width has stride 2.
        stem_stride: stride of the first convolution.
        activation: one of `ACTIVATIONS`.
        image: (channels, height, width) of the inputs.
        classes: number of outputs.

    Example:
        >>> import torch
        >>> resnet(channels=(4, 6))(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 10])
    """
    stem = [nn.Conv2d(image[0], channels[0], 3, stride=stem_stride, padding=1, bias=False), nn.BatchNorm2d(channels[0])]
    blocks = []
    width = channels[0]
    for out in channels:
        blocks.append(ResidualBlock(width, out, stride=1 if out == width else 2, activation=activation))
        width = out
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes)]
    return nn.Sequential(*stem, activation_module(activation), *blocks, *head)


def mlp(
    *,
    widths: Sequence[int] = (32, 32),
    activation: str = "relu",
    image: Sequence[int] = (1, 8, 8),
    classes: int = 10,
) -> nn.Module:
    """A multilayer perceptron on the flattened image.

    Args:
        widths: of the hidden layers.
        activation: one of `ACTIVATIONS`.
        image: (channels, height, width) of the inputs.
        classes: number of outputs.

    Example:
        >>> import torch
        >>> mlp(widths=(16,))(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 10])
    """
    layers: list[nn.Module] = [nn.Flatten()]
    width = image[0] * image[1] * image[2]
    for out in widths:
        layers += [nn.Linear(width, out), activation_module(activation)]
        width = out
    return nn.Sequential(*layers, nn.Linear(width, classes))


def small_cnn_zoo(*, in_channels: int = 1, activation: str = "relu", classes: int = 10) -> nn.Module:
    """The network of the Small CNN Zoo (Unterthiner et al. 2020, arXiv 2002.11448): 4,970 weights on one input channel.

    Three 3x3 convolutions with 16 filters, stride 2 and no padding, global average pooling, one linear layer. No
    dropout.

    Args:
        in_channels: 1 for MNIST, Fashion-MNIST and the grey versions of CIFAR-10 and SVHN.
        activation: relu or tanh in the published zoo.
        classes: number of outputs.

    Example:
        >>> sum(p.numel() for p in small_cnn_zoo().parameters())
        4970
    """
    image = (in_channels, 28, 28)
    return cnn(channels=(16,) * 3, strides=(2,) * 3, padding=0, activation=activation, image=image, classes=classes)


ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "cnn": cnn,
    "resnet": resnet,
    "mlp": mlp,
    "small_cnn_zoo": small_cnn_zoo,
    "varied_cnn": varied_cnn,
    "siren": siren,
    "sdf": sdf,
}


def build(spec: Mapping[str, Any]) -> nn.Module:
    """The module of a specification: `"factory"` names one of `ARCHITECTURES`, the other entries are its arguments.

    Raises:
        ConfigurationError: an unknown factory or argument, or values that the factory cannot take.

    Example:
        >>> import torch
        >>> build({"factory": "mlp", "widths": [16], "activation": "tanh"})(torch.zeros(1, 1, 8, 8)).shape
        torch.Size([1, 10])
    """
    arguments = dict(spec)
    name = arguments.pop("factory", None)
    if not isinstance(name, str) or name not in ARCHITECTURES:
        raise ConfigurationError(f"architecture: found factory {name!r}, wanted one of {', '.join(ARCHITECTURES)}")
    known = inspect.signature(ARCHITECTURES[name]).parameters
    unknown = [key for key in arguments if key not in known]
    if unknown:
        raise ConfigurationError(
            f"architecture: {name!r} has no argument {', '.join(unknown)}; it takes {', '.join(known)}"
        )
    try:
        return ARCHITECTURES[name](**arguments)
    except (TypeError, ValueError, IndexError, RuntimeError) as error:
        raise ConfigurationError(f"architecture: {name!r} cannot be built from {arguments}: {error}") from error


def _projection(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    conv = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels))


def _after(size: int, stride: int, padding: int) -> int:
    return (size + 2 * padding - 3) // stride + 1
