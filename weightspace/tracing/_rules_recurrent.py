"""Rules: recurrent layers and cells. Gates are told apart by their index, hidden units are one axis of every gate."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from weightspace.axes import UNIT, Axis, Case, Product, Sum
from weightspace.tracing._call import Call, node_uses
from weightspace.tracing._records import Use, Value
from weightspace.tracing._registry import rule

GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


@dataclass(frozen=True)
class _Weights:
    """Parameters of one cell; None for biases and the projection where there are none."""

    inputs: Value
    hidden: Value
    input_bias: Value | None = None
    hidden_bias: Value | None = None
    projection: Value | None = None


def _cell(call: Call, kind: str, x: Value, before: Value, *, weights: _Weights, memory: Value | None) -> list[Value]:
    """One cell: the new hidden state, and for an LSTM the new memory where it is wanted."""
    size = call.solver.size(weights.inputs.axes[0]) // GATES[kind]
    hidden = call.new(size)
    gates = call.solver.atom(GATES[kind], kind="constant", neuron=True, reason="gates", label="gate")
    rows = Product((gates, hidden))
    made = [
        _linear(call, x, weights.inputs, weights.input_bias, rows=rows, role="input_weight"),
        _linear(call, before, weights.hidden, weights.hidden_bias, rows=rows, role="weight"),
    ]
    for mine, theirs in zip(x.axes[:-1], before.axes[:-1], strict=False):
        if call.solver.size(mine) == call.solver.size(theirs):
            call.unify(mine, theirs)
    inputs, types = made, ["input_gate", "hidden_gate"]
    if kind == "gru":
        inputs, types = [*made, before], [*types, "state"]
    if memory is not None:
        call.unify(memory.axes[-1], hidden)
        inputs, types = [*made, memory], [*types, "memory"]
    axes: list[Axis] = [*x.axes[:-1], hidden]
    fields: dict[str, Any] = {"axes": axes, "inputs": tuple(inputs), "types": tuple(types), "edge_type": "gate"}
    out = call.emit("site", kind, **fields)
    if weights.projection is not None:
        out = _linear(call, out, weights.projection, None, rows=weights.projection.axes[0], role="weight")
    call.unify(before.axes[-1], out.axes[-1])
    return [out] if memory is None else [out, call.emit("site", "lstm_memory", **fields)]


def _linear(call: Call, x: Value, weight: Value, bias: Value | None, *, rows: Axis, role: str) -> Value:
    call.unify(weight.axes[0], rows)
    call.unify(weight.axes[1], x.axes[-1])
    call.solver.mark_neurons(x.axes[-1])
    if bias is not None:
        call.unify(bias.axes[0], rows)
    uses = (Use(weight, role, ("target", "source")), *node_uses((bias, "bias")))
    axes = [*x.axes[:-1], rows]
    dim = len(axes) - 1
    return call.emit("site", "linear", axes=axes, uses=uses, edge_type="linear", source=(x, dim), dim=dim)


@rule(*(f"aten.{kind}_cell.default" for kind in GATES))
def cell(call: Call) -> list[Value] | None:
    """LSTMCell, GRUCell, RNNCell."""
    kind = call.target.split(".")[1][: -len("_cell")]
    weights = _Weights(call["w_ih"], call["w_hh"], call["b_ih"], call["b_hh"])
    if not call.parameters_are(*vars(weights).values()):
        return None
    before, memory = call["hx"] if kind == "lstm" else (call["hx"], None)
    return _cell(call, kind, call["input"], before, weights=weights, memory=memory)


@rule("aten.lstm.input", "aten.gru.input", "aten.rnn_tanh.input", "aten.rnn_relu.input")
def recurrent(call: Call) -> list[Value] | None:
    """LSTM, GRU and RNN over a sequence: layers, directions, projections."""
    kind = call.target.split(".")[1]
    parameters: list[Value] = list(call["params"])
    if call["train"] or not call.parameters_are(*parameters):
        return None
    states = call["hx"] if kind == "lstm" else [call["hx"]]
    directions = 2 if call["bidirectional"] else 1
    per_cell = len(parameters) // (call["num_layers"] * directions)
    x, finals, memories = call["input"], [], []
    for layer in range(call["num_layers"]):
        made = []
        for direction in range(directions):
            number = layer * directions + direction
            mine = parameters[number * per_cell : (number + 1) * per_cell]
            weights = _weights(mine, has_biases=call["has_biases"])
            firsts = [_state(call, state, number, x, weights=weights, hidden=k == 0) for k, state in enumerate(states)]
            out, *memory = _layer(call, kind, x, firsts, weights=weights, direction=direction)
            made.append(out)
            memories += memory
        finals += made
        x = made[0] if directions == 1 else _side_by_side(call, made)
    return [x, _last(call, finals), *([_last(call, memories)] if kind == "lstm" else [])]


def _weights(mine: Sequence[Value], *, has_biases: bool) -> _Weights:
    biases = list(mine[2:4]) if has_biases else [None, None]
    rest = list(mine[4 if has_biases else 2 :])
    return _Weights(mine[0], mine[1], biases[0], biases[1], rest[0] if rest else None)


def _state(call: Call, state: Value, number: int, x: Value, *, weights: _Weights, hidden: bool) -> Value:
    """The first state of a cell as neurons, which the following ones feed."""
    size = call.solver.size(weights.hidden.axes[1]) if hidden else 0
    if not hidden:
        size = call.solver.size(weights.inputs.axes[0]) // GATES["lstm"]
    axis = call.new(size)
    begin = _of_cell(call, state, number, axis)
    axes = [*x.axes[:-1], axis]
    return call.emit("site", "state", axes=axes, inputs=(begin,), edge_type="state", dim=len(axes) - 1)


def _of_cell(call: Call, state: Value, number: int, axis: Axis) -> Value:
    """The part of a stack of first states that is a cell's."""
    cells = call.solver.size(state.axes[0])
    if state.origin == "constant" and state.content is not None and bool((state.content == 0).all()):
        return call.constant([axis], "0")
    if cells > 1:
        call.unify(state.axes[0], Sum(tuple(call.solver.atom(1) for _ in range(cells))))
    call.unify(state.axes[-1], axis)
    cut = {"dim": 0, "start": number, "step": 1, "drops": True}
    return call.emit("alias", "alias", axes=state.axes[1:], inputs=(state,), attributes=cut)


