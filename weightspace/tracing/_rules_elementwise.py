"""Rules: element-wise functions of one tensor and of several, dropout, PReLU."""

from typing import Any

from weightspace.axes import Axis
from weightspace.tracing._call import Call
from weightspace.tracing._records import Use, Value
from weightspace.tracing._registry import rule

_FUNCTIONS = (
    "relu", "relu6", "leaky_relu", "elu", "celu", "selu", "gelu", "silu", "mish", "sigmoid", "tanh", "softplus",
    "hardtanh", "hardsigmoid", "hardswish", "log_sigmoid", "erf", "sin", "cos", "tan", "atan", "sinh", "cosh",
    "exp", "expm1", "log", "log1p", "abs", "sqrt", "rsqrt", "neg", "reciprocal", "square", "sign", "round",
    "floor", "ceil", "clamp", "clamp_min", "clamp_max", "threshold", "hardshrink", "softshrink",
)  # fmt: skip
_SAME = (
    "contiguous",
    "clone",
    "detach",
    "alias",
    "to",
    "dropout",
    "feature_dropout",
    "alpha_dropout",
    "type_as",
    "lift_fresh_copy",
    "_to_copy",
)
_IGNORED = {"self", "input", "out", "memory_format", "dtype", "inplace", "generator"}


@rule(*(f"aten.{name}.{overload}" for name in _FUNCTIONS for overload in ("default", "decimals")))
def function(call: Call) -> list[Axis] | None:
    """A function of one tensor, entry by entry; its other arguments are plain numbers."""
    others = {name: value for name, value in list(call.arguments.items())[1:] if name not in _IGNORED}
    if any(isinstance(value, Value) for value in others.values()):
        return None
    name = call.target.split(".")[1].rstrip("_")
    return call.function(name, **{k: v for k, v in others.items() if v is not None})


@rule("aten.pow.Tensor_Scalar")
def power(call: Call) -> list[Axis]:
    """A fixed power, entry by entry."""
    return call.function("pow", exponent=call["exponent"])


@rule(
    *(
        f"aten.{name}.{overload}"
        for name in _SAME
        for overload in ("default", "dtype", "device", "other", "dtype_layout")
    )
)
def same(call: Call) -> list[Axis] | None:
    """The same numbers: copies, casts, and dropout in evaluation mode."""
    if call.get("train", False):
        return None
    return call.alias(call.input.axes)


_BINARY = {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "div": "divide",
    "maximum": "maximum",
    "minimum": "minimum",
}


@rule(
    *(
        f"aten.{name}.{overload}"
        for name in _BINARY
        for overload in ("Tensor", "Scalar", "default", "Tensor_mode", "Scalar_mode")
    )
)
def binary(call: Call) -> list[Axis] | None:
    """Two tensors entry by entry with broadcasting (residuals, gates), or a tensor and a number."""
    name = _BINARY[call.target.split(".")[1].rstrip("_")]
    options: dict[str, Any] = {
        k: v for k, v in call.arguments.items() if k in ("alpha", "rounding_mode") and v not in (None, 1)
    }
    values = [value for value in (call["self"], call["other"]) if isinstance(value, Value)]
    if len(values) < 2:
        number = call["other"] if isinstance(call["self"], Value) else call["self"]
        side: dict[str, Any] = {} if isinstance(call["self"], Value) else {"reversed": True}
        return call.function(name, of=values[0], other=number, **side, **options)
    axes = call.broadcast(values)
    return call.site(name, axes=axes, attributes=options, inputs=tuple(values), edge_type=name)


@rule("aten.rsub.Scalar")
def reversed_subtract(call: Call) -> list[Axis]:
    """A number minus a tensor."""
    return call.function("subtract", other=call["other"], reversed=True, alpha=call["alpha"])


@rule("aten.prelu.default")
def prelu(call: Call) -> list[Axis] | None:
    """PReLU: one slope per channel, or one for all, which is a node of its own."""
    x, weight = call["self"], call["weight"]
    if not call.parameters_are(weight):
        return None
    if call.solver.size(weight.axes[0]) == 1:
        return call.site("prelu", axes=x.axes, inputs=(x, weight), edge_type="function")
    dim = 1 if len(x.axes) > 1 else 0
    call.unify(weight.axes[0], x.axes[dim])
    call.solver.mark_neurons(x.axes[dim])
    return call.site(
        "prelu", axes=x.axes, inputs=(x,), edge_type="function", uses=(Use(weight, "slope", ("target",)),), dim=dim
    )
