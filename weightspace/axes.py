"""Symbolic axes: what a tensor dimension is made of.

An axis is an atom, a product (row-major, as by `view`: heads and their features, groups, channels and the pixels
behind a flatten), a sum (as by `cat`) or terms at given places (as by strided slices). An atom is free (permutable)
or fixed with a reason, and may be a fibre `over` other atoms: then it carries an independent permutation for every
value of their coordinates, and products with its base are acted on by a wreath product.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from math import prod
from typing import Any

import torch
from torch import Tensor

FREE = "free"


@dataclass(frozen=True)
class Atom:
    """One indivisible axis, known by its name."""

    name: str


@dataclass(frozen=True)
class Product:
    """Row-major product of axes; the empty product is the axis of size 1."""

    factors: "tuple[Axis, ...]"


@dataclass(frozen=True)
class Sum:
    """Concatenation of axes.

    Args:
        of: the atom that was cut into these terms, while axes are solved.
    """

    terms: "tuple[Axis, ...]"
    of: str = field(default="", compare=False)


@dataclass(frozen=True)
class Spread:
    """Terms at given positions (strided slices, padding on both sides): element j of term i is at `places[i][j]`.

    Args:
        of: as for a sum.
    """

    terms: "tuple[Axis, ...]"
    places: tuple[tuple[int, ...], ...]
    of: str = field(default="", compare=False)


@dataclass(frozen=True)
class Case:
    """One of several axes of one size, by the part of the parameter (see `weightspace.parameters.Part`).

    Args:
        base: while axes are solved, the atom on whose term the choice depends.
        cuts: those terms.
    """

    terms: "tuple[Axis, ...]"
    base: str = ""
    cuts: "tuple[Axis, ...]" = field(default=(), compare=False)


Axis = Atom | Product | Sum | Spread | Case
UNIT = Product(())


@dataclass(frozen=True)
class AtomSpec:
    """What is known of an atom.

    Args:
        size: number of elements.
        kind: `"free"`, or why it is fixed: `"input"`, `"output"`, `"spatial"`, `"constant"`, `"unused"`, `"frozen"`.
        over: names of the atoms on whose coordinates its permutation may depend.
        neuron: whether its elements are nodes of the graph (otherwise ordered taps); free atoms always are.
        reason: the operation that froze it, or what fixes it.
        label: what a fixed axis is to the data: `"p0"`, the first image position; `"i0.2"`, dimension 2 of input 0.
    """

    size: int
    kind: str = FREE
    over: tuple[str, ...] = ()
    neuron: bool = True
    reason: str = ""
    label: str = ""


@dataclass(frozen=True)
class Piece:
    """A part of an axis on which the coordinates of its atoms form a full grid.

    Shapes:
        positions (size of atom 1, size of atom 2, ...): position on the axis for each coordinate.
    """

    atoms: tuple[str, ...]
    positions: Tensor


def atoms_of(axis: Axis) -> Iterator[str]:
    """Names of the atoms of an axis, in order, repeats included."""
    if isinstance(axis, Atom):
        yield axis.name
    else:
        for part in axis.factors if isinstance(axis, Product) else axis.terms:
            yield from atoms_of(part)


def axis_size(axis: Axis, size_of: Callable[[str], int]) -> int:
    """Number of elements of an axis.

    Example:
        >>> axis_size(Sum((Atom("a"), Product((Atom("a"), Atom("b"))))), {"a": 2, "b": 3}.__getitem__)
        8
    """
    if isinstance(axis, Atom):
        return size_of(axis.name)
    if isinstance(axis, Product):
        return prod(axis_size(factor, size_of) for factor in axis.factors)
    if isinstance(axis, Case):
        return axis_size(axis.terms[0], size_of)
    return sum(axis_size(term, size_of) for term in axis.terms)


def pieces(axis: Axis, size_of: Callable[[str], int]) -> tuple[Piece, ...]:
    """Split an axis into pieces without sums, in the order of the terms.

    Example:
        >>> [(p.atoms, p.positions.tolist()) for p in pieces(Sum((Atom("a"), Atom("b"))), {"a": 2, "b": 3}.__getitem__)]
        [(('a',), [0, 1]), (('b',), [2, 3, 4])]
    """
    if isinstance(axis, Atom):
        return (Piece((axis.name,), torch.arange(size_of(axis.name))),)
    if isinstance(axis, Sum):
        found, offset = [], 0
        for term in axis.terms:
            found += [Piece(piece.atoms, piece.positions + offset) for piece in pieces(term, size_of)]
            offset += axis_size(term, size_of)
        return tuple(found)
    if isinstance(axis, Spread):
        return tuple(
            Piece(piece.atoms, torch.tensor(places)[piece.positions])
            for term, places in zip(axis.terms, axis.places, strict=True)
            for piece in pieces(term, size_of)
        )
    if isinstance(axis, Case):
        return tuple(piece for term in axis.terms for piece in pieces(term, size_of))
    parts = [pieces(factor, size_of) for factor in axis.factors]
    sizes = [axis_size(factor, size_of) for factor in axis.factors]
    return tuple(_product_piece(choice, sizes) for choice in product(*parts))


def _product_piece(choice: tuple[Piece, ...], sizes: list[int]) -> Piece:
    positions = torch.zeros((), dtype=torch.long)
    for piece, size in zip(choice, sizes, strict=True):
        grid = positions.reshape((*positions.shape, *[1] * piece.positions.dim()))
        positions = grid * size + piece.positions
    return Piece(tuple(name for piece in choice for name in piece.atoms), positions)


def axis_text(axis: Axis) -> str:
    """An axis as people write it.

    Example:
        >>> axis_text(Sum((Atom("a"), Product((Atom("g"), Atom("d"))))))
        'a + g*d'
    """
    if isinstance(axis, Atom):
        return axis.name
    if not isinstance(axis, Product):
        sign = {Sum: " + ", Spread: " ~ ", Case: " | "}[type(axis)]
        return sign.join(f"({axis_text(t)})" if _is_list(t) else axis_text(t) for t in axis.terms)
    if not axis.factors:
        return "1"
    return "*".join(f"({axis_text(f)})" if _is_list(f) else axis_text(f) for f in axis.factors)


def _is_list(axis: Axis) -> bool:
    return isinstance(axis, (Sum, Spread, Case))


_SIGNS: dict[str, Callable[[tuple[Axis, ...]], Axis]] = {"*": Product, "+": Sum, "|": Case}


def axis_to_json(axis: Axis) -> Any:
    """Nested lists: an atom is its name, a product `["*", ...]`, a sum `["+", ...]`, terms at places
    `["~", places, ...]`, one axis for each part of a parameter `["|", ...]`.
    """
    if isinstance(axis, Atom):
        return axis.name
    if isinstance(axis, Spread):
        return ["~", [list(places) for places in axis.places], *map(axis_to_json, axis.terms)]
    sign = next(sign for sign, kind in _SIGNS.items() if kind is type(axis))
    return [sign, *map(axis_to_json, axis.factors if isinstance(axis, Product) else axis.terms)]


def axis_from_json(value: Any) -> Axis:
    """Inverse of `axis_to_json`.

    Example:
        >>> axis_from_json(["+", "a", ["*", "g", "d"]]) == Sum((Atom("a"), Product((Atom("g"), Atom("d")))))
        True
    """
    if isinstance(value, str):
        return Atom(value)
    head, *rest = value
    if head == "~":
        return Spread(tuple(map(axis_from_json, rest[1:])), tuple(map(tuple, rest[0])))
    return _SIGNS[head](tuple(axis_from_json(part) for part in rest))


def rename(axis: Axis, names: Mapping[str, str]) -> Axis:
    """The same axis with its atoms renamed."""
    if isinstance(axis, Atom):
        return Atom(names[axis.name])
    if isinstance(axis, Product):
        return Product(tuple(rename(factor, names) for factor in axis.factors))
    terms = tuple(rename(term, names) for term in axis.terms)
    return Case(terms) if isinstance(axis, Case) else replace(axis, terms=terms, of="")
