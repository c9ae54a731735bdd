"""A parameter graph as a picture: sites as columns, an edge's colour is its weight."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import networkx as nx
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from weightspace.errors import WeightspaceError
from weightspace.graph import EdgeBlock, ParameterGraph, Site
from weightspace.reports._style import INK, MUTED, STRUCTURE, WEIGHTS, figure
from weightspace.vocabulary import split_node_type

COLUMN, ROW, GAP = 1.0, 1.0, 3.4  # distances in the picture: between columns, nodes of a site, sites of a column


@dataclass(frozen=True)
class Layout:
    """Where the nodes of a graph stand.

    Args:
        column: of each site.
        xy: place of each node, NaN where a node is left out.
        shown: number of nodes drawn of each site.

    Shapes:
        xy (N, 2).
    """

    column: tuple[int, ...]
    xy: np.ndarray
    shown: tuple[int, ...]


def draw_parameter_graph(graph: ParameterGraph, *, max_nodes: int = 16, title: str = "") -> Figure:
    """Draw one network's parameter graph: sites as columns from input to output, edges coloured by weight.

    The colour of an edge is the mean of its taps, scaled within its block, so that every layer is legible; the colour
    of a node is its first number (a bias, a norm's weight). Structural edges (add, multiply, cat) are grey, nodes of
    fixed axes are squares. Sites above `max_nodes` show their first and last nodes and say how many there are.

    Args:
        graph: of one network, not of a batch.
        max_nodes: nodes drawn per site.
        title: printed above the picture.

    Returns:
        A `matplotlib.figure.Figure`; save it with `savefig`.

    Raises:
        WeightspaceError: the graph holds a batch.

    Example:
        >>> import torch, weightspace as ws
        >>> from weightspace.reports import draw_parameter_graph
        >>> net = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2))
        >>> graph = ws.trace(net, torch.zeros(1, 3)).to_graph(net.state_dict())
        >>> draw_parameter_graph(graph, title="3-5-2").texts[-1].get_text()
        '3-5-2'
    """
    if graph.batch_shape:
        raise WeightspaceError(
            f"draw_parameter_graph: found a batch of {graph.batch_shape[0]} networks, wanted one: graph.unbatch(i)"
        )
    if max_nodes < 2:
        raise WeightspaceError(f"draw_parameter_graph: found max_nodes={max_nodes}, wanted at least 2")
    layout = place_nodes(graph, max_nodes)
    height = min(6.5, max(2.8, 0.24 * _height(layout) + 1.6))
    drawing = figure(width=max(5.2, 1.15 * (max(layout.column) + 1) + 0.8), height=height)
    axes = drawing.add_axes((0.01, 0.36 / height, 0.98, 1 - (0.66 if title else 0.4) / height))
    axes.set_axis_off()
    for block in sorted(graph.blocks, key=lambda block: block.address.shape[1]):
        _draw_block(axes, block, layout.xy)
    for site, offset in zip(graph.sites, graph.site_offsets, strict=True):
        _draw_site(axes, site, layout.xy[offset : offset + site.num_nodes])
    _label_sites(axes, graph, layout, height * axes.get_position().height)
    _draw_key(drawing, height)
    if title:
        drawing.text(0.5, 1 - 0.06 / height, title, ha="center", va="top", color=INK, fontsize=10)
    return drawing


def place_nodes(graph: ParameterGraph, max_nodes: int) -> Layout:
    """Columns by the longest path from the input, the sites of a column stacked and centred."""
    column = _columns(graph)
    shown = tuple(min(site.num_nodes, max_nodes) for site in graph.sites)
    xy = np.full((graph.num_nodes, 2), np.nan)
    for number in set(column):
        members = [i for i, c in enumerate(column) if c == number]
        heights = [_site_height(graph.sites[i].num_nodes, shown[i]) for i in members]
        top = (sum(heights) + GAP * (len(members) - 1)) / 2
        for i, height in zip(members, heights, strict=True):
            offset = graph.site_offsets[i]
            xy[offset : offset + graph.sites[i].num_nodes] = _site_places(
                graph.sites[i].num_nodes, shown[i], COLUMN * number, top
            )
            top -= height + GAP
    return Layout(column, xy, shown)


def _site_height(nodes: int, shown: int) -> float:
    return ROW * (shown - 1 + (nodes > shown))


def _site_places(nodes: int, shown: int, x: float, top: float) -> np.ndarray:
    places = np.full((nodes, 2), np.nan)
    first = (shown + 1) // 2 if nodes > shown else nodes
    for row in range(shown):
        node = row if row < first else nodes - shown + row
        places[node] = (x, top - ROW * (row + (row >= first)))
    return places


def _columns(graph: ParameterGraph) -> tuple[int, ...]:
    flow = nx.DiGraph()
    flow.add_nodes_from(range(len(graph.sites)))
    flow.add_edges_from(pair for block in graph.blocks for pair in _joined_sites(graph, block))
    condensed = nx.condensation(flow)  # a recurrent step is a cycle: its sites share a column
    depth = {part: d for d, parts in enumerate(nx.topological_generations(condensed)) for part in parts}
    for part in reversed(list(nx.topological_sort(condensed))):
        kinds = {split_node_type(graph.sites[i].node_type)[0] for i in condensed.nodes[part]["members"]}
        followers = [depth[other] for other in condensed.successors(part)]
        if not condensed.in_degree(part) and "input" not in kinds and followers:
            depth[part] = max(0, min(followers) - 1)  # a parameter of its own stands right before what uses it
    return tuple(depth[condensed.graph["mapping"][i]] for i in range(len(graph.sites)))


def _joined_sites(graph: ParameterGraph, block: EdgeBlock) -> set[tuple[int, int]]:
    starts = torch.tensor(graph.site_offsets, device=block.edge_index.device)
    sites = torch.searchsorted(starts, block.edge_index.contiguous(), right=True) - 1
    return {(a, b) for a, b in torch.unique(sites, dim=1).t().tolist() if a != b}


def _height(layout: Layout) -> float:
    y = layout.xy[~np.isnan(layout.xy[:, 1]), 1]
    return float(y.max() - y.min()) / ROW


def _draw_block(axes: Axes, block: EdgeBlock, xy: np.ndarray) -> None:
    source, target = xy[block.edge_index.cpu().numpy()]
    visible = ~(np.isnan(source).any(1) | np.isnan(target).any(1))
    source, target = source[visible], target[visible]
    if not len(source):
        return
    over = source[:, 1].mean() >= target[:, 1].mean() - 0.5 * ROW
    ends = np.concatenate([source[:, 0], target[:, 0]])
    between = xy[(xy[:, 0] >= ends.min()) & (xy[:, 0] <= ends.max()), 1]
    lines = _curves(source, target, turn=between.max() + 3 * ROW if over else between.min() - 1.5 * ROW)
    if not block.address.shape[1]:
        axes.add_collection(LineCollection(lines, colors=STRUCTURE, linewidths=0.7, alpha=0.8, zorder=1))
        return
    values = block.edge_attr.detach().cpu().double().mean(dim=-1).numpy()[visible]
    strength = np.abs(values) / max(float(np.abs(values).max()), 1e-30)
    order = np.argsort(strength)
    colors = WEIGHTS(0.5 + 0.5 * np.sign(values[order]) * strength[order])
    colors[:, 3] = 0.08 + 0.82 * strength[order] ** 1.3
    drawn = [lines[i] for i in order]
    axes.add_collection(LineCollection(drawn, colors=colors, linewidths=0.35 + 1.3 * strength[order], zorder=2))


def _curves(source: np.ndarray, target: np.ndarray, turn: float) -> list[np.ndarray]:
    """Straight lines between neighbouring columns; arcs where an edge jumps over columns or returns."""
    t = np.linspace(0, 1, 24)[:, None]
    lines = []
    for a, b in zip(source, target, strict=True):
        if 0 < b[0] - a[0] <= 1.01 * COLUMN:
            lines.append(np.stack([a, b]))
        else:
            lift = np.array([0.0, turn - (a[1] + b[1]) / 2]) * min(1.2, 0.55 + 0.07 * abs(b[0] - a[0]))
            lines.append((1 - t) * a + t * b + 4 * t * (1 - t) * lift)
    return lines


def _draw_site(axes: Axes, site: Site, places: np.ndarray) -> None:
    visible = ~np.isnan(places[:, 0])
    fixed = (site.index.cpu().numpy() >= 0)[visible]
    places = places[visible]
    colors = np.ones((len(places), 4))
    if site.x.shape[-1]:
        values = site.x[:, 0].detach().cpu().double().numpy()[visible]
        colors = WEIGHTS(0.5 + 0.5 * values / max(float(np.abs(values).max()), 1e-30))
    for marker, mask in (("s", fixed), ("o", ~fixed)):
        axes.scatter(
            places[mask, 0],
            places[mask, 1],
            c=colors[mask],
            marker=marker,
            s=26,
            edgecolors=INK,
            linewidths=0.7,
            zorder=3,
        )
    if site.num_nodes > len(places):
        middle = (places[(len(places) + 1) // 2 - 1] + places[(len(places) + 1) // 2]) / 2
        axes.text(middle[0], middle[1], "⋮", ha="center", va="center", color=MUTED, fontsize=11, zorder=3)


def _label_sites(axes: Axes, graph: ParameterGraph, layout: Layout, inches: float) -> None:
    for site, offset, shown in zip(graph.sites, graph.site_offsets, layout.shown, strict=True):
        places = layout.xy[offset : offset + site.num_nodes]
        lowest = places[~np.isnan(places[:, 0])][-1]
        count = f"{site.num_nodes}" if shown == site.num_nodes else f"{shown} of {site.num_nodes}"
        for line, words in enumerate([*_words(site.node_type), count]):
            text = axes.annotate(
                words, lowest, xytext=(0, -11 - 8 * line), textcoords="offset points", ha="center", va="center"
            )
            text.set(
                fontsize=6.4,
                color=MUTED,
                zorder=4,
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.4},
            )
    lines = 1 + max(len(_words(site.node_type)) for site in graph.sites)
    bottom, top = axes.dataLim.y0, axes.dataLim.y1
    below = (11 + 8 * lines) / 72 / inches  # part of the picture that the lowest labels take
    axes.set_xlim(-0.6, max(layout.column) + 0.6)
    axes.set_ylim(bottom - (top - bottom + 0.6) * below / (1 - below), top + 0.6)


def _draw_key(drawing: Figure, height: float) -> None:
    width = drawing.get_size_inches()[0]
    bar = drawing.add_axes((0.9 / width, 0.14 / height, 0.9 / width, 0.09 / height))
    bar.imshow(np.linspace(0, 1, 128)[None], cmap=WEIGHTS, aspect="auto")
    bar.set_axis_off()
    style: dict[str, Any] = {"va": "center", "color": MUTED, "fontsize": 6.4}
    drawing.text(0.84 / width, 0.185 / height, "negative", ha="right", **style)
    drawing.text(1.86 / width, 0.185 / height, "positive, scaled per block", ha="left", **style)
    drawing.text(1 - 0.1 / width, 0.185 / height, "grey: structure   □ fixed   ○ permutable", ha="right", **style)


def _words(node_type: str) -> Sequence[str]:
    kind, functions = split_node_type(node_type)
    return [kind, *functions[:3]]
