"""Axes as people write them: `"head*dim"`, `"a + b"`, `"channel*49"`."""

import re

from weightspace.axes import Atom, Axis, Product, Sum
from weightspace.errors import SpecificationError

_TOKEN = re.compile(r"\s*(?:(?P<name>[A-Za-z_][\w.]*)|(?P<number>\d+)|(?P<sign>[+*()]))")


def number_atom(size: int) -> str:
    """The name of a number in an axis expression until it gets one of its own."""
    return f"#{size}"


def parse_axis(text: str, where: str) -> Axis:
    """The axis of an expression: names, `*` for products, `+` for sums, numbers for fixed parts, parentheses.

    Args:
        text: the expression.
        where: it stands, for the messages.

    Raises:
        SpecificationError: the text is no such expression.

    Example:
        >>> from weightspace.axes import axis_text
        >>> axis_text(parse_axis("head * (a + b)", "w[0]")), axis_text(parse_axis("a*49", "w[1]"))
        ('head*(a + b)', 'a*#49')
    """
    tokens, position = [], 0
    while text[position:].strip():
        match = _TOKEN.match(text, position)
        if match is None:
            raise _error(text, where, f"{text[position:].strip()[0]!r} is not understood")
        tokens.append((match.lastgroup or "", match[match.lastgroup or 0]))
        position = match.end()
    axis, rest = _sum(tokens, text, where)
    if rest:
        raise _error(text, where, f"nothing may follow before {rest[0][1]!r}")
    return axis


_Tokens = list[tuple[str, str]]


def _sum(tokens: _Tokens, text: str, where: str) -> tuple[Axis, _Tokens]:
    parts, rest = _list(tokens, text, where, "+")
    return (parts[0] if len(parts) == 1 else Sum(tuple(parts))), rest


def _product(tokens: _Tokens, text: str, where: str) -> tuple[Axis, _Tokens]:
    parts, rest = _list(tokens, text, where, "*")
    return (parts[0] if len(parts) == 1 else Product(tuple(parts))), rest


def _list(tokens: _Tokens, text: str, where: str, sign: str) -> tuple[list[Axis], _Tokens]:
    """Parts with a sign between them; a part of a sum is a product, a part of a product a name, number or
    parenthesis.
    """
    part_of = _product if sign == "+" else _factor
    first, rest = part_of(tokens, text, where)
    kind = Sum if sign == "+" else Product
    parts = _flat(first, kind)
    while rest and rest[0][1] == sign:
        part, rest = part_of(rest[1:], text, where)
        parts += _flat(part, kind)
    return parts, rest


def _flat(axis: Axis, kind: type) -> list[Axis]:
    if isinstance(axis, kind):
        return list(axis.factors if isinstance(axis, Product) else axis.terms)  # type: ignore[union-attr]
    return [axis]


def _factor(tokens: _Tokens, text: str, where: str) -> tuple[Axis, _Tokens]:
    if not tokens:
        raise _error(text, where, "a name or a number is missing at the end")
    (kind, content), rest = tokens[0], tokens[1:]
    if kind == "name":
        return Atom(content), rest
    if kind == "number" and int(content) > 0:
        return Atom(number_atom(int(content))), rest
    if content == "(":
        axis, rest = _sum(rest, text, where)
        if not rest or rest[0][1] != ")":
            raise _error(text, where, "a parenthesis is not closed")
        return axis, rest[1:]
    raise _error(text, where, f"{content!r} stands where a name or a number should")


def _error(text: str, where: str, what: str) -> SpecificationError:
    return SpecificationError(
        f'specify: {where}: found the axis {text!r}, in which {what}; wanted names with * and +, e.g. "hidden", '
        '"head*dim", "a + b", or None for a fixed dimension'
    )
