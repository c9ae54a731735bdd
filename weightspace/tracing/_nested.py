"""Values in nested arguments and results of operations."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from weightspace.tracing._records import Value


def map_in(value: Any, of_node: Mapping[torch.fx.Node, Any]) -> Any:
    """Arguments with what is known of nodes in their place."""
    return torch.fx.node.map_arg(value, lambda node: of_node.get(node))


def each_in(value: Any, change: Any) -> Any:
    """Arguments with a function applied to each leaf."""
    if isinstance(value, (list, tuple)):
        return [each_in(part, change) for part in value]
    return change(value)


def plain_in(value: Any) -> Any:
    """Arguments with a star for every tensor."""
    return torch.fx.node.map_arg(value, lambda node: "*")


def tensors_in(value: Any) -> list[Value]:
    """Values in nested arguments."""
    if isinstance(value, Value):
        return [value]
    if isinstance(value, Mapping):
        value = list(value.values())
    return [found for part in value for found in tensors_in(part)] if isinstance(value, (list, tuple)) else []


def shapes_in(result: Any) -> list[torch.Size]:
    """Shapes of the tensors of a result."""
    if isinstance(result, Tensor):
        return [result.shape]
    return [shape for part in result for shape in shapes_in(part)] if isinstance(result, (list, tuple)) else []
