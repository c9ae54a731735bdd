"""Rules of scales and signs where values are multiplied: gates, sums over products (attention), recurrent cells."""

import numpy as np

from weightspace.symmetry._entries import Ints
from weightspace.symmetry._gauge_graph import GaugeGraph, Wire

SIGNED_GATE = {"lstm": 2, "lstm_memory": 2, "gru": 2}
Term = tuple[Ints, int]


def _give_up(graph: GaugeGraph, site: int) -> None:
    graph.fix(graph.of(site))
    graph.stop_all(graph.wires.get(site, []))
    graph.place_numbers(site)


def _factors(
    graph: GaugeGraph, site: int, wires: list[Wire], *, quotient: bool = False
) -> tuple[list[Term], list[Term]]:
    """Terms of the equations of a product's nodes: the result, and what each argument brings. An argument whose factor
    is not known may have none.
    """
    nodes = graph.of(site)
    scale: list[Term] = [(nodes, -1)]
    sign: list[Term] = [(nodes, 1)]
    crowded = graph.crowded(wires)
    for wire in wires:
        if wire.argument in crowded or wire.fans_in:
            graph.stop(wire.source_site, wire.source)
            continue
        degree, parity = graph.out[wire.source_site]
        source = graph.spread(wire)
        scale.append((source, -degree if quotient and wire.argument == 1 else degree))
        sign.append((source, parity))
    return scale, sign


def relate_product(graph: GaugeGraph, site: int) -> None:
    """Products and quotients element by element: the factors of the arguments are multiplied and divided."""
    kind, wires = graph.types[site].kind, graph.wires.get(site, [])
    if not wires or graph.types[site].attributes or any(wire.edge_type != kind for wire in wires):
        _give_up(graph, site)
        return
    graph.place_numbers(site)
    scale, sign = _factors(graph, site, wires, quotient=kind == "divide")
    graph.scale.add(*scale)
    graph.sign.add(*sign)


def relate_product_node(graph: GaugeGraph, site: int) -> None:
    """One coordinate that is summed over: the factors of all that is tied to it are multiplied."""
    wires = graph.wires.get(site, [])
    if not wires:
        _give_up(graph, site)
        return
    if all(wire.edge_type == "product" for wire in wires):
        wires = [Wire(w.source, w.target, w.source_site, site, n, w.edge_type) for n, w in enumerate(wires)]
    graph.place_numbers(site)
    scale, sign = _factors(graph, site, wires)
    graph.scale.add(*scale)
    graph.sign.add(*sign)


def relate_picks(graph: GaugeGraph, site: int) -> None:
    """Elements picked by their numbers: the factor that all have in common, times those of what is carried along."""
    numbers = [wire for wire in graph.wires.get(site, []) if wire.edge_type == "index"]
    graph.stop_all(numbers)
    rest = [wire for wire in graph.wires.get(site, []) if wire.edge_type != "index"]
    if not rest:
        _give_up(graph, site)
        return
    relate_sum(graph, site, rest)


def relate_sum(graph: GaugeGraph, site: int, only: list[Wire] | None = None) -> None:
    """The result of a sum over products: the factors of what is not summed over, times the factor that all terms of
    the sum have in common.
    """
    wires = graph.wires[site] if only is None else only
    sums = [wire for wire in wires if wire.edge_type == "reduce"]
    if len(sums) > 1 or any(
        graph.serves_several(wire.source_site) for wire in wires if not graph.is_marker(wire.source_site)
    ):
        _give_up(graph, site)
        return
    graph.place_numbers(site)
    scale, sign = _factors(graph, site, [wire for wire in wires if wire not in sums])
    if not sums:
        graph.scale.add(*scale)
        graph.sign.add(*sign)
        return
    [wire] = sums
    degree, parity = graph.out[wire.source_site]
    local = graph.local(site, wire.target)
    graph.scale.add(*[(nodes[local], c) for nodes, c in scale], (wire.source, degree))
    graph.sign.add(*[(nodes[local], c) for nodes, c in sign], (wire.source, parity))


def relate_gates(graph: GaugeGraph, site: int) -> None:
    """Recurrent cells: a hidden unit of tanh has a sign, one of ReLU a scale; of the gates only the one through tanh
    shares the sign.
    """
    kind, wires = graph.types[site].kind, graph.wires.get(site, [])
    if not wires:
        _give_up(graph, site)
        return
    graph.place_numbers(site)
    if kind != "rnn_relu":
        graph.scale.add((graph.of(site), 1))
    else:
        graph.sign.add((graph.of(site), 1))
    for wire in wires:
        degree, parity = graph.out[wire.source_site]
        if kind == "rnn_relu":
            graph.scale.add((wire.target, 1), (wire.source, -degree))
            graph.sign.add((wire.source, parity))
            continue
        graph.scale.add((wire.source, degree))
        shares = np.ones(len(wire.source), dtype=bool)
        if kind in SIGNED_GATE and wire.edge_type in ("input_gate", "hidden_gate"):
            size = len(graph.of(site))
            shares = graph.local(wire.source_site, wire.source) // size == SIGNED_GATE[kind]
        graph.sign.add((wire.target[shares], 1), (wire.source[shares], parity))
        graph.sign.add((wire.source[~shares], parity))


def relate_glu(graph: GaugeGraph, site: int) -> None:
    """A value times the sigmoid of a gate (Dauphin et al. 2017): the value's factor; none for the gate."""
    wires = graph.wires.get(site, [])
    gates = [wire for wire in wires if wire.edge_type == "gate"]
    values = [wire for wire in wires if wire.edge_type == "value"]
    if len(gates) != 1 or len(values) != 1 or values[0].fans_in:
        _give_up(graph, site)
        return
    graph.place_numbers(site)
    graph.stop_all(gates)
    graph.equal(values[0])
