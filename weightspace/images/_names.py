"""Data sets by name, as configurations name them."""

from collections.abc import Callable
from pathlib import Path

from weightspace.errors import ConfigurationError
from weightspace.images._digits import load_digits
from weightspace.images._idx import load_mnist
from weightspace.images._image_set import ImageSet

DATA_SETS: dict[str, Callable[[str | Path | None], ImageSet]] = {
    "digits": lambda root: load_digits(),
    "mnist": lambda root: load_mnist(root),
    "mnist14": lambda root: load_mnist(root, train=6000, test=2000, pool=2),
}


def load_images(name: str, root: str | Path | None = None) -> ImageSet:
    """A data set by its name: `digits` (8x8, built in), `mnist` (28x28), `mnist14` (8,000 of them pooled to 14x14).

    Args:
        name: one of `DATA_SETS`.
        root: folder of full data sets, for those that are not built in; `WEIGHTSPACE_DATA` by default.

    Raises:
        ConfigurationError: an unknown name, or files that are not there.

    Example:
        >>> load_images("digits").image_size
        8
    """
    if name not in DATA_SETS:
        raise ConfigurationError(f"data: found {name!r}, wanted one of {', '.join(DATA_SETS)}")
    return DATA_SETS[name](root)
