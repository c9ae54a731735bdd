"""Idx files (the format of MNIST), read as untrusted input: sizes are checked before anything is allocated."""

import gzip
import math
import zlib
from pathlib import Path

import torch
from torch import Tensor

from weightspace.data_root import data_folder
from weightspace.errors import WeightspaceError
from weightspace.images._image_set import ImageSet

MEAN, SPREAD = 0.1307, 0.3081  # of the training images' pixels, after the division by 255
SUBSET_SEED = 0
UNSIGNED_BYTE = 8
MOST_BYTES = 1 << 30


def read_idx(path: str | Path) -> Tensor:
    """An idx file of unsigned bytes, plain or gzipped, as a uint8 tensor of the shape that its header names.

    Source: LeCun, Cortes and Burges, "The MNIST database", file format section: two zero bytes, type 0x08,
    number of dimensions, the dimensions as big-endian 32-bit integers, the data. Other types are refused.

    Raises:
        WeightspaceError: not an idx file of bytes, or shorter or longer than its header says.
    """
    path = Path(path)
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as file:
            return _read(file, path)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise WeightspaceError(
            f"{path}: the gzip stream is damaged or cut off ({error}); download the file again"
        ) from error


def _read(file, path: Path) -> Tensor:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] != UNSIGNED_BYTE or not 1 <= magic[3] <= 4:
        raise WeightspaceError(
            f"{path}: found first bytes {magic.hex() or 'none'}, wanted 000008 and a number of dimensions from 1 to 4; "
            "this is not an idx file of unsigned bytes"
        )
    header = file.read(4 * magic[3])
    if len(header) < 4 * magic[3]:
        raise WeightspaceError(f"{path}: the file ends inside its header; download the file again")
    shape = [int.from_bytes(header[i : i + 4], "big") for i in range(0, len(header), 4)]
    wanted = math.prod(shape)
    if wanted > MOST_BYTES:
        raise WeightspaceError(
            f"{path}: the header names {wanted} bytes {tuple(shape)}, more than the {MOST_BYTES} that are read; "
            "not an MNIST file"
        )
    data = file.read(wanted + 1)
    if len(data) != wanted:
        found = "more" if len(data) > wanted else len(data)
        raise WeightspaceError(
            f"{path}: found {found} bytes after the header, wanted {wanted} for shape {tuple(shape)}; "
            "download the file again"
        )
    if not wanted:
        return torch.zeros(shape, dtype=torch.uint8)
    return torch.frombuffer(bytearray(data), dtype=torch.uint8).reshape(shape)


def load_mnist(
    root: str | Path | None = None, *, train: int | None = None, test: int | None = None, pool: int = 1
) -> ImageSet:
    """MNIST from its four idx files, with its own split into 60,000 training and 10,000 test images.

    Args:
        root: folder that holds `mnist/` (or the idx files themselves); `WEIGHTSPACE_DATA` by default.
        train: number of training images, a fixed random subset; all by default.
        test: number of test images, a fixed random subset; all by default.
        pool: average-pooling window, a divisor of 28; 2 gives 14x14 images. Pixels are standardised before that.

    Raises:
        ConfigurationError: no data folder, or no MNIST files in it.
        WeightspaceError: a damaged file, or images and labels that do not belong together.
    """
    folder = data_folder("mnist", "train-images-idx3-ubyte*", root)
    train_x, train_y = _part(folder, "train", train, pool)
    test_x, test_y = _part(folder, "t10k", test, pool)
    name = "mnist" if pool == 1 else f"mnist{28 // pool}"
    return ImageSet(name, 10, train_x, train_y, test_x, test_y, MEAN, SPREAD)


def _part(folder: Path, part: str, number: int | None, pool: int) -> tuple[Tensor, Tensor]:
    images, labels = _file(folder, f"{part}-images-idx3-ubyte"), _file(folder, f"{part}-labels-idx1-ubyte")
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
        raise WeightspaceError(
            f"{folder}: {part} images have shape {tuple(images.shape)} and labels {tuple(labels.shape)}, "
            "wanted (N, 28, 28) and (N,); the two files do not belong together"
        )
    if images.shape[1] % pool or images.shape[2] % pool:
        raise WeightspaceError(
            f"pool={pool} does not divide the image size {tuple(images.shape[1:])}; 1, 2 and 4 divide MNIST's 28"
        )
    if number is not None:
        if not 0 < number <= len(images):
            raise WeightspaceError(
                f"{folder}: asked for {number} {part} images, found {len(images)}; ask for 1 to {len(images)}"
            )
        chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(SUBSET_SEED))[:number]
        images, labels = images[chosen], labels[chosen]
    x = (images[:, None].float() / 255 - MEAN) / SPREAD  # (N, 1, 28, 28)
    return torch.nn.functional.avg_pool2d(x, pool), labels.long()


def _file(folder: Path, name: str) -> Tensor:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return read_idx(path)
    raise WeightspaceError(
        f"{folder}: found neither {name} nor {name}.gz; "
        "MNIST is four idx files (datasets/mnist/CARD.md says where they come from)"
    )
