"""Rules: linear layers and convolutions (grouped, depthwise and transposed ones too)."""

from typing import Any

from weightspace.axes import Axis, Product
from weightspace.tracing._call import Call, node_uses
from weightspace.tracing._records import Use, Value
from weightspace.tracing._registry import rule
from weightspace.tracing._rules_product import convolution_of_tensors, linear_of_tensors


@rule("aten.linear.default")
def linear(call: Call) -> list[Axis] | list[Value]:
    """Y = x W^T + b: columns are the input's axis, rows a new one."""
    x, weight, bias = call["input"], call["weight"], call["bias"]
    normed = _weight_norm(weight)
    if not call.parameters_are(normed[0] if normed else weight, bias):
        return linear_of_tensors(call)
    call.unify(weight.axes[1], x.axes[-1])
    if bias is not None:
        call.unify(bias.axes[0], weight.axes[0])
    for axis in weight.axes:
        call.solver.keep_apart(axis, x.axes[:-1])
    axes = [*x.axes[:-1], weight.axes[0]]
    call.solver.mark_neurons(x.axes[-1])
    call.solver.mark_neurons(weight.axes[0])
    uses = (*_weight_uses(weight, normed, "weight", ("target", "source")), *node_uses((bias, "bias")))
    shared: dict[str, Any] = {"attributes": {"weight_norm": 0}} if normed else {}
    source, dim = (x, len(x.axes) - 1), len(axes) - 1
    return call.site("linear", axes=axes, uses=uses, edge_type="linear", source=source, dim=dim, **shared)


def _weight_norm(weight: Value) -> tuple[Value, Value] | None:
    """Direction and length of the rows of a weight-normalised weight."""
    if weight.derived is None or weight.derived.op != "weight_norm" or weight.derived.attributes["dim"] != 0:
        return None
    direction, length = weight.derived.inputs
    return (direction, length) if direction.parameter is not None and length.parameter is not None else None


def _weight_uses(
    weight: Value, normed: tuple[Value, Value] | None, role: str, dims: tuple[str, ...]
) -> tuple[Use, ...]:
    if normed is None:
        return (Use(weight, role, dims),)
    return (Use(normed[0], role, dims), Use(normed[1], "weight_length", ("target", *["tap"] * (len(dims) - 1))))


@rule(*(f"aten.conv{n}d.{overload}" for n in (1, 2, 3) for overload in ("default", "padding")))
def convolution(call: Call) -> list[Axis] | list[Value] | None:
    """Convolutions: channels as in a linear layer, kernel and image positions fixed; groups are blocks of both
    channel axes.
    """
    weight = call["weight"]
    rank, dim = _ranks(call)
    attributes = _attributes(call, ("stride", "padding", "dilation", "groups"))
    call.spatial([*call["input"].axes[dim + 1 :], *weight.axes[2:]])
    normed = _weight_norm(weight)
    if not call.parameters_are(normed[0] if normed else weight, call["bias"]):
        return convolution_of_tensors(call, letters="oi", **attributes)
    if not _unify_channels(call, dim, call["groups"]):
        return None
    depthwise = call["groups"] > 1 and call.solver.size(weight.axes[1]) == 1
    second = "tap" if depthwise else "source"
    role = "depthwise_weight" if depthwise else "weight"
    uses = _weight_uses(weight, normed, role, ("target", second, *("kernel",) * rank))
    if normed:
        attributes["weight_norm"] = 0
    return _convolved(call, uses, weight.axes[0], attributes=attributes, depthwise=depthwise)


