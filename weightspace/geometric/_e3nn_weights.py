"""Published weights of e3nn's layers: taken once each, and cut into one tensor for each irrep."""

import math
from collections.abc import Mapping

from torch import Tensor

from weightspace.errors import CheckpointError


class Entries:
    """Entries of a published state_dict that are left to be moved.

    Args:
        model: whose weights they are, for errors.
        entries: name -> tensor.
    """

    def __init__(self, model: str, entries: Mapping[str, Tensor]):
        self.model, self.left = model, dict(entries)

    def take(self, key: str) -> Tensor:
        """An entry, which is then gone.

        Raises:
            CheckpointError: it is not there.
        """
        if key not in self.left:
            raise self.error(f"{key!r} is missing")
        return self.left.pop(key)

    def take_blocks(self, key: str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
        """A flat weight of e3nn as one tensor for each irrep, in its order.

        Args:
            key: of the entry.
            shapes: irrep -> shape, in the order of e3nn's instructions.

        Raises:
            CheckpointError: it is not there, or has another size.
        """
        flat = self.take(key).flatten()
        sizes = [math.prod(shape) for shape in shapes.values()]
        if flat.numel() != sum(sizes):
            raise self.error(f"{key!r} has {flat.numel()} weights, wanted {sum(sizes)}")
        return {ir: piece.view(shape) for (ir, shape), piece in zip(shapes.items(), flat.split(sizes), strict=True)}

    def finish(self) -> None:
        """Nothing may be left.

        Raises:
            CheckpointError: something is.
        """
        if self.left:
            raise self.error(f"{sorted(self.left)[0]!r} ({len(self.left)} in all) has no place in the model")

    def error(self, words: str) -> CheckpointError:
        """What is wrong with the weights."""
        return CheckpointError(
            f"{self.model} from published weights: {words}; hand in the state_dict of the model named in the "
            "function's documentation"
        )
