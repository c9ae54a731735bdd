"""The end of solving: on which coordinates an axis may depend, and where several axes have to be one."""

from collections.abc import Iterable, Iterator, Sequence

from weightspace.axes import Axis, Case, Spread, Sum, atoms_of
from weightspace.tracing._axis_forms import parts_of
from weightspace.tracing._solver import AxisSolver


def settle_choices(solver: AxisSolver, tensors: Iterable[Sequence[Axis]], whole: Iterable[Sequence[Axis]]) -> None:
    """An axis that differs between the terms of another one stands beside that one in every tensor, or its
    choices are one.

    Args:
        solver: of the axes.
        tensors: axes of every tensor.
        whole: axes of tensors that have no room for choices.
    """
    for axis in (axis for axes in whole for axis in axes):
        solver.collapse(solver.resolve(axis), "a parameter on edges")
    tensors, changed = list(tensors), True
    while changed:
        changed = False
        for axes in tensors:
            parts = [part for axis in axes for part in parts_of(solver.resolve(axis))]
            known = {part.of for part in parts if isinstance(part, (Sum, Spread))}
            for part in parts:
                if isinstance(part, Case) and part.base not in known:
                    changed |= solver.collapse(part, "a tensor without the axis that tells them apart")


def settle_fibres(solver: AxisSolver, tensors: Iterable[Sequence[Axis]]) -> None:
    """A fibre stands in every tensor beside its base, or its permutation does not depend on it.

    Unified atoms may depend on whatever either of them may depend on; here that is cut down to what is true of
    every tensor. The base is looked for in the fibre's own dimension first; where it is missing, or stands in
    several other dimensions, the fibre becomes independent of it.
    """
    for axis, others in solver.apart:
        for name in solver.atoms(axis):
            solver.drop(name, [atom for other in others for atom in solver.atoms(other)])
    found = {tuple(tuple(_by_term(solver.resolve(axis))) for axis in axes) for axes in tensors}
    changed = True
    while changed:
        changed = False
        for dims in found:
            for number, terms in enumerate(dims):
                elsewhere = [name for d, other in enumerate(dims) if d != number for term in other for name in term]
                for term in terms:
                    for name in term:
                        gone = [base for base in solver.over(name) if not _has_one_base(term, elsewhere, base)]
                        solver.drop(name, gone)
                        changed |= bool(gone)


def _by_term(axis: Axis) -> Iterator[tuple[str, ...]]:
    """Atoms of each term of an axis."""
    if isinstance(axis, (Sum, Spread, Case)):
        for term in axis.terms:
            yield from _by_term(term)
    else:
        yield tuple(atoms_of(axis))


def _has_one_base(term: Sequence[str], elsewhere: Sequence[str], base: str) -> bool:
    return term.count(base) == 1 if base in term else elsewhere.count(base) == 1
