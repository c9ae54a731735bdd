"""The registry of tracing rules, the one registry of the library: users extend it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from weightspace.axes import Axis
    from weightspace.tracing._call import Call
    from weightspace.tracing._records import Value

Rule = Callable[["Call"], "list[Axis] | list[Value] | None"]
_RULES: dict[str, Rule] = {}


def rule(*targets: Any) -> Callable[[Rule], Rule]:
    """Register a tracing rule for operations.

    A rule receives a `Call`, unifies the axes that the operation ties together, leaves one record and returns the
    axes of the result; it
    returns None where it cannot speak for the call, which then freezes what it touches. A later registration
    replaces an earlier one.

    Args:
        *targets: overloads such as `torch.ops.aten.relu.default`, or their names, `"aten.relu.default"`.

    Example:
        >>> from weightspace.tracing import rule
        >>> @rule("mylib.double.default")
        ... def double(call):
        ...     return call.function("multiply", other=2.0)
    """

    def register(function: Rule) -> Rule:
        for target in targets:
            _RULES[str(target)] = function
        return function

    return register


def find_rule(target: Any) -> Rule | None:
    """The rule for an operation; an in-place operation shares its functional twin's."""
    name = str(target)
    if name in _RULES:
        return _RULES[name]
    packet, _, overload = name.rpartition(".")
    return _RULES.get(f"{packet[:-1]}.{overload}") if packet.endswith("_") and not packet.endswith("__") else None
