"""torch.export with the errors that people need, and the arguments of a call by name."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from weightspace.errors import TraceError
from weightspace.exporting import evaluation_mode, exported


def export(module: nn.Module, inputs: Sequence[Any], options: Mapping[str, Any] | None) -> torch.export.ExportedProgram:
    """The module's graph in evaluation mode, not decomposed.

    Raises:
        TraceError: the module does not run on the example inputs, or torch.export cannot follow it.
    """
    options = dict(options or {})
    with evaluation_mode(module):
        _check_runs(module, inputs, options)
    try:
        program = exported(module, inputs, options)
    except Exception as error:
        raise TraceError(
            f"trace: torch.export cannot follow {type(module).__name__}: {_first_line(error)}. Data-dependent control "
            "flow (if on a tensor's value, .item()) and calls into other libraries cannot be traced; trace the part "
            "that holds the weights, or rewrite them with torch.where"
        ) from error
    _check_sizes(module, program)
    return program


def _check_sizes(module: nn.Module, program: torch.export.ExportedProgram) -> None:
    """Refuse results whose sizes depend on values."""
    for node in program.graph.nodes:
        for result in torch.utils._pytree.tree_leaves(node.meta.get("val")):
            if isinstance(result, Tensor) and any(not isinstance(size, int) for size in result.shape):
                raise TraceError(
                    f"trace: the result of {node.target} at '{module_path(node)}' in {type(module).__name__} has a "
                    "size that depends on values (as masks and nonzero give); do that step outside the module and hand "
                    "in its result (for torch-geometric's layers, add_self_loops=False and loops in edge_index)"
                )


def _check_runs(module: nn.Module, inputs: Sequence[Any], options: Mapping[str, Any]) -> None:
    shapes = ", ".join(
        str(tuple(x.shape)) if isinstance(x, Tensor) else type(x).__name__ for x in (*inputs, *options.values())
    )
    try:
        with torch.no_grad():
            module(*inputs, **options)
    except Exception as error:
        raise TraceError(
            f"trace: {type(module).__name__} does not run on the example inputs ({shapes or 'none given'}): "
            f"{_first_line(error)}. "
            "Hand in inputs as the forward method wants them, e.g. ws.trace(module, torch.zeros(1, 3, 32, 32))"
        ) from error


def canonical_state(module: nn.Module) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Floating entries of the state_dict, each tensor once, and the keys that share another key's tensor."""
    found: dict[str, Tensor] = {}
    tied: dict[str, str] = {}
    first: dict[int, str] = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        if not isinstance(tensor, Tensor):
            raise TraceError(
                f"trace: state_dict['{name}'] is a {type(tensor).__name__}, wanted a tensor; modules with extra "
                f"state cannot be converted"
            )
        if tensor.is_complex():
            raise TraceError(
                f"trace: state_dict['{name}'] is complex ({tensor.dtype}); store real and imaginary parts as "
                f"two parameters"
            )
        if id(tensor) in first:
            tied[name] = first[id(tensor)]
        elif tensor.is_floating_point():
            found[name] = tensor
        first.setdefault(id(tensor), name)
    if not found:
        raise TraceError(
            f"trace: {type(module).__name__} has no floating entry in its state_dict, so there is nothing to convert"
        )
    return found, tied


def named_arguments(node: torch.fx.Node) -> dict[str, Any]:
    """Arguments by the names of the operation's schema, defaults filled in."""
    schema = node.target._schema  # type: ignore[union-attr]
    found: dict[str, Any] = {}
    for position, argument in enumerate(schema.arguments):
        if position < len(node.args):
            found[argument.name] = node.args[position]
        elif argument.name in node.kwargs:
            found[argument.name] = node.kwargs[argument.name]
        else:
            found[argument.name] = argument.default_value if argument.has_default_value() else None
    return found


def live_nodes(program: torch.export.ExportedProgram) -> set[torch.fx.Node]:
    """Operations whose results reach an output, and those that write into their arguments."""
    live: set[torch.fx.Node] = set()
    for node in reversed(program.graph.nodes):
        schema = getattr(node.target, "_schema", None)
        writes = schema is not None and schema.is_mutable
        if node.op == "output" or writes or any(user in live for user in node.users):
            live.add(node)
    return live


def module_path(node: torch.fx.Node) -> str:
    """Path of the module that made the call."""
    stack = node.meta.get("nn_module_stack") or {}
    return list(stack.values())[-1][0] if stack else ""


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
