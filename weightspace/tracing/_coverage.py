"""Entries of parameters that no site and no block of a plan holds."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod

import torch

from weightspace.axes import AtomSpec, atoms_of
from weightspace.parameters import ParameterSpec
from weightspace.topology import BlockPlan, Layout, SitePlan, Slot, View, contiguous_strides


def uncovered(
    parameters: Mapping[str, ParameterSpec],
    sites: Sequence[SitePlan],
    blocks: Sequence[BlockPlan],
    spec: Callable[[str], AtomSpec],
) -> Iterator[tuple[str, View]]:
    """Parameters, or their parts, of which an entry lies nowhere, as views."""
    slots: dict[str, list[Slot]] = {name: [] for name in parameters}
    for slot in [s for site in sites for s in site.slots] + [b.slot for b in blocks if b.slot is not None]:
        slots[slot.parameter].append(slot)
    for name, mine in slots.items():
        if any(slot.view is None for slot in mine):
            continue
        strides = contiguous_strides(parameters[name].shape)
        for part in parameters[name].all_parts:
            offset = part.start * strides[part.dim] if strides else 0
            if not mine or not _holds(name, parameters[name], mine, spec, offset, part.dim, part.size):
                yield name, View(offset, strides, part.axes)


def _holds(
    name: str,
    parameter: ParameterSpec,
    slots: Sequence[Slot],
    spec: Callable[[str], AtomSpec],
    offset: int,
    dim: int,
    size: int,
) -> bool:
    views = [slot.view.axes for slot in slots if slot.view is not None]
    names = {atom for axes in (*views, parameter.axes) for axis in axes for atom in atoms_of(axis)}
    layout = Layout({atom: spec(atom) for atom in names}, {name: (parameter, 0)})
    seen = torch.zeros(prod(parameter.shape), dtype=torch.bool)
    for slot in slots:
        seen[layout.addresses(slot).reshape(-1)] = True
    start = offset // contiguous_strides(parameter.shape)[dim] if parameter.shape else 0
    return bool(seen.view(parameter.shape).narrow(dim, start, size).all()) if parameter.shape else bool(seen.all())
