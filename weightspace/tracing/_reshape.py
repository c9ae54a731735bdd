"""Axes of a row-major reshape, and of a part of a tensor."""

from collections.abc import Sequence

from weightspace.axes import Atom, Axis, Product, Spread, Sum
from weightspace.tracing._axis_forms import choose, factors_of, spread_of, terms_of
from weightspace.tracing._solver import AxisSolver


def reshape(solver: AxisSolver, axes: Sequence[Axis], sizes: Sequence[int]) -> list[Axis] | None:
    """The axes of a row-major reshape, atoms refined where a new dimension ends inside them; None where
    that is impossible.
    """
    todo = [factor for axis in map(solver.resolve, axes) for factor in factors_of(axis)]
    result: list[Axis] = []
    for size in sizes:
        taken: list[Axis] = []
        while (missing := size // solver.size(Product(tuple(taken)))) > 1:
            head = solver.resolve(todo[0])
            if isinstance(head, Product):
                todo[:1] = list(head.factors)
                continue
            step = solver.size(head)
            if missing % step == 0:
                taken.append(todo.pop(0))
                continue
            parts = _split_into(solver, head, missing) if step % missing == 0 else None
            if parts is None:
                return None
            todo[:1] = list(parts)
        result.append(solver.resolve(Product(tuple(taken))))
    return result


def _split_into(solver: AxisSolver, axis: Axis, count: int) -> tuple[Axis, Axis] | None:
    """Read an axis as `count` runs; those of a sum are told apart, and each may have an axis of its own."""
    if not isinstance(axis, (Sum, Spread)):
        return solver.split(axis, count)
    length = solver.size(axis) // count
    terms = terms_of(axis, solver.size)
    if any(len({place // length for place in places}) > 1 for _, places in terms):
        cuts = Sum(tuple(solver.atom(length) for _ in range(count)))
        crossing = [term for term, places in terms if len({place // length for place in places}) > 1]
        if not all(isinstance(term, Atom) for term in crossing) or not solver.unify(axis, cuts, "reshape"):
            return None
        return _split_into(solver, solver.resolve(axis), count)
    runs: list[list[tuple[Axis, tuple[int, ...]]]] = [[] for _ in range(count)]
    for term, places in terms:
        runs[places[0] // length].append((term, tuple(place % length for place in places)))
    made = [spread_of([t for t, _ in run], [mine for _, mine in run], solver.size) for run in runs]
    return solver.told_apart(made)


def part_of(solver: AxisSolver, axis: Axis, cut: Axis, start: int, size: int) -> Axis:
    """An axis where along another one only a run is looked at: what depends on its term is known then."""
    cut, axis = solver.resolve(cut), solver.resolve(axis)
    if not isinstance(cut, (Sum, Spread)) or not cut.of:
        return axis
    wanted = tuple(range(start, start + size))
    for number, (_, places) in enumerate(terms_of(cut, solver.size)):
        if places == wanted:
            return solver.resolve(choose(axis, cut.of, number))
    return axis
