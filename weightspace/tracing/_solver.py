"""The axis algebra: axes are unified lazily, atoms are refined into products and sums where operations ask for it.

A union-find with refinement. An atom is unbound, or bound to another axis. Whatever cannot be unified is frozen with
the operation as its
reason: the group can only become too small, never wrong.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from weightspace.axes import FREE, UNIT, Atom, AtomSpec, Axis, Case, Product, Spread, Sum, atoms_of, axis_size
from weightspace.errors import TraceError

FROZEN = "frozen"


_Split = Callable[[Axis, int], bool]


@dataclass
class _Variable:
    size: int
    kind: str
    over: tuple[str, ...]
    neuron: bool
    reason: str
    label: str = ""
    bound: Axis | None = None


class AxisSolver:
    """Atoms, their bindings, and the two verbs `unify` and `freeze`."""

    def __init__(self) -> None:
        self._variables: dict[str, _Variable] = {}
        self._apart: list[tuple[Axis, tuple[Axis, ...]]] = []

    def atom(
        self,
        size: int,
        *,
        kind: str = FREE,
        over: Sequence[str] = (),
        neuron: bool = False,
        reason: str = "",
        label: str = "",
    ) -> Axis:
        """A new atom; an axis of size 1 needs none and is the unit."""
        if size == 1:
            return UNIT
        name = f"a{len(self._variables)}"
        self._variables[name] = _Variable(size, kind, tuple(over), neuron, reason, label)
        return Atom(name)

    def size(self, axis: Axis) -> int:
        """Number of elements."""
        return axis_size(axis, lambda name: self._variables[name].size)

    def resolve(self, axis: Axis) -> Axis:
        """Normal form under the bindings: nested products and sums flattened, units dropped, a leading sum
        distributed.
        """
        if isinstance(axis, Atom):
            bound = self._variables[axis.name].bound
            return axis if bound is None else self.resolve(bound)
        if isinstance(axis, Sum):
            return _sum(self.resolve(term) for term in axis.terms)
        if isinstance(axis, Case):
            terms = tuple(self.resolve(term) for term in axis.terms)
            return terms[0] if all(term == terms[0] for term in terms) else Case(terms)
        if isinstance(axis, Product):
            return self._product([self.resolve(factor) for factor in axis.factors])
        return _spread([self.resolve(term) for term in axis.terms], axis.places, self.size)

    def _product(self, factors: Iterable[Axis]) -> Axis:
        flat: list[Axis] = []
        for factor in factors:
            flat.extend(_factors(factor))
        if len(flat) > 1 and isinstance(flat[0], Sum):
            return _sum(self._product([term, *flat[1:]]) for term in flat[0].terms)
        return flat[0] if len(flat) == 1 else Product(tuple(flat))

    def atoms(self, axis: Axis) -> list[str]:
        """Names of the unbound atoms that an axis is made of."""
        return list(dict.fromkeys(atoms_of(self.resolve(axis))))

    def over(self, name: str) -> tuple[str, ...]:
        """Unbound atoms on which an atom's permutation may depend; a base that became a sum is none."""
        found: dict[str, None] = {}
        for base in map(self.resolve, map(Atom, self._variables[name].over)):
            if not _holds_sum(base):
                found.update(dict.fromkeys(atoms_of(base)))
        return tuple(found)

    def _bases(self, name: str) -> set[str]:
        """Bases of an atom, of its bases, and so on."""
        found: set[str] = set()
        todo = list(self.over(name))
        while todo:
            base = todo.pop()
            if base not in found:
                found.add(base)
                todo += self.over(base)
        return found

    def depend(self, axis: Axis, base: Axis) -> None:
        """The permutation of an axis may depend on coordinates along another, unless a tensor says otherwise."""
        for name in self.atoms(axis):
            for other in self.atoms(base):
                if other != name and name not in self._bases(other) and other not in self._variables[name].over:
                    self._variables[name].over = (*self.over(name), other)

    def keep_apart(self, axis: Axis, others: Iterable[Axis]) -> None:
        """The permutation of an axis must not depend on coordinates along `others`, whatever is unified later."""
        self._apart.append((axis, tuple(others)))

    def is_free(self, name: str) -> bool:
        """Whether an atom may still be permuted."""
        return self._variables[name].kind == FREE

    def freeze(self, axis: Axis, reason: str, *, kind: str = FROZEN) -> None:
        """Fix every free atom of an axis."""
        for name in self.atoms(axis):
            variable = self._variables[name]
            if variable.kind == FREE:
                variable.kind, variable.reason = kind, reason

    def mark_neurons(self, axis: Axis) -> None:
        """Say that an axis is one of neurons: a fixed single atom becomes indexed nodes, not taps."""
        resolved = self.resolve(axis)
        for term in resolved.terms if isinstance(resolved, Sum) else (resolved,):
            if isinstance(term, Atom):
                self._variables[term.name].neuron = True

    def _drop(self, name: str, gone: Iterable[str]) -> None:
        gone = set(gone)
        self._variables[name].over = tuple(base for base in self.over(name) if base not in gone)

    def unify(self, a: Axis, b: Axis, reason: str) -> bool:
        """Make two axes one. Where that is impossible both are frozen, and the answer is False."""
        a, b = self.resolve(a), self.resolve(b)
        if a == b:
            return True
        if self.size(a) != self.size(b):
            raise TraceError(
                f"axes of {self.size(a)} and {self.size(b)} elements cannot be one at {reason}; mend its rule"
            )
        if isinstance(a, Atom) or isinstance(b, Atom):
            done = self._bind_either(a, b)
        elif isinstance(a, Spread) or isinstance(b, Spread):
            done = self._unify_spread(a, b, reason)
        elif isinstance(a, Product) and isinstance(b, Product):
            done = self._refine(a.factors, b.factors, self._split_factor, reason)
        else:
            left, right = (axis.terms if isinstance(axis, Sum) else (axis,) for axis in (a, b))
            done = self._refine(left, right, self._split_term, reason)
        if not done:
            self.freeze(a, reason)
            self.freeze(b, reason)
        return done

    def _unify_spread(self, a: Axis, b: Axis, reason: str) -> bool:
        """Coordinate by coordinate: atoms are cut where the terms of the other axis end."""
        spread, other = (a, b) if isinstance(a, Spread) else (b, a)
        assert isinstance(spread, Spread)
        count = len(spread.terms)
        if isinstance(other, Product) and self.size(other.factors[-1]) == count and _takes_turns(spread.places):
            head, units = Product(other.factors[:-1]), Sum((UNIT,) * count)
            done = [self.unify(other.factors[-1], units, reason)]
            return all(done + [self.unify(term, head, reason) for term in spread.terms])
        left, right = self._terms(spread), self._terms(other)
        cut = [self._cut_like(mine, theirs) for mine, theirs in ((left, right), (right, left))]
        if any(cut):
            return self.unify(self.resolve(a), self.resolve(b), reason)
        known = {places: term for term, places in left}
        if set(known) != {places for _, places in right}:
            return False
        return all(self.unify(known[places], term, reason) for term, places in right)

    def _terms(self, axis: Axis) -> list[tuple[Axis, tuple[int, ...]]]:
        """Terms of an axis with the positions of their elements."""
        if isinstance(axis, Spread):
            return list(zip(axis.terms, axis.places, strict=True))
        found, start = [], 0
        for term in axis.terms if isinstance(axis, Sum) else (axis,):
            found.append((term, tuple(range(start, start + self.size(term)))))
            start += self.size(term)
        return found

    def _cut_like(
        self, mine: Sequence[tuple[Axis, tuple[int, ...]]], theirs: Sequence[tuple[Axis, tuple[int, ...]]]
    ) -> bool:
        """Cut the atoms among some terms so that each lies within a single one of other terms, in rising order."""
        owner = {place: number for number, (_, places) in enumerate(theirs) for place in places}
        changed = False
        for term, places in mine:
            cells: dict[int, list[int]] = {}
            for place in sorted(places):
                cells.setdefault(owner[place], []).append(place)
            if isinstance(term, Atom) and (len(cells) > 1 or list(places) != sorted(places)):
                index = {place: number for number, place in enumerate(places)}
                self._bind_parts(term, [tuple(index[p] for p in cell) for cell in cells.values()])
                changed = True
        return changed

    def _bind_parts(self, atom: Atom, places: Sequence[tuple[int, ...]]) -> None:
        variable, over = self._variables[atom.name], self.over(atom.name)
        parts = [self._part(variable, len(mine), over, variable.label) for mine in places]
        for part in parts if variable.neuron else ():
            self.mark_neurons(part)
        variable.bound = Spread(tuple(parts), tuple(places))

    def _refine(self, left: Sequence[Axis], right: Sequence[Axis], split: _Split, reason: str) -> bool:
        """Walk two lists of parts from the left, splitting the larger part; later parts are resolved anew
        after each step.
        """
        for number, (x, y) in enumerate(zip(left, right, strict=False)):
            x, y = self.resolve(x), self.resolve(y)
            small, large = sorted((self.size(x), self.size(y)))
            if small == large:
                if not self.unify(x, y, reason):
                    return False
                continue
            if not split(x if self.size(x) == large else y, small):
                return False
            both = [
                Product(tuple(parts)) if split == self._split_factor else Sum(tuple(parts))
                for parts in (left[number:], right[number:])
            ]
            return self.unify(both[0], both[1], reason)
        return True

    def _bind_either(self, a: Axis, b: Axis) -> bool:
        if isinstance(a, Atom) and isinstance(b, Atom) and not self.is_free(a.name) and self.is_free(b.name):
            a, b = b, a
        return self._bind(a, b) if isinstance(a, Atom) else self._bind(b, a)  # type: ignore[arg-type]

    def _bind(self, atom: Atom, axis: Axis) -> bool:
        variable, names = self._variables[atom.name], self.atoms(axis)
        if (
            atom.name in names
            or any(atom.name in self._bases(name) for name in names)
            or self._bases(atom.name) & set(names)
        ):
            return False
        if variable.kind != FREE:
            self.freeze(axis, variable.reason, kind=variable.kind)
        elif isinstance(axis, Atom) and not self._variables[axis.name].label:
            self._variables[axis.name].label = variable.label
        for name in names:
            more = [base for base in self.over(atom.name) if name not in self._bases(base)]
            self._variables[name].over = tuple(dict.fromkeys((*self.over(name), *more)))
        if isinstance(axis, Atom):
            self._variables[axis.name].neuron |= variable.neuron
        variable.bound = axis
        return True

    def split(self, axis: Axis, size: int) -> tuple[Axis, Axis] | None:
        """Read an atom as a product of an axis of `size` elements and the rest; the rest is a fibre over the first."""
        axis = self.resolve(axis)
        if not isinstance(axis, Atom) or self._variables[axis.name].size % size:
            return None
        variable = self._variables[axis.name]
        over = self.over(axis.name)
        first = self._part(variable, size, over, f"{variable.label}/0")
        second = self._part(variable, variable.size // size, (*over, *atoms_of(first)), f"{variable.label}/1")
        variable.bound = Product((first, second))
        return first, second

    def _part(self, whole: _Variable, size: int, over: Sequence[str], label: str) -> Axis:
        return self.atom(size, kind=whole.kind, over=over, reason=whole.reason, label=label)

    def _split_factor(self, axis: Axis, size: int) -> bool:
        return self.split(axis, size) is not None

    def _split_term(self, axis: Axis, size: int) -> bool:
        """Cut a term of a sum behind its first `size` elements."""
        if isinstance(axis, Product):
            rest = Product(axis.factors[1:])
            width = self.size(rest)
            depends = any(set(atoms_of(axis.factors[0])) & set(self.over(name)) for name in atoms_of(rest))
            return not depends and size % width == 0 and self._split_term(axis.factors[0], size // width)
        if not isinstance(axis, Atom):
            return False
        variable = self._variables[axis.name]
        over = self.over(axis.name)
        parts = [self._part(variable, n, over, variable.label) for n in (size, variable.size - size)]
        for part in parts if variable.neuron else ():
            self.mark_neurons(part)
        variable.bound = Sum(tuple(parts))
        return True

    def reshape(self, axes: Sequence[Axis], sizes: Sequence[int]) -> list[Axis] | None:
        """The axes of a row-major reshape, atoms refined where a new dimension ends inside them; None where
        that is impossible.
        """
        todo = [factor for axis in map(self.resolve, axes) for factor in _factors(axis)]
        result: list[Axis] = []
        for size in sizes:
            taken: list[Axis] = []
            while (missing := size // self.size(Product(tuple(taken)))) > 1:
                head = self.resolve(todo[0])
                if isinstance(head, Product):
                    todo[:1] = list(head.factors)
                    continue
                step = self.size(head)
                if missing % step == 0:
                    taken.append(todo.pop(0))
                    continue
                parts = self.split(todo[0], missing) if step % missing == 0 else None
                if parts is None:
                    return None
                todo[:1] = list(parts)
            result.append(self.resolve(Product(tuple(taken))))
        return result

    def settle_fibres(self, tensors: Iterable[Sequence[Axis]]) -> None:
        """A fibre stands in every tensor beside its base, or its permutation does not depend on it.

        Unified atoms may depend on whatever either of them may depend on; here that is cut down to what is true of
        every tensor. The base is looked for in the fibre's own dimension first; where it is missing, or stands in
        several other dimensions, the fibre becomes independent of it.
        """
        for axis, others in self._apart:
            for name in self.atoms(axis):
                self._drop(name, [atom for other in others for atom in self.atoms(other)])
        found = [[list(atoms_of(self.resolve(axis))) for axis in axes] for axes in tensors]
        changed = True
        while changed:
            changed = False
            for dims in found:
                for number, dim in enumerate(dims):
                    for name in dim:
                        gone = [base for base in self.over(name) if not _has_one_base(dims, number, base)]
                        self._drop(name, gone)
                        changed |= bool(gone)

    def spec(self, name: str) -> AtomSpec:
        """What is known of an unbound atom."""
        variable = self._variables[name]
        over = self.over(name) if variable.kind == FREE else ()
        neuron = variable.neuron or variable.kind == FREE
        return AtomSpec(
            variable.size, variable.kind, over, neuron, variable.reason, "" if variable.kind == FREE else variable.label
        )


def _factors(axis: Axis) -> tuple[Axis, ...]:
    return axis.factors if isinstance(axis, Product) else (axis,)


def _holds_sum(axis: Axis) -> bool:
    return isinstance(axis, (Sum, Spread)) or isinstance(axis, Product) and any(map(_holds_sum, axis.factors))


def _has_one_base(dims: Sequence[Sequence[str]], number: int, base: str) -> bool:
    if base in dims[number]:
        return dims[number].count(base) == 1
    return sum(dim.count(base) for dim in dims) == 1


def _takes_turns(places: Sequence[tuple[int, ...]]) -> bool:
    return all(mine == tuple(range(k, k + len(places) * len(mine), len(places))) for k, mine in enumerate(places))


def _spread(terms: Sequence[Axis], places: Sequence[tuple[int, ...]], size: Callable[[Axis], int]) -> Axis:
    """Terms at places in normal form: nested ones flattened, runs in order as a sum, equal terms that take turns as a
    product with a fixed last factor, whose elements are told apart.
    """
    if _takes_turns(places) and len(terms) > 1 and all(term == terms[0] for term in terms):
        return Product((*_factors(terms[0]), Sum((UNIT,) * len(terms))))
    flat: list[tuple[Axis, tuple[int, ...]]] = []
    for term, mine in zip(terms, places, strict=True):
        if isinstance(term, Spread):
            inner = [(t, tuple(mine[p] for p in theirs)) for t, theirs in zip(term.terms, term.places, strict=True)]
        elif isinstance(term, Sum):
            starts = list(accumulate((size(t) for t in term.terms), initial=0))
            inner = [(t, mine[a:b]) for t, a, b in zip(term.terms, starts, starts[1:], strict=False)]
        else:
            inner = [(term, mine)]
        flat += inner
    if [p for _, mine in flat for p in mine] == list(range(sum(len(mine) for _, mine in flat))):
        return _sum(term for term, _ in flat)
    return Spread(tuple(term for term, _ in flat), tuple(mine for _, mine in flat))


def _sum(terms: Iterable[Axis]) -> Axis:
    flat: list[Axis] = []
    for term in terms:
        flat.extend(term.terms if isinstance(term, Sum) else [term])
    return flat[0] if len(flat) == 1 else Sum(tuple(flat))