@rule("aten.conv_transpose1d.default", "aten.conv_transpose2d.input", "aten.conv_transpose3d.input")
def transposed_convolution(call: Call) -> list[Axis] | list[Value] | None:
    """Transposed convolutions: rows of the kernel are the input's channels, columns the result's inside each group."""
    x, weight, solver = call["input"], call["weight"], call.solver
    rank, dim = _ranks(call)
    attributes = _attributes(call, ("stride", "padding", "output_padding", "dilation", "groups")) | {"transposed": True}
    call.spatial([*x.axes[dim + 1 :], *weight.axes[2:]])
    if not call.parameters_are(weight, call["bias"]):
        return convolution_of_tensors(call, letters="io", **attributes)
    if not call.unify(weight.axes[0], x.axes[dim]):
        return None
    channels = weight.axes[1]
    if call["groups"] > 1:
        group = call.new(call["groups"])
        fan_in = call.new(solver.size(x.axes[dim]) // call["groups"], over=group)
        fan_out = call.new(solver.size(channels), over=group)
        solver.keep_apart(group, [fan_in, fan_out])
        if not (call.unify(x.axes[dim], Product((group, fan_in))) and call.unify(channels, fan_out)):
            return None
        channels = Product((group, fan_out))
        if solver.is_cut(group) and solver.size(fan_out) > 1:
            return None
    depthwise = call["groups"] > 1 and solver.size(x.axes[dim]) == call["groups"]
    first, second = ("target", "tap") if depthwise else ("source", "target")
    role = "depthwise_weight" if depthwise else "weight"
    if depthwise and solver.size(weight.axes[1]) > 1:
        first, second = "tap", "target"
    uses = (Use(weight, role, (first, second, *("kernel",) * rank)),)
    return _convolved(call, uses, channels, attributes=attributes, depthwise=depthwise)


def _ranks(call: Call) -> tuple[int, int]:
    """Number of spatial dimensions, and the channels' dimension."""
    rank = len(call["weight"].axes) - 2
    return rank, len(call["input"].axes) - rank - 1


def _convolved(
    call: Call, uses: tuple[Use, ...], channels: Axis, *, attributes: dict[str, Any], depthwise: bool
) -> list[Axis]:
    x, weight, bias = call["input"], call["weight"], call["bias"]
    _, dim = _ranks(call)
    if bias is not None:
        call.unify(bias.axes[0], channels)
    for axis in weight.axes[:2]:
        call.solver.keep_apart(axis, [*x.axes[:dim], *x.axes[dim + 1 :]])
    call.solver.mark_neurons(x.axes[dim])
    call.solver.mark_neurons(channels)
    axes = [*x.axes[:dim], channels, *call.fixed(call.shape[dim + 1 :])]
    attributes["kernel"] = [call.solver.size(axis) for axis in weight.axes[2:]]
    shared: dict[str, Any] = {"axes": axes, "attributes": attributes, "dim": dim}
    uses = (*uses, *node_uses((bias, "bias")))
    if depthwise:
        return call.site("conv", inputs=(x,), uses=uses, edge_type="conv_depthwise", **shared)
    return call.site("conv", uses=uses, edge_type="conv", source=(x, dim), **shared)


def _unify_channels(call: Call, dim: int, groups: int) -> bool:
    x, weight, solver = call["input"], call["weight"], call.solver
    if groups == 1:
        return call.unify(weight.axes[1], x.axes[dim])
    group = call.new(groups)
    fan_in = call.new(solver.size(x.axes[dim]) // groups, over=group)
    fan_out = call.new(solver.size(weight.axes[0]) // groups, over=group)
    solver.keep_apart(group, [fan_in, fan_out])

    done = call.unify(x.axes[dim], Product((group, fan_in))) and call.unify(weight.axes[0], Product((group, fan_out)))
    done = done and call.unify(weight.axes[1], fan_in)
    return done and (solver.size(fan_in) == 1 or not solver.is_cut(group))


def _attributes(call: Call, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: _plain(call[name]) for name in names}


def _plain(value: Any) -> Any:
    return [int(v) for v in value] if isinstance(value, (list, tuple)) else value


@rule("aten._weight_norm.default")
def weight_norm(call: Call) -> list[Axis] | None:
    """Rows of v with the lengths g (Salimans and Kingma 2016): symmetric in what the length is taken over."""
    direction, length = call["v"], call["g"]
    rank = len(direction.axes)
    if len(length.axes) != rank:
        return None
    for mine, theirs in zip(length.axes, direction.axes, strict=True):
        if call.solver.size(mine) == call.solver.size(theirs):
            call.unify(mine, theirs)
    return call.derive("weight_norm", direction.axes, (direction, length), dim=call["dim"] % rank)
