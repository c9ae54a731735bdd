"""The rules of scales and signs, one for each kind of site.

An entry on an edge is multiplied by its target's factor and divided by its source's. Whatever is not known allows no
factor in what it reads and makes none in what it gives: the group can be too small, never wrong.

Sources: B. Neyshabur, R. Salakhutdinov and N. Srebro, "Path-SGD", 2015, arXiv:1506.02617 (the rescaling of ReLU
networks); A. M. Chen, H. Lu and R. Hecht-Nielsen, "On the geometry of feedforward neural network error surfaces", 1993
(signs of tanh networks). Deviation: the rules here also know norms, products, recurrence and shared weights.
"""

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from weightspace.axes import FREE
from weightspace.conversion import entry_layout
from weightspace.symmetry._gauge_graph import GaugeGraph, Way, Wire
from weightspace.symmetry._gauge_products import (
    relate_gates,
    relate_glu,
    relate_picks,
    relate_product,
    relate_product_node,
    relate_sum,
)

if TYPE_CHECKING:
    from weightspace.space import WeightSpace

SAME = {
    "add": "add", "subtract": "subtract", "cat": "cat", "function": "function", "mean": "reduce", "sum": "reduce",
    "amax": "reduce", "amin": "reduce", "maximum": "maximum", "minimum": "minimum", "prelu": "function",
    "state": "recurrent", "scatter_add": "function", "index_add": "function",
}  # fmt: skip
TWO = {"add", "subtract", "maximum", "minimum"}
ORDERED = {"amax", "amin", "maximum", "minimum", "prelu"}
CONTRACTIONS = {"linear", "conv", "matmul", "einsum", "tensordot", "attention", "embedding"}
NORMS = {"batch_norm", "layer_norm", "rms_norm", "group_norm", "instance_norm"}
CENTRED = {"layer_norm", "group_norm"}
PLAIN = {"stride", "padding", "dilation", "groups", "kernel", "taps", "uses", "output_padding", "transposed"}


def gauge_graph(space: "WeightSpace") -> GaugeGraph:
    """Equations of a space's scales and signs.

    Args:
        space: of the networks.
    """
    graph = GaugeGraph(space)
    for site in range(len(space.sites)):
        for other in space.sites[site].beside:
            if not _is_seen(graph, site, other):
                graph.stop(other, graph.of(other))
        _rule(graph, site)(graph, site)
    for wire in graph.reuses:
        graph.equal(wire, graph.out[wire.target_site])
    _relate_edges(graph)
    return graph


def _is_seen(graph: GaugeGraph, site: int, other: int) -> bool:
    """Whether a site reads another one in a view of all that the value has."""
    views = [plan.source for plan in graph.space.blocks if plan.slot is not None and plan.target == site]
    return any(
        graph.is_product(view) and any(wire.source_site == other for wire in graph.wires[view]) for view in views
    )


def _rule(graph: GaugeGraph, site: int) -> Callable[[GaugeGraph, int], None]:
    kind = graph.types[site].kind
    if kind in SAME:
        return _relate_same
    if kind in CONTRACTIONS:
        on_edges = any(plan.slot is not None and plan.target == site for plan in graph.space.blocks)
        return _relate_contraction if on_edges or not _plain_wires(graph, site) else relate_sum
    if kind in NORMS:
        return _relate_norm
    known = {
        "multiply": relate_product, "divide": relate_product, "product": relate_product_node, "view": _relate_view,
        "parameter": _relate_tensor, "scalar": _relate_tensor, "normaliser": _relate_normaliser,
        "rnn_tanh": relate_gates, "rnn_relu": relate_gates, "gru": relate_gates, "lstm": relate_gates,
        "lstm_memory": relate_gates, "glu": relate_glu, "index": relate_picks, "gather": relate_picks,
    }  # fmt: skip
    return known.get(kind, relate_unknown)


def relate_unknown(graph: GaugeGraph, site: int) -> None:
    """Inputs, constants, softmax, and whatever has no rule: no factor before, none behind."""
    graph.fix(graph.of(site))
    graph.stop_all(graph.wires.get(site, []))
    graph.place_numbers(site)


def _plain_wires(graph: GaugeGraph, site: int) -> list[Wire]:
    return [wire for wire in graph.wires.get(site, []) if wire.edge_type not in ("conv_depthwise", "embedding")]


def _relate_contraction(graph: GaugeGraph, site: int) -> None:
    """Linear maps: any factor; a depthwise kernel divides by the factor of the channel that it reads."""
    nodes = graph.of(site)
    wires = graph.wires.get(site, [])
    reads = [wire for wire in wires if wire.edge_type == "conv_depthwise"]
    graph.stop_all(wire for wire in wires if wire not in reads)
    if _plain_wires(graph, site) or any(wire.fans_in for wire in reads):
        graph.fix(nodes)
        graph.stop_all(reads)
    length = Way(nodes, graph.lengths_of(site, nodes), degree=0, parity=1)
    ways = {"bias": graph.with_nodes(nodes), "weight_length": length}
    if reads and not any(wire.fans_in for wire in reads):
        ways["depthwise_weight"] = _over_one(graph, site, reads)
    graph.place_numbers(site, ways)


def _over_one(graph: GaugeGraph, site: int, wires: list[Wire]) -> Way:
    """Numbers that multiply the one value which each node reads; values that are read in turn have one factor."""
    source, of = graph.spread(wires[0]), wires[0].source_site
    for wire in wires[1:]:
        first, (degree, parity), (own, odd) = graph.spread(wire), graph.out[wire.source_site], graph.out[of]
        graph.scale.add((source, own), (first, -degree))
        graph.sign.add((source, odd), (first, parity))
    return graph.over(graph.of(site), source, of)


