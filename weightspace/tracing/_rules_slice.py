"""Rules: parts of a tensor along a dimension (slice, chunk, split, select) and padding."""

from itertools import accumulate

from weightspace.axes import UNIT, Axis, Spread, Sum
from weightspace.tracing._call import Call
from weightspace.tracing._records import Value
from weightspace.tracing._registry import rule
from weightspace.tracing._reshape import part_of


def part(call: Call, dim: int, start: int, size: int) -> Axis | None:
    """The axis of `size` elements from `start` on; the axis of the dimension becomes a sum with that part as a term."""
    axis, solver = call.input.axes[dim], call.solver
    sizes = [n for n in (start, size, solver.size(axis) - start - size) if n > 0]
    if len(sizes) == 1:
        return axis
    terms = [solver.atom(n) for n in sizes]
    return terms[1 if start > 0 else 0] if call.unify(axis, Sum(tuple(terms))) else None


def every(call: Call, dim: int, start: int, step: int) -> Axis | None:
    """The axis of every `step`-th element from `start` on; elements in between stand in turns with them."""
    axis, solver = call.input.axes[dim], call.solver
    length = solver.size(axis)
    places = [tuple(range(k, length, step)) for k in range(min(step, length))]
    if start >= step:
        places[start % step : start % step + 1] = [
            tuple(range(start % step, start, step)),
            tuple(range(start, length, step)),
        ]
    terms = tuple(solver.atom(len(mine)) for mine in places)
    found = next(term for term, mine in zip(terms, places, strict=True) if mine[0] == start)
    return found if call.unify(axis, Spread(terms, tuple(places))) else None


def _sliced(
    call: Call, dim: int, axis: Axis | None, *, start: int, step: int = 1, drops: bool = False
) -> list[Axis] | None:
    if axis is None:
        return None
    axes = call.input.axes
    size = call.solver.size(axis)
    if step == 1:
        axes = [part_of(call.solver, other, call.input.axes[dim], start, size) for other in axes]
    axes = [*axes[:dim], *([] if drops else [axis]), *axes[dim + 1 :]]
    return call.alias(axes, dim=dim, start=start, step=step, drops=drops)


def _is_fixed(call: Call, axis: Axis) -> bool:
    return not any(map(call.solver.is_free, call.solver.atoms(axis)))


@rule("aten.slice.Tensor")
def take_slice(call: Call) -> list[Axis] | None:
    """A run of elements; with a step, only along an axis that is fixed anyway."""
    x = call["self"]
    dim = call["dim"] % len(x.axes)
    start, end, step = slice(call["start"], call["end"], call["step"]).indices(call.solver.size(x.axes[dim]))
    if call.solver.size(x.axes[dim]) == call.shape[dim]:
        return call.alias(x.axes, op="same")
    if step != 1 and not _is_fixed(call, x.axes[dim]):
        return _sliced(call, dim, every(call, dim, start, step), start=start, step=step)
    if step != 1:
        axes = [*x.axes[:dim], *call.fixed([call.shape[dim]]), *x.axes[dim + 1 :]]
        return call.function("slice", axes=axes, dim=dim - len(x.axes), start=start, step=step)
    return _sliced(call, dim, part(call, dim, start, end - start), start=start)


@rule("aten.narrow.default")
def narrow(call: Call) -> list[Axis] | None:
    """A run of elements."""
    dim = call["dim"] % len(call.input.axes)
    start = call["start"] % call.solver.size(call.input.axes[dim])
    return _sliced(call, dim, part(call, dim, start, call["length"]), start=start)


@rule(
    "aten.chunk.default",
    "aten.split.Tensor",
    "aten.split_with_sizes.default",
    "aten.split.sizes",
    "aten.unsafe_split.Tensor",
    "aten.unsafe_chunk.default",
)
def split(call: Call) -> list[Axis] | None:
    """Consecutive runs of elements."""
    x = call["self"]
    dim = call["dim"] % len(x.axes)
    size, starts = call.solver.size(x.axes[dim]), _starts(call, dim)
    sizes = [end - start for start, end in zip(starts, [*starts[1:], size], strict=True)]
    found = _cut(call, dim, sizes)
    return _sliced(call, dim, None if found is None else found[call.number], start=starts[call.number])


