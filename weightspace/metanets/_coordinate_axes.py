"""Where a network reads points of space: the sites that carry coordinates, and the layers that are linear in them."""

import weakref
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from weightspace.errors import GeometryError
from weightspace.graph import EdgeBlock, ParameterGraph, Site
from weightspace.vocabulary import split_node_type

CARRIERS = frozenset({"cat", "view"})
LINEAR = frozenset({"linear", "conv"})
HINT = "a rigid motion of the shape is no motion of such a network's weights; take a metanet without E(3), GMN"


@dataclass(frozen=True)
class CoordinateLayer:
    """A layer that is linear in coordinates.

    Args:
        block: number of its edges.
        site: number of the site of its neurons.
        slot: 3 * (neuron within its site) + (coordinate), of each edge.
        bias: place of the bias among the numbers of the site; none where it reads directions and has no bias.
        moves: whether what it reads is a position, which translations move, or a direction.

    Shapes:
        slot (E,).
    """

    block: int
    site: int
    slot: Tensor
    bias: int | None
    moves: bool


@dataclass(frozen=True)
class CoordinateAxes:
    """Where a network reads points of space.

    Args:
        sites: numbers of the sites whose three nodes are the coordinates of one vector.
        layers: that are linear in them.
    """

    sites: frozenset[int]
    layers: tuple[CoordinateLayer, ...]


