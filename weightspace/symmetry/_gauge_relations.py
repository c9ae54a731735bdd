"""What the parameter graph says about scales and signs: one unknown per node, equations, and the entries' factors.

The unknown of a node is the logarithm (for signs, the parity) of the factor by which its value may be multiplied,
before the functions of its site act. An entry on an edge is multiplied by its target's factor and divided by its
source's. Whatever is not known allows no factor in what it reads and makes none in what it gives: the group can be too
small, never wrong.

Sources: B. Neyshabur, R. Salakhutdinov and N. Srebro, "Path-SGD", 2015, arXiv:1506.02617 (the rescaling of ReLU
networks); A. M. Chen, H. Lu and R. Hecht-Nielsen, "On the geometry of feedforward neural network error surfaces", 1993
(signs of tanh networks). Deviation: the rules here also know norms, products and shared weights.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from weightspace.symmetry._entries import Ints
from weightspace.symmetry._linear_systems import Equations
from weightspace.symmetry._node_types import NodeType, read_node_type

if TYPE_CHECKING:
    from weightspace.space import WeightSpace

CONTRACTIONS = {"linear", "conv", "embedding"}
SAME = {"add", "subtract", "cat", "view", "function", "mean", "sum", "amax", "amin", "maximum", "minimum", "prelu"}
TWO = {"add", "subtract", "maximum", "minimum"}
PRODUCTS = {"multiply": 1, "divide": -1}
NORMS = {"batch_norm", "layer_norm", "rms_norm", "group_norm", "instance_norm"}
TENSORS = {"parameter", "scalar"}
ORDERED = {"amax", "amin", "maximum", "minimum", "prelu"}
SHARED_SIGN = {"layer_norm", "group_norm"}


@dataclass(frozen=True)
class Way:
    """How entries follow their nodes: multiplied by the factor of `plus`, divided by that of `minus` to the power of
    `degree`, and for signs to that of `parity`.
    """

    plus: Ints
    minus: Ints
    degree: int = 0
    parity: int = 0


@dataclass(frozen=True)
class Wire:
    """Structural edges between two sites: node numbers, the argument that they carry, and their type."""

    source: Ints
    target: Ints
    source_site: int
    target_site: int
    argument: int
    edge_type: str
    is_reuse: bool


class GaugeRelations:
    """Equations of a space's scales and signs, and each entry's factor.

    Args:
        space: of the networks.

    Attributes:
        scale, sign: the equations; unknown number `nodes` is zero.
        plus, minus: for each entry the node by whose factor it is multiplied, and the one whose factor divides it.
        degree, parity: of the functions between the second node and the entry.
    """

    def __init__(self, space: "WeightSpace") -> None:
        self._space = space
        layout = space.layout
        self._sites, self._blocks = layout._sites, layout._blocks
        sizes = [len(site.address) for site in self._sites]
        self._first = np.concatenate([[0], np.cumsum(sizes)])
        self.nodes = int(self._first[-1])
        self._types = [read_node_type(site.node_type) for site in space.sites]
        self.scale, self.sign = Equations(self.nodes), Equations(self.nodes)
        entries = layout.entries
        self.plus, self.minus = np.full(entries, self.nodes), np.full(entries, self.nodes)
        self.degree, self.parity = np.zeros(entries, dtype=np.int64), np.zeros(entries, dtype=np.int64)
        self._placed = np.zeros(entries, dtype=bool)
        self._out = [self._functions(number) for number in range(len(self._sites))]
        for number, node_type in enumerate(self._types):
            self._relate_site(number, node_type)
        for wire in self._wires.get(-1, []):
            self._equal(wire, self._out[wire.target_site])
        self._relate_contractions()

    # --- nodes and wires

    def _of(self, site: int) -> Ints:
        return np.arange(self._first[site], self._first[site + 1])

    @cached_property
    def _wires(self) -> dict[int, list[Wire]]:
        """Structural edges by their target's site, uses of one cell at several places under -1."""
        found: dict[int, list[Wire]] = {}
        for plan, edges in zip(self._space.blocks, self._blocks, strict=True):
            if plan.slot is not None:
                continue
            source, target = edges.edge_index.numpy()
            reuse = plan.edge_type == "view" and bool({"use", "uses"} & set(plan.attributes))
            wire = Wire(
                source, target, plan.source, plan.target, int(plan.attributes.get("argument", 0)), plan.edge_type, reuse
            )
            found.setdefault(-1 if reuse else plan.target, []).append(wire)
        return found

    @cached_property
    def _reused(self) -> set[int]:
        """Sites whose values are read at several places of the computation, by other functions perhaps."""
        again = {plan.target for plan in self._space.blocks if plan.attributes.get("uses", 1) > 1}
        return again | {
            site for site, wires in self._wires.items() if self._types[site].kind in NORMS and len(wires) > 1
        }

    def _fix(self, nodes: Ints) -> None:
        """No factor at these nodes."""
        self.scale.add((nodes, 1))
        self.sign.add((nodes, 1))

    def _stop(self, site: int, nodes: Ints) -> None:
        """No factor of these nodes' values behind their functions."""
        degree, parity = self._out[site]
        self.scale.add((nodes, degree))
        self.sign.add((nodes, parity))

    def _functions(self, site: int) -> tuple[int, int]:
        """Degree and parity of a site's functions; where they have none, its nodes allow no factor."""
        node_type, nodes = self._types[site], self._of(site)
        degree = parity = 1
        for effect in node_type.effects:
            is_bent = effect.degree not in (None, 1) or effect.parity == 0
            if effect.degree is None or (is_bent and site in self._reused):
                self.scale.add((nodes, degree))
                degree = 0
            else:
                degree *= effect.degree
            if effect.parity is None or (is_bent and site in self._reused):
                self.sign.add((nodes, parity))
                parity = 0
            else:
                parity *= effect.parity
        if node_type.is_output:
            self.scale.add((nodes, degree))
            self.sign.add((nodes, parity))
        return degree, parity

    # --- sites

    def _relate_site(self, site: int, node_type: NodeType) -> None:
        wires = self._wires.get(site, [])
        kind = node_type.kind
        known: dict[str, Callable[[int, NodeType, list[Wire]], None]] = {
            **dict.fromkeys(CONTRACTIONS, self._relate_contraction),
            **dict.fromkeys(SAME, self._relate_same),
            **dict.fromkeys(PRODUCTS, self._relate_product),
            **dict.fromkeys(NORMS, self._relate_norm),
            **dict.fromkeys(TENSORS, self._relate_tensor),
            "normaliser": self._relate_normaliser,
        }
        known.get(kind, self._relate_unknown)(site, node_type, wires)

    def _relate_unknown(self, site: int, node_type: NodeType, wires: list[Wire]) -> None:
        """Inputs, constants, softmax, and whatever has no rule: no factor before, none behind."""
        self._fix(self._of(site))
        for wire in wires:
            self._stop(wire.source_site, wire.source)
        self._place_numbers(site, None)

    def _relate_contraction(self, site: int, node_type: NodeType, wires: list[Wire]) -> None:
        """Linear maps: any factor; a depthwise kernel divides by the factor of the channel that it reads."""
        source, of = self._single(site, [wire for wire in wires if wire.edge_type == "conv_depthwise"])
        for wire in wires:
            if wire.edge_type != "conv_depthwise":
                self._stop(wire.source_site, wire.source)
                self._fix(wire.target)
        nodes = self._of(site)
        ways = {"bias": self._with(nodes), "depthwise_weight": self._over(nodes, source, of)}
        self._place_numbers(site, ways.get)

    def _relate_tensor(self, site: int, node_type: NodeType, wires: list[Wire]) -> None:
        """A parameter that takes part as a tensor has a factor of its own, if it is at one place only."""
        nodes = self._of(site)
        self._place_numbers(site, lambda role: self._with(nodes))
        if wires or self._serves_several(site):
            self._fix(nodes)

    def _serves_several(self, site: int) -> bool:
        """Whether one operation, or one that is not known, reads a value through several of its own sites."""
        readers: dict[tuple[object, ...], set[int]] = {}
        for plan in self._space.blocks:
            if plan.source == site:
                at = self._space.sites[plan.target].activation
                key = (plan.edge_type, plan.attributes.get("argument"), None if at is None else at.call)
                readers.setdefault(key, set()).add(plan.target)
        return any(len(targets) > 1 for targets in readers.values())

    def _relate_same(self, site: int, node_type: NodeType, wires: list[Wire]) -> None:
        """Sums, concatenations, views: all arguments have the factor of the result."""
        kind, nodes = node_type.kind, self._of(site)
        wires = [wire for wire in wires if not self._is_zeros(wire.source_site) or kind in ORDERED]
        if kind in ORDERED:
            self.sign.add((nodes, 1))
        self._place_numbers(
            site, {"slope": self._with(np.full_like(nodes, self.nodes))}.get if kind == "prelu" else None
        )
        lonely = {wire.argument for wire in self._wires.get(site, [])}
        several = self._factors(wires)
        if not lonely or (kind in TWO and len(lonely) < 2) or several:
            self._fix(nodes)
        for wire in wires:
            if kind == "prelu" and wire.argument == 1:
                self._stop(wire.source_site, wire.source)
                continue
            if several:
                self._stop(wire.source_site, wire.source)
            if kind in ORDERED:
                self.sign.add((wire.source, self._out[wire.source_site][1]))
            self._equal(wire)

    def _factors(self, wires: list[Wire]) -> bool:
        """Whether one argument of a node comes over several edges: its factor would be a product that is not known."""
        seen: set[tuple[int, int]] = set()
        for wire in wires:
            for target in np.unique(wire.target).tolist():
                if (wire.argument, target) in seen:
                    return True
                seen.add((wire.argument, target))
        return False

    def _relate_product(self, site: int, node_type: NodeType, wires: list[Wire]) -> None:
        """Products and quotients: the factors of the arguments are multiplied and divided."""
        if self._factors(wires) or self._fans_in(wires) or node_type.attributes or not wires:
            self._relate_unknown(site, node_type, wires)
            return
        self._place_numbers(site, None)
        nodes = self._of(site)
        scale, sign = [(nodes, -1)], [(nodes, 1)]
        for wire in wires:
            sources = np.full(len(nodes), self.nodes)
            sources[wire.target - self._first[site]] = wire.source
            degree, parity = self._out[wire.source_site]
            scale.append((sources, degree * (PRODUCTS[node_type.kind] if wire.argument == 1 else 1)))
            sign.append((sources, parity))
        self.scale.add(*scale)
        self.sign.add(*sign)

    @staticmethod
    def _fans_in(wires: list[Wire]) -> bool:
        """Whether a node reads several nodes over one relation."""
        return any(len(np.unique(wire.target)) < len(wire.target) for wire in wires)

    def _equal(self, wire: Wire, functions: tuple[int, int] = (1, 1)) -> None:
        """The value of a wire's source has the target's factor, behind these functions of the target."""
        degree, parity = self._out[wire.source_site]
        self.scale.add((wire.target, functions[0]), (wire.source, -degree))
        self.sign.add((wire.target, functions[1]), (wire.source, parity))

    def _is_zeros(self, site: int) -> bool:
        return self._space.sites[site].node_type == "constant(0)"

    # --- norms

    def _single(self, site: int, wires: list[Wire]) -> tuple[Ints, int]:
        """The one node that each node of a site reads, and its site; several readings must agree with the first."""
        source = np.full(len(self._of(site)), self.nodes)
        for number, wire in enumerate(wires):
            if number == 0:
                source[wire.target - self._first[site]] = wire.source
                continue
            first = source[wire.target - self._first[site]]
            before, now = self._out[wires[0].source_site], self._out[wire.source_site]
            self.scale.add((first, before[0]), (wire.source, -now[0]))
            self.sign.add((first, before[1]), (wire.source, now[1]))
        return source, wires[0].source_site if wires else -1

    def _relate_norm(self, site: int, node_type: NodeType, wires: list[Wire]) -> None:
        """Norms: new factors behind them. A batch norm with running statistics has one before it, too; others allow
        no scale there (eps), and signs channel by channel, or one for all that are centred together.
        """
        nodes = self._of(site)
        source, of = self._single(site, wires)
        roles = {slot.role for slot in self._space.sites[site].slots}
        runs = (
            node_type.kind == "batch_norm" and "running_mean" in roles and "own_statistics" not in node_type.attributes
        )
        if of < 0 or self._fans_in(wires):
            self._relate_unknown(site, node_type, wires)
            return
        degree, parity = self._out[of]
        if not runs:
            self.scale.add((source, degree))
        if "norm_weight" not in roles:
            self.scale.add((nodes, -1), (source, degree))
            self.sign.add((nodes, 1), (source, parity))
        zero = np.full_like(nodes, self.nodes)
        ways = {
            "norm_weight": self._over(nodes, source, of),
            "norm_bias": self._with(nodes),
            "running_mean": Way(zero, source, -degree, parity),
            "running_var": self._with(zero),
        }
        self._place_numbers(site, ways.get)

    def _relate_normaliser(self, site: int, node_type: NodeType, wires: list[Wire]) -> None:
        """Values that are centred together change their signs together."""
        self.scale.add((self._of(site), 1))
        for wire in wires:
            kind = self._types[wire.source_site].kind
            if kind not in SHARED_SIGN:
                continue
            before = self._wires.get(wire.source_site, [])
            if len(before) != 1 or self._fans_in(before):
                self.sign.add((wire.target, 1))
                continue
            source, of = self._single(wire.source_site, before)
            parity = self._out[of][1]
            self.sign.add((wire.target, 1), (source[wire.source - self._first[wire.source_site]], parity))

    # --- entries

    def _with(self, nodes: Ints) -> Way:
        """Entries that are multiplied by the factors of nodes."""
        return Way(nodes, np.full_like(nodes, self.nodes))

    def _over(self, nodes: Ints, source: Ints, of: int) -> Way:
        """Entries that are multiplied by the factors of nodes, and divided by those of values that they multiply."""
        return Way(nodes, source, *(self._out[of] if of >= 0 else (0, 0)))

    def _place_numbers(self, site: int, way: Callable[[str], Way | None] | None) -> None:
        """The factors of the numbers on a site's nodes; a role without a way allows no factor at its node."""
        tensors, nodes = self._sites[site], self._of(site)
        for number, role in enumerate(tensors.roles):
            found = way(role) if way is not None else None
            if found is None:
                self._fix(nodes)
            self._place(tensors.address[:, number].numpy(), found or self._with(np.full_like(nodes, self.nodes)))

    def _relate_contractions(self) -> None:
        """Entries on edges: multiplied by the factor of the target, divided by that of the source."""
        for plan, edges in zip(self._space.blocks, self._blocks, strict=True):
            if plan.slot is None:
                continue
            source, target = (row[:, None].repeat(edges.address.shape[1], 1) for row in edges.edge_index.numpy())
            address = edges.address.numpy().reshape(-1)
            if self._types[plan.target].kind not in CONTRACTIONS:
                self._fix(target.reshape(-1))
                self._stop(plan.source, source.reshape(-1))
            self._place(address, self._over(target.reshape(-1), source.reshape(-1), plan.source))

    def _place(self, address: Ints, way: Way) -> None:
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
