"""Rules: element-wise functions of one tensor and of several, dropout, PReLU."""

from typing import Any

from weightspace.axes import Axis, Sum
from weightspace.tracing._call import Call
from weightspace.tracing._records import Use, Value
from weightspace.tracing._registry import rule

_FUNCTIONS = (
    "relu", "relu6", "leaky_relu", "elu", "celu", "selu", "gelu", "silu", "mish", "sigmoid", "tanh", "softplus",
    "hardtanh", "hardsigmoid", "hardswish", "log_sigmoid", "erf", "sin", "cos", "tan", "atan", "sinh", "cosh",
    "exp", "expm1", "log", "log1p", "abs", "sqrt", "rsqrt", "neg", "reciprocal", "square", "sign", "round",
    "floor", "ceil", "clamp", "clamp_min", "clamp_max", "threshold", "hardshrink", "softshrink", "tanhshrink",
    "softsign", "log2", "log10", "exp2", "asin", "acos", "asinh", "acosh", "atanh", "erfc", "erfinv", "trunc", "frac",
    "sgn", "logit", "rrelu", "nan_to_num", "isnan", "isinf", "isfinite", "logical_not", "bitwise_not", "absolute",
    "lgamma", "digamma", "positive", "special_expit", "sinc",
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
    if others.pop("training", False):
        return None
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
    return call.alias(call.input.axes, op="same")


_BINARY = {
    "add": "add", "sub": "subtract", "subtract": "subtract", "mul": "multiply", "multiply": "multiply",
    "div": "divide", "divide": "divide", "true_divide": "divide", "maximum": "maximum", "minimum": "minimum",
    "max": "maximum", "min": "minimum", "pow": "pow", "fmod": "fmod", "remainder": "remainder", "atan2": "atan2",
    "floor_divide": "floor_divide", "logaddexp": "logaddexp", "hypot": "hypot", "xlogy": "xlogy", "fmax": "maximum",
    "fmin": "minimum", "eq": "eq", "ne": "ne", "lt": "lt", "le": "le", "gt": "gt", "ge": "ge",
    "logical_and": "logical_and", "logical_or": "logical_or", "logical_xor": "logical_xor",
    "bitwise_and": "bitwise_and", "bitwise_or": "bitwise_or", "bitwise_xor": "bitwise_xor", "clamp_min": "maximum",
    "clamp_max": "minimum", "greater": "gt", "less": "lt", "not_equal": "ne", "copysign": "copysign",
    "__and__": "bitwise_and", "__or__": "bitwise_or", "__xor__": "bitwise_xor",
}  # fmt: skip


@rule(
    *(
        f"aten.{name}.{overload}"
        for name in _BINARY
        for overload in ("Tensor", "Scalar", "default", "Tensor_mode", "Scalar_mode", "other", "Tensor_Tensor")
    )
)
def binary(call: Call) -> list[Axis] | None:
    """Two tensors entry by entry with broadcasting (residuals, gates), or a tensor and a number."""
    name = _BINARY.get(call.target.split(".")[1], "") or _BINARY[call.target.split(".")[1].rstrip("_")]
    options: dict[str, Any] = {
        k: v for k, v in call.arguments.items() if k in ("alpha", "rounding_mode") and v not in (None, 1)
    }
    both = list(call.arguments.values())[:2]
    values = [value for value in both if isinstance(value, Value)]
    if len(values) < 2:
        number = both[1] if isinstance(both[0], Value) else both[0]
        side: dict[str, Any] = {} if isinstance(both[0], Value) else {"reversed": True}
        return call.function(name, of=values[0], other=number, **side, **options)
    axes = call.broadcast(values)
    return call.site(name, axes=axes, attributes=options, inputs=tuple(values), edge_type=name)


@rule("aten.rsub.Scalar")
def reversed_subtract(call: Call) -> list[Axis]:
    """A number minus a tensor."""
    return call.function("subtract", other=call["other"], reversed=True, alpha=call["alpha"])


@rule("aten.where.self", "aten.where.ScalarOther", "aten.where.ScalarSelf", "aten.where.Scalar", "aten.addcmul.default")
@rule(
    "aten.lerp.Tensor", "aten.lerp.Scalar", "aten.masked_fill.Scalar", "aten.masked_fill.Tensor", "aten.addcdiv.default"
)
@rule("aten.clamp.Tensor", "aten.copy.default", "aten.fill.Tensor")
def several(call: Call) -> list[Axis]:
    """A function of several tensors entry by entry, with broadcasting."""
    values = [value for value in call.arguments.values() if isinstance(value, Value)]
    plain = {
        k: v for k, v in call.arguments.items() if not isinstance(v, Value) and v is not None and k not in _IGNORED
    }
    op = call.target.split(".")[1].rstrip("_")
    return call.site(op, axes=call.broadcast(values), attributes=plain, inputs=tuple(values), edge_type=op)


_FILLED = {"zeros_like": 0.0, "ones_like": 1.0, "new_zeros": 0.0, "new_ones": 1.0, "empty_like": 0.0, "new_empty": 0.0}


@rule(*(f"aten.{name}.default" for name in (*_FILLED, "full_like", "new_full")))
def filled(call: Call) -> list[Value]:
    """One number everywhere, whatever the argument holds."""
    number = call.get("fill_value", _FILLED.get(call.target.split(".")[1]))
    return [call.constant([call.new(size) for size in call.shape], f"{number}")]


@rule("aten.fill.Scalar")
def fill(call: Call) -> list[Value]:
    """One number everywhere."""
    return [call.constant(call.input.axes, f"{call['value']}")]


@rule("aten.glu.default")
def gated(call: Call) -> list[Value] | None:
    """Half of a dimension times the sigmoid of its other half (Dauphin et al. 2017)."""
    x, dim = call.input, call["dim"] % len(call.input.axes)
    half = call.new(call.solver.size(x.axes[dim]) // 2)
    if not call.unify(x.axes[dim], Sum((half, half))):
        return None
    size = call.solver.size(half)
    parts = []
    for start in (0, size):
        axes = [*x.axes[:dim], half, *x.axes[dim + 1 :]]
        cut = {"dim": dim, "start": start, "step": 1, "drops": False}
        parts.append(call.emit("alias", "alias", axes=axes, inputs=(x,), attributes=cut))
    return [
        call.emit("site", "glu", axes=parts[0].axes, inputs=tuple(parts), types=("value", "gate"), edge_type="gate")
    ]


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
