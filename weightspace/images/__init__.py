"""Small image data sets for training zoos: scikit-learn's digits (built in) and MNIST idx files."""

from weightspace.images._digits import load_digits
from weightspace.images._idx import load_mnist, read_idx
from weightspace.images._image_set import ImageSet
from weightspace.images._names import DATA_SETS, load_images

__all__ = ["DATA_SETS", "ImageSet", "load_digits", "load_images", "load_mnist", "read_idx"]
