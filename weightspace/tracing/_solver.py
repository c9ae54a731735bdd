"""The axis algebra: axes are unified lazily, atoms are refined into products and sums where operations ask for it.

A union-find with refinement. An atom is unbound, or bound to another axis. Whatever cannot be unified is frozen with
the operation as its
reason: the group can only become too small, never wrong.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from weightspace.axes import FREE, UNIT, Atom, AtomSpec, Axis, Case, Product, Spread, Sum, atoms_of, axis_size
from weightspace.errors import TraceError
from weightspace.tracing._axis_forms import (
    bounds,
    choose,
    holds_sum,
    parts_of,
    product_of,
    spread_of,
    sum_of,
    takes_turns,
    terms_of,
)

FROZEN = "frozen"
DEPTH = 60


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
    inner: bool = False


class AxisSolver:
    """Atoms, their bindings, and the two verbs `unify` and `freeze`."""

    def __init__(self) -> None:
        self._variables: dict[str, _Variable] = {}
        self._depth = 0
        self.apart: list[tuple[Axis, tuple[Axis, ...]]] = []

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
            if bound is None:
                return axis
            found = self.resolve(bound)
            return replace(found, of=found.of or axis.name) if isinstance(found, (Sum, Spread)) else found
        if isinstance(axis, Product):
            return product_of([self.resolve(factor) for factor in axis.factors], self.size)
        terms = [self.resolve(term) for term in axis.terms]
        if isinstance(axis, Sum) and not any(isinstance(term, Spread) for term in terms):
            return sum_of(terms, axis.of)
        if isinstance(axis, Sum):
            ends = bounds([self.size(term) for term in terms])
            places = [tuple(range(a, b)) for a, b in zip(ends, ends[1:], strict=False)]
            return spread_of(terms, places, self.size, axis.of)
        if isinstance(axis, Spread):
            return spread_of(terms, axis.places, self.size, axis.of)
        return self._case(terms, axis)

    def _case(self, terms: Sequence[Axis], axis: Case) -> Axis:
        """One axis for each term of the base, in its normal form."""
        found: list[Axis] = []
        cuts: list[Axis] = []
        for cut, term in zip(axis.cuts or (UNIT,) * len(terms), terms, strict=True):
            inner = self.resolve(cut)
            if isinstance(inner, (Sum, Spread)):
                found += [self.resolve(choose(term, inner.of, k)) for k in range(len(inner.terms))]
                cuts += inner.terms
            else:
                found.append(term)
                cuts.append(inner)
        return found[0] if all(term == found[0] for term in found) else Case(tuple(found), axis.base, tuple(cuts))

    def atoms(self, axis: Axis) -> list[str]:
        """Names of the unbound atoms that an axis is made of."""
        return list(dict.fromkeys(atoms_of(self.resolve(axis))))

    def over(self, name: str) -> tuple[str, ...]:
        """Unbound atoms on which an atom's permutation may depend; a base that became a sum is none."""
        found: dict[str, None] = {}
        for base in map(self.resolve, map(Atom, self._variables[name].over)):
            if not holds_sum(base):
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
        self.apart.append((axis, tuple(others)))

    def is_free(self, name: str) -> bool:
        """Whether an atom may still be permuted."""
        return self._variables[name].kind == FREE

    def is_cut(self, axis: Axis) -> bool:
        """Whether an axis has become a sum, so that its elements are told apart."""
        return holds_sum(self.resolve(axis))

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

    def drop(self, name: str, gone: Iterable[str]) -> None:
        """An atom's permutation does not depend on some others."""
        gone = set(gone)
        self._variables[name].over = tuple(base for base in self.over(name) if base not in gone)

    def unify(self, a: Axis, b: Axis, reason: str) -> bool:
        """Make two axes one. Where that is impossible both are frozen, and the answer is False."""
        a, b = self.resolve(a), self.resolve(b)
        if a == b:
            return True
        self._depth += 1
        try:
            if self._depth > DEPTH:
                self.freeze(a, reason)
                self.freeze(b, reason)
                return False
            return self._unify(a, b, reason)
        finally:
            self._depth -= 1

    def _unify(self, a: Axis, b: Axis, reason: str) -> bool:
        if any(self.collapse(axis, reason) for axis in (a, b)):
            return self.unify(a, b, reason)
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
        if not done and self._tell_apart(a, b):
            return self.unify(a, b, reason)
        if not done:
            self.freeze(a, reason)
            self.freeze(b, reason)
        return done

    def _tell_apart(self, a: Axis, b: Axis) -> bool:
        """Where blocks do not nest, they are no longer exchanged; whether there were any."""
        for axis in (self.resolve(a), self.resolve(b)):
            first = axis.factors[0] if isinstance(axis, Product) and axis.factors else None
            if isinstance(first, Atom):
                count = self._variables[first.name].size
                self.freeze(first, "blocks that do not nest", kind="constant")
                self._cut(first.name, Sum((UNIT,) * count))
                return True
        return False

    def collapse(self, axis: Axis, reason: str) -> bool:
        """Make the choices of an axis one; whether there were any."""
        found = [part for part in parts_of(axis) if isinstance(part, Case)]
        for part in found:
            for term in part.terms[1:]:
                self.unify(part.terms[0], term, reason)
        return bool(found)

    def _unify_spread(self, a: Axis, b: Axis, reason: str) -> bool:
        """Coordinate by coordinate: atoms are cut where the terms of the other axis end."""
        spread, other = (a, b) if isinstance(a, Spread) else (b, a)
        assert isinstance(spread, Spread)
        count = len(spread.terms)
        if isinstance(other, Product) and self.size(other.factors[-1]) == count and takes_turns(spread.places):
            head, units = Product(other.factors[:-1]), Sum((UNIT,) * count)
            done = [self.unify(other.factors[-1], units, reason)]
            return all(done + [self.unify(term, head, reason) for term in spread.terms])
        left, right = terms_of(spread, self.size), terms_of(other, self.size)
        cut = [self._cut_like(mine, theirs) for mine, theirs in ((left, right), (right, left))]
        if any(cut):
            return self.unify(self.resolve(a), self.resolve(b), reason)
        known = {places: term for term, places in left}
        if set(known) != {places for _, places in right}:
            return False
        return all(self.unify(known[places], term, reason) for term, places in right)

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
        self._cut(atom.name, Spread(tuple(parts), tuple(places)))

    def _cut(self, name: str, terms: Sum | Spread) -> None:
        """Bind an atom to terms. What is a fibre over it becomes an axis of its own for each term."""
        base = terms.of or name
        fibres = [f for f, v in self._variables.items() if v.bound is None and f != name and name in self.over(f)]
        fibres.sort(key=lambda f: len(self._bases(f)))
        before = {f: self.over(f) for f in fibres}
        self._variables[name].bound = terms
        made: dict[str, list[Axis]] = {}
        for fibre in fibres:
            whole = self._variables[fibre]
            made[fibre] = []
            for k, term in enumerate(terms.terms):
                over: list[str] = list(self.atoms(term))
                for other in before[fibre]:
                    over += self.atoms(made[other][k]) if other in made else [other] if other != name else []
                made[fibre].append(self._part(whole, whole.size, over, whole.label))
                if whole.neuron:
                    self.mark_neurons(made[fibre][-1])
        for fibre, options in made.items():
            self._variables[fibre].bound = Case(tuple(options), base, terms.terms)

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
        if atom.name in names:
            return False
        self.drop(atom.name, names)
        for name in names:
            self._set_free_of(name, atom.name)
            self._set_free_of(atom.name, name)
        if variable.kind != FREE:
            self.freeze(axis, variable.reason, kind=variable.kind)
        elif isinstance(axis, Atom) and not self._variables[axis.name].label:
            self._variables[axis.name].label = variable.label
        for name in names:
            more = [base for base in self.over(atom.name) if name not in self._bases(base)]
            self._variables[name].over = tuple(dict.fromkeys((*self.over(name), *more)))
        if isinstance(axis, Atom):
            self._variables[axis.name].neuron |= variable.neuron
        for name in names:
            self._variables[name].inner |= variable.neuron or variable.inner
        if isinstance(axis, (Sum, Spread)):
            self._cut(atom.name, axis)
        else:
            variable.bound = axis
        return True

    def _set_free_of(self, name: str, base: str) -> None:
        """An atom, and what it depends on, must not depend on another atom that becomes one with it."""
        for other in (name, *self._bases(name)):
            if base in self.over(other):
                self.drop(other, [base])

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
        made = self.atom(size, kind=whole.kind, over=over, reason=whole.reason, label=label)
        if isinstance(made, Atom):
            self._variables[made.name].inner = whole.neuron or whole.inner
        return made

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
        self._cut(axis.name, Sum(tuple(parts)))
        return True

    def told_apart(self, options: Sequence[Axis]) -> tuple[Axis, Axis]:
        """A fixed axis with an element for each option, and the axis that is the option of its element."""
        name = f"a{len(self._variables)}"
        units = (UNIT,) * len(options)
        base = self.atom(len(options), kind="constant", reason="runs")
        self._variables[name].bound = Sum(units)
        return self.resolve(base), self.resolve(Case(tuple(options), name, units))

    def spec(self, name: str) -> AtomSpec:
        """What is known of an unbound atom."""
        variable = self._variables[name]
        over = self.over(name) if variable.kind == FREE else ()
        neuron = variable.neuron or variable.kind == FREE or variable.inner and variable.kind != "spatial"
        return AtomSpec(
            variable.size, variable.kind, over, neuron, variable.reason, "" if variable.kind == FREE else variable.label
        )
