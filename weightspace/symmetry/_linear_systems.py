"""Kernels of large sparse integer systems, over the rationals and over GF(2).

Most equations say that two unknowns are equal, or that one is zero: those are settled by connected components. What is
left is eliminated row by row, exactly.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from weightspace.symmetry._entries import Ints

Row = dict[int, Fraction]


@dataclass
class Equations:
    """Homogeneous equations in `count` unknowns; unknown number `count` is zero.

    Args:
        count: number of unknowns.
        terms: blocks of equations of one length: unknowns and their coefficients.

    Shapes:
        terms: (equations, terms of each) both.
    """

    count: int
    terms: list[tuple[Ints, Ints]] = field(default_factory=list)

    def add(self, *terms: tuple[Ints, int]) -> None:
        """One equation for each row: the sum of coefficient times unknown is zero."""
        unknowns = np.stack(np.broadcast_arrays(*[np.atleast_1d(u) for u, _ in terms]), axis=1)
        self.terms.append((unknowns, np.broadcast_to(np.array([c for _, c in terms]), unknowns.shape)))

    def copy(self) -> "Equations":
        """The same equations, to add more."""
        return Equations(self.count, list(self.terms))


class Kernel:
    """All solutions of homogeneous equations.

    Args:
        equations: the equations.
        modulus: 0 for rational numbers, 2 for GF(2).

    Attributes:
        dimension: of the space of solutions.
        basis: its columns span the solutions; the last row belongs to the unknown that is zero.

    Shapes:
        basis (unknowns + 1, dimension).

    Example:
        >>> equations = Equations(3)
        >>> equations.add((np.array([0]), 1), (np.array([1]), 2), (np.array([2]), -1))
        >>> Kernel(equations).dimension
        2
    """

    def __init__(self, equations: Equations, modulus: int = 0) -> None:
        self._modulus = modulus
        parts, rows = _merge(equations, modulus)
        zero = int(parts[-1])
        pivots = _eliminate(rows, modulus)
        free = [part for part in range(int(parts.max(initial=0)) + 1) if part != zero and part not in pivots]
        self.dimension = len(free)
        self.basis = _basis(parts, free, pivots)

    def combine(self, weights: NDArray[np.float64] | Ints) -> NDArray[np.float64] | Ints:
        """The solution with these coordinates; modulo the modulus."""
        found = self.basis @ weights
        return np.rint(found).astype(np.int64) % self._modulus if self._modulus else found


def _merge(equations: Equations, modulus: int) -> tuple[Ints, list[Row]]:
    """Classes of unknowns that must be equal, and the equations between the classes that say more."""
    count = equations.count + 1
    parts = np.arange(count)
    blocks = [
        (unknowns, coefficients % modulus if modulus else coefficients) for unknowns, coefficients in equations.terms
    ]
    while True:
        pairs: list[Ints] = []
        rows: list[Row] = []
        keys: set[tuple[tuple[int, Fraction], ...]] = set()
        for unknowns, coefficients in blocks:
            width = unknowns.shape[1]
            found = np.concatenate([parts[unknowns], coefficients], axis=1)
            found = _simple(found, int(parts[-1]), pairs, modulus) if width <= 2 else found
            for line in np.unique(found, axis=0).tolist():
                row = _collect(line[:width], line[width:], int(parts[-1]), modulus)
                key = tuple(sorted(row.items()))
                if _is_pair(row, modulus):
                    pairs.append(np.array([[*row, int(parts[-1])][:2]]))
                elif row and key not in keys:
                    keys.add(key)
                    rows.append(row)
        edges = np.concatenate([np.zeros((0, 2), dtype=np.int64), *pairs])
        if not len(edges):
            return parts, rows
        graph = sparse.coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(count, count))
        _, classes = connected_components(graph, directed=False)
        merged = classes[parts]
        _, merged = np.unique(merged, return_inverse=True)
        if (merged == parts).all():
            return parts, rows
        parts = merged.astype(np.int64)


def _simple(found: Ints, zero: int, pairs: list[Ints], modulus: int) -> Ints:
    """Take what only says that unknowns are equal or zero into `pairs`; the rest."""
    if found.shape[1] == 2:
        live = found[(found[:, 1] != 0) & (found[:, 0] != zero)]
        pairs.append(np.stack([live[:, 0], np.full(len(live), zero)], axis=1))
        return found[:0]
    opposite = (found[:, 2] + found[:, 3]) % modulus == 0 if modulus else found[:, 2] == -found[:, 3]
    opposite &= found[:, 2] != 0
    same = found[opposite & (found[:, 0] != found[:, 1])]
    pairs.append(same[:, :2])
    return found[~opposite]


def _collect(unknowns: Iterable[int], coefficients: Iterable[int], zero: int, modulus: int) -> Row:
    row: Row = {}
    for unknown, coefficient in zip(unknowns, coefficients, strict=True):
        if unknown != zero:
            row[unknown] = row.get(unknown, Fraction(0)) + coefficient
    return {unknown: c % modulus if modulus else c for unknown, c in row.items() if (c % modulus if modulus else c)}


def _is_pair(row: Row, modulus: int) -> bool:
    """Whether a row says that an unknown is zero, or that two are equal."""
    values = list(row.values())
    return len(row) == 1 or (len(row) == 2 and (bool(modulus) or values[0] == -values[1]))


def _eliminate(rows: Iterable[Row], modulus: int) -> dict[int, Row]:
    """Reduced echelon form: unknown -> what it is in terms of unknowns that are free."""
    pivots: dict[int, Row] = {}
    users: dict[int, set[int]] = {}
    for row in rows:
        reduced: Row = {}
        for unknown, coefficient in row.items():
            _add(reduced, pivots.get(unknown, {unknown: Fraction(1)}), coefficient, modulus)
        if not reduced:
            continue
        pivot = min(reduced, key=lambda unknown: (len(users.get(unknown, ())), unknown))
        scale = reduced.pop(pivot)
        new = {unknown: (c if modulus else -c / scale) for unknown, c in reduced.items()}
        for user in users.pop(pivot, set()):
            coefficient = pivots[user].pop(pivot)
            before = set(pivots[user])
            _add(pivots[user], new, coefficient, modulus)
            _note(users, user, before, set(pivots[user]))
        pivots[pivot] = new
        _note(users, pivot, set(), set(new))
    return pivots


def _note(users: dict[int, set[int]], pivot: int, before: set[int], after: set[int]) -> None:
    for unknown in before - after:
        users[unknown].discard(pivot)
    for unknown in after - before:
        users.setdefault(unknown, set()).add(pivot)


def _add(row: Row, other: Row, coefficient: Fraction, modulus: int) -> None:
    for unknown, value in other.items():
        total = row.get(unknown, Fraction(0)) + coefficient * value
        total = total % modulus if modulus else total
        if total:
            row[unknown] = total
        else:
            row.pop(unknown, None)


def _basis(parts: Ints, free: list[int], pivots: dict[int, Row]) -> sparse.csr_array:
    column = {part: number for number, part in enumerate(free)}
    entries = [(part, number, 1.0) for part, number in column.items()]
    entries += [(part, column[unknown], float(c)) for part, row in pivots.items() for unknown, c in row.items()]
    rows, columns, values = zip(*entries, strict=True) if entries else ((), (), ())
    shape = (int(parts.max(initial=0)) + 1, len(free))
    by_part = sparse.csr_array(
        (np.array(values, dtype=float), (np.array(rows, int), np.array(columns, int))), shape=shape
    )
    return by_part[parts]
