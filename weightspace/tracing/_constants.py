"""Constants during tracing: which of their axes are uniform, what identifies them, and operations on constants alone.

What a computation makes of constants alone (masks, positions, rotary tables) is computed, so that it is known along
which axes its values differ. Such results are identified by their values where these are exact, otherwise by the
expression that made them, without sizes of data.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from weightspace.axes import Axis
from weightspace.tracing._export import named_arguments
from weightspace.tracing._records import Value
from weightspace.tracing._solver import AxisSolver

LARGEST = 1 << 22
FEW = 4
_SIZES = {
    "size", "shape", "sizes", "end", "repeats", "device", "dtype", "layout", "pin_memory", "memory_format",
    "output_size", "non_blocking", "copy", "implicit",
}  # fmt: skip


def constant_axes(tensor: Tensor, solver: AxisSolver) -> list[Axis]:
    """Fixed axes, but free ones along which all values are equal."""
    axes = []
    for dim, size in enumerate(tensor.shape):
        uniform = not tensor.is_meta and size > 0 and bool((tensor == tensor.narrow(dim, 0, 1)).all())
        axes.append(solver.atom(size) if uniform else solver.atom(size, kind="constant", reason="constant"))
    return axes


def digest(tensor: Tensor, content: Tensor | None) -> str:
    """Digest of a constant's values, whatever its dtype; a dimension along which they are equal counts as one."""
    if content is None:
        return hashlib.sha256(repr(tuple(tensor.shape)).encode()).hexdigest()[:12]
    for dim, size in enumerate(content.shape):
        if size > 1 and bool((content == content.narrow(dim, 0, 1)).all()):
            content = content.narrow(dim, 0, 1)
    dtype = torch.float32 if content.is_floating_point() else torch.int64
    plain = content.to(dtype).clone(memory_format=torch.contiguous_format)  # a view of one element may have no stride
    data = plain.reshape(-1).view(torch.uint8).numpy().tobytes() if plain.numel() else b""
    return hashlib.sha256(repr(tuple(plain.shape)).encode() + data).hexdigest()[:12]


def has_plain_values(tensor: Tensor) -> bool:
    """Whether values are the same on every machine: whole numbers, or a few (masks)."""
    return not tensor.is_floating_point() or len(tensor.reshape(-1)[:LARGEST].unique()) <= FEW


def can_fold(node: torch.fx.Node, arguments: Sequence[Value]) -> bool:
    """Whether an operation reads known constants alone, changes none of them, and is not random."""
    if not isinstance(node.target, torch._ops.OpOverload) or node.target._schema.is_mutable:
        return False
    if torch.Tag.nondeterministic_seeded in node.target.tags:
        return False
    result = node.meta.get("val")
    results = result if isinstance(result, (list, tuple)) else [result]
    if not results or not all(isinstance(part, Tensor) and part.numel() <= LARGEST for part in results):
        return False
    return all(value.content is not None for value in arguments)


def fold(node: torch.fx.Node, of_node: Mapping[torch.fx.Node, Any]) -> Any:
    """The result of an operation on constants; None where it cannot be computed here."""
    cpu = torch.device("cpu")

    def value_of(other: torch.fx.Node) -> Any:
        """The constant that a node stands for."""
        found = of_node.get(other)
        if isinstance(found, (list, tuple)):
            return [part.content for part in found]
        return found.content if isinstance(found, Value) else found

    args = torch.fx.node.map_arg(node.args, value_of)
    kwargs = {
        k: cpu if isinstance(v, torch.device) else torch.fx.node.map_arg(v, value_of) for k, v in node.kwargs.items()
    }
    args = tuple(cpu if isinstance(part, torch.device) else part for part in args)
    try:
        with torch.no_grad():
            return node.target(*args, **kwargs)  # type: ignore[operator]
    except (RuntimeError, TypeError, NotImplementedError, IndexError):
        return None


def expression(node: torch.fx.Node, of_node: Mapping[torch.fx.Node, Any]) -> str:
    """Digest of the expression that makes a constant; sizes and devices leave no trace."""

    def label(other: torch.fx.Node) -> Any:
        """What a node is called in the expression."""
        found = of_node.get(other)
        if isinstance(found, (list, tuple)):
            return [part.label for part in found]
        return found.label if isinstance(found, Value) else repr(found)

    named = {k: torch.fx.node.map_arg(v, label) for k, v in named_arguments(node).items() if k not in _SIZES}
    text = json.dumps([str(node.target), named], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
