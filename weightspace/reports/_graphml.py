"""A parameter graph as GraphML, for Gephi, yEd, Cytoscape, igraph and networkx."""

import json
from pathlib import Path

import networkx

from weightspace.errors import WeightspaceError
from weightspace.graph import ParameterGraph

MAX_ELEMENTS = 200_000


def write_graphml(
    graph: ParameterGraph, path: Path, *, weights: bool = False, max_elements: int = MAX_ELEMENTS
) -> None:
    """Write the topology of a parameter graph; attributes are texts and numbers.

    Nodes have `node_type`, `site` and, where their axis is fixed, `index`; edges have `edge_type`, `parameter`, `role`,
    `taps` (their number) and `attributes` (JSON).

    Args:
        graph: of one network.
        path: of the file.
        weights: write the numbers on nodes and edges, too, as a text `weights` with spaces between them.
        max_elements: refuse graphs with more nodes and edges.

    Raises:
        WeightspaceError: a batch, or a graph that is too large.

    Example:
        >>> import tempfile, torch, weightspace as ws
        >>> net = torch.nn.Linear(3, 2)
        >>> graph = ws.trace(net, torch.zeros(1, 3)).to_graph(net.state_dict())
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_graphml(graph, Path(folder) / "net.graphml")
        ...     print(networkx.read_graphml(Path(folder) / "net.graphml"))
        DiGraph with 5 nodes and 6 edges
    """
    if graph.batch_shape:
        raise WeightspaceError(
            f"write_graphml: found a batch of {graph.batch_shape[0]} networks, wanted one: graph.unbatch(i)"
        )
    check_graphml_size(graph.num_nodes, graph.num_edges, max_elements)
    result = networkx.MultiDiGraph()
    for site, offset in zip(graph.sites, graph.site_offsets, strict=True):
        rows = zip(site.index.tolist(), site.x.tolist(), strict=True)
        for number, (index, values) in enumerate(rows, start=offset):
            attributes = {"node_type": site.node_type, "site": site.name}
            known = {"index": index} if index >= 0 else {}
            result.add_node(number, **attributes, **known, **_numbers(values, weights))
    for block in graph.blocks:
        shared: dict[str, str | int] = {
            "edge_type": block.edge_type,
            "parameter": block.name if block.role else "",
            "role": block.role,
            "taps": block.address.shape[1],
            "attributes": json.dumps(dict(block.attributes), default=str),
        }
        edges = zip(block.edge_index.t().tolist(), block.edge_attr.tolist(), strict=True)
        for (source, target), values in edges:
            result.add_edge(source, target, **shared, **_numbers(values, weights))
    networkx.write_graphml_xml(result, path)


def check_graphml_size(nodes: int, edges: int, max_elements: int = MAX_ELEMENTS) -> None:
    """Refuse graphs that no tool would open.

    Raises:
        WeightspaceError: says how large the graph is, and what can be done.
    """
    if nodes + edges > max_elements:
        raise WeightspaceError(
            f"graphml: the parameter graph has {nodes:,} nodes and {edges:,} edges, at most {max_elements:,} together "
            "are written; write the space (--json), trace a part of the module, or read the graph in Python: "
            "space.to_graph(state_dict), or block by block with space.iter_blocks(state_dict)"
        )


def _numbers(values: list[float], weights: bool) -> dict[str, str]:
    return {"weights": " ".join(map(repr, values))} if weights and values else {}
