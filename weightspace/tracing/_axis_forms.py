"""Normal forms of axes, without knowledge of what atoms are bound to."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate, product
from math import prod

from weightspace.axes import UNIT, Atom, Axis, Case, Product, Spread, Sum

Size = Callable[[Axis], int]
Places = tuple[int, ...]


def factors_of(axis: Axis) -> tuple[Axis, ...]:
    """Factors of a product; another axis is its own only one."""
    return axis.factors if isinstance(axis, Product) else (axis,)


def parts_of(axis: Axis) -> Iterator[Axis]:
    """An axis and everything that it consists of."""
    yield axis
    if not isinstance(axis, Atom):
        for part in axis.factors if isinstance(axis, Product) else axis.terms:
            yield from parts_of(part)


def holds_sum(axis: Axis) -> bool:
    """Whether an axis is a sum, or has one as a factor."""
    return isinstance(axis, (Sum, Spread)) or isinstance(axis, Product) and any(map(holds_sum, axis.factors))


def takes_turns(places: Sequence[Places]) -> bool:
    """Whether terms of one size take turns."""
    return all(mine == tuple(range(k, k + len(places) * len(mine), len(places))) for k, mine in enumerate(places))


def terms_of(axis: Axis, size: Size) -> list[tuple[Axis, Places]]:
    """Terms of an axis with the positions of their elements."""
    if isinstance(axis, Spread):
        return list(zip(axis.terms, axis.places, strict=True))
    found, start = [], 0
    for term in axis.terms if isinstance(axis, Sum) else (axis,):
        found.append((term, tuple(range(start, start + size(term)))))
        start += size(term)
    return found


def sum_of(terms: Iterable[Axis], of: str = "") -> Axis:
    """A sum without sums among its terms."""
    flat: list[Axis] = []
    for term in terms:
        flat.extend(term.terms if isinstance(term, Sum) else [term])
    return flat[0] if len(flat) == 1 else Sum(tuple(flat), of)


def spread_of(terms: Sequence[Axis], places: Sequence[Places], size: Size, of: str = "") -> Axis:
    """Terms at places: nested ones flattened, runs in order as a sum, equal terms that take turns as a product with
    a fixed last factor, whose elements are told apart.
    """
    if takes_turns(places) and len(terms) > 1 and all(term == terms[0] for term in terms):
        return Product((*factors_of(terms[0]), Sum((UNIT,) * len(terms))))
    flat: list[tuple[Axis, Places]] = []
    for term, mine in zip(terms, places, strict=True):
        if isinstance(term, (Sum, Spread)):
            flat += [(inner, tuple(mine[p] for p in theirs)) for inner, theirs in terms_of(term, size)]
        else:
            flat.append((term, mine))
    if [p for _, mine in flat for p in mine] == list(range(sum(len(mine) for _, mine in flat))):
        return sum_of((term for term, _ in flat), of)
    return Spread(tuple(term for term, _ in flat), tuple(mine for _, mine in flat), of)


def product_of(factors: Iterable[Axis], size: Size) -> Axis:
    """A product without products among its factors, written as terms where a factor depends on the term of another."""
    flat = [inner for factor in factors for inner in factors_of(factor)]
    bases = {part.base for factor in flat for part in parts_of(factor) if isinstance(part, Case)}
    for number, factor in enumerate(flat):
        if isinstance(factor, (Sum, Spread)) and factor.of and factor.of in bases:
            return _distributed(flat, number, size)
    if len(flat) > 1 and isinstance(flat[0], Sum):
        return sum_of(product_of([term, *flat[1:]], size) for term in flat[0].terms)
    return flat[0] if len(flat) == 1 else Product(tuple(flat))


def _distributed(flat: Sequence[Axis], number: int, size: Size) -> Axis:
    factor = flat[number]
    assert isinstance(factor, (Sum, Spread))
    sizes = [size(part) for part in flat]
    terms, places = [], []
    for k, (term, mine) in enumerate(terms_of(factor, size)):
        chosen = [term if i == number else choose(part, factor.of, k) for i, part in enumerate(flat)]
        terms.append(product_of(chosen, size))
        grid = product(*(mine if i == number else range(n) for i, n in enumerate(sizes)))
        strides = [prod(sizes[i + 1 :]) for i in range(len(sizes))]
        places.append(tuple(sum(c * s for c, s in zip(at, strides, strict=True)) for at in grid))
    return spread_of(terms, places, size)


def choose(axis: Axis, base: str, number: int) -> Axis:
    """An axis where the term of a base is known."""
    if isinstance(axis, Atom):
        return axis
    if isinstance(axis, Product):
        return Product(tuple(choose(factor, base, number) for factor in axis.factors))
    if isinstance(axis, Case) and axis.base == base:
        return choose(axis.terms[number], base, number)
    return replace(axis, terms=tuple(choose(term, base, number) for term in axis.terms))


def by_choice(axes: Sequence[Axis], size: Size) -> list[tuple[int, int, int, tuple[Axis, ...]]]:
    """A tensor with choices among its axes, by the terms of the dimension that they depend on: (dimension, start,
    size, axes) of each.
    """
    count = next(len(axis.terms) for axis in axes if isinstance(axis, Case))
    dim = next(d for d, axis in enumerate(axes) if isinstance(axis, Sum) and len(axis.terms) == count)
    whole = axes[dim]
    assert isinstance(whole, Sum)
    found = []
    for number, (term, places) in enumerate(terms_of(whole, size)):
        mine = [axis.terms[number] if isinstance(axis, Case) else axis for axis in axes]
        found.append((dim, places[0], len(places), (*mine[:dim], term, *mine[dim + 1 :])))
    return found


def bounds(sizes: Sequence[int]) -> list[int]:
    """Where runs of these sizes begin, and where the last one ends."""
    return list(accumulate(sizes, initial=0))
