"""Rules: tables, embeddings, indexing, gathering and scattering: what is indexed is fixed, the rest carried along."""

import string
from typing import Any

from weightspace.axes import Axis
from weightspace.tracing._call import Call
from weightspace.tracing._records import Use, Value
from weightspace.tracing._registry import rule


def _fix(call: Call, *axes: Axis) -> None:
    for axis in axes:
        call.solver.freeze(axis, call.reason, kind="indexed")


def look_up(call: Call, table: Value, index: Value) -> list[Axis]:
    """Rows of a table, each an indexed node, whose entries are edges to the features that they give."""
    _fix(call, table.axes[0])
    call.solver.mark_neurons(table.axes[0])
    call.solver.mark_neurons(table.axes[1])
    rows = Value(-1, [table.axes[0]], origin="vocabulary")
    axes = [*index.axes, table.axes[1]]
    uses = (Use(table, "embedding", ("source", "target")),)
    return call.site(
        "embedding", axes=axes, inputs=(index,), uses=uses, edge_type="embedding", source=(rows, 0), dim=len(axes) - 1
    )


@rule("aten.embedding.default")
def embedding(call: Call) -> list[Axis] | list[Value] | None:
    """Rows of a table by their numbers."""
    weight, index = call["weight"], call["indices"]
    return look_up(call, weight, index) if weight.parameter is not None else _pick(call, weight, [index])


@rule("aten.index.Tensor")
def index(call: Call) -> list[Axis] | list[Value] | None:
    """Elements by their numbers along one or several dimensions."""
    x, numbers = call["self"], list(call["indices"])
    known = [value for value in numbers if value is not None]
    if len(known) == 1 and numbers[0] is not None and len(x.axes) == 2 and x.parameter is not None:
        return look_up(call, x, known[0])
    return _pick(call, x, numbers)


def _pick(call: Call, x: Value, numbers: list[Value | None]) -> list[Value] | None:
    numbers = numbers + [None] * (len(x.axes) - len(numbers))
    dims = [d for d, value in enumerate(numbers) if value is not None]
    known = [value for value in numbers if value is not None]
    rank = max(len(value.axes) for value in known)
    if len(call.shape) != rank + len(x.axes) - len(dims):
        return None
    _fix(call, *(x.axes[d] for d in dims))
    letters = string.ascii_lowercase[: len(x.axes)]
    broad = string.ascii_uppercase[:rank]
    first = dims[0] if dims == list(range(dims[0], dims[0] + len(dims))) else 0
    kept = [letter for d, letter in enumerate(letters) if d not in dims]
    out = "".join([*kept[:first], broad, *kept[first:]])
    texts = (letters, *(broad[rank - len(value.axes) :] for value in known), out)
    return [call.contract("index", (x, *known), texts, types=("function", *["index"] * len(known)), dims=dims)]


@rule("aten.index_select.default")
def index_select(call: Call) -> list[Axis] | list[Value]:
    """Elements by their numbers along one dimension."""
    x, rank = call["self"], len(call["self"].axes)
    dim = call["dim"] % rank
    if x.parameter is not None and rank == 2 and dim == 0:
        return look_up(call, x, call["index"])
    _fix(call, x.axes[dim])
    letters = string.ascii_lowercase[:rank]
    out = letters[:dim] + "A" + letters[dim + 1 :]
    return [call.contract("index", (x, call["index"]), (letters, "A", out), types=("function", "index"), dims=[dim])]


@rule("aten.gather.default", "aten.take_along_dim.default")
def gather(call: Call) -> list[Value] | None:
    """Elements by their numbers along a dimension, other numbers at each place of the other dimensions."""
    x, dim, index = call["self"], call["dim"], call.get("index", call.get("indices"))
    if dim is None or len(index.axes) != len(x.axes):
        return None
    rank = len(x.axes)
    dim %= rank
    _fix(call, x.axes[dim], index.axes[dim])
    for d in range(rank):
        if d != dim and call.solver.size(index.axes[d]) != call.solver.size(x.axes[d]):
            _fix(call, index.axes[d], x.axes[d])
            return None
    letters = string.ascii_lowercase[:rank]
    theirs = letters[:dim] + "A" + letters[dim + 1 :]
    return [call.contract("gather", (x, index), (letters, theirs, theirs), types=("function", "index"), dim=dim - rank)]


_SCATTER = (
    "scatter_add.default", "scatter.src", "scatter_reduce.two", "index_add.default", "index_copy.default",
    "scatter.value", "index_fill.int_Scalar", "scatter.reduce", "index_reduce.default",
)  # fmt: skip


@rule(*(f"aten.{name}" for name in _SCATTER))
def scatter(call: Call) -> list[Value]:
    """Elements are added to (or put at) given places of a dimension; the other dimensions are carried along."""
    x, dim, index = call["self"], call["dim"], call["index"]
    source = call.get("src", call.get("source"))
    rank = len(x.axes)
    dim %= rank
    others = [v for v in (index, source) if v is not None and len(v.axes) == rank]
    _fix(call, x.axes[dim], *(v.axes[dim] for v in others), *(index.axes if len(index.axes) != rank else ()))
    for value in others:
        for d in range(rank):
            if d != dim and call.solver.size(value.axes[d]) == call.solver.size(x.axes[d]):
                call.unify(value.axes[d], x.axes[d])
            elif d != dim:
                _fix(call, value.axes[d], x.axes[d])
    inputs = tuple(v for v in (x, index, source) if v is not None)
    types = tuple("index" if v is index else "function" for v in inputs)
    plain = {k: call[k] for k in ("reduce", "include_self", "alpha", "value") if call.get(k) is not None}
    attributes: dict[str, Any] = {"dim": dim - rank, **{k: v for k, v in plain.items() if not isinstance(v, Value)}}
    op = call.target.split(".")[1].rstrip("_")
    return [call.emit("site", op, axes=x.axes, inputs=inputs, types=types, edge_type="function", attributes=attributes)]


@rule("aten.index_put.default")
def index_put(call: Call) -> list[Value] | None:
    """Values at given places; every dimension that is indexed is fixed."""
    x, numbers, values = call["self"], list(call["indices"]), call["values"]
    dims = [d for d, value in enumerate(numbers) if value is not None]
    if dims != list(range(len(dims))):
        return None
    _fix(call, *(x.axes[d] for d in dims))
    rest = x.axes[len(dims) :]
    for mine, theirs in zip(reversed(rest), reversed(values.axes), strict=False):
        if call.solver.size(mine) == call.solver.size(theirs):
            call.unify(mine, theirs)
    inputs = (x, *(v for v in numbers if v is not None), values)
    types = ("function", *["index"] * len(dims), "function")
    attributes = {"accumulate": bool(call["accumulate"]), "dims": dims}
    return [
        call.emit(
            "site", "index_put", axes=x.axes, inputs=inputs, types=types, edge_type="function", attributes=attributes
        )
    ]
