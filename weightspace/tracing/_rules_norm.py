"""Rules: batch, instance, layer and group normalisation."""

from weightspace.axes import UNIT, Axis, Product
from weightspace.tracing._call import Call, node_uses
from weightspace.tracing._records import Use
from weightspace.tracing._registry import rule


@rule("aten.batch_norm.default", "aten.instance_norm.default")
def batch_norm(call: Call) -> list[Axis] | None:
    """Per-channel affine map (or normalisation); weight, bias and the running statistics lie on the channels."""
    x, channel = call["input"], call["input"].axes[1]
    named = [(call[name], role) for name, role in _CHANNEL_ROLES]
    if not call.parameters_are(*(value for value, _ in named)):
        return None
    for value, _ in named:
        if value is not None:
            call.unify(value.axes[0], channel)
    call.solver.mark_neurons(channel)
    op = "batch_norm" if call.target.startswith("aten.batch_norm") else "instance_norm"
    own_statistics = call.get("training", call.get("use_input_stats", False))
    attributes = {"eps": call["eps"]} | ({"own_statistics": True} if own_statistics and op == "batch_norm" else {})
    return call.site(
        op, axes=x.axes, attributes=attributes, inputs=(x,), edge_type="norm", uses=node_uses(*named), dim=1
    )


_CHANNEL_ROLES = (
    ("weight", "norm_weight"),
    ("bias", "norm_bias"),
    ("running_mean", "running_mean"),
    ("running_var", "running_var"),
)


@rule("aten.layer_norm.default", "aten.rms_norm.default")
def layer_norm(call: Call) -> list[Axis] | None:
    """Normalises over the last dimensions, symmetric in their elements; the affine map follows their axes.

    RMSNorm (Zhang and Sennrich 2019, arXiv 1910.07467) divides by the root of the mean square, and has no bias.
    """
    x, named = call["input"], [(call["weight"], "norm_weight"), (call.get("bias"), "norm_bias")]
    if not call.parameters_are(*(value for value, _ in named)):
        return None
    first = len(x.axes) - len(call["normalized_shape"])
    for value, _ in named:
        for mine, theirs in zip(value.axes if value else (), x.axes[first:], strict=False):
            call.unify(mine, theirs)
    dims = tuple(range(first, len(x.axes)))
    call.solver.mark_neurons(x.axes[first])
    for axis in x.axes[:first]:
        call.solver.keep_apart(axis, x.axes[first:])
    labels = ("target", *["tap"] * (len(dims) - 1))
    uses = tuple(Use(value, role, labels) for value, role in named if value is not None)
    shared = {"inputs": (x,), "edge_type": "norm", "dim": first, "scope": (dims, UNIT)}
    op = "layer_norm" if call.target.startswith("aten.layer_norm") else "rms_norm"
    return call.site(op, axes=x.axes, attributes={"eps": call["eps"]}, uses=uses, **shared)


@rule("aten.group_norm.default")
def group_norm(call: Call) -> list[Axis] | None:
    """Normalises inside blocks of channels: blocks may be exchanged, and channels inside each block."""
    x, groups = call["input"], call["num_groups"]
    named = [(call["weight"], "norm_weight"), (call["bias"], "norm_bias")]
    if not call.parameters_are(*(value for value, _ in named)):
        return None
    group = call.new(groups)
    inside = call.new(call.solver.size(x.axes[1]) // groups, over=group)
    call.solver.keep_apart(group, [inside])
    if not call.unify(x.axes[1], Product((group, inside))):
        return None
    for value, _ in named:
        if value is not None:
            call.unify(value.axes[0], x.axes[1])
    call.solver.mark_neurons(x.axes[1])
    shared = {"inputs": (x,), "edge_type": "norm", "dim": 1, "scope": ((1,), group), "runs": groups}
    return call.site(
        "group_norm", axes=x.axes, attributes={"eps": call["eps"], "groups": groups}, uses=node_uses(*named), **shared
    )
