"""torch.export as this library uses it: evaluation mode, not decomposed, no writes into what is read later."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Every submodule in evaluation mode, and back as it was."""
    before = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in before.items():
            part.training = training


@contextmanager
def plain_attention() -> Iterator[None]:
    """`nn.MultiheadAttention` and `nn.TransformerEncoder` as their parts, not as one fused call."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def exported(
    module: nn.Module, args: Sequence[Any], options: Mapping[str, Any] | None = None
) -> torch.export.ExportedProgram:
    """The graph of a module.

    Writes into views, and into tensors that are read again, become operations of their own; the same module and
    arguments give the same graph.
    """
    with evaluation_mode(module), plain_attention(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # recurrent layers assign their flat weights while they are exported
        program = torch.export.export(module, tuple(args), dict(options or {}), strict=False)
        return program.run_decompositions({}) if _writes_what_is_read(program) else program


def _writes_what_is_read(program: torch.export.ExportedProgram) -> bool:
    for node in program.graph.nodes:
        schema = getattr(node.target, "_schema", None)
        if node.op != "call_function" or schema is None or not schema.is_mutable:
            continue
        for argument, value in zip(schema.arguments, node.args, strict=False):
            if argument.alias_info is not None and argument.alias_info.is_write and isinstance(value, torch.fx.Node):
                if len(value.users) > 1 or value.op == "placeholder" or _is_view(value):
                    return True
    return False


def _is_view(node: torch.fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and any(argument.alias_info is not None for argument in schema.arguments)
