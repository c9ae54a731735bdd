"""The tracer: one pass over an exported graph, one rule per operation."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.export.graph_signature import InputKind

from weightspace.axes import Atom, Axis, Spread, Sum
from weightspace.errors import TraceError, UnsupportedOperationError
from weightspace.space import WeightSpace
from weightspace.tracing._call import Call
from weightspace.tracing._constants import can_fold, constant_axes, digest, expression, fold, has_plain_values
from weightspace.tracing._export import canonical_state, live_nodes, module_path, named_arguments
from weightspace.tracing._finish import finish
from weightspace.tracing._nested import each_in, map_in, plain_in, shapes_in, tensors_in
from weightspace.tracing._parameters import Parameters
from weightspace.tracing._plan_contract import is_weighted
from weightspace.tracing._records import Record, Value
from weightspace.tracing._registry import Rule, find_rule
from weightspace.tracing._settle import settle_choices, settle_fibres
from weightspace.tracing._shuffles import find_shuffle
from weightspace.tracing._solver import AxisSolver

KEEPS_WEIGHTS = ("aten.linear.", "aten.conv")
REGIONS = ("wrap_with_set_grad_enabled", "wrap_with_autocast")


class Tracer:
    """One pass over an exported graph.

    Args:
        module: that was exported.
        program: its graph.
        on_unknown: `"freeze"` or `"raise"`.
    """

    def __init__(self, module: nn.Module, program: torch.export.ExportedProgram, on_unknown: str) -> None:
        self._module = module
        self._program = program
        self._on_unknown = on_unknown
        self._solver = AxisSolver()
        self._values: list[Value] = []
        self._records: list[Record] = []
        self._of_node: dict[torch.fx.Node, Any] = {}
        self._done: set[torch.fx.Node] = set()
        self._calls = 0
        state, tied = canonical_state(module)
        self._parameters = Parameters(state, tied, self._solver, self._add)

    def run(self) -> WeightSpace:
        """Trace, settle and plan."""
        live = live_nodes(self._program)
        self._placeholders()
        outputs: list[Value] = []
        for node in self._program.graph.nodes:
            if node.op == "call_function":
                if node in live:
                    self._call(node, live)
                self._calls += 1
            elif node.op == "get_attr":
                self._of_node[node] = None
            elif node.op == "output":
                outputs = self._outputs(node)
        for value in outputs:
            self._fix(value.axes, "output", "output")
        self._fix_unread(outputs)
        on_edges = [use.value for record in self._records for use in record.uses]
        on_edges += [v for r in self._records if r.kind == "contract" for v in r.inputs if v.parameter is not None]
        on_edges = [value for value in on_edges if _is_on_edges(value, self._records)]
        tensors = [value.axes for value in self._values if value.parts is None]
        settle_choices(self._solver, tensors, [value.axes for value in on_edges])
        settle_fibres(self._solver, [value.axes for value in self._values if value.parts is None])
        return finish(
            self._module, self._solver, self._parameters, records=self._records, outputs=outputs, values=self._values
        )

    # --- values

    def _add(self, value: Value) -> Value:
        if value.number < 0:
            value.number = len(self._values)
            self._values.append(value)
        return value

    def _new_value(self, axes: list[Axis], *, origin: str = "operation", label: str = "") -> Value:
        return self._add(Value(-1, axes, origin=origin, label=label))

    def _fix(self, axes: Iterable[Axis], kind: str, reason: str) -> None:
        for axis in axes:
            self._solver.freeze(axis, reason, kind=kind)

    def _placeholders(self) -> None:
        count = 0
        constants = {**self._program.state_dict, **self._program.constants}
        nodes = {node.name: node for node in self._program.graph.nodes if node.op == "placeholder"}
        found: dict[str, list[torch.fx.Node]] = {}
        for spec in self._program.graph_signature.input_specs:
            node = nodes.get(getattr(spec.arg, "name", ""))
            if node is None or not isinstance(node.meta.get("val"), Tensor):
                continue
            if spec.kind == InputKind.USER_INPUT:
                self._of_node[node] = self._input(node.meta["val"].shape, count)
                count += 1
                continue
            name = self._parameters.known(spec.target or "")
            if name is not None:
                found.setdefault(name, []).append(node)
            else:
                self._of_node[node] = self._constant(constants[spec.target or ""])
        for name, mine in found.items():
            value = self._parameters.read_by(name, mine)
            self._of_node.update(dict.fromkeys(mine, value))

    def _input(self, shape: Sequence[int], number: int) -> Value:
        axes = [
            self._solver.atom(size, kind="input", reason="input", label=f"i{number}.{d}")
            for d, size in enumerate(shape)
        ]
        value = self._new_value(axes, origin="input", label=str(number))
        value.call = -1 - number
        return value

    def _constant(self, tensor: Tensor, label: str = "") -> Value:
        tensor = tensor.detach()
        content = None if tensor.is_meta else tensor.cpu()
        value = self._new_value(
            constant_axes(tensor, self._solver), origin="constant", label=label or digest(tensor, content)
        )
        value.content = content
        return value

    def _outputs(self, node: torch.fx.Node) -> list[Value]:
        wanted = set(self._program.graph_signature.user_outputs)
        found = []
        for part in torch.utils._pytree.tree_leaves(node.args):
            if isinstance(part, torch.fx.Node) and part.name in wanted:
                found += tensors_in(self._of_node.get(part))
        return [self._whole(value) for value in found]

    # --- operations

    def _call(self, node: torch.fx.Node, live: set[torch.fx.Node]) -> None:
        if getattr(node.target, "__name__", "") == "getitem":
            arguments: Any = node.args
            found: Any = self._of_node[arguments[0]]
            self._of_node[node] = found[arguments[1]] if isinstance(found, (list, tuple)) else found
            return
        if node in self._done or self._pick(node) or self._fold(node) or self._inline(node) or self._shuffle(node):
            return
        result = node.meta.get("val")
        rule = find_rule(node.target) if isinstance(node.target, torch._ops.OpOverload) else None
        several = isinstance(result, (list, tuple))
        results: list[Any] = list(result) if isinstance(result, (list, tuple)) else [result]
        if rule is not None and results and all(isinstance(part, Tensor) for part in results):
            used = _used_results(node, live, len(results)) if several else {0}
            made = self._apply_all(rule, node, results, used)
            if made is not None:
                self._of_node[node] = made if several else made[0]
                return
        self._unknown(node, result)

    def _pick(self, node: torch.fx.Node) -> bool:
        """Slices of a value that consists of parts are those parts."""
        first = self._of_node.get(node.args[0]) if node.args and isinstance(node.args[0], torch.fx.Node) else None
        if not isinstance(first, Value) or first.parts is None:
            return False
        picked = self._parameters.pick(first, node, self._keep)
        if picked is not None:
            self._of_node[node] = picked
        return picked is not None

    def _fold(self, node: torch.fx.Node) -> bool:
        """Operations on constants alone are carried out: masks, positions, rotary tables."""
        arguments = tensors_in(self._arguments(node))
        if not can_fold(node, arguments):
            return False
        found = fold(node, self._of_node)
        if found is None:
            return False
        label = expression(node, self._of_node)
        parts = [found] if isinstance(found, Tensor) else list(found)
        labels = ["" if has_plain_values(part) else f"{label}.{k}" for k, part in enumerate(parts)]
        made = [self._constant(part, name) for part, name in zip(parts, labels, strict=True)]
        self._of_node[node] = made[0] if isinstance(found, Tensor) else made
        return True

    def _shuffle(self, node: torch.fx.Node) -> bool:
        """Views that only reorder the elements of one dimension leave its symmetry as it is."""
        first = self._of_node.get(node.args[0]) if node.args and isinstance(node.args[0], torch.fx.Node) else None
        if not isinstance(first, Value) or first.parts is not None or first.parameter is not None:
            return False
        shuffle = find_shuffle(node)
        if shuffle is None:
            return False
        axis = self._solver.resolve(first.axes[shuffle.dim])
        terms = axis.terms if isinstance(axis, (Sum, Spread)) else (axis,)
        if not all(isinstance(term, Atom) for term in terms):
            return False
        axes = list(first.axes)
        axes[shuffle.dim] = Spread((axis,), (shuffle.places,))
        value = Value(-1, axes)
        self._keep(Record("alias", "alias", value, inputs=(first,), carry=tuple(range(len(axes)))), module_path(node))
        self._done.update(shuffle.nodes)
        self._of_node[shuffle.nodes[-1]] = value
        return True

    def _inline(self, node: torch.fx.Node) -> bool:
        """Regions without gradients or with autocast are part of the computation around them."""
        if getattr(node.target, "__name__", "") not in REGIONS:
            return False
        position = next(k for k, a in enumerate(node.args) if isinstance(a, torch.fx.Node) and a.op == "get_attr")
        region = getattr(node.graph.owning_module, str(node.args[position].target))  # type: ignore[union-attr]
        arguments = iter(node.args[position + 1 :])
        for inner in region.graph.nodes:
            if inner.op == "placeholder":
                self._of_node[inner] = map_in(next(arguments), self._of_node)
            elif inner.op == "call_function":
                self._call(inner, set(region.graph.nodes))
            elif inner.op == "output":
                results = map_in(inner.args[0], self._of_node)
                several = isinstance(node.meta.get("val"), (list, tuple))
                self._of_node[node] = results if several or not isinstance(results, (list, tuple)) else results[0]
        return True

    def _arguments(self, node: torch.fx.Node) -> Any:
        return map_in((node.args, node.kwargs), self._of_node)

    def _apply_all(
        self, rule: Rule, node: torch.fx.Node, results: list[Tensor], used: set[int]
    ) -> list[Value | None] | None:
        """Every result that is used; None where the rule cannot speak for the call."""
        keeps = str(node.target).startswith(KEEPS_WEIGHTS)
        for value in tensors_in(self._arguments(node)):
            if value.derived is not None and not keeps:
                self._materialise(value)
        made: list[Value | None] = [None] * len(results)
        for number, result in enumerate(results):
            if number not in used or made[number] is not None:
                continue
            found = self._apply(rule, node, result, number=number, used=used)
            if isinstance(found, list) and len(found) == len(results):
                return list(found)
            if isinstance(found, list):
                (found,) = found
            if found is None:
                return None
            made[number] = found
        return made

    def _apply(
        self, rule: Rule, node: torch.fx.Node, result: Tensor, *, number: int, used: set[int]
    ) -> Value | list[Value] | None:
        """One result of an operation by its rule; None where the rule cannot speak for the call."""
        named = {k: each_in(map_in(v, self._of_node), self._whole) for k, v in named_arguments(node).items()}
        call = Call(str(node.target), module_path(node), arguments=named, shape=result.shape, solver=self._solver)
        call.number, call.used = number, used
        made = rule(call)
        if made is None:
            return None
        for record in call.records:
            self._keep(record, call.where)
        values: list[Value] = [part for part in made if isinstance(part, Value)]
        if values:
            for value in values:
                self._add(value)
            if result is node.meta.get("val"):
                values[0].call, values[0].operation = self._calls, call.target
            return values
        if call.record is None and call.output.derived is None:
            return None
        axes: list[Axis] = [axis for axis in made if not isinstance(axis, Value)]
        self._check_sizes(call, axes, result)
        call.output.axes = axes
        if call.record is not None:
            self._keep(call.record, call.where)
            if call.record.kind == "alias":
                self._parameters.follow(call.output, call.record, node, number)
        self._add(call.output)
        if result is node.meta.get("val"):
            call.output.call, call.output.operation = self._calls, call.target
        return call.output

    def _check_sizes(self, call: Call, axes: list[Axis], result: Tensor) -> None:
        sizes = tuple(self._solver.size(axis) for axis in axes)
        if sizes != tuple(result.shape):
            raise TraceError(
                f"the rule for {call.target} returned axes of sizes {sizes}, the result has shape "
                f"{tuple(result.shape)}; mend the rule"
            )

    def _keep(self, record: Record, where: str) -> None:
        for value in record.inputs:
            if value.derived is not None and value.number >= 0 and not value.is_made:
                self._materialise(value)
        for value in (*record.inputs, *([record.source[0]] if record.source else []), record.output):
            self._add(value)
        record.where = where
        self._records.append(record)

    def _materialise(self, value: Value) -> None:
        """A weight that is computed from parameters takes part as a tensor of its own."""
        if value.derived is not None and not value.is_made:
            value.is_made = True
            derived = value.derived
            self._records.append(
                Record("site", derived.op, value, derived.attributes, derived.inputs, edge_type="function")
            )

    def _whole(self, value: Any) -> Any:
        """A value that consists of parts, as one tensor."""
        if not isinstance(value, Value) or value.parts is None:
            return value
        return self._parameters.join(value, self._keep)

    def _unknown(self, node: torch.fx.Node, result: Any) -> None:
        """Freeze what an operation without a rule touches; aliases share their atoms, so they freeze with it."""
        path, name = module_path(node), str(node.target)
        touched = [self._whole(value) for value in tensors_in(self._arguments(node))]
        for value in touched:
            self._materialise(value)
        if not touched and not shapes_in(result):
            self._of_node[node] = None
            return
        if self._on_unknown == "raise":
            raise UnsupportedOperationError(
                f"'{path}' calls {name}; no tracing rule fits. Its axes stay frozen with on_unknown=\"freeze\"; "
                "write a rule with weightspace.tracing.rule"
            )
        reason = f"{name} at '{path}'" if path else name
        for value in touched:
            self._fix(value.axes, "frozen", reason)
        made: list[Value] = []
        for shape in shapes_in(result):
            value = self._new_value(
                [self._solver.atom(size, kind="frozen", reason=reason, label=f"u.{d}") for d, size in enumerate(shape)]
            )
            plain = json.dumps(plain_in((node.args, node.kwargs)), default=str)
            attributes = {"operation": name, "arguments": plain, "result": len(made)}
            self._records.append(Record("hub", "unknown", value, attributes, tuple(touched), "unknown", where=path))
            made.append(value)
        self._of_node[node] = made if isinstance(result, (list, tuple)) else next(iter(made), None)

    def _fix_unread(self, outputs: Sequence[Value]) -> None:
        """Axes of entries that no operation reads have no meaning that a permutation could keep."""
        read = {id(value) for value in outputs}
        for record in reversed(self._records):
            if record.kind != "alias" or id(record.output) in read:
                source = [record.source[0]] if record.source else []
                read |= {id(value) for value in (*record.inputs, *source, *(use.value for use in record.uses))}
        for value in self._parameters.values():
            if id(value) not in read:
                self._fix(value.axes, "unused", "no operation reads it")


def _is_on_edges(value: Value, records: Sequence[Record]) -> bool:
    """Whether the entries of a parameter become edges, which have one axis at either end."""
    for record in records:
        if any(use.value is value for use in record.uses):
            return True
        if record.kind == "contract" and value in record.inputs and is_weighted(record):
            return True
    return False


def _used_results(node: torch.fx.Node, live: set[torch.fx.Node], count: int) -> set[int]:
    used: set[int] = set()
    for user in node.users:
        if user in live:
            index = user.args[1] if getattr(user.target, "__name__", "") == "getitem" else None
            used |= {index % count} if isinstance(index, int) else set(range(count))
    return used
