"""Which node of a relabelled graph is which node of the graph that its space makes.

Nodes are told apart by the addresses of their numbers and of their edges' numbers, by their positions on fixed axes,
and through structural edges by their neighbours: colour refinement (1-dimensional Weisfeiler-Leman) on 64-bit hashes.
Nodes of one final colour are interchangeable for every function of the graph.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from weightspace.errors import WeightspaceError
from weightspace.graph import ParameterGraph


class Nodes(Protocol):
    """A site, or its index tensors."""

    @property
    def address(self) -> Tensor:
        """Offsets of the numbers, (n, K)."""

    @property
    def index(self) -> Tensor:
        """Positions on fixed axes, (n,)."""


class Edges(Protocol):
    """A block of edges, or its index tensors."""

    @property
    def address(self) -> Tensor:
        """Offsets of the entries, (E, K)."""

    @property
    def edge_index(self) -> Tensor:
        """Numbers of sources and targets, (2, E)."""


def node_numbers(graph: ParameterGraph, sites: Sequence[Nodes], blocks: Sequence[Edges]) -> Tensor | None:
    """For each node of a graph its canonical number; None where all stand in canonical order.

    Args:
        graph: of any order of nodes and edges.
        sites: of a graph of the same space, as `WeightSpace.to_graph` makes it.
        blocks: of that graph.

    Shapes:
        result (N,).

    Raises:
        WeightspaceError: the graph is no relabelling of the canonical one.
    """
    if _same_order(_topology(graph.sites, graph.blocks), _topology(sites, blocks)):
        return None
    found, wanted = _colours(graph.sites, graph.blocks), _colours(sites, blocks)
    (here, mine), (there, theirs) = found.sort(), wanted.sort()
    if not torch.equal(here, there):
        raise WeightspaceError(
            f"the graph's signature is {graph.signature[:12]}, but its nodes and edges are no relabelling of that "
            "architecture's; make graphs with space.to_graph or space.to_graphs"
        )
    return torch.empty_like(mine).index_copy_(0, mine, theirs)


def node_order(graph: ParameterGraph, canonical: ParameterGraph) -> list[Tensor] | None:
    """For every site, the canonical number in the site of each node; None where all stand in canonical order.

    Args:
        graph: of any order of nodes and edges.
        canonical: a graph of the same space, as `WeightSpace.to_graph` makes it.

    Raises:
        WeightspaceError: the graph is no relabelling of the canonical one.
    """
    numbers = node_numbers(graph, canonical.sites, canonical.blocks)
    if numbers is None:
        return None
    parts = numbers.split([site.num_nodes for site in graph.sites])
    return [part - first for part, first in zip(parts, graph.site_offsets, strict=True)]


def _same_order(tensors: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    pairs = [*zip(tensors, others, strict=False)]
    return all(a is b for a, b in pairs) or all(torch.equal(a, b) for a, b in pairs)


def _topology(sites: Sequence[Nodes], blocks: Sequence[Edges]) -> list[Tensor]:
    of_sites = [tensor for site in sites for tensor in (site.address, site.index)]
    return of_sites + [tensor for block in blocks for tensor in (block.address, block.edge_index)]


def _colours(sites: Sequence[Nodes], blocks: Sequence[Edges]) -> Tensor:
    """Refined colours of all nodes, (N,)."""
    colour = torch.cat([_mix(_first(site.address) + _mix(site.index) + i) for i, site in enumerate(sites)])
    ends = [block.edge_index for block in blocks]
    source, target = torch.cat(ends, dim=1) if ends else colour.new_zeros(2, 0)
    labels = [_mix(_first(block.address) + i) for i, block in enumerate(blocks)]
    label = torch.cat(labels) if labels else colour[:0]
    count = 0
    while (distinct := len(colour.unique())) > count:
        count = distinct
        into = torch.zeros_like(colour).index_add(0, target, _mix(colour[source] + label))
        out_of = torch.zeros_like(colour).index_add(0, source, _mix(colour[target] - label))
        colour = _mix(colour + _mix(into) + _mix(out_of + 1))
    return colour


def _first(address: Tensor) -> Tensor:
    """The first address of each row, -1 where there is none."""
    return address[:, 0] if address.shape[1] else address.new_full((address.shape[0],), -1)


def _mix(values: Tensor) -> Tensor:
    """A bijection of 64-bit integers that scatters them (the finalizer of splitmix64)."""
    values = values * -7046029254386353131 + 1442695040888963407
    for shift, factor in ((30, -4658895280553007687), (27, -7723592293110705685)):
        values = (values ^ ((values >> shift) & ((1 << (64 - shift)) - 1))) * factor
    return values ^ ((values >> 31) & ((1 << 33) - 1))
