"""Rules: reductions over dimensions, softmax, and what depends on the order along a dimension."""

from typing import Any

from weightspace.axes import UNIT, Axis
from weightspace.tracing._call import Call
from weightspace.tracing._records import Record, Value
from weightspace.tracing._registry import rule
from weightspace.tracing._rules_attention import softmax as over_dimension

_SYMMETRIC = (
    "mean", "sum", "amax", "amin", "var", "std", "prod", "logsumexp", "any", "all", "nansum", "nanmean",
    "count_nonzero", "linalg_vector_norm", "norm", "aminmax",
)  # fmt: skip
_OVERLOADS = (
    "default", "dim", "dim_IntList", "correction", "unbiased", "dim_int", "dims", "Scalar", "ScalarOpt_dim",
    "ScalarOpt_dim_dtype", "dim_IntList_correction",
)  # fmt: skip
_OPTIONS = ("correction", "unbiased", "ord", "p")


def reduced(call: Call, op: str, dims: Any, *, keepdim: bool, **attributes: Any) -> list[Axis]:
    """Dimensions disappear, or keep size 1."""
    axes, rank = call.input.axes, len(call.input.axes)
    dims = range(rank) if dims is None or dims == [] else dims
    gone = {d % max(1, rank) for d in ([dims] if isinstance(dims, int) else dims)}
    attributes = {"dims": sorted(d - rank for d in gone), "keepdim": keepdim} | attributes
    call.record = Record("reduce", op, call.output, attributes=attributes, inputs=(call.input,), edge_type="reduce")
    if keepdim:
        return [UNIT if d in gone else axis for d, axis in enumerate(axes)]
    return [axis for d, axis in enumerate(axes) if d not in gone]


@rule(*(f"aten.{name}.{overload}" for name in _SYMMETRIC for overload in _OVERLOADS))
def reduce(call: Call) -> list[Axis]:
    """A symmetric function over dimensions: what is reduced disappears, whatever its symmetry."""
    options = {k: call[k] for k in _OPTIONS if call.get(k) is not None and not isinstance(call[k], Value)}
    keepdim = bool(call.get("keepdim", False))
    return reduced(call, call.target.split(".")[1], call.get("dim"), keepdim=keepdim, **options)


@rule(*(f"aten.{name}.{overload}" for name in ("max", "min") for overload in ("default", "dim")))
def extreme(call: Call) -> list[Axis]:
    """The largest or smallest value along a dimension; its place, where that is read, depends on their order."""
    dim = call.get("dim")
    if call.number and dim is not None:
        call.solver.freeze(call.input.axes[dim], call.reason)
    op = ("amax" if "max" in call.target else "amin") if call.number == 0 else f"arg_{call.target.split('.')[1]}"
    return reduced(call, op, dim, keepdim=bool(call.get("keepdim", False)))


@rule("aten.argmax.default", "aten.argmin.default")
def place(call: Call) -> list[Axis]:
    """The place of an extreme value depends on the order."""
    axes, dim = call.input.axes, call["dim"]
    for axis in axes if dim is None else [axes[dim]]:
        call.solver.freeze(axis, call.reason)
    return reduced(call, call.target.split(".")[1], dim, keepdim=bool(call["keepdim"]))


@rule("aten.softmax.int", "aten.log_softmax.int", "aten._softmax.default", "aten._log_softmax.default")
def softmax(call: Call) -> list[Value]:
    """Softmax over a dimension is symmetric in its elements."""
    op = call.target.split(".")[1].lstrip("_")
    return [over_dimension(call, call.input, call["dim"] % max(1, len(call.input.axes)), op=op)]


_ORDERED = (
    "cumsum",
    "cumprod",
    "logcumsumexp",
    "cummax",
    "cummin",
    "flip",
    "roll",
    "sort",
    "argsort",
    "fliplr",
    "flipud",
)


@rule(*(f"aten.{name}.{overload}" for name in _ORDERED for overload in ("default", "stable")))
def ordered(call: Call) -> list[Value]:
    """What depends on the order along a dimension freezes it; the other dimensions are left alone."""
    x, op = call.input, call.target.split(".")[1]
    rank = len(x.axes)
    named: Any = call.get("dims", call.get("dim", {"flipud": 0, "fliplr": 1}.get(op, -1)))
    if named in (None, []):
        named = list(range(rank))
    dims = tuple(sorted({d % max(1, rank) for d in (named if isinstance(named, (list, tuple)) else [named])}))
    for d in dims:
        call.solver.freeze(x.axes[d], call.reason)
    plain = {
        k: list(v) if isinstance(v, (list, tuple)) else v
        for k, v in call.arguments.items()
        if k in ("shifts", "descending")
    }
    attributes = {"dims": [d - rank for d in dims], "result": call.number, **plain}
    if any(call.solver.atoms(x.axes[d]) for d in dims):
        fields: dict[str, Any] = {"dim": dims[0], "scope": (dims, UNIT)}
    else:
        fields = {}
    return [call.emit("site", op, axes=x.axes, inputs=(x,), edge_type="function", attributes=attributes, **fields)]


@rule("aten.topk.default")
def largest(call: Call) -> list[Axis]:
    """The largest elements in order; their dimension is fixed, the others are left alone."""
    axes, dim = list(call.input.axes), call["dim"] % len(call.input.axes)
    call.solver.freeze(axes[dim], call.reason)
    (axes[dim],) = call.fixed([call["k"]])
    carry = [None if d == dim else d for d in range(len(axes))]
    options = {"largest": bool(call["largest"]), "result": call.number, "dim": dim - len(axes)}
    return call.function("topk", axes=axes, carry=carry, **options)
