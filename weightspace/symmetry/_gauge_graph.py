"""The parameter graph as the rules of scales and signs see it: one unknown per node, wires, and the entries' factors.

The unknown of a node is the logarithm (for signs, the parity) of the factor by which its value may be multiplied,
before the functions of its site act.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from weightspace.symmetry._entries import Ints
from weightspace.symmetry._linear_systems import Equations
from weightspace.symmetry._node_types import NodeType, read_node_type

if TYPE_CHECKING:
    from weightspace.space import WeightSpace


@dataclass(frozen=True, eq=False)
class Way:
    """How entries follow their nodes: multiplied by the factor of `plus`, divided by that of `minus` to the power of
    `degree`, and for signs to that of `parity`.
    """

    plus: Ints
    minus: Ints
    degree: int = 0
    parity: int = 0


@dataclass(frozen=True, eq=False)
class Wire:
    """Structural edges between two sites: node numbers, the argument that they carry, and their type."""

    source: Ints
    target: Ints
    source_site: int
    target_site: int
    argument: int
    edge_type: str

    @property
    def fans_in(self) -> bool:
        """Whether a node reads several nodes."""
        return len(np.unique(self.target)) < len(self.target)


class GaugeGraph:
    """Equations of a space's scales and signs, and each entry's factor, as rules add them.

    Args:
        space: of the networks.

    Attributes:
        scale, sign: the equations; unknown number `nodes` is zero.
        lengths: sites whose weights are normalised by their length, with the first of the unknowns of these lengths.
        plus, minus: for each entry the node by whose factor it is multiplied, and the one whose factor divides it.
        degree, parity: of the functions between the second node and the entry.
        types: what is known of each site's node type.
        out: degree and parity of each site's functions.
        wires: structural edges by their target's site.
        reuses: pairs of sites that one cell reads at different places of the computation.
    """

    def __init__(self, space: "WeightSpace") -> None:
        self.space = space
        layout = space.layout
        self.tensors, self.edges = layout._sites, layout._blocks
        self._first = np.concatenate([[0], np.cumsum([len(site.address) for site in self.tensors])])
        self.lengths = self._read_lengths()
        self.nodes = int(self._first[-1]) + sum(len(self.of(site)) for site in self.lengths)
        self.scale, self.sign = Equations(self.nodes), Equations(self.nodes)
        entries = layout.entries
        self.plus, self.minus = np.full(entries, self.nodes), np.full(entries, self.nodes)
        self.degree, self.parity = np.zeros(entries, dtype=np.int64), np.zeros(entries, dtype=np.int64)
        self._placed = np.zeros(entries, dtype=bool)
        self.types = [read_node_type(site.node_type) for site in space.sites]
        self._markers: dict[int, bool] = {}
        self.wires: dict[int, list[Wire]] = {}
        self.reuses: list[Wire] = []
        self._read_wires()
        self.out = [self._functions(number, node_type) for number, node_type in enumerate(self.types)]

    def _read_lengths(self) -> dict[int, int]:
        """The factor of a weight whose length is divided out is an unknown of its own, behind the nodes."""
        found, start = {}, int(self._first[-1])
        for plan in self.space.blocks:
            roles = {slot.role for slot in self.space.sites[plan.target].slots}
            normalised = plan.attributes.get("weight_norm") == 0 and "weight_length" in roles
            if normalised and plan.target not in found and plan.attributes.get("uses", 1) == 1:
                found[plan.target] = start
                start += len(self.of(plan.target))
        return found

    def _read_wires(self) -> None:
        """Views between the sites of one operation's result only say that they belong together: they are no wires."""
        for plan, edges in zip(self.space.blocks, self.edges, strict=True):
            if plan.slot is not None:
                continue
            source, target = edges.edge_index.numpy()
            argument = int(plan.attributes.get("argument", 0))
            wire = Wire(source, target, plan.source, plan.target, argument, plan.edge_type)
            if plan.edge_type == "view" and "use" in plan.attributes:
                self.reuses.append(wire)
            elif plan.edge_type != "view" or self.types[plan.target].kind in ("view", "input", "vocabulary"):
                self.wires.setdefault(plan.target, []).append(wire)

    def of(self, site: int) -> Ints:
        """Numbers of a site's nodes."""
        return np.arange(self._first[site], self._first[site + 1])

    def local(self, site: int, nodes: Ints) -> Ints:
        """Places of nodes in their site."""
        return nodes - self._first[site]

    def lengths_of(self, site: int, nodes: Ints) -> Ints:
        """The unknowns of the lengths of weights that make nodes of a site; zero where they are not known."""
        return self.lengths[site] + self.local(site, nodes) if site in self.lengths else self.none(nodes)

    def none(self, like: Ints) -> Ints:
        """The unknown that is zero, as often as there are nodes."""
        return np.full_like(like, self.nodes)

    def _is_reused(self, site: int) -> bool:
        """Whether a site's values are read at several places of the computation, by other functions perhaps."""
        return any(plan.target == site and plan.attributes.get("uses", 1) > 1 for plan in self.space.blocks) or (
            bool(self.space.sites[site].slots) and len(self.wires.get(site, [])) > 1
        )

    def _functions(self, site: int, node_type: NodeType) -> tuple[int, int]:
        """Degree and parity of a site's functions; where they have none, its nodes allow no factor."""
        nodes = self.of(site)
        degree = parity = 1
        for effect in node_type.effects:
            is_bent = (effect.degree not in (None, 1) or effect.parity == 0) and self._is_reused(site)
            if effect.degree is None or is_bent:
                self.scale.add((nodes, degree))
            degree *= 0 if effect.degree is None or is_bent else effect.degree
            if effect.parity is None or is_bent:
                self.sign.add((nodes, parity))
            parity *= 0 if effect.parity is None or is_bent else effect.parity
        if node_type.is_output:
            self.scale.add((nodes, degree))
            self.sign.add((nodes, parity))
        return degree, parity

    # --- equations

    def fix(self, nodes: Ints) -> None:
        """No factor at these nodes."""
        self.scale.add((nodes, 1))
        self.sign.add((nodes, 1))

    def stop(self, site: int, nodes: Ints) -> None:
        """No factor of these nodes' values behind their functions."""
        degree, parity = self.out[site]
        self.scale.add((nodes, degree))
        self.sign.add((nodes, parity))

    def stop_all(self, wires: Iterable[Wire]) -> None:
        """No factor of what these wires carry."""
        for wire in wires:
            self.stop(wire.source_site, wire.source)

    def equal(self, wire: Wire, functions: tuple[int, int] = (1, 1)) -> None:
        """The value of a wire's source has the target's factor, behind these functions of the target."""
        degree, parity = self.out[wire.source_site]
        self.scale.add((wire.target, functions[0]), (wire.source, -degree))
        self.sign.add((wire.target, functions[1]), (wire.source, parity))

    def spread(self, wire: Wire) -> Ints:
        """The node that each node of the target's site reads over a wire that does not fan in; zero where none."""
        source = self.none(self.of(wire.target_site))
        source[self.local(wire.target_site, wire.target)] = wire.source
        return source

    # --- entries

    def with_nodes(self, nodes: Ints) -> Way:
        """Entries that are multiplied by the factors of nodes."""
        return Way(nodes, self.none(nodes))

    def over(self, nodes: Ints, source: Ints, site: int) -> Way:
        """Entries that are multiplied by the factors of nodes, and divided by those of values that they multiply."""
        return Way(nodes, source, *(self.out[site] if site >= 0 else (0, 0)))

    def still(self, nodes: Ints) -> Way:
        """Entries without a factor."""
        return Way(self.none(nodes), self.none(nodes))

    def place_numbers(self, site: int, ways: dict[str, Way] | None = None, *, default: Way | None = None) -> None:
        """The factors of the numbers on a site's nodes; a role without a way allows no factor at its node."""
        tensors, nodes = self.tensors[site], self.of(site)
        for number, role in enumerate(tensors.roles):
            way = (ways or {}).get(role, default)
            if way is None:
                self.fix(nodes)
            self.place(tensors.address[:, number].numpy(), way or self.still(nodes))

    def place(self, address: Ints, way: Way) -> None:
        """Note the factors of entries; an entry at several places has one factor."""
        fresh = np.flatnonzero(~self._placed[address])
        _, first = np.unique(address[fresh], return_index=True)
        chosen = fresh[first]
        new = address[chosen]
        self.plus[new], self.minus[new] = way.plus[chosen], way.minus[chosen]
        self.degree[new], self.parity[new] = way.degree, way.parity
        self._placed[new] = True
        again = np.ones(len(address), dtype=bool)
        again[chosen] = False
        old = address[again]
        for degree, parity in set(zip(self.degree[old].tolist(), self.parity[old].tolist(), strict=True)):
            some = (self.degree[old] == degree) & (self.parity[old] == parity)
            before, now = old[some], np.flatnonzero(again)[some]
            plus, minus = (self.plus[before], way.plus[now]), (self.minus[before], way.minus[now])
            self.scale.add((plus[0], 1), (minus[0], -degree), (plus[1], -1), (minus[1], way.degree))
            self.sign.add((plus[0], 1), (minus[0], parity), (plus[1], 1), (minus[1], way.parity))

    def is_zeros(self, site: int) -> bool:
        """Whether a site is a constant of zeros, which any factor leaves alone."""
        return self.space.sites[site].node_type in ("constant(0)", "constant(0.0)")

    def is_marker(self, site: int) -> bool:
        """Whether a site stands for a part of the atoms of a value that has another site with all of them (heads
        beside the features inside heads): it has no factor of its own. Every reader must read that other site, too.
        """
        if site not in self._markers:
            mine, wires = set(self.space.sites[site].atoms), self.wires.get(site, [])
            known = self.types[site].kind == "view" and len(wires) == 1
            known = known and mine < set(self.space.sites[wires[0].source_site].atoms)
            self._markers[site] = known and self._read_together(site, wires[0].source_site)
        return self._markers[site]

    def _read_together(self, marker: int, whole: int) -> bool:
        """Whether each operation that reads a marker reads the whole as the same argument."""
        theirs = self._readers.get(whole, set())
        for target, edge_type, argument in self._readers.get(marker, set()):
            if not any((near, edge_type, argument) in theirs for near in {target} | self._near.get(target, set())):
                return False
        return True

    @cached_property
    def _readers(self) -> dict[int, set[tuple[int, str, object]]]:
        """For each site who reads it, over which type of edges, as which argument."""
        found: dict[int, set[tuple[int, str, object]]] = {}
        for plan in self.space.blocks:
            found.setdefault(plan.source, set()).add((plan.target, plan.edge_type, plan.attributes.get("argument")))
        return found

    @cached_property
    def _near(self) -> dict[int, set[int]]:
        """For each site the others of its operation: those of the same result, and its products that are summed."""
        found: dict[int, set[int]] = {}
        for plan in self.space.blocks:
            if plan.slot is None and plan.edge_type in ("view", "reduce") and "use" not in plan.attributes:
                found.setdefault(plan.target, set()).add(plan.source)
                if plan.edge_type == "view":
                    found.setdefault(plan.source, set()).add(plan.target)
        return found

    def is_product(self, site: int) -> bool:
        """Whether a site is a view of all sites of a value together, each of which has atoms of its own."""
        wires = self.wires.get(site, [])
        atoms = [name for wire in wires for name in self.space.sites[wire.source_site].atoms]
        fits = sorted(atoms) == sorted(self.space.sites[site].atoms) and len(set(atoms)) == len(atoms)
        return self.types[site].kind == "view" and fits and bool(wires)

    def crowded(self, wires: Sequence[Wire]) -> set[int]:
        """Arguments that come to a node over several edges: a value with several sites, whose factor is not known."""
        seen: set[tuple[int, int]] = set()
        found = set()
        for wire in wires:
            if self.is_marker(wire.source_site):
                continue
            for target in np.unique(wire.target).tolist():
                if (wire.argument, target) in seen:
                    found.add(wire.argument)
                seen.add((wire.argument, target))
        return found

    def serves_several(self, site: int) -> bool:
        """Whether one operation, or one that is not known, reads a value of one site through several of its own."""
        readers: dict[tuple[object, ...], set[int]] = {}
        for plan in self.space.blocks:
            if plan.source == site:
                at = self.space.sites[plan.target].activation
                key = (plan.edge_type, plan.attributes.get("argument"), None if at is None else at.call)
                readers.setdefault(key, set()).add(plan.target)
        return any(len(targets) > 1 for targets in readers.values())
