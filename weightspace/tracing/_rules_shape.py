"""Rules: views, flatten, reshape, permutations of dimensions, concatenation."""

from math import prod

from weightspace.axes import UNIT, Axis, Sum
from weightspace.tracing._call import Call
from weightspace.tracing._registry import rule


@rule(
    "aten.view.default",
    "aten.reshape.default",
    "aten._unsafe_view.default",
    "aten.flatten.using_ints",
    "aten.unflatten.int",
)
def reshape(call: Call) -> list[Axis] | None:
    """A row-major rearrangement: axes become products, or are refined where a new dimension ends inside one."""
    axes = call.solver.reshape(call.input.axes, call.shape) if prod(call.shape) else None
    return None if axes is None else call.alias(axes)


@rule("aten.permute.default", "aten.transpose.int", "aten.t.default", "aten.numpy_T.default")
def permute(call: Call) -> list[Axis]:
    """Dimensions in another order."""
    rank = len(call.input.axes)
    order = list(range(rank))
    if "dims" in call.arguments:
        order = [d % rank for d in call["dims"]]
    elif "dim0" in call.arguments:
        a, b = call["dim0"] % rank, call["dim1"] % rank
        order[a], order[b] = order[b], order[a]
    else:
        order.reverse()
    return call.alias([call.input.axes[d] for d in order])


@rule("aten.squeeze.default", "aten.squeeze.dim", "aten.squeeze.dims")
def squeeze(call: Call) -> list[Axis]:
    """Dimensions of size 1 disappear."""
    rank, sizes = len(call.input.axes), [call.solver.size(axis) for axis in call.input.axes]
    dims = call.get("dim", list(range(rank)))
    dims = {d % rank for d in (dims if isinstance(dims, (list, tuple)) else [dims])}
    return call.alias([axis for d, axis in enumerate(call.input.axes) if d not in dims or sizes[d] != 1])


@rule("aten.unsqueeze.default")
def unsqueeze(call: Call) -> list[Axis]:
    """A new dimension of size 1."""
    axes = list(call.input.axes)
    axes.insert(call["dim"] % (len(axes) + 1), UNIT)
    return call.alias(axes)


@rule("aten.cat.default", "aten.concat.default")
def concatenate(call: Call) -> list[Axis] | None:
    """Concatenation: a sum along one dimension, unified along the others."""
    values = call["tensors"]
    rank = len(call.shape)
    dim = call["dim"] % rank
    if any(len(value.axes) != rank for value in values):
        return None
    axes: list[Axis] = []
    for position in range(rank):
        here = [value.axes[position] for value in values]
        for other in here[1:] if position != dim else ():
            call.unify(here[0], other)
        axes.append(Sum(tuple(here)) if position == dim else here[0])
    return call.site("cat", axes=axes, inputs=tuple(values), edge_type="cat", dim=dim)