def _layer(
    call: Call, kind: str, x: Value, firsts: Sequence[Value], *, weights: _Weights, direction: int
) -> list[Value]:
    memory = firsts[1] if kind == "lstm" else None
    made = _cell(call, kind, x, firsts[0], weights=weights, memory=memory)
    named = f"recurrent_{('forward', 'backward')[direction]}"
    for after, before in zip(made, firsts, strict=True):
        call.emit(
            "loop", "loop", axes=after.axes, inputs=(after, before), edge_type=named, attributes={"way": direction}
        )
    return made


def _side_by_side(call: Call, made: Sequence[Value]) -> Value:
    axes = [*made[0].axes[:-1], Sum(tuple(value.axes[-1] for value in made))]
    return call.emit("site", "cat", axes=axes, inputs=tuple(made), edge_type="cat", dim=len(axes) - 1)


def _last(call: Call, made: Sequence[Value]) -> Value:
    """Final states, one part for each cell, so that they may be used apart."""
    parts = []
    for number, value in enumerate(made):
        time = {"batch_first": bool(call["batch_first"])}
        dims = [d for d in range(len(value.axes)) if d != (1 if time["batch_first"] and len(value.axes) == 3 else 0)]
        axes = [UNIT, *(value.axes[d] for d in dims)]
        part = call.emit("function", "last", axes=axes, inputs=(value,), carry=(None, *dims), edge_type="function")
        parts.append((number, 1, part))
    if len(parts) == 1:
        return parts[0][2]
    rank = len(parts[0][2].axes)
    axes = [Sum((UNIT,) * len(parts)), *(Case(tuple(p.axes[d] for _, _, p in parts)) for d in range(1, rank))]
    return Value(-1, axes, parts=(0, parts))
