"""Rules: scaled dot-product attention, with typed query, key and value arguments."""

import string

from weightspace.axes import UNIT, Axis, Product
from weightspace.tracing._call import Call
from weightspace.tracing._records import Value
from weightspace.tracing._registry import rule


@rule("aten.scaled_dot_product_attention.default")
def attention(call: Call) -> list[Value] | None:
    """softmax(q k^T * scale + mask) v (Vaswani et al. 2017); heads of keys may be shared by groups of queries."""
    query, key, value = call["query"], call["key"], call["value"]
    if call["enable_gqa"]:
        key, value = (_for_each_query(call, query, shared) for shared in (key, value))
    batch = string.ascii_uppercase[: max(len(v.axes) for v in (query, key, value)) - 2]

    def letters(tensor: Value, last: str) -> str:
        return batch[len(batch) - len(tensor.axes) + 2 :] + last

    scale = {} if call["scale"] is None else {"scale": float(call["scale"])}
    texts = (letters(query, "qd"), letters(key, "kd"), batch + "qk")
    scores = call.contract("attention", (query, key), texts, types=("query", "key"), **scale)
    if call["is_causal"]:
        call.spatial(scores.axes[-2:])
    scores = _masked(call, scores)
    weights = softmax(call, scores, len(scores.axes) - 1, op="softmax")
    texts = (batch + "qk", letters(value, "kd"), batch + "qd")
    return [call.contract("attention", (weights, value), texts, types=("weight", "value"))]


def _for_each_query(call: Call, query: Value, shared: Value) -> Value:
    """Heads of keys or values, repeated for the queries that share them."""
    heads = shared.axes[-3]
    times = call.solver.size(query.axes[-3]) // call.solver.size(heads)
    if times == 1:
        return shared
    copies = call.new(times)
    for axis in shared.axes[:-2]:
        call.solver.depend(copies, axis)
    axes: list[Axis] = [*shared.axes[:-3], Product((heads, copies)), *shared.axes[-2:]]
    carry = tuple(d if d != len(axes) - 3 else None for d in range(len(axes)))
    return call.emit("alias", "alias", axes=axes, inputs=(shared,), carry=carry)


def _masked(call: Call, scores: Value) -> Value:
    mask = call["attn_mask"]
    causal = {"is_causal": True} if call["is_causal"] else {}
    if mask is None:
        return (
            scores
            if not causal
            else call.emit("function", "mask", axes=scores.axes, inputs=(scores,), attributes=causal)
        )
    axes = list(scores.axes)
    for dim in range(1, len(mask.axes) + 1):
        if call.solver.size(mask.axes[-dim]) == call.solver.size(axes[-dim]):
            call.unify(mask.axes[-dim], axes[-dim])
    return call.emit("site", "mask", axes=axes, inputs=(scores, mask), edge_type="add", attributes=causal)


def softmax(call: Call, x: Value, dim: int, *, op: str) -> Value:
    """Softmax over a dimension is symmetric in its elements."""
    for other, axis in enumerate(x.axes):
        if other != dim:
            call.solver.keep_apart(axis, [x.axes[dim]])
    return call.emit(
        "site", op, axes=x.axes, inputs=(x,), edge_type="softmax", dim=dim, scope=((dim,), UNIT),
        attributes={"dim": dim - len(x.axes)},
    )  # fmt: skip
