"""A data set of images, split once and for all."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class ImageSet:
    """Standardised images and labels, split into a training and a test part.

    Args:
        name: what `load_images` calls it.
        classes: number of classes; labels are 0 .. classes - 1.
        train_x: training images.
        train_y: training labels.
        test_x: test images.
        test_y: test labels.
        mean: of the grey values in [0, 1]; was subtracted.
        spread: of the grey values; the images were divided by it.

    Shapes:
        train_x (N, 1, H, W) float32; train_y (N,) int64; test_x (T, 1, H, W); test_y (T,).
    """

    name: str
    classes: int
    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor
    mean: float = 0.0
    spread: float = 1.0

    def pixels(self, images: Tensor) -> Tensor:
        """Grey values in [0, 1] of standardised images of this set.

        Shapes:
            images (B, 1, H, W) -> (B, H, W).
        """
        return (images[:, 0] * self.spread + self.mean).clamp(0, 1)

    @property
    def image_size(self) -> int:
        """Height and width of the (square) images."""
        return self.train_x.shape[-1]
