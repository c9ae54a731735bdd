"""Isomorphisms of parameter graphs by colour refinement with individualisation.

Nodes get colours, and finer ones from the colours of their neighbours until nothing changes. Where nodes of one colour
are left, one of them is singled out, and refined again. An isomorphism is found when every colour is worn by one node;
automorphisms are counted along a chain of stabilisers, orbit by orbit.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from math import log10

import networkx


@dataclass(frozen=True)
class Coloured:
    """A graph as refinement needs it.

    Args:
        colours: of the nodes.
        arcs: for each node (label, other node) for both directions, the direction a part of the label.
    """

    colours: tuple[Hashable, ...]
    arcs: tuple[tuple[tuple[Hashable, int], ...], ...]


def coloured(graph: networkx.MultiDiGraph, *, values: bool = False, addresses: bool = False) -> Coloured:
    """The graph of a network with every edge that carries entries as a node of its own.

    Which entry lies where is kept only as far as one entry lies in several places: they are tied by a node.

    Args:
        graph: as by `ParameterGraph.to_networkx`.
        values: colour nodes and edges by their numbers.
        addresses: colour nodes and edges by their addresses.
    """
    colours: list[Hashable] = []
    links: list[tuple[int, int, Hashable]] = []
    places: dict[int, list[tuple[int, int]]] = defaultdict(list)
    number = {node: k for k, node in enumerate(graph.nodes)}
    for at in graph.nodes.values():
        _note(places, len(colours), at["x_address"])
        numbers = (at["x"] if values else (), at["x_address"] if addresses else ())
        colours.append(("node", at["node_type"], at.get("index"), len(at["x"]), *numbers))
    for source, target, at in graph.edges(data=True):
        numbers = (at["edge_attr"] if values else (), at["edge_address"] if addresses else ())
        kind = (at["edge_type"], repr(sorted(at["attributes"].items())), len(at["edge_address"]), *numbers)
        if at["edge_address"]:
            links += [(number[source], len(colours), "in"), (len(colours), number[target], "out")]
            _note(places, len(colours), at["edge_address"])
            colours.append(("edge", *kind))
        else:
            links.append((number[source], number[target], kind))
    for cells in places.values():
        if len(cells) > 1:
            links += [(cell, len(colours), ("tap", tap)) for cell, tap in cells]
            colours.append(("entry",))
    arcs: list[list[tuple[Hashable, int]]] = [[] for _ in colours]
    for source, target, label in links:
        arcs[source].append((("to", label), target))
        arcs[target].append((("from", label), source))
    return Coloured(tuple(colours), tuple(map(tuple, arcs)))


def plain(graph: networkx.Graph) -> Coloured:
    """A graph without labels."""
    number = {node: k for k, node in enumerate(graph.nodes)}
    arcs = tuple(tuple(("", number[other]) for other in graph[node]) for node in graph.nodes)
    return Coloured((0,) * len(number), arcs)


def _note(places: Mapping[int, list[tuple[int, int]]], cell: int, addresses: Iterable[int]) -> None:
    for tap, address in enumerate(addresses):
        places[address].append((cell, tap))


class Refinement:
    """Refines several graphs with one palette, so that their colours can be compared."""

    def __init__(self, *graphs: Coloured) -> None:
        labels: dict[Hashable, int] = {}
        self.graphs = [
            [[(labels.setdefault(label, len(labels)), other) for label, other in arcs] for arcs in graph.arcs]
            for graph in graphs
        ]
        names: dict[Hashable, int] = {}
        starts = [[names.setdefault(colour, len(names)) for colour in graph.colours] for graph in graphs]
        self.colours = self.refine(starts)

    def refine(self, colourings: Sequence[Sequence[int]]) -> list[list[int]]:
        """The coarsest refinement of one colouring per graph under which neighbours agree."""
        current = [list(colours) for colours in colourings]
        found = len({colour for colours in current for colour in colours})
        while True:
            palette: dict[Hashable, int] = {}
            number = count()
            fresh = []
            for colours, graph in zip(current, self.graphs, strict=False):
                row = []
                for colour, arcs in zip(colours, graph, strict=True):
                    key = (colour, tuple(sorted((label, colours[other]) for label, other in arcs)))
                    if key not in palette:
                        palette[key] = next(number)
                    row.append(palette[key])
                fresh.append(row)
            current = fresh
            if len(palette) == found:
                return current
            found = len(palette)

    def match(self, left: Sequence[int], right: Sequence[int]) -> list[int] | None:
        """An isomorphism of the first two graphs that agrees with refined colourings of both; None where there is none.

        The result is the image of every node.
        """
        if Counter(left) != Counter(right):
            return None
        cell = smallest_cell(left)
        if cell is None:
            place = {colour: node for node, colour in enumerate(right)}
            image = [place[colour] for colour in left]
            same = all(
                sorted((label, image[other]) for label, other in arcs) == sorted(self.graphs[1][node])
                for node, arcs in zip(image, self.graphs[0], strict=True)
            )
            return image if same else None
        for node in (node for node, colour in enumerate(right) if colour == left[cell[0]]):
            pair = self.refine([single_out(left, cell[0]), single_out(right, node)])
            if (image := self.match(*pair)) is not None:
                return image
        return None


def smallest_cell(colours: Sequence[int]) -> list[int] | None:
    """Nodes of a colour that several nodes wear, the fewest; None where there is none."""
    cells: dict[int, list[int]] = defaultdict(list)
    for node, colour in enumerate(colours):
        cells[colour].append(node)
    return min((cell for cell in cells.values() if len(cell) > 1), key=len, default=None)


def single_out(colours: Sequence[int], node: int) -> list[int]:
    """The colouring with one node in a colour of its own."""
    result = list(colours)
    result[node] = -1
    return result


def are_isomorphic(a: Coloured, b: Coloured) -> bool:
    """Whether two graphs are the same but for the order of their nodes."""
    if len(a.colours) != len(b.colours):
        return False
    refinement = Refinement(a, b)
    return refinement.match(*refinement.colours) is not None


def log10_automorphisms(graph: Coloured) -> float:
    """log10 of the number of automorphisms: the orbits along a chain of stabilisers, multiplied.

    The chain is walked from its end, so that what was found further down need not be looked for again.
    """
    refinement = Refinement(graph, graph)
    colours, chain, known = refinement.colours[0], [], list[list[int]]()
    while (cell := smallest_cell(colours)) is not None:
        chain.append((colours, cell))
        colours = refinement.refine([single_out(colours, cell[0])])[0]
    total = 0.0
    for colours, cell in reversed(chain):
        first, reached = single_out(colours, cell[0]), orbit(cell[0], known)
        for node in cell[1:]:
            if node in reached:
                continue
            image = refinement.match(*refinement.refine([first, single_out(colours, node)]))
            if image is not None:
                known.append(image)
                reached = orbit(cell[0], known)
        total += log10(len(reached))
    return total


def orbit(start: int, images: Sequence[Sequence[int]]) -> set[int]:
    """Where permutations and their products take a node."""
    found, todo = {start}, [start]
    while todo:
        node = todo.pop()
        for image in images:
            if image[node] not in found:
                found.add(image[node])
                todo.append(image[node])
    return found


def log10_actions(graph: networkx.MultiDiGraph) -> float:
    """log10 of the number of ways in which automorphisms of the topology of a network move its entries."""
    return log10_automorphisms(coloured(graph)) - log10_automorphisms(coloured(graph, addresses=True))
