"""The tracer: export, one rule per operation, settle the axes, plan the graph, describe it, verify."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.export.graph_signature import InputKind

from weightspace.axes import AtomSpec, Axis, atoms_of, rename
from weightspace.errors import ConfigurationError, TraceError, UnsupportedOperationError
from weightspace.space import ParameterSpec, WeightSpace
from weightspace.tracing._cache import SPACES, cache_key
from weightspace.tracing._call import Call
from weightspace.tracing._description import describe, signature_of
from weightspace.tracing._export import canonical_state, export, module_path, named_arguments
from weightspace.tracing._planner import Planner
from weightspace.tracing._records import Record, Value
from weightspace.tracing._registry import Rule, find_rule
from weightspace.tracing._solver import AxisSolver

MAX_EDGES = 50_000_000


def trace(
    module: nn.Module,
    *example_inputs: Any,
    example_kwargs: Mapping[str, Any] | None = None,
    symmetries: Iterable[str] = frozenset({"permutation"}),
    verify: bool = True,
    on_unknown: str = "freeze",
    max_edges: int = MAX_EDGES,
) -> WeightSpace:
    """Derive the weight space of a module: named axes, permutation group and parameter graph.

    The module is exported by `torch.export` (evaluation mode, not decomposed); each operation's rule unifies the
    axes that the operation
    ties together. What no rule knows is frozen, so the group can be too small, never wrong; it is then verified on
    random weights.
    An architecture that was traced before in this process is recognised by its code, attributes and constants, and its
    space is handed out again; a module with parts that cannot be compared is traced anew.

    Args:
        module: any `torch.nn.Module`; its mode and weights are left as they are.
        *example_inputs: as for a call of the module; only shapes and dtypes matter.
        example_kwargs: keyword arguments of that call.
        symmetries: only `{"permutation"}` today.
        verify: check the group in float64 on random weights (a few forward passes).
        on_unknown: `"freeze"`, or `"raise"` at the first operation without a rule.
        max_edges: refuse graphs with more edges.

    Raises:
        TraceError: the module does not run on the inputs, or cannot be exported.
        UnsupportedOperationError: with `on_unknown="raise"`.
        VerificationError: the derived group does not keep the function.
        ConfigurationError: an unknown option.

    Example:
        >>> import torch, weightspace as ws
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
        >>> space = ws.trace(net, torch.zeros(1, 4))
        >>> [(group.name, group.size) for group in space.groups], round(10**space.log10_order)
        ([('0.weight:0', 3)], 6)
    """
    _check_options(module, symmetries, on_unknown)

    def make() -> WeightSpace:
        return _trace_anew(module, example_inputs, example_kwargs, on_unknown=on_unknown, max_edges=max_edges)

    def check(space: WeightSpace) -> None:
        space.verify(module, *example_inputs, example_kwargs=example_kwargs)

    key = cache_key(module, example_inputs, example_kwargs, (*sorted(symmetries), on_unknown, max_edges))
    return SPACES.get(key, make, check if verify else None)


def _trace_anew(
    module: nn.Module,
    inputs: Sequence[Any],
    options: Mapping[str, Any] | None,
    *,
    on_unknown: str,
    max_edges: int,
) -> WeightSpace:
    tracer = _Tracer(module, export(module, inputs, options), on_unknown)
    space = tracer.run()
    edges = sum(_edge_count(space, number) for number in range(len(space.blocks)))
    if edges > max_edges:
        raise TraceError(
            f"trace: the parameter graph of {type(module).__name__} has {edges:,} edges, allowed {max_edges:,}; "
            f"raise max_edges, or trace a part"
        )
    return space


def _check_options(module: nn.Module, symmetries: Iterable[str], on_unknown: str) -> None:
    if not isinstance(module, nn.Module):
        raise TraceError(
            f"trace: found {type(module).__name__}, wanted a torch.nn.Module; hand in the module itself, not "
            f"its state_dict or class"
        )
    if set(symmetries) != {"permutation"}:
        raise ConfigurationError(f"trace: symmetries={sorted(symmetries)} is not supported; wanted {{'permutation'}}")
    if on_unknown not in ("freeze", "raise"):
        raise ConfigurationError(f"trace: on_unknown={on_unknown!r} is not known; wanted 'freeze' or 'raise'")


def _edge_count(space: WeightSpace, number: int) -> int:
    plan = space.blocks[number]
    names = dict.fromkeys((*space.sites[plan.target].atoms, *space.sites[plan.source].atoms))
    return torch.Size([space.atoms[name].size for name in names]).numel()


class _Tracer:
    """One pass over an exported graph."""

    def __init__(self, module: nn.Module, program: torch.export.ExportedProgram, on_unknown: str) -> None:
        self._module = module
        self._program = program
        self._on_unknown = on_unknown
        self._solver = AxisSolver()
        self._values: list[Value] = []
        self._records: list[Record] = []
        self._of_node: dict[torch.fx.Node, Any] = {}
        self._calls = 0
        self._state, self._tied = canonical_state(module)
        self._parameters: dict[str, Value] = {}
        self._uniform: set[str] = set()

    def run(self) -> WeightSpace:
        """Trace, settle and plan."""
        for name, tensor in self._state.items():
            self._parameters[name] = self._new_value(
                [self._solver.atom(size) for size in tensor.shape], name, origin="parameter"
            )
        self._placeholders()
        outputs: list[Value] = []
        for node in self._program.graph.nodes:
            if node.op == "call_function":
                self._call(node)
                self._calls += 1
            elif node.op == "get_attr":
                self._of_node[node] = None
            elif node.op == "output":
                outputs = [v for v in _tensors(_map(node.args, self._of_node)) if v.parameter is None]
        for value in outputs:
            self._fix(value.axes, "output", "output")
        self._fix_unread()
        self._solver.settle_fibres([value.axes for value in self._values])
        return self._finish(outputs)

    # --- values

    def _new_value(
        self, axes: list[Axis], parameter: str | None = None, *, origin: str = "operation", label: str = ""
    ) -> Value:
        self._values.append(Value(len(self._values), axes, parameter, origin, label))
        return self._values[-1]

    def _fix(self, axes: Iterable[Axis], kind: str, reason: str) -> None:
        for axis in axes:
            self._solver.freeze(axis, reason, kind=kind)

    def _placeholders(self) -> None:
        count = 0
        constants = {**self._program.state_dict, **self._program.constants}
        nodes = {node.name: node for node in self._program.graph.nodes if node.op == "placeholder"}
        for spec in self._program.graph_signature.input_specs:
            node = nodes.get(getattr(spec.arg, "name", ""))
            if node is None or not isinstance(node.meta.get("val"), Tensor):
                continue
            if spec.kind == InputKind.USER_INPUT:
                axes = [
                    self._solver.atom(size, kind="input", reason="input", label=f"i{count}.{d}")
                    for d, size in enumerate(node.meta["val"].shape)
                ]
                value = self._of_node[node] = self._new_value(axes, origin="input", label=str(count))
                value.call = -1 - count
                count += 1
                continue
            name = self._tied.get(spec.target, spec.target)
            self._of_node[node] = self._parameters.get(name) or self._constant(constants[spec.target])

    def _constant(self, tensor: Tensor) -> Value:
        """A tensor that is no floating entry: fixed axes, but free ones along which all values are equal."""
        tensor = tensor.detach().cpu()
        axes = []
        for dim, size in enumerate(tensor.shape):
            uniform = size > 0 and bool((tensor == tensor.narrow(dim, 0, 1)).all())
            axes.append(
                self._solver.atom(size) if uniform else self._solver.atom(size, kind="constant", reason="constant")
            )
        content = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
        digest = hashlib.sha256(repr(tuple(tensor.shape)).encode() + content).hexdigest()[:12]
        return self._new_value(axes, origin="constant", label=digest)

    # --- operations

    def _call(self, node: torch.fx.Node) -> None:
        result = node.meta.get("val")
        if getattr(node.target, "__name__", "") == "getitem":
            arguments: Any = node.args
            found: Any = self._of_node[arguments[0]]
            self._of_node[node] = found[arguments[1]] if isinstance(found, (list, tuple)) else found
            return
        rule = find_rule(node.target) if isinstance(node.target, torch._ops.OpOverload) else None
        several = isinstance(result, (list, tuple))
        results: list[Any] = list(result) if isinstance(result, (list, tuple)) else [result]
        if rule is not None and results and all(isinstance(part, Tensor) for part in results):
            made = [self._apply(rule, node, part, number) for number, part in enumerate(results)]
            if all(value is not None for value in made):
                self._of_node[node] = made if several else made[0]
                return
        self._unknown(node, result)

    def _apply(self, rule: Rule, node: torch.fx.Node, result: Tensor, number: int) -> Value | None:
        """One result of an operation by its rule; None where the rule cannot speak for the call."""
        named = {k: _map(v, self._of_node) for k, v in named_arguments(node).items()}
        call = Call(str(node.target), module_path(node), arguments=named, shape=result.shape, solver=self._solver)
        call.number = number
        axes = rule(call)
        if axes is None or call.record is None:
            return None
        self._keep(call, axes, result)
        if result is node.meta.get("val"):
            call.output.call, call.output.operation = self._calls, call.target
        return call.output

    def _keep(self, call: Call, axes: list[Axis], result: Tensor) -> None:
        sizes = tuple(self._solver.size(axis) for axis in axes)
        if sizes != tuple(result.shape):
            raise TraceError(
                f"the rule for {call.target} returned axes of sizes {sizes}, the result has shape "
                f"{tuple(result.shape)}; mend the rule"
            )
        assert call.record is not None
        for value in call.record.inputs:
            if value.number < 0:
                value.number = len(self._values)
                self._values.append(value)
        call.output.number, call.output.axes = len(self._values), axes
        call.record.where = call.where
        self._values.append(call.output)
        self._records.append(call.record)

    def _unknown(self, node: torch.fx.Node, result: Any) -> None:
        """Freeze what an operation without a rule touches; aliases share their atoms, so they freeze with it."""
        path, name = module_path(node), str(node.target)
        touched = _tensors(_map((node.args, node.kwargs), self._of_node))
        if not touched and not _shapes(result):
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
        for shape in _shapes(result):
            value = self._new_value(
                [self._solver.atom(size, kind="frozen", reason=reason, label=f"u.{d}") for d, size in enumerate(shape)]
            )
            plain = json.dumps(_plain((node.args, node.kwargs), self._of_node), default=str)
            attributes = {"operation": name, "arguments": plain, "result": len(made)}
            self._records.append(Record("hub", "unknown", value, attributes, tuple(touched), "unknown", where=path))
            made.append(value)
        self._of_node[node] = made if isinstance(result, (list, tuple)) else next(iter(made), None)

    def _fix_unread(self) -> None:
        """Axes of entries that no operation reads have no meaning that a permutation could keep."""
        read = {
            id(value) for record in self._records for value in (*record.inputs, *(use.value for use in record.uses))
        }
        for value in self._parameters.values():
            if id(value) not in read:
                self._fix(value.axes, "unused", "no operation reads it")

    # --- the result

    def _finish(self, outputs: Sequence[Value]) -> WeightSpace:
        names, specs = self._name_atoms()

        def final(axis: Axis) -> Axis:
            return rename(self._solver.resolve(axis), names)

        axes = {name: tuple(final(axis) for axis in value.axes) for name, value in self._parameters.items()}
        planner = Planner(final, specs.__getitem__, axes)
        planner.plan(self._records, outputs, self._values)
        roles = _roles(self._records, planner)
        parameters = {
            name: ParameterSpec(tuple(t.shape), axes[name], roles.get(name, "unused"))
            for name, t in self._state.items()
        }
        used = {n for p in parameters.values() for axis in p.axes for n in atoms_of(axis)} | {
            n for s in planner.sites for n in s.atoms
        }
        used |= {n for s in planner.sites if s.activation for n in atoms_of(s.activation.axis)}
        used |= {base for name in used for base in specs[name].over}
        named = {name for spec in parameters.values() for axis in spec.axes for name in atoms_of(axis)}
        operations = tuple(describe(self._records, outputs, final=final, specs=specs, named=named))
        keys = tuple(self._module.state_dict().keys())
        atoms = {name: spec for name, spec in specs.items() if name in used}
        signature = signature_of(parameters, atoms, operations, keys, self._tied)
        return WeightSpace(
            parameters, atoms, tuple(planner.sites), tuple(planner.blocks), signature, operations, keys, self._tied
        )

    def _name_atoms(self) -> tuple[dict[str, str], dict[str, AtomSpec]]:
        """Atoms named after the first dimension of a parameter that they stand on, rows before columns."""
        names: dict[str, str] = {}
        for first in (True, False):
            for parameter, value in self._parameters.items():
                for dim, axis in enumerate(value.axes):
                    mine = self._solver.atoms(axis)
                    for number, atom in enumerate(mine if (dim == 0) == first else ()):
                        names.setdefault(atom, f"{parameter}:{dim}" + (f".{number}" if len(mine) > 1 else ""))
        for value in self._values:
            for axis in value.axes:
                for atom in self._solver.atoms(axis):
                    names.setdefault(atom, f"axis{len(names)}")
        for record in self._records:
            for atom in self._solver.atoms(record.scope[1]) if record.scope else ():
                names.setdefault(atom, f"axis{len(names)}")
        specs = {}
        for atom, name in names.items():
            spec = self._solver.spec(atom)
            specs[name] = AtomSpec(
                spec.size,
                spec.kind,
                tuple(names[b] for b in spec.over if b in names),
                spec.neuron,
                spec.reason,
                spec.label,
            )
        for base in {base for spec in specs.values() for base in spec.over}:
            specs[base] = replace(specs[base], neuron=True)
        return names, specs


def _roles(records: Sequence[Record], planner: Planner) -> dict[str, str]:
    roles: dict[str, str] = {}
    for record in records:
        for use in record.uses:
            roles.setdefault(use.value.parameter or "", use.role)
    for site in planner.sites:
        for slot in site.slots:
            roles.setdefault(slot.parameter, "unused" if site.node_type == "unused" else slot.role)
    return roles


def _map(value: Any, of_node: Mapping[torch.fx.Node, Any]) -> Any:
    return torch.fx.node.map_arg(value, lambda node: of_node.get(node))


def _plain(value: Any, of_node: Mapping[torch.fx.Node, Any]) -> Any:
    return torch.fx.node.map_arg(value, lambda node: "*")


def _tensors(value: Any) -> list[Value]:
    if isinstance(value, Value):
        return [value]
    if isinstance(value, Mapping):
        value = list(value.values())
    return [found for part in value for found in _tensors(part)] if isinstance(value, (list, tuple)) else []


def _shapes(result: Any) -> list[torch.Size]:
    if isinstance(result, Tensor):
        return [result.shape]
    return [shape for part in result for shape in _shapes(part)] if isinstance(result, (list, tuple)) else []
