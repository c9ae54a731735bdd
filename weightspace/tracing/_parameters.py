"""Parameters during tracing: their values, the parts that an operation sees of them, and what views make of them."""

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from math import prod
from typing import Any

import torch
from torch import Tensor

from weightspace.axes import Axis, Case, Sum
from weightspace.parameters import ParameterSpec, Part
from weightspace.tracing._axis_forms import by_choice
from weightspace.tracing._export import named_arguments
from weightspace.tracing._records import Record, Value
from weightspace.tracing._solver import AxisSolver

Keep = Callable[[Record, str], None]
_SLICES = (
    "slice.Tensor", "narrow.default", "select.int", "unbind.int", "chunk.default", "split.Tensor",
    "split_with_sizes.default", "split.sizes", "unsafe_split.Tensor", "unsafe_chunk.default",
)  # fmt: skip


class Parameters:
    """Values of the floating entries of a state_dict.

    Args:
        state: the entries, each once.
        tied: further names -> the name under which the tensor is known.
        solver: makes their axes.
        add: takes new values in.
    """

    def __init__(
        self,
        state: Mapping[str, Tensor],
        tied: Mapping[str, str],
        solver: AxisSolver,
        add: Callable[[Value], Value],
    ) -> None:
        self.state, self.tied = state, tied
        self._solver, self._add = solver, add
        self._values: dict[str, Value] = {}
        for name, tensor in state.items():
            axes = [solver.atom(size) for size in tensor.shape]
            value = add(Value(-1, axes, name, "parameter"))
            self._see(value, value, torch.empty(tensor.shape, dtype=tensor.dtype, device="meta"))
            self._values[name] = value

    def known(self, name: str) -> str | None:
        """The name under which a floating entry is known; None for other names."""
        name = self.tied.get(name, name)
        return name if name in self._values else None

    def values(self) -> list[Value]:
        """Every value that has axes of its own: parameters, or their parts."""
        found = []
        for value in self._values.values():
            found += [value] if value.parts is None else [part for _, _, part in value.parts[1]]
        return found

    def read_by(self, name: str, nodes: Sequence[torch.fx.Node]) -> Value:
        """The value of a parameter, in parts where all that reads it are slices that do not overlap."""
        value = self._values[name]
        runs = [run for node in nodes for user in node.users for run in _runs(user, node, value.axes, self._solver)]
        dims = {dim for dim, _, _ in runs}
        if len(dims) != 1 or -1 in dims or len(value.axes) < 2:
            return value
        dim = next(iter(dims))
        borders = sorted({(start, start + size) for _, start, size in runs})
        if any(after[0] < before[1] for before, after in zip(borders, borders[1:], strict=False)):
            return value
        length = self.state[name].shape[dim]
        cuts = sorted({0, length, *(place for pair in borders for place in pair)})
        if len(cuts) > 2:
            self._cut(value, dim, cuts)
        return value

    def _cut(self, value: Value, dim: int, cuts: Sequence[int]) -> None:
        parts = []
        assert value.seen is not None
        for start, end in zip(cuts, cuts[1:], strict=False):
            seen = value.seen.narrow(dim, start, end - start)
            axes = [self._solver.atom(size) for size in seen.shape]
            part = self._add(Value(-1, axes))
            self._see(part, value, seen)
            parts.append((start, end - start, part))
        value.parts = (dim, parts)
        value.axes = [
            Sum(tuple(p.axes[d] for _, _, p in parts)) if d == dim else Case(tuple(p.axes[d] for _, _, p in parts))
            for d in range(len(value.axes))
        ]

    def pick(self, value: Value, node: torch.fx.Node, keep: Keep) -> Any:
        """The parts that a slice asks for; None where it asks for something else."""
        assert value.parts is not None
        dim, parts = value.parts
        sizes = [size for _, size, _ in parts]
        total = sum(sizes)
        runs = _slice_runs(str(node.target), node, len(value.axes), lambda _: total)
        if runs is None or any(run[0] != dim for run in runs):
            return None
        known = {(start, size): part for start, size, part in parts}
        found = [known.get((start, size)) for _, start, size in runs]
        if any(part is None for part in found):
            return None
        drops = str(node.target) in ("aten.select.int", "aten.unbind.int")
        made = [self._drop(part, dim, keep) if drops else part for part in found if part is not None]
        return made if isinstance(node.meta.get("val"), (list, tuple)) else made[0]

    def _drop(self, part: Value, dim: int, keep: Keep) -> Value:
        """A part of size 1 without its dimension."""
        value = Value(-1, [axis for d, axis in enumerate(part.axes) if d != dim])
        if part.parameter is not None and part.seen is not None:
            self._see(value, part, part.seen.select(dim, 0))
        keep(Record("alias", "alias", value, inputs=(part,)), "")
        return value

    def _see(self, value: Value, source: Value, seen: Tensor) -> None:
        value.parameter, value.origin, value.seen = source.parameter, "parameter", seen
        value.strides, value.offset = tuple(seen.stride()), int(seen.storage_offset())

    def join(self, value: Value, keep: Keep) -> Value:
        """A value of parts as one: the parts' axes along the other dimensions become one."""
        assert value.parts is not None
        dim, parts = value.parts
        for other in range(len(value.axes)):
            first = parts[0][2].axes[other]
            for _, _, part in parts[1:] if other != dim else ():
                self._solver.unify(first, part.axes[other], "parts that are used as one")
        value.axes = [
            Sum(tuple(p.axes[d] for _, _, p in parts)) if d == dim else parts[0][2].axes[d]
            for d in range(len(value.axes))
        ]
        value.parts = None
        if value.parameter is None:
            keep(Record("site", "cat", value, {}, tuple(p for _, _, p in parts), edge_type="cat", dim=dim), "")
        return value

    def follow(self, output: Value, record: Record, node: torch.fx.Node, number: int) -> None:
        """What a view makes of a parameter is known by its offset and strides."""
        source = record.inputs[0]
        if source.parameter is None or source.seen is None:
            return
        if record.op == "same":
            seen: Any = source.seen
        else:
            try:
                args = [source.seen if i == 0 else a for i, a in enumerate(node.args)]
                seen = node.target(*args, **node.kwargs)  # type: ignore[operator]
            except (RuntimeError, TypeError):
                return
            if isinstance(seen, (list, tuple)):
                seen = seen[number]
        if not _is_view(seen, source.seen):
            return
        self._see(output, source, seen)

    def spec(self, name: str, final: Callable[[Axis], Axis], role: str) -> ParameterSpec:
        """What is known of a parameter in the end."""
        value, shape = self._values[name], tuple(self.state[name].shape)
        axes = tuple(final(axis) for axis in value.axes)
        solved = [self._solver.resolve(axis) for axis in value.axes]
        if value.parts is None and any(isinstance(axis, Case) for axis in solved):
            chosen = by_choice(solved, self._solver.size)
            made = tuple(Part(at, start, size, tuple(map(final, mine))) for at, start, size, mine in chosen)
            return ParameterSpec(shape, axes, role, made)
        if value.parts is None:
            return ParameterSpec(shape, axes, role)
        dim, parts = value.parts
        found = tuple(Part(dim, s, n, tuple(final(axis) for axis in part.axes)) for s, n, part in parts)
        if all(len({part.axes[d] for part in found}) == 1 for d in range(len(axes)) if d != dim):
            return ParameterSpec(shape, axes, role)
        return ParameterSpec(shape, axes, role, found)

    def named(self) -> Mapping[str, Value]:
        """Parameter name -> its value."""
        return self._values


