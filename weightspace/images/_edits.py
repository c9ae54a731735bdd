"""Edits of grey-value images: morphology, rotation, inversion, noise."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from weightspace.errors import ConfigurationError


def dilate(images: Tensor, size: int = 3) -> Tensor:
    """The largest grey value in a square window around each pixel; pixels beyond the border do not count.

    Source: grey-value dilation by a flat square, as in the editing task of Zhou et al. 2023, arXiv 2302.14040
    (there: a 3x3 square, once).

    Shapes:
        (B, H, W) -> (B, H, W).

    Example:
        >>> dilate(torch.tensor([[[0.0, 0.0, 1.0, 0.0, 0.0]]])).tolist()
        [[[0.0, 1.0, 1.0, 1.0, 0.0]]]
    """
    if size < 1 or size % 2 == 0:
        raise ConfigurationError(f"dilate, erode: found size {size}, wanted an odd number of at least 1")
    return F.max_pool2d(images[:, None], size, stride=1, padding=size // 2)[:, 0]


def erode(images: Tensor, size: int = 3) -> Tensor:
    """The smallest grey value in a square window around each pixel; pixels beyond the border do not count.

    Shapes:
        (B, H, W) -> (B, H, W).
    """
    return -dilate(-images, size)


def rotate(images: Tensor, degrees: float) -> Tensor:
    """Images rotated about their centre, counterclockwise as they are shown, by bilinear interpolation; 0 outside.

    Shapes:
        (B, H, W) -> (B, H, W).

    Example:
        >>> rotate(torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]), 90).round().tolist()
        [[[2.0, 4.0], [1.0, 3.0]]]
    """
    height, width = images.shape[1:]
    angle = math.radians(degrees)
    x = torch.linspace(-(width - 1) / 2, (width - 1) / 2, width).to(images)
    y = torch.linspace(-(height - 1) / 2, (height - 1) / 2, height).to(images)[:, None]
    from_x = x * math.cos(angle) - y * math.sin(angle)  # in pixels, y downwards; (H, W)
    from_y = x * math.sin(angle) + y * math.cos(angle)
    grid = torch.stack([from_x * 2 / max(1, width - 1), from_y * 2 / max(1, height - 1)], 2)
    grid = grid.expand(len(images), -1, -1, -1)
    return F.grid_sample(images[:, None], grid, mode="bilinear", padding_mode="zeros", align_corners=True)[:, 0]


@dataclass(frozen=True)
class ImageEdit:
    """One of the edits, with its size.

    Args:
        operation: "dilate", "erode", "rotate", "invert" (1 - value) or "noise".
        size: of the window of dilation and erosion.
        degrees: of the rotation, counterclockwise.
        noise: standard deviation of what "noise" adds.

    Raises:
        ConfigurationError: another operation, or a size that it cannot have.

    Example:
        >>> ImageEdit("invert")(torch.tensor([[[0.25]]]))
        tensor([[[0.7500]]])
    """

    operation: str = "dilate"
    size: int = 3
    degrees: float = 30.0
    noise: float = 0.3

    def __post_init__(self) -> None:
        if self.operation not in OPERATIONS:
            raise ConfigurationError(f"edit: found operation {self.operation!r}, wanted one of {', '.join(OPERATIONS)}")
        if self.size < 1 or self.size % 2 == 0:
            raise ConfigurationError(f"edit: found size {self.size}, wanted an odd number of at least 1")
        if not math.isfinite(self.degrees) or not 0 <= self.noise < math.inf:
            raise ConfigurationError(
                f"edit: found degrees {self.degrees} and noise {self.noise}, wanted finite ones, the noise at least 0"
            )

    def __call__(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The edited images, grey values in [0, 1] where the images have them.

        Args:
            images: to edit.
            generator: of the noise.

        Shapes:
            images (B, H, W); result (B, H, W).
        """
        if self.operation == "noise":
            drawn = torch.randn(images.shape, generator=generator).to(images)
            return (images + self.noise * drawn).clamp(0, 1)
        if self.operation == "rotate":
            return rotate(images, self.degrees)
        if self.operation == "invert":
            return 1 - images
        return (dilate if self.operation == "dilate" else erode)(images, self.size)

    def __str__(self) -> str:
        amount = {"rotate": f" by {self.degrees:g} degrees", "noise": f" of {self.noise:g}", "invert": ""}
        return self.operation + amount.get(self.operation, f" by {self.size}x{self.size}")


OPERATIONS = ("dilate", "erode", "rotate", "invert", "noise")
