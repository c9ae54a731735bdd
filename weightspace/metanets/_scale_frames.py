"""Networks as ScaleGMN reads them: in the balanced gauge, with what sign flips do to every number."""

import weakref
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from weightspace.graph import EdgeBlock, ParameterGraph, Site
from weightspace.metanets._networks import AttachedNetworks
from weightspace.metanets._scale_balance import Balance, Balanced
from weightspace.metanets._scale_signs import BlockSigns, Signs, SiteSigns, layout_numbers


@dataclass(frozen=True)
class Topology:
    """What depends on a graph's topology alone.

    Args:
        balance: of the architecture.
        has_signs: whether any sign can be flipped.
        sites: sign flips of each site.
        blocks: sign flips of each block.
    """

    balance: Balance
    has_signs: bool
    sites: list[SiteSigns]
    blocks: list[BlockSigns]


@dataclass(frozen=True)
class Framed:
    """A graph in the balanced gauge.

    Args:
        topology: of the graph.
        signed: the graph in the balanced gauge; independent of scales, and following signs.
        plain: the same, with absolute values where a sign flip reaches; independent of both.
        balanced: the way to the gauge and back.
    """

    topology: Topology
    signed: ParameterGraph
    plain: ParameterGraph
    balanced: Balanced

    def sizes(self, part: Site | EdgeBlock) -> Tensor | float:
        """What a number of size 1 in the balanced gauge is in the gauge of the input; (B, n, K) or (B, E, K)."""
        return _of_cells(self.topology.balance, self.balanced.sizes, part)


@dataclass
class Frames:
    """Brings graphs of attached architectures to the balanced gauge.

    Args:
        networks: the attached architectures.
    """

    networks: AttachedNetworks
    _spaces: dict[tuple[str, torch.device], tuple[Balance, Signs]] = field(default_factory=dict)
    _topologies: dict[tuple[int, ...], tuple[tuple[weakref.ref[Tensor], ...], Topology]] = field(default_factory=dict)

    def __getstate__(self) -> dict[str, Any]:
        """Copies make their own tables."""
        return {"networks": self.networks, "_spaces": {}, "_topologies": {}}

    def __call__(self, graph: ParameterGraph) -> Framed:
        """The graph in the balanced gauge.

        Raises:
            WeightspaceError: its architecture is not attached.
        """
        topology = self._topology(graph)
        parts: list[Site | EdgeBlock] = [*graph.sites, *graph.blocks]
        balanced = topology.balance(_squares(topology.balance, graph))
        signed = [
            _values(part) * _of_cells(topology.balance, balanced.reducing, part)
            if _values(part).numel()
            else _values(part)
            for part in parts
        ]
        signed = [new.to(_values(part).dtype).view_as(_values(part)) for new, part in zip(signed, parts, strict=True)]
        sites = len(graph.sites)
        result = graph.replace(x=signed[:sites], edge_attr=signed[sites:])
        plain = result
        if topology.has_signs:
            moved = [s.moved for s in topology.sites] + [b.moved for b in topology.blocks]
            values = [torch.where(flips, value.abs(), value) for flips, value in zip(moved, signed, strict=True)]
            plain = graph.replace(x=values[:sites], edge_attr=values[sites:])
        return Framed(topology, result, plain, balanced)

    def _topology(self, graph: ParameterGraph) -> Topology:
        tensors = tuple(
            [site.address for site in graph.sites]
            + [tensor for block in graph.blocks for tensor in (block.address, block.edge_index)]
        )
        key = tuple(map(id, tensors))
        known = self._topologies.get(key)
        if known is not None and all(ref() is tensor for ref, tensor in zip(known[0], tensors, strict=True)):
            return known[1]
        balance, signs = self._space(graph.signature, tensors[0].device)
        with torch.inference_mode(False):
            numbers = layout_numbers(graph, self.networks[graph.signature].space)
            topology = Topology(balance, signs.any, *signs.at(graph, numbers))
        tables = self._topologies
        first = weakref.ref(tensors[0], lambda _: tables.pop(key, None))
        tables[key] = ((first, *map(weakref.ref, tensors[1:])), topology)
        return topology

    def _space(self, signature: str, device: torch.device) -> tuple[Balance, Signs]:
        if (signature, device) not in self._spaces:
            space = self.networks[signature].space
            self._spaces[signature, device] = Balance(space).to(device), Signs(space)
        return self._spaces[signature, device]


def _values(part: Site | EdgeBlock) -> Tensor:
    return part.x if isinstance(part, Site) else part.edge_attr


def _squares(balance: Balance, graph: ParameterGraph) -> Tensor:
    """Sum of the squares of the entries of each cell, in float64; (B, M + 1)."""
    models = graph.batch_shape[0] if graph.batch_shape else 1
    total = graph.sites[0].x.new_zeros(models, balance.cells + 1, dtype=torch.float64)
    if not balance.cells:
        return total
    parts: list[Site | EdgeBlock] = [*graph.sites, *graph.blocks]
    for part in parts:
        cells = balance.cell[part.address].flatten()
        total = total.index_add(1, cells, _values(part).double().square().reshape(models, -1))
    return total


def _of_cells(balance: Balance, factors: Tensor, part: Site | EdgeBlock) -> Tensor | float:
    """The factor of the cell of each of a part's numbers; (B, n, K), or 1 where no scale is known."""
    if not balance.cells:
        return 1.0
    return factors[:, balance.cell[part.address]]
