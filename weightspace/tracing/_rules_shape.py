"""Rules: views, flatten, reshape, permutations of dimensions, concatenation."""

from math import prod

from weightspace.axes import UNIT, Axis, Product, Sum
from weightspace.tracing._call import Call
from weightspace.tracing._records import Value
from weightspace.tracing._registry import rule
from weightspace.tracing._reshape import reshape as reshape_axes


@rule(
    "aten.view.default",
    "aten.reshape.default",
    "aten._unsafe_view.default",
    "aten.flatten.using_ints",
    "aten.unflatten.int",
    "aten.view_as.default",
    "aten.reshape_as.default",
)
def reshape(call: Call) -> list[Axis] | None:
    """A row-major rearrangement: axes become products, or are refined where a new dimension ends inside one."""
    axes = reshape_axes(call.solver, call.input.axes, call.shape) if prod(call.shape) else None
    return None if axes is None else call.alias(axes)


@rule(
    "aten.permute.default", "aten.transpose.int", "aten.t.default", "aten.numpy_T.default", "aten.mT.default",
    "aten.movedim.int", "aten.movedim.intlist", "aten.swapaxes.default", "aten.swapdims.default",
    "aten.adjoint.default",
)  # fmt: skip
def permute(call: Call) -> list[Axis]:
    """Dimensions in another order."""
    order = _order(call, len(call.input.axes))
    return call.alias([call.input.axes[d] for d in order], carry=order)


def _order(call: Call, rank: int) -> list[int]:
    if "dims" in call.arguments:
        return [d % rank for d in call["dims"]]
    if "source" in call.arguments:
        source, target = (
            [d % rank for d in (v if isinstance(v, (list, tuple)) else [v])]
            for v in (call["source"], call["destination"])
        )
        rest = iter(d for d in range(rank) if d not in source)
        placed = dict(zip(target, source, strict=True))
        return [placed[d] if d in placed else next(rest) for d in range(rank)]
    order = list(range(rank))
    names = next((pair for pair in (("dim0", "dim1"), ("axis0", "axis1")) if pair[0] in call.arguments), None)
    if names is not None:
        a, b = (call[name] % rank for name in names)
        order[a], order[b] = order[b], order[a]
    elif call.target in ("aten.mT.default", "aten.adjoint.default"):
        order[-2:] = order[:-3:-1]
    else:
        order.reverse()
    return order


@rule("aten.squeeze.default", "aten.squeeze.dim", "aten.squeeze.dims")
def squeeze(call: Call) -> list[Axis]:
    """Dimensions of size 1 disappear."""
    rank, sizes = len(call.input.axes), [call.solver.size(axis) for axis in call.input.axes]
    dims = call.get("dim", list(range(rank)))
    dims = {d % rank for d in (dims if isinstance(dims, (list, tuple)) else [dims])}
    kept = [d for d in range(rank) if d not in dims or sizes[d] != 1]
    return call.alias([call.input.axes[d] for d in kept], carry=kept)


@rule("aten.unsqueeze.default")
def unsqueeze(call: Call) -> list[Axis]:
    """A new dimension of size 1."""
    axes = list(call.input.axes)
    carry: list[int | None] = list(range(len(axes)))
    place = call["dim"] % (len(axes) + 1)
    axes.insert(place, UNIT)
    carry.insert(place, None)
    return call.alias(axes, carry=carry)


@rule("aten.expand.default", "aten.expand_as.default", "aten.broadcast_to.default")
def expand(call: Call) -> list[Axis]:
    """Dimensions of size 1 are stretched: the copies are alike, so their axis is free."""
    mine = call.input.axes
    carry: list[int | None] = []
    axes: list[Axis] = []
    for dim, size in enumerate(call.shape):
        source = dim - len(call.shape) + len(mine)
        same = source >= 0 and call.solver.size(mine[source]) == size
        carry.append(source if same else None)
        axes.append(mine[source] if same else call.new(size))
    for dim, kept in enumerate(carry):
        for base in axes[:dim] if kept is None else ():
            call.solver.depend(axes[dim], base)
    return call.alias(axes, carry=carry)


@rule("aten.repeat_interleave.self_int")
def repeat_interleave(call: Call) -> list[Axis] | None:
    """Each element several times in a row: a product with an axis of copies."""
    x, dim = call["self"], call["dim"]
    if dim is None:
        return None
    dim %= len(x.axes)
    copies = call.new(call["repeats"])
    for axis in x.axes[: dim + 1]:
        call.solver.depend(copies, axis)
    axes = [*x.axes[:dim], Product((x.axes[dim], copies)), *x.axes[dim + 1 :]]
    return call.alias(axes, carry=[d if d != dim else None for d in range(len(axes))])


@rule("aten.repeat.default", "aten.tile.default")
def repeat(call: Call) -> list[Axis]:
    """The whole several times: a product of an axis of copies and the axis itself."""
    mine = call.input.axes
    axes: list[Axis] = []
    carry: list[int | None] = []
    for dim, size in enumerate(call.shape):
        source = dim - len(call.shape) + len(mine)
        axis = mine[source] if source >= 0 else UNIT
        times = size // call.solver.size(axis)
        axes.append(axis if times == 1 else call.solver.resolve(Product((call.new(times), axis))))
        carry.append(source if times == 1 and source >= 0 else None)
    return call.alias(axes, carry=carry)


@rule("aten.cat.default", "aten.concat.default")
def concatenate(call: Call) -> list[Axis] | None:
    """Concatenation: a sum along one dimension, unified along the others."""
    rank = len(call.shape)
    dim = call["dim"] % rank
    values = [value for value in call["tensors"] if call.solver.size(value.axes[0]) > 0 or len(value.axes) == rank]
    if any(len(value.axes) != rank for value in values):
        return None
    axes: list[Axis] = []
    for position in range(rank):
        here = [value.axes[position] for value in values]
        for other in here[1:] if position != dim else ():
            call.unify(here[0], other)
        axes.append(Sum(tuple(here)) if position == dim else here[0])
    return call.site("cat", axes=axes, inputs=tuple(values), edge_type="cat", dim=dim)


@rule("aten.stack.default")
def stack(call: Call) -> list[Value]:
    """Tensors side by side along a new dimension, whose elements are told apart."""
    rank = len(call.shape)
    dim = call["dim"] % rank
    made = []
    for value in call["tensors"]:
        axes = [*value.axes[:dim], UNIT, *value.axes[dim:]]
        carry = tuple(d if d < dim else None if d == dim else d - 1 for d in range(rank))
        made.append(call.emit("alias", "alias", axes=axes, inputs=(value,), carry=carry))
    for position in range(rank):
        for value in made[1:] if position != dim else ():
            call.unify(made[0].axes[position], value.axes[position])
    axes = [Sum((UNIT,) * len(made)) if d == dim else made[0].axes[d] for d in range(rank)]
    return [call.emit("site", "cat", axes=axes, inputs=tuple(made), edge_type="cat", dim=dim)]
