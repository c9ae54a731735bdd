"""Rules: linear layers and convolutions (grouped and depthwise too)."""

from typing import Any

from weightspace.axes import Axis, Product
from weightspace.tracing._call import Call, node_uses
from weightspace.tracing._records import Use
from weightspace.tracing._registry import rule


@rule("aten.linear.default")
def linear(call: Call) -> list[Axis] | None:
    """Y = x W^T + b: columns are the input's axis, rows a new one."""
    x, weight, bias = call["input"], call["weight"], call["bias"]
    call.unify(weight.axes[1], x.axes[-1])
    if bias is not None:
        call.unify(bias.axes[0], weight.axes[0])
    for axis in weight.axes:
        call.solver.keep_apart(axis, x.axes[:-1])
    axes = [*x.axes[:-1], weight.axes[0]]
    if not call.parameters_are(weight, bias):
        return call.hub("matmul", axes=axes, inputs=[value for value in (x, weight, bias) if value is not None])
    call.solver.mark_neurons(x.axes[-1])
    call.solver.mark_neurons(weight.axes[0])
    uses = (Use(weight, "weight", ("target", "source")), *node_uses((bias, "bias")))
    return call.site("linear", axes=axes, uses=uses, edge_type="linear", source=(x, len(x.axes) - 1), dim=len(axes) - 1)


@rule(*(f"aten.conv{n}d.{overload}" for n in (1, 2, 3) for overload in ("default", "padding")))
def convolution(call: Call) -> list[Axis] | None:
    """Convolutions: channels as in a linear layer, kernel and image positions fixed; groups are blocks of both
    channel axes.
    """
    x, weight, bias, groups = call["input"], call["weight"], call["bias"], call["groups"]
    rank = len(weight.axes) - 2
    dim = len(x.axes) - rank - 1
    if not call.parameters_are(weight, bias):
        return None
    call.spatial([*x.axes[dim + 1 :], *weight.axes[2:]])
    if not _unify_channels(call, dim, groups):
        return None
    if bias is not None:
        call.unify(bias.axes[0], weight.axes[0])
    for axis in weight.axes[:2]:
        call.solver.keep_apart(axis, [*x.axes[:dim], *x.axes[dim + 1 :]])
    call.solver.mark_neurons(x.axes[dim])
    call.solver.mark_neurons(weight.axes[0])
    axes = [*x.axes[:dim], weight.axes[0], *call.fixed(call.shape[dim + 1 :])]
    depthwise = groups > 1 and call.solver.size(weight.axes[1]) == 1
    kernel = ("kernel",) * rank
    attributes = {name: _plain(call[name]) for name in ("stride", "padding", "dilation", "groups")} | {
        "kernel": _kernel(call)
    }
    shared: dict[str, Any] = {"axes": axes, "attributes": attributes, "dim": dim}
    if depthwise:
        uses = (Use(weight, "depthwise_weight", ("target", "tap", *kernel)), *node_uses((bias, "bias")))
        return call.site("conv", inputs=(x,), uses=uses, edge_type="conv_depthwise", **shared)
    uses = (Use(weight, "weight", ("target", "source", *kernel)), *node_uses((bias, "bias")))
    return call.site("conv", uses=uses, edge_type="conv", source=(x, dim), **shared)


def _unify_channels(call: Call, dim: int, groups: int) -> bool:
    x, weight, solver = call["input"], call["weight"], call.solver
    if groups == 1:
        return call.unify(weight.axes[1], x.axes[dim])
    group = call.new(groups)
    fan_in = call.new(solver.size(x.axes[dim]) // groups, over=group)
    fan_out = call.new(solver.size(weight.axes[0]) // groups, over=group)

    done = call.unify(x.axes[dim], Product((group, fan_in))) and call.unify(weight.axes[0], Product((group, fan_out)))
    return done and call.unify(weight.axes[1], fan_in)


def _kernel(call: Call) -> list[int]:
    return [call.solver.size(axis) for axis in call["weight"].axes[2:]]


def _plain(value: Any) -> Any:
    return [int(v) for v in value] if isinstance(value, (list, tuple)) else value
