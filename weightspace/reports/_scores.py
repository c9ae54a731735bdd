"""Numbers with intervals as text."""

from collections.abc import Sequence


def interval(value: Sequence[float | None] | None, *, sign: bool = False) -> str:
    """A number with its interval as text; a dash where there is none.

    Example:
        >>> interval([0.5, 0.4, 0.6]), interval(None)
        ('0.500 [0.400, 0.600]', '–')
    """
    if value is None or value[0] is None:
        return "–"
    number = "+.3f" if sign else ".3f"
    low, high = (f"{end:{number}}" if end is not None else "–" for end in value[1:])
    return f"{value[0]:{number}} [{low}, {high}]"
