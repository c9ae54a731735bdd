"""Parameter graphs too large to hold: how many edges they have, and their blocks one after the other."""

from collections.abc import Iterator, Mapping
from math import prod
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from weightspace.conversion import entry_layout
from weightspace.errors import WeightspaceError
from weightspace.graph import EdgeBlock
from weightspace.topology import BlockPlan, EdgeTensors, Layout

if TYPE_CHECKING:
    from weightspace.space import WeightSpace

MAX_EDGES = 50_000_000
BYTES_PER_EDGE = 16  # two indices; every entry has an address of 8 bytes besides


def edge_count(space: "WeightSpace") -> int:
    """Number of edges of a space's parameter graph, structural ones included; nothing is built.

    Example:
        >>> import torch, weightspace as ws
        >>> edge_count(ws.trace(torch.nn.Linear(3, 2), torch.zeros(1, 3)))
        6
    """
    _, layout = entry_layout(space)
    return sum(layout.edge_count(plan, space.sites) for plan in space.blocks)


def check_edge_count(space: "WeightSpace") -> None:
    """Refuse to build a graph of more than `space.max_edges` edges.

    Raises:
        WeightspaceError: says how many it has, and what can be done.
    """
    edges = edge_count(space)
    if edges > space.max_edges:
        entries = sum(spec.numel for spec in space.parameters.values())
        size = (edges * BYTES_PER_EDGE + entries * 12) / 2**30
        raise WeightspaceError(
            f"to_graph: the parameter graph has {edges:,} edges (about {size:.2g} GiB), allowed {space.max_edges:,}; "
            "read it block by block with space.iter_blocks(state_dict), allow more with trace(..., max_edges=...), or "
            "trace a part of the module. Everything but graphs works: groups, act, canonicalize"
        )


def iter_blocks(space: "WeightSpace", state_dict: Mapping[str, Tensor], *, numbers: int) -> Iterator[EdgeBlock]:
    """See `WeightSpace.iter_blocks`; the state_dict is checked already."""
    starts, layout = entry_layout(space)
    offsets, total = [], 0
    for site in space.sites:
        offsets.append(total)
        total += prod(space.atoms[name].size for name in site.atoms)
    for plan in space.blocks:
        ends = torch.tensor([[offsets[plan.source]], [offsets[plan.target]]])
        for rows in _row_ranges(space, layout, plan, numbers):
            tensors = layout.block(plan, space.sites, rows)
            yield _edge_block(space, plan, tensors, ends=ends, values=state_dict, starts=starts, rows=rows)


def _row_ranges(space: "WeightSpace", layout: Layout, plan: BlockPlan, numbers: int) -> Iterator[range | None]:
    """Parts of a block that hold about so many numbers; None where it is small or has a single target."""
    target = space.sites[plan.target].atoms
    rows = space.atoms[target[0]].size if target else 1
    first = layout.block(plan, space.sites, range(1))
    step = max(1, numbers // max(1, first.edge_index.numel() + 2 * first.address.numel()))
    if step >= rows:
        yield None
        return
    for start in range(0, rows, step):
        yield range(start, min(start + step, rows))


def _edge_block(
    space: "WeightSpace",
    plan: BlockPlan,
    tensors: EdgeTensors,
    *,
    ends: Tensor,
    values: Mapping[str, Tensor],
    starts: Mapping[str, int],
    rows: range | None,
) -> EdgeBlock:
    if plan.slot is None:
        entries = values[next(iter(space.parameters))].new_zeros(tensors.address.shape)
        role = ""
    else:
        flat = values[plan.slot.parameter].reshape(-1)
        entries = flat[(tensors.address - starts[plan.slot.parameter]).to(flat.device)]
        role = plan.slot.role
    name = plan.name if rows is None else f"{plan.name}[{rows.start}:{rows.stop}]"
    device = entries.device
    return EdgeBlock(
        tensors.edge_index.add_(ends).to(device),
        entries,
        tensors.address.to(device),
        plan.edge_type,
        plan.attributes,
        role,
        tensors.tap_position.to(device),
        name,
    )
