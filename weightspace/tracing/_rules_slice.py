"""Rules: parts of a tensor along a dimension (slice, chunk, split, select) and padding."""

from itertools import accumulate

from weightspace.axes import Axis, Sum
from weightspace.tracing._call import Call
from weightspace.tracing._records import Value
from weightspace.tracing._registry import rule


def part(call: Call, dim: int, start: int, size: int) -> Axis | None:
    """The axis of `size` elements from `start` on; the axis of the dimension becomes a sum with that part as a term."""
    axis, solver = call.input.axes[dim], call.solver
    sizes = [n for n in (start, size, solver.size(axis) - start - size) if n > 0]
    if len(sizes) == 1:
        return axis
    terms = [solver.atom(n) for n in sizes]
    return terms[1 if start > 0 else 0] if call.unify(axis, Sum(tuple(terms))) else None


def _with(axes: list[Axis], dim: int, axis: Axis | None) -> list[Axis] | None:
    return None if axis is None else [*axes[:dim], axis, *axes[dim + 1 :]]


def _is_fixed(call: Call, axis: Axis) -> bool:
    return not any(map(call.solver.is_free, call.solver.atoms(axis)))


@rule("aten.slice.Tensor")
def take_slice(call: Call) -> list[Axis] | None:
    """A run of elements; with a step, only along an axis that is fixed anyway."""
    x = call["self"]
    dim = call["dim"] % len(x.axes)
    start, end, step = slice(call["start"], call["end"], call["step"]).indices(call.solver.size(x.axes[dim]))
    if call.solver.size(x.axes[dim]) == call.shape[dim]:
        return call.alias(x.axes)
    if step != 1:
        if not _is_fixed(call, x.axes[dim]):
            return None
        axes = [*x.axes[:dim], *call.fixed([call.shape[dim]]), *x.axes[dim + 1 :]]
        return call.function("slice", axes=axes, dim=dim - len(x.axes), start=start, step=step)
    found = _with(x.axes, dim, part(call, dim, start, end - start))
    return None if found is None else call.alias(found)


@rule("aten.chunk.default", "aten.split.Tensor", "aten.split_with_sizes.default", "aten.split.sizes")
def split(call: Call) -> list[Axis] | None:
    """Consecutive runs of elements."""
    x = call["self"]
    dim = call["dim"] % len(x.axes)
    found = _with(x.axes, dim, part(call, dim, _start_of(call, dim), call.shape[dim]))
    return None if found is None else call.alias(found)


def _start_of(call: Call, dim: int) -> int:
    sizes = call.get("split_sizes") or call.get("split_size")
    if isinstance(sizes, (list, tuple)):
        return [0, *accumulate(sizes)][call.number]
    return call.number * (sizes or -(-call.solver.size(call.input.axes[dim]) // call["chunks"]))


@rule("aten.select.int")
def select(call: Call) -> list[Axis] | None:
    """One element of a dimension, which disappears; it is told apart from the others from now on."""
    x = call["self"]
    dim = call["dim"] % len(x.axes)
    if part(call, dim, call["index"] % call.solver.size(x.axes[dim]), 1) is None:
        return None
    return call.alias([axis for d, axis in enumerate(x.axes) if d != dim])


@rule("aten.pad.default", "aten.constant_pad_nd.default")
def pad(call: Call) -> list[Axis] | None:
    """Padding: along fixed axes (images) new positions; along channels by a constant, a sum with constant elements."""
    x, widths, mode = call["self"], call["pad"], call.get("mode", "constant")
    rank, value = len(x.axes), call.get("value") or 0.0
    pairs = [(rank - 1 - k, widths[2 * k], widths[2 * k + 1]) for k in range(len(widths) // 2)]
    pairs = [pair for pair in pairs if pair[1] or pair[2]]
    channels = [pair for pair in pairs if not _is_fixed(call, x.axes[pair[0]])]
    if not channels:
        axes = list(x.axes)
        for dim, _, _ in pairs:
            (axes[dim],) = call.fixed([call.shape[dim]])
        return call.function("pad", axes=axes, widths=list(widths), mode=mode, value=value)
    if len(pairs) > 1 or mode != "constant" or min(pairs[0][1:]) < 0:
        return None
    return _pad_channels(call, *channels[0], value)


def _pad_channels(call: Call, dim: int, before: int, after: int, value: float) -> list[Axis]:
    x = call["self"]

    def constant(size: int) -> list[Value]:
        axes = [*x.axes[:dim], call.solver.atom(size), *x.axes[dim + 1 :]]
        return [call.constant(axes, f"{value:g}")] if size else []

    inputs = (*constant(before), x, *constant(after))
    axes = [*x.axes[:dim], Sum(tuple(v.axes[dim] for v in inputs)), *x.axes[dim + 1 :]]
    return call.site("cat", axes=axes, inputs=inputs, edge_type="cat", dim=dim)
