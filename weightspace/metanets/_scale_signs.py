"""Which sign flips reach which nodes and entries of a parameter graph.

A sign flip multiplies a node's value by +1 or -1 and every entry accordingly; all flips of a space are the kernel of a
linear system over GF(2). A *character* says which coordinates of that kernel flip a number. Characters are kept as
random 62-bit numbers that combine by exclusive or: equal numbers, equal behaviour under every flip; 0, never flipped.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from weightspace.graph import EdgeBlock, ParameterGraph
from weightspace.metanets._node_order import node_numbers
from weightspace.space import WeightSpace


@dataclass(frozen=True)
class SiteSigns:
    """Sign flips at a site.

    Args:
        flipped: nodes that a sign flip reaches.
        own: numbers that flip with their node.
        moved: numbers that some flip reaches.

    Shapes:
        flipped (n,), own and moved (n, K); all bool.
    """

    flipped: Tensor
    own: Tensor
    moved: Tensor


@dataclass(frozen=True)
class BlockSigns:
    """Sign flips of a block.

    Args:
        passes: edges over which a value of the source's sign gets, times the entries, the target's sign.
        moved: entries that some flip reaches.
        carriers: numbers of the target that do the same for a structural edge (a norm's weight, a depthwise kernel).
        returned: numbers of the target of a structural edge that have the source's sign (a norm's running mean).

    Shapes:
        passes (E,), moved (E, K); both bool.
    """

    passes: Tensor
    moved: Tensor
    carriers: tuple[int, ...]
    returned: tuple[int, ...]


class Signs:
    """The characters of a space's nodes and entries.

    Args:
        space: of the networks; signs are those that it was traced for.

    Attributes:
        nodes: character of each node, in the order of `space.to_graph`.
        entries: character of each entry.
    """

    def __init__(self, space: WeightSpace) -> None:
        group = space.scalings
        relations = group.relations
        nodes = _characters(group.signs.basis)
        odd = np.where(relations.parity % 2 == 1, nodes[relations.minus], 0)
        self.entries = torch.from_numpy(nodes[relations.plus] ^ odd)
        self.nodes = torch.from_numpy(nodes[: sum(len(site.address) for site in space.layout._sites)])

    @property
    def any(self) -> bool:
        """Whether there is any sign to flip."""
        return bool((self.entries != 0).any())

    def at(self, graph: ParameterGraph, numbers: Tensor) -> tuple[list[SiteSigns], list[BlockSigns]]:
        """The sign flips of a graph's sites and blocks.

        Args:
            graph: of the space, in any order of its nodes and edges.
            numbers: from `layout_numbers`.
        """
        device = numbers.device
        nodes, entries = self.nodes.to(device)[numbers], self.entries.to(device)
        sites, on_nodes = [], []
        for first, site in zip(graph.site_offsets, graph.sites, strict=True):
            mine, numbers_at = nodes[first : first + site.num_nodes], entries[site.address]
            on_nodes.append(numbers_at)
            sites.append(SiteSigns(mine != 0, numbers_at == mine[:, None], numbers_at != 0))
        blocks = [self._block(block, graph, nodes, on_nodes, entries) for block in graph.blocks]
        return sites, blocks

    def _block(
        self, block: EdgeBlock, graph: ParameterGraph, nodes: Tensor, on_nodes: Sequence[Tensor], entries: Tensor
    ) -> BlockSigns:
        source, target = block.edge_index
        wanted, at = nodes[source] ^ nodes[target], entries[block.address]
        passes = (at == wanted[:, None]).all(1) if at.shape[1] else wanted == 0
        if at.shape[1] or not block.num_edges or bool(passes.any()):
            return BlockSigns(passes, at != 0, (), ())
        j = bisect_right(graph.site_offsets, int(target[0])) - 1
        numbers = on_nodes[j][target - graph.site_offsets[j]]  # (E, K)
        fits = [(numbers == character[:, None]).all(0).nonzero().flatten() for character in (wanted, nodes[source])]
        carriers, returned = (tuple(columns.tolist()) for columns in fits)
        return BlockSigns(passes, at != 0, carriers, () if carriers == returned else returned)


def _characters(basis: sparse.csr_array) -> NDArray[np.int64]:
    """Exclusive or of the random numbers of the coordinates that reach each unknown."""
    odd = sparse.csr_array(basis)
    odd.data = np.rint(odd.data) % 2
    odd.eliminate_zeros()
    random = np.random.default_rng(0).integers(1, 2**62, size=odd.shape[1])
    found = np.zeros(odd.shape[0], dtype=np.int64)
    rows = np.repeat(np.arange(odd.shape[0]), np.diff(odd.indptr))
    np.bitwise_xor.at(found, rows, random[odd.indices])
    return found


def layout_numbers(graph: ParameterGraph, space: WeightSpace) -> Tensor:
    """For each node of a graph its number in `space.to_graph`, also where nodes and edges were reordered.

    Raises:
        WeightspaceError: the graph is not of this space.
    """
    device = graph.sites[0].address.device
    numbers = node_numbers(graph, *space.layout.tensors_on(device))
    return torch.arange(graph.num_nodes, device=device) if numbers is None else numbers
