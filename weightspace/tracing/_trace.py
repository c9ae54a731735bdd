"""`trace`: options, the cache, the tracer, verification."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from weightspace.block_stream import MAX_EDGES
from weightspace.errors import ConfigurationError, TraceError
from weightspace.space import WeightSpace
from weightspace.tracing._cache import SPACES, cache_key
from weightspace.tracing._export import export
from weightspace.tracing._tracer import Tracer


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
        symmetries: `"permutation"`, and on request `"sign"` and `"scale"` (see docs/symmetry.md).
        verify: check the group in float64 on random weights (a few forward passes). A module with weights on the meta
            device cannot run, so its space stays unverified: `space.verify(module, ...)` on a module with weights.
        on_unknown: `"freeze"`, or `"raise"` at the first operation without a rule.
        max_edges: of a graph that `to_graph` builds; a larger one is read by `iter_blocks`.

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
        """Export and trace the module."""
        program = export(module, example_inputs, example_kwargs)
        with torch.device("cpu"):  # index tensors, whatever the device that modules are being built on
            space = Tracer(module, program, on_unknown).run()
        return replace(space, symmetries=tuple(sorted(symmetries)), max_edges=max_edges)

    def check(space: WeightSpace) -> None:
        space.verify(module, *example_inputs, example_kwargs=example_kwargs)

    key = cache_key(module, example_inputs, example_kwargs, (*sorted(symmetries), on_unknown, max_edges))
    runs = not any(value.is_meta for value in (*module.parameters(), *module.buffers()))
    return SPACES.get(key, make, check if verify and runs else None)


def _check_options(module: nn.Module, symmetries: Iterable[str], on_unknown: str) -> None:
    if not isinstance(module, nn.Module):
        raise TraceError(
            f"trace: found {type(module).__name__}, wanted a torch.nn.Module; hand in the module itself, not "
            f"its state_dict or class"
        )
    if not {"permutation"} <= set(symmetries) <= {"permutation", "scale", "sign"}:
        raise ConfigurationError(
            f"trace: symmetries={sorted(symmetries)} is not supported; wanted {{'permutation'}}, with 'sign' and "
            f"'scale' where they are asked for"
        )
    if on_unknown not in ("freeze", "raise"):
        raise ConfigurationError(f"trace: on_unknown={on_unknown!r} is not known; wanted 'freeze' or 'raise'")
