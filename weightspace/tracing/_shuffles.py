"""Reshapes and permutations that together only reorder the elements of one dimension (channel shuffles)."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from weightspace.tracing._constants import LARGEST

_RESHAPES = ("aten.view.default", "aten.reshape.default", "aten.unflatten.int", "aten._unsafe_view.default")
_STEPS = (
    *_RESHAPES, "aten.permute.default", "aten.transpose.int", "aten.contiguous.default", "aten.clone.default",
    "aten.flatten.using_ints", "aten.mT.default", "aten.swapaxes.default", "aten.movedim.int",
)  # fmt: skip


@dataclass(frozen=True)
class Shuffle:
    """A run of operations that reorders one dimension.

    Args:
        nodes: of the run, the last one gives the result.
        dim: that is reordered.
        places: new place of each of its elements.
    """

    nodes: tuple[torch.fx.Node, ...]
    dim: int
    places: tuple[int, ...]


def find_shuffle(node: torch.fx.Node) -> Shuffle | None:
    """The shuffle that begins with an operation; None where there is none, or what comes of it is read elsewhere."""
    if str(node.target) not in _RESHAPES or not isinstance(node.args[0], torch.fx.Node):
        return None
    before = node.args[0].meta.get("val")
    if not isinstance(before, Tensor) or not 0 < prod(before.shape) <= LARGEST:
        return None
    run, numbers = [], torch.arange(prod(before.shape)).reshape(before.shape)
    start = numbers
    for step in _chain(node):
        run.append(step)
        try:
            numbers = step.target(numbers, *step.args[1:], **step.kwargs)  # type: ignore[operator]
        except RuntimeError:  # a view that only the strides of the original allow
            return None
        found = _reordered(start, numbers) if numbers.shape == start.shape and len(run) > 1 else None
        if found is not None:
            return Shuffle(tuple(run), *found)
    return None


def _chain(node: torch.fx.Node) -> Iterator[torch.fx.Node]:
    """A view and the views of it, as long as each has one reader."""
    step = node
    while str(step.target) in _STEPS:
        yield step
        if len(step.users) != 1:
            return
        (step,) = step.users
        if not step.args or not isinstance(step.args[0], torch.fx.Node) or len(step.all_input_nodes) != 1:
            return


def _reordered(before: Tensor, after: Tensor) -> tuple[int, tuple[int, ...]] | None:
    for dim, size in enumerate(before.shape):
        if size == 1:
            continue
        stride = before.stride(dim)
        first = tuple(0 if d != dim else slice(None) for d in range(before.dim()))
        old_of_new = after[first] // stride % size
        if len(old_of_new.unique()) == size and torch.equal(before.index_select(dim, old_of_new), after):
            if torch.equal(old_of_new, torch.arange(size)):
                continue
            return dim, tuple(old_of_new.argsort().tolist())
    return None