@dataclass
class AxesFinder:
    """Finds the coordinates of graphs; what was found is kept as long as the topology's tensors live.

    Args:
        owner: name of the metanet, for messages.
        coordinates: names of the sites of positions; none for the only input of three numbers.
        directions: names of the sites of directions.
    """

    owner: str
    coordinates: tuple[str, ...] | None = None
    directions: tuple[str, ...] = ()
    _known: dict[tuple[int, ...], tuple[tuple["weakref.ref[Tensor]", ...], CoordinateAxes]] = field(
        default_factory=dict, repr=False
    )

    def __getstate__(self) -> dict[str, object]:
        """Copies find anew."""
        return {**self.__dict__, "_known": {}}

    def __call__(self, graph: ParameterGraph) -> CoordinateAxes:
        """The coordinates of a graph.

        Raises:
            GeometryError: no input of three numbers or several, or something else than a linear layer reads them.
        """
        tensors = [site.index for site in graph.sites] + [block.edge_index for block in graph.blocks]
        key = tuple(map(id, tensors))
        found = self._known.get(key)
        if found is None or any(ref() is not tensor for ref, tensor in zip(found[0], tensors, strict=True)):
            first = weakref.ref(tensors[0], lambda _: self._known.pop(key, None))
            found = (first, *map(weakref.ref, tensors[1:])), self._find(graph)
            self._known[key] = found
        return found[1]

    def _find(self, graph: ParameterGraph) -> CoordinateAxes:
        moves = self._inputs(graph)
        component = {i: graph.sites[i].index - graph.sites[i].index.min() for i in moves}
        ends = [_ends(graph, block) for block in graph.blocks]
        self._follow(graph, ends, moves, component)
        layers = [
            self._layer(graph, number, target, component[source], moves[source])
            for number, (source, target) in enumerate(ends)
            if source in moves and target not in moves
        ]
        for block, (source, target) in zip(graph.blocks, ends, strict=True):
            if target in moves and source not in moves:
                raise GeometryError(
                    f"{self.owner}: coordinates at {graph.sites[target].name} are mixed with "
                    f"{graph.sites[source].name} by {block.name}, wanted coordinates alone; {HINT}"
                )
        return CoordinateAxes(frozenset(moves), tuple(layers))

    def _inputs(self, graph: ParameterGraph) -> dict[int, bool]:
        """Numbers of the input sites of points, and whether translations move them.

        Raises:
            GeometryError: none or several, or a name that is not there.
        """
        places = {site.name: i for i, site in enumerate(graph.sites) if _is_point(site)}
        listed = ", ".join(places) or "none"
        for name in (*(self.coordinates or ()), *self.directions):
            if name not in places:
                raise GeometryError(
                    f"{self.owner}: found no input of three numbers called {name!r} (there are: {listed}); name sites "
                    "of graph.sites"
                )
        moved = self.coordinates
        if moved is None:
            moved = tuple(name for name in places if name not in self.directions)
            if len(moved) + len(self.directions) == 0 or len(moved) > 1:
                self._refuse_encodings(graph, moved, places)
                raise GeometryError(
                    f"{self.owner}: found {len(moved)} inputs of three numbers ({listed}), wanted one; name the sites "
                    "of positions (coordinates=...) and those of directions (directions=...)"
                )
        self._refuse_encodings(graph, (*moved, *self.directions), places)
        return {places[name]: True for name in moved} | {places[name]: False for name in self.directions}

    def _refuse_encodings(self, graph: ParameterGraph, names: Sequence[str], places: dict[str, int]) -> None:
        for name in names:
            functions = graph.sites[places[name]].node_type.split(">")[1:]
            if functions:
                raise GeometryError(
                    f"{self.owner}: coordinates at {name} go through {' > '.join(functions)} before the first layer "
                    f"(as positional encodings do), wanted coordinates as they are; {HINT}"
                )

    def _follow(
        self,
        graph: ParameterGraph,
        ends: Sequence[tuple[int, int]],
        moves: dict[int, bool],
        component: dict[int, Tensor],
    ) -> None:
        """Add the sites that hold copies of coordinates, behind concatenations."""
        waiting = list(moves)
        while waiting:
            at = waiting.pop()
            for block, (source, target) in zip(graph.blocks, ends, strict=True):
                if source != at or target in moves or block.role:
                    continue
                site = graph.sites[target]
                kind, functions = split_node_type(site.node_type)
                if block.edge_type not in CARRIERS or kind not in CARRIERS or functions or site.num_nodes != 3:
                    raise GeometryError(
                        f"{self.owner}: coordinates at {graph.sites[at].name} go into {site.node_type!r} "
                        f"({site.name}), wanted linear layers and concatenations alone; {HINT}"
                    )
                local = block.edge_index - torch.tensor(
                    [[graph.site_offsets[at]], [graph.site_offsets[target]]], device=block.edge_index.device
                )
                component[target] = torch.empty_like(component[at]).index_copy_(0, local[1], component[at][local[0]])
                moves[target] = moves[at]
                waiting.append(target)

    def _layer(
        self, graph: ParameterGraph, number: int, target: int, component: Tensor, moves: bool
    ) -> CoordinateLayer:
        """The layer of a block of edges from coordinates.

        Raises:
            GeometryError: it is not linear, or has no bias that a translation could move.
        """
        block, site = graph.blocks[number], graph.sites[target]
        plain = block.edge_type in LINEAR and block.role == "weight" and block.edge_attr.shape[-1] == 1
        if not plain or "weight_norm" in block.attributes or not set(site.roles) <= {"bias"}:
            raise GeometryError(
                f"{self.owner}: {block.name} reads coordinates as {block.edge_type!r} with roles "
                f"{(block.role, *site.roles)} and {block.edge_attr.shape[-1]} taps, wanted a linear layer with weight "
                f"and bias; {HINT}"
            )
        if moves and not site.roles:
            raise GeometryError(
                f"{self.owner}: {block.name} reads positions without a bias, so that no translation of the shape can "
                "be written into the weights; declare its input a direction (directions=...), for rotations alone"
            )
        source = bisect_right(graph.site_offsets, int(block.edge_index[0, 0])) - 1
        local = block.edge_index - torch.tensor(
            [[graph.site_offsets[source]], [graph.site_offsets[target]]], device=block.edge_index.device
        )
        slot = 3 * local[1] + component[local[0]]
        return CoordinateLayer(number, target, slot, site.roles.index("bias") if site.roles else None, moves)


def _is_point(site: Site) -> bool:
    return split_node_type(site.node_type)[0] == "input" and site.num_nodes == 3 and bool((site.index >= 0).all())


def _ends(graph: ParameterGraph, block: EdgeBlock) -> tuple[int, int]:
    """Numbers of the sites that a block joins; (-1, -1) without edges."""
    if not block.num_edges:
        return -1, -1
    source, target = (bisect_right(graph.site_offsets, int(end)) - 1 for end in block.edge_index[:, 0])
    return source, target
