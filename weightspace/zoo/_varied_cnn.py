"""A convolutional network of which depth, width, kernels, normalisation, skips and head can all be chosen."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from weightspace.errors import ConfigurationError
from weightspace.zoo._activations import activation_module

NORMS: dict[str, Callable[[int], nn.Module]] = {
    "none": lambda width: nn.Identity(),
    "batch": nn.BatchNorm2d,
    "layer": lambda width: nn.GroupNorm(1, width),
    "group": lambda width: nn.GroupNorm(4, width),
}
POOLED_HEADS = ("gap", "max", "flatten")


class ConvolutionBlock(nn.Module):
    """`act(norm(conv(x)))`, or `act(norm(conv(x)) + skip(x))`; the skip is the identity or a 1x1 convolution.

    Shapes:
        (B, in_channels, H, W) -> (B, out_channels, ceil(H / stride), ceil(W / stride))
    """

    def __init__(
        self, channels: tuple[int, int], kernel: int, *, stride: int, norm: str, residual: bool, activation: str
    ):
        super().__init__()
        before, after = channels
        self.conv = nn.Conv2d(before, after, kernel, stride=stride, padding=kernel // 2)
        self.norm = NORMS[norm](after)
        self.activation = activation_module(activation)
        self.residual = residual
        same = before == after and stride == 1
        if residual:
            self.skip = nn.Identity() if same else nn.Conv2d(before, after, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(self.conv(x))
        return self.activation(h + self.skip(x) if self.residual else h)


class VariedCNN(nn.Module):
    """Blocks, a head that pools or flattens, one linear layer; built by `varied_cnn`."""

    def __init__(self, blocks: Sequence[nn.Module], head: str, linear: nn.Linear):
        super().__init__()
        self.blocks = nn.Sequential(*blocks)
        self.head = head
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        """(images, channels, height, width) -> (images, classes)."""
        h = self.blocks(x)
        if self.head == "flatten":
            return self.linear(torch.flatten(h, 1))
        return self.linear(h.mean((2, 3)) if self.head == "gap" else h.amax((2, 3)))


def varied_cnn(
    *,
    channels: Sequence[int] = (8, 16),
    kernels: Sequence[int] = (3, 3),
    norm: str = "none",
    residual: bool = False,
    head: str = "gap",
    activation: str = "relu",
    image: Sequence[int] = (1, 28, 28),
    classes: int = 10,
) -> nn.Module:
    """A convolutional network for zoos of many architectures, after the CNN Wild Park of Kofinas et al. 2024.

    Source: Kofinas, Knyazev et al. 2024, "Graph Neural Networks for Learning Equivariant Representations of Neural
    Networks", arXiv 2403.12143, section 4.2, varies depth, channels, kernels, activation and skips. What deviates:
    normalisation and head vary as well, and the first two convolutions have stride 2.

    Args:
        channels: output channels of each convolution; multiples of 4 with `norm="group"`.
        kernels: odd kernel size of each convolution.
        norm: "none", "batch", "layer" (one group) or "group" (4 groups), behind every convolution.
        residual: whether every convolution but the first has a skip connection.
        head: "gap" (global average), "max" (global maximum) or "flatten".
        activation: one of `ACTIVATIONS`.
        image: (channels, height, width) of the inputs.
        classes: number of outputs.

    Example:
        >>> varied_cnn(channels=(4, 8), kernels=(5, 1), norm="group", head="max")(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """
    _check(channels, kernels, norm, head)
    blocks: list[nn.Module] = []
    width, (height, breadth) = image[0], image[1:]
    for i, (out, kernel) in enumerate(zip(channels, kernels, strict=True)):
        stride = 2 if i < 2 else 1
        skip = residual and i > 0
        blocks.append(
            ConvolutionBlock((width, out), kernel, stride=stride, norm=norm, residual=skip, activation=activation)
        )
        width, height, breadth = out, -(-height // stride), -(-breadth // stride)
    inputs = width * height * breadth if head == "flatten" else width
    return VariedCNN(blocks, head, nn.Linear(inputs, classes))


def _check(channels: Sequence[int], kernels: Sequence[int], norm: str, head: str) -> None:
    even = [kernel for kernel in kernels if kernel % 2 == 0]
    if norm not in NORMS or head not in POOLED_HEADS or len(kernels) != len(channels) or even:
        raise ConfigurationError(
            f"varied_cnn: found norm={norm!r}, head={head!r}, {len(channels)} channels, kernels {list(kernels)}; "
            f"wanted one of {', '.join(NORMS)}, one of {', '.join(POOLED_HEADS)}, as many kernels, all odd"
        )