def _is_view(seen: Any, base: Tensor) -> bool:
    if not isinstance(seen, Tensor) or seen.untyped_storage()._cdata != base.untyped_storage()._cdata:
        return False
    return all(stride > 0 or size == 1 for stride, size in zip(seen.stride(), seen.shape, strict=True)) or not prod(
        seen.shape
    )


def _runs(
    user: torch.fx.Node, node: torch.fx.Node, axes: Sequence[Axis], solver: AxisSolver
) -> list[tuple[int, int, int]]:
    """(dimension, start, size) of what a user takes of a parameter; dimension -1 where it is no slice."""
    if not user.args or user.args[0] is not node:
        return [(-1, 0, 0)]
    found = _slice_runs(str(user.target), user, len(axes), lambda dim: solver.size(axes[dim]))
    return [(-1, 0, 0)] if found is None else found


def _slice_runs(
    target: str, node: torch.fx.Node, rank: int, length: Callable[[int], int]
) -> list[tuple[int, int, int]] | None:
    if not target.startswith("aten.") or target[len("aten.") :] not in _SLICES:
        return None
    named = named_arguments(node)
    dim = named["dim"] % rank
    size = length(dim)
    if target == "aten.slice.Tensor":
        start, end, step = slice(named["start"], named["end"], named["step"]).indices(size)
        return [(dim, start, end - start)] if step == 1 else None
    if target == "aten.narrow.default":
        return [(dim, named["start"] % size, named["length"])]
    if target == "aten.select.int":
        return [(dim, named["index"] % size, 1)]
    shapes = node.meta["val"]
    sizes = [1] * size if target == "aten.unbind.int" else [part.shape[dim] for part in shapes]
    return [(dim, start, n) for start, n in zip([0, *accumulate(sizes)], sizes, strict=False)]