def _cut(call: Call, dim: int, sizes: list[int]) -> list[Axis] | None:
    """Consecutive runs of these sizes."""
    if len(sizes) == 1:
        return [call.input.axes[dim]]
    terms: list[Axis] = [call.solver.atom(size) for size in sizes]
    return terms if call.unify(call.input.axes[dim], Sum(tuple(terms))) else None


def _starts(call: Call, dim: int) -> list[int]:
    sizes = call.get("split_sizes") or call.get("split_size")
    if isinstance(sizes, (list, tuple)):
        return list(accumulate(sizes[:-1], initial=0))
    length = call.solver.size(call.input.axes[dim])
    return list(range(0, length, sizes or -(-length // call["chunks"])))


@rule("aten.select.int")
def select(call: Call) -> list[Axis] | None:
    """One element of a dimension, which disappears; it is told apart from the others from now on."""
    x = call["self"]
    dim = call["dim"] % len(x.axes)
    start = call["index"] % call.solver.size(x.axes[dim])
    return _sliced(call, dim, part(call, dim, start, 1), start=start, drops=True)


@rule("aten.unbind.int")
def unbind(call: Call) -> list[Axis] | None:
    """Each element of a dimension by itself."""
    dim = call["dim"] % len(call.input.axes)
    if not _cut(call, dim, [1] * call.solver.size(call.input.axes[dim])):
        return None
    return _sliced(call, dim, UNIT, start=call.number, drops=True)


@rule("aten.slice_scatter.default", "aten.select_scatter.default")
def write_part(call: Call) -> list[Value] | None:
    """A part of a tensor is replaced: what stands before it, the new part, what stands behind it."""
    x, new, rank = call["self"], call["src"], len(call["self"].axes)
    dim = call["dim"] % rank
    length = call.solver.size(x.axes[dim])
    if "index" in call.arguments:
        start, end, step = call["index"] % length, call["index"] % length + 1, 1
        axes = [*new.axes[:dim], UNIT, *new.axes[dim:]]
        carry = (*range(dim), None, *range(dim, rank - 1))
        new = call.emit("alias", "alias", axes=axes, inputs=(new,), carry=carry)
    else:
        start, end, step = slice(call["start"], call["end"], call["step"]).indices(length)
    if step != 1:
        return None
    runs = [(0, start), (start, end - start), (end, length - end)]
    terms = _cut(call, dim, [size for _, size in runs if size])
    if terms is None or not all(call.unify(new.axes[d], x.axes[d]) for d in range(rank) if d != dim):
        return None
    known = iter(terms)
    parts: list[Value] = []
    for number, (begin, size) in enumerate(runs):
        axis = next(known) if size else UNIT
        if number == 1:
            call.unify(new.axes[dim], axis)
        cut = {"dim": dim, "start": begin, "step": 1, "drops": False}
        axes = [*x.axes[:dim], axis, *x.axes[dim + 1 :]]
        if size:
            parts.append(new if number == 1 else call.emit("alias", "alias", axes=axes, inputs=(x,), attributes=cut))
    axes = [*x.axes[:dim], Sum(tuple(part.axes[dim] for part in parts)), *x.axes[dim + 1 :]]
    return [call.emit("site", "cat", axes=axes, inputs=tuple(parts), edge_type="cat", dim=dim)]


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
    """All added elements are alike, on either side."""
    x = call["self"]
    size = call.solver.size(x.axes[dim])
    added = call.solver.atom(before + after)
    constant = call.constant([*x.axes[:dim], added, *x.axes[dim + 1 :]], f"{value:g}")
    places = ((*range(before), *range(before + size, before + size + after)), tuple(range(before, before + size)))
    axes = [*x.axes[:dim], Spread((added, x.axes[dim]), places), *x.axes[dim + 1 :]]
    return call.site("cat", axes=axes, inputs=(constant, x), edge_type="cat", dim=dim, places=places)
