"""Rules: pooling, reductions over dimensions, softmax."""

from typing import Any

from weightspace.axes import UNIT, Axis
from weightspace.tracing._call import Call
from weightspace.tracing._records import Record
from weightspace.tracing._registry import rule

_WINDOW = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "count_include_pad", "divisor_override")


@rule(*(f"aten.{kind}_pool{n}d.default" for kind in ("max", "avg") for n in (1, 2, 3)))
def pool(call: Call) -> list[Axis]:
    """Windows over image positions, channel by channel."""
    rank = int(call.target.split("pool")[1][0])
    attributes = {name: call[name] for name in _WINDOW if call.get(name) not in (None, [], False)}
    return _pool(call, rank, call.target.split(".")[1][: -len("1d")], attributes)


@rule(*(f"aten.adaptive_{kind}_pool{n}d.default" for kind in ("max", "avg") for n in (1, 2, 3)))
def adaptive_pool(call: Call) -> list[Axis] | None:
    """Windows that leave a given number of positions, channel by channel."""
    rank = int(call.target.split("pool")[1][0])
    name = call.target.split(".")[1][: -len("1d")]
    return None if "max" in name else _pool(call, rank, name, {"output_size": call["output_size"]})


def _pool(call: Call, rank: int, op: str, attributes: dict[str, Any]) -> list[Axis]:
    axes = call.input.axes
    call.spatial(axes[-rank:])
    call.solver.mark_neurons(axes[-rank - 1])
    plain: dict[str, Any] = {
        name: list(value) if isinstance(value, (list, tuple)) else value for name, value in attributes.items()
    }
    return call.function(op, axes=[*axes[:-rank], *call.fixed(call.shape[-rank:])], **plain)


@rule(*(f"aten.{name}.{o}" for name in ("mean", "sum", "amax", "amin") for o in ("default", "dim", "dim_IntList")))
def reduce(call: Call) -> list[Axis]:
    """A symmetric function over dimensions: what is reduced disappears, whatever its symmetry."""
    axes, rank = call.input.axes, len(call.input.axes)
    dims = call.get("dim")
    dims = range(rank) if dims is None or dims == [] else dims
    gone = {d % rank for d in ([dims] if isinstance(dims, int) else dims)}
    op = call.target.split(".")[1]
    attributes = {"dims": sorted(d - rank for d in gone), "keepdim": bool(call.get("keepdim", False))}
    call.record = Record("reduce", op, call.output, attributes=attributes, inputs=(call.input,), edge_type="reduce")
    if call.get("keepdim", False):
        return [UNIT if d in gone else axis for d, axis in enumerate(axes)]
    return [axis for d, axis in enumerate(axes) if d not in gone]


@rule("aten.softmax.int", "aten.log_softmax.int", "aten._softmax.default", "aten._log_softmax.default")
def softmax(call: Call) -> list[Axis]:
    """Softmax over a dimension is symmetric in its elements."""
    x = call.input
    dim = call["dim"] % max(1, len(x.axes))
    op = call.target.split(".")[1].lstrip("_")
    shared = {"inputs": (x,), "edge_type": "softmax", "dim": dim, "scope": ((dim,), UNIT)}
    return call.site(op, axes=x.axes, attributes={"dim": dim - len(x.axes)}, **shared)
