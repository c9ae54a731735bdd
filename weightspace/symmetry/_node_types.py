"""What the functions of a node type do to the scale and the sign of a value."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

LINEAR = {
    "neg", "multiply", "divide", "avg_pool", "adaptive_avg_pool", "mean", "sum", "slice", "view", "output", "last",
    "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "unfold", "fold", "windows", "expand", "roll", "flip",
}  # fmt: skip
HOMOGENEOUS = {"relu", "leaky_relu", "prelu", "max_pool", "adaptive_max_pool", "amax", "amin"}
ODD = {"tanh", "sin", "tan", "atan", "erf", "sinh", "softsign", "asinh", "arctan"}
EVEN = {"cos", "cosh"}
_PART = re.compile(r">?([^(>]*)(?:\(([^()]*)\))?")


@dataclass(frozen=True)
class Effect:
    """What becomes of a value x when it is multiplied by a positive factor, and when its sign changes.

    Args:
        degree: f(c x) = c**degree f(x) for positive c; None where there is no such degree.
        parity: 1 for odd functions, 0 for even ones, None for others.
    """

    degree: int | None
    parity: int | None


@dataclass(frozen=True)
class NodeType:
    """A node type, read.

    Args:
        kind: of the node.
        attributes: of the kind, as text.
        effects: of the functions, in the order in which they act.
        is_output: whether the value leaves the network.
    """

    kind: str
    attributes: Mapping[str, str]
    effects: tuple[Effect, ...]
    is_output: bool


def read_node_type(text: str) -> NodeType:
    """A node type's kind, attributes and effects.

    Example:
        >>> read_node_type("batch_norm(eps=1e-05)>leaky_relu(negative_slope=0.1)").effects
        (Effect(degree=1, parity=None),)
    """
    parts = [(name, _attributes(inside)) for name, inside in _PART.findall(text) if name]
    kind, attributes = parts[0]
    names = [name for name, _ in parts[1:]]
    return NodeType(
        kind, attributes, tuple(_effect(*part) for part in parts[1:] if part[0] != "output"), "output" in names
    )


def _attributes(text: str) -> dict[str, str]:
    return dict(part.split("=", 1) for part in text.split(";") if "=" in part)


def _effect(name: str, attributes: Mapping[str, str]) -> Effect:
    """The effect of one function; what is not known has neither degree nor parity."""
    if "other" in attributes:
        return _with_number(name, attributes)
    if name in LINEAR or name.startswith("upsample_"):
        return Effect(1, 1)
    if name in HOMOGENEOUS:
        return Effect(1, None)
    if name in ODD:
        return Effect(None, 1)
    if name in EVEN:
        return Effect(None, 0)
    return _special(name, attributes)


def _with_number(name: str, attributes: Mapping[str, str]) -> Effect:
    """A value and a number."""
    plain = not attributes.keys() - {"other", "reversed", "alpha"}
    if plain and name == "multiply":
        return Effect(1, 1)
    if plain and name == "divide":
        return Effect(-1 if "reversed" in attributes else 1, 1)
    if plain and name in ("add", "subtract") and _number(attributes["other"]) == 0:
        return Effect(1, 1)
    return Effect(None, None)


def _special(name: str, attributes: Mapping[str, str]) -> Effect:
    """Functions with an effect that depends on their attributes, or of a degree that is not 1."""
    if name == "abs":
        return Effect(1, 0)
    if name == "sign":
        return Effect(0, 1)
    if name == "reciprocal":
        return Effect(-1, 1)
    if name == "square":
        return Effect(2, 0)
    power = _number(attributes.get("exponent", ""))
    if name == "pow" and power is not None and power == int(power) and power > 0:
        return Effect(int(power), int(power) % 2)
    if name == "pad" and (attributes.get("mode") != "constant" or _number(attributes.get("value", "")) == 0):
        return Effect(1, 1)
    low, high = (_number(attributes.get(key, "")) for key in _LIMITS.get(name, ("", "")))
    if name in _LIMITS and low == 0 and (high is None if name != "threshold" else high == 0):
        return Effect(1, None)
    if name in _LIMITS and name != "threshold" and low is not None and high is not None and low == -high:
        return Effect(None, 1)
    return Effect(None, None)


_LIMITS = {
    "clamp": ("min", "max"), "clamp_min": ("min", ""), "hardtanh": ("min_val", "max_val"),
    "threshold": ("threshold", "value"),
}  # fmt: skip


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
