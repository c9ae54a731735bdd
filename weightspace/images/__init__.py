"""Small image data sets for training zoos: scikit-learn's digits (built in) and MNIST idx files; edits of images."""

from weightspace.images._digits import load_digits
from weightspace.images._edits import ImageEdit, dilate, erode, rotate
from weightspace.images._idx import load_mnist, read_idx
from weightspace.images._image_set import ImageSet
from weightspace.images._names import DATA_SETS, load_images

__all__ = [
    "DATA_SETS",
    "ImageEdit",
    "ImageSet",
    "dilate",
    "erode",
    "load_digits",
    "load_images",
    "load_mnist",
    "read_idx",
    "rotate",
]
