"""What a function's code names: globals, attributes, imports; and which packages need no following."""

import dis
import sys
import types
from collections.abc import Iterator

# Packages whose own globals are not followed: fixed by their versions, and without state that a forward pass reads.
LIBRARIES = frozenset(
    "torch numpy einops math cmath operator functools itertools collections typing typing_extensions dataclasses abc "
    "enum numbers types copy warnings contextlib builtins string re __future__".split()
)


def is_library(name: str | None) -> bool:
    """Whether a module, by its full name, belongs to a package that need not be followed.

    Example:
        >>> is_library("torch.nn.functional"), is_library("torchmine"), is_library(None)
        (True, False, False)
    """
    return name is not None and name.partition(".")[0] in LIBRARIES


def codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """A code object and those of the functions, lambdas and comprehensions in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from codes(constant)


def names_of(code: types.CodeType) -> tuple[str, ...]:
    """Names of globals and attributes, each once.

    Example:
        >>> names_of((lambda x: [abs(v.real) for v in x]).__code__)
        ('abs', 'real')
    """
    return tuple(dict.fromkeys(name for part in codes(code) for name in part.co_names))


def words_of(code: types.CodeType) -> set[str]:
    """Texts in the code that could name an attribute: `getattr(self, "scale")`."""
    return {c for part in codes(code) for c in part.co_consts if isinstance(c, str) and c.isidentifier()}


def imports_of(code: types.CodeType) -> list[types.ModuleType | None]:
    """Python modules that the code imports when it runs; None for one that is not loaded yet, or relative."""
    found: list[types.ModuleType | None] = []
    for part in codes(code):
        level: object = 0
        before: list[object] = []
        for instruction in dis.get_instructions(part):
            if instruction.opname == "IMPORT_NAME":
                level = before[-2] if len(before) > 1 else 0
                found.append(None if level else sys.modules.get(str(instruction.argval)))
            before = [*before[-1:], instruction.argval]
    return found