def _relate_edges(graph: GaugeGraph) -> None:
    """Entries on edges: multiplied by the factor of the target, divided by that of the source. A weight
    whose rows are normalised may have them multiplied by anything, and its source has no factor.
    """
    _, layout = entry_layout(graph.space)
    for plan, edges in zip(graph.space.blocks, graph.edges, strict=True):
        if plan.slot is None:
            continue
        source, target = (
            row[:, None].repeat(edges.address.shape[1], 1).reshape(-1) for row in edges.edge_index.numpy()
        )
        address = edges.address.numpy().reshape(-1)
        extra = set(plan.attributes) - (PLAIN - {"transposed"} if "weight_norm" in plan.attributes else PLAIN)
        on_nodes = Counter((*graph.space.sites[plan.source].atoms, *graph.space.sites[plan.target].atoms))
        needed = Counter(name for piece in layout.slot_pieces(plan.slot) for name in piece.atoms)
        if any(graph.space.atoms[name].kind == FREE and needed[name] > on_nodes[name] for name in needed):
            extra.add("neurons as taps")
        if extra:
            graph.stop(plan.source, source)
        if extra - {"weight_norm"} or graph.types[plan.target].kind not in CONTRACTIONS:
            graph.fix(target)
            graph.stop(plan.source, source)
        way = graph.over(target, source, plan.source)
        if extra:
            way = (
                graph.with_nodes(graph.lengths_of(plan.target, target))
                if extra == {"weight_norm"}
                else graph.still(target)
            )
        graph.place(address, way)


def _relate_tensor(graph: GaugeGraph, site: int) -> None:
    """A parameter that takes part as a tensor has a factor of its own, if it is at one place only."""
    nodes = graph.of(site)
    graph.place_numbers(site, default=graph.with_nodes(nodes))
    if graph.wires.get(site) or graph.serves_several(site):
        graph.fix(nodes)


def _relate_view(graph: GaugeGraph, site: int) -> None:
    """A view of sites that have its atoms between them has the product of their factors."""
    wires, nodes = graph.wires.get(site, []), graph.of(site)
    graph.place_numbers(site)
    if graph.is_product(site):
        reads = [(graph.spread(wire), *graph.out[wire.source_site]) for wire in wires]
        graph.scale.add((nodes, -1), *((source, degree) for source, degree, _ in reads))
        graph.sign.add((nodes, 1), *((source, parity) for source, _, parity in reads))
    elif len(wires) == 1 and not graph.space.sites[wires[0].source_site].atoms:
        graph.equal(wires[0])
    else:
        graph.fix(nodes)
        if not graph.is_marker(site):
            graph.stop_all(wires)


def _relate_same(graph: GaugeGraph, site: int) -> None:
    """Sums, concatenations, means: all arguments have the factor of the result."""
    kind, nodes = graph.types[site].kind, graph.of(site)
    every = graph.wires.get(site, [])
    graph.stop_all(wire for wire in every if wire.edge_type == "index")
    wires = [w for w in every if w.edge_type != "index" and (kind in ORDERED or not graph.is_zeros(w.source_site))]
    if kind == "prelu":
        graph.stop_all(wire for wire in wires if wire.argument == 1)
        wires = [wire for wire in wires if wire.argument == 0]
    if kind in ORDERED:
        graph.sign.add((nodes, 1))
        for wire in wires:
            graph.sign.add((wire.source, graph.out[wire.source_site][1]))
    graph.place_numbers(site, {"slope": graph.still(nodes)} if kind == "prelu" else None)
    known = all(wire.edge_type.startswith(SAME[kind]) or kind == wire.edge_type for wire in wires)
    lonely = not every or (kind in TWO and len({wire.argument for wire in every}) < 2)
    if lonely or not known or (kind != "state" and graph.crowded(wires)):
        graph.fix(nodes)
        graph.stop_all(wires)
        return
    for wire in wires:
        graph.equal(wire)


def _relate_norm(graph: GaugeGraph, site: int) -> None:
    """Norms: new factors behind them. A batch norm with running statistics has one before it, too; others allow no
    scale there (eps), and signs channel by channel, or one for all that are centred together.
    """
    nodes, wires = graph.of(site), graph.wires.get(site, [])
    if not wires or any(wire.fans_in or wire.edge_type != "norm" for wire in wires):
        relate_unknown(graph, site)
        return
    weight = _over_one(graph, site, wires)
    source, degree, parity = weight.minus, weight.degree, weight.parity
    roles = {slot.role for slot in graph.space.sites[site].slots}
    node_type = graph.types[site]
    runs = node_type.kind == "batch_norm" and "running_mean" in roles and "own_statistics" not in node_type.attributes
    if not runs:
        graph.scale.add((source, degree))
    if "norm_weight" not in roles:
        graph.scale.add((nodes, -1), (source, degree))
        graph.sign.add((nodes, 1), (source, parity))
    ways = {
        "norm_weight": weight,
        "norm_bias": graph.with_nodes(nodes),
        "running_mean": Way(graph.none(nodes), source, -degree, parity),
        "running_var": graph.still(nodes),
    }
    graph.place_numbers(site, ways)


def _relate_normaliser(graph: GaugeGraph, site: int) -> None:
    """Values that are centred together change their signs together."""
    graph.scale.add((graph.of(site), 1))
    for wire in graph.wires.get(site, []):
        if graph.types[wire.source_site].kind not in CENTRED:
            continue
        for read in graph.wires.get(wire.source_site, []):
            if read.fans_in:
                graph.sign.add((wire.target, 1))
                continue
            value = graph.spread(read)[graph.local(wire.source_site, wire.source)]
            graph.sign.add((wire.target, 1), (value, graph.out[read.source_site][1]))
