"""Which node of a relabelled graph is which node of the graph that its space makes.

Nodes are told apart by the addresses of their numbers and of their edges' numbers, by their positions on fixed axes,
and through structural edges by their neighbours: colour refinement (1-dimensional Weisfeiler-Leman) on 64-bit hashes.
Nodes of one final colour are interchangeable for every function of the graph.
"""

import torch
from torch import Tensor

from weightspace.errors import WeightspaceError
from weightspace.graph import EdgeBlock, ParameterGraph, Site


def node_order(graph: ParameterGraph, canonical: ParameterGraph) -> list[Tensor] | None:
    """For every site, the canonical number of each node of the graph; None where all stand in canonical order.

    Args:
        graph: of any order of nodes and edges.
        canonical: a graph of the same space, as `WeightSpace.to_graph` makes it.

    Raises:
        WeightspaceError: the graph is no relabelling of the canonical one.
    """
    if _same_order(graph, canonical):
        return None
    found, wanted = _colours(graph), _colours(canonical)
    sizes = [[site.num_nodes for site in g.sites] for g in (graph, canonical)]
    if sizes[0] != sizes[1]:
        raise _mismatch(graph)
    orders = []
    for here, there in zip(found.split(sizes[0]), wanted.split(sizes[1]), strict=True):
        (here, mine), (there, theirs) = here.sort(), there.sort()
        if not torch.equal(here, there):
            raise _mismatch(graph)
        orders.append(torch.empty_like(mine).index_copy_(0, mine, theirs))
    return orders


def _mismatch(graph: ParameterGraph) -> WeightspaceError:
    return WeightspaceError(
        f"the graph's signature is {graph.signature[:12]}, but its nodes and edges are no relabelling of that "
        "architecture's; make graphs with space.to_graph or space.to_graphs"
    )


def _same_order(graph: ParameterGraph, other: ParameterGraph) -> bool:
    pairs = [*zip(_topology(graph), _topology(other), strict=False)]
    return all(a is b for a, b in pairs) or all(torch.equal(a, b) for a, b in pairs)


def _topology(graph: ParameterGraph) -> list[Tensor]:
    of_sites = [tensor for site in graph.sites for tensor in (site.address, site.index)]
    return of_sites + [tensor for block in graph.blocks for tensor in (block.address, block.edge_index)]


def _colours(graph: ParameterGraph) -> Tensor:
    """Refined colours of all nodes, (N,)."""
    colour = torch.cat([_mix(_first(site) + _mix(site.index) + i) for i, site in enumerate(graph.sites)])
    ends = [block.edge_index for block in graph.blocks]
    source, target = torch.cat(ends, dim=1) if ends else colour.new_zeros(2, 0)
    labels = [_mix(_first(block) + i) for i, block in enumerate(graph.blocks)]
    label = torch.cat(labels) if labels else colour[:0]
    count = 0
    while (distinct := len(colour.unique())) > count:
        count = distinct
        into = torch.zeros_like(colour).index_add(0, target, _mix(colour[source] + label))
        out_of = torch.zeros_like(colour).index_add(0, source, _mix(colour[target] - label))
        colour = _mix(colour + _mix(into) + _mix(out_of + 1))
    return colour


def _first(part: Site | EdgeBlock) -> Tensor:
    """The first address of each row, -1 where there is none."""
    address = part.address
    return address[:, 0] if address.shape[1] else address.new_full((address.shape[0],), -1)


def _mix(values: Tensor) -> Tensor:
    """A bijection of 64-bit integers that scatters them (the finalizer of splitmix64)."""
    values = values * -7046029254386353131 + 1442695040888963407
    for shift, factor in ((30, -4658895280553007687), (27, -7723592293110705685)):
        values = (values ^ ((values >> shift) & ((1 << (64 - shift)) - 1))) * factor
    return values ^ ((values >> 31) & ((1 << 33) - 1))
