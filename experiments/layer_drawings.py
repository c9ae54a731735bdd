"""Drawings of parameter graphs, one tiny network per layer family: docs/parameter-graph.md shows them.

Sites are columns, from the input on; a node is a neuron, an edge an entry (coloured by its type) or structure (grey).

Run:   python experiments/layer_drawings.py            (writes docs/graphs/*.png and experiments/results)
       python experiments/layer_drawings.py --smoke    (two drawings, into a temporary folder)
"""

import argparse
import json
import tempfile
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import networkx as nx
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

import weightspace as ws
from weightspace.graph import EdgeBlock, ParameterGraph, Site
from weightspace.vocabulary import split_node_type

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "graphs"
RESULTS = Path(__file__).parent / "results" / "layer_drawings.json"
INK = "#1f2933"
COLORS = ("#1f6feb", "#d9822b", "#2f9e6e", "#8f6bd1", "#c2456b", "#5c7080", "#b59a00", "#00a3b4", "#7a4b2a", "#e377c2")
STRUCTURE = {"linestyle": (0, (3, 1.5)), "linewidth": 0.8, "zorder": 1}  # edges without numbers


class Of(nn.Module):
    """Layers by name and a function of them, which keeps a network of three lines in three lines."""

    def __init__(self, forward: Callable[..., Tensor], **parts: nn.Module | nn.Parameter):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self._function = forward

    def forward(self, *inputs: Tensor) -> Tensor:
        return self._function(self, *inputs)


def attention(m: Of, x: Tensor) -> Tensor:
    q, k, v = (part(x).unflatten(-1, (2, 2)).transpose(1, 2) for part in (m.q, m.k, m.v))
    return m.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def tied(m: Of, words: Tensor) -> Tensor:
    return F.linear(m.table(words).relu(), m.table.weight)


def experts(m: Of, x: Tensor) -> Tensor:
    h = torch.einsum("bi,ehi->beh", x, m.up).relu()
    return m.last(torch.einsum("beh,eoh->bo", h, m.down).relu())


def messages(m: Of, x: Tensor, source: Tensor, target: Tensor) -> Tensor:
    h = m.first(x)
    return m.last(torch.zeros_like(h).index_add(0, target, h[source]).relu())


def squeeze_excite(m: Of, x: Tensor) -> Tensor:
    h = m.conv(x)
    return m.last((h * m.up(m.down(h.mean((2, 3))).relu()).sigmoid()[..., None, None]).mean((2, 3)))


def tokens(width: int) -> tuple[Tensor]:
    return (torch.zeros(1, 3, width),)


def rows(width: int) -> tuple[Tensor]:
    return (torch.zeros(1, width),)


def image(channels: int) -> tuple[Tensor]:
    return (torch.zeros(1, channels, 4, 4),)


Family = tuple[nn.Module, tuple[Tensor, ...]]


def head(channels: int, outputs: int = 2) -> tuple[nn.Module, ...]:
    return nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, outputs)


def families() -> dict[str, Family]:
    """A tiny network of each layer family, and example inputs."""
    return layers_in_a_row() | layers_that_join()


def layers_in_a_row() -> dict[str, Family]:
    """Linear maps, convolutions and norms, one after the other."""
    return {
        "linear": (nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), rows(3)),
        "convolution": (nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), *head(4)), image(2)),
        "grouped": (nn.Sequential(nn.Conv2d(2, 4, 1), nn.Conv2d(4, 4, 3, groups=2), nn.ReLU(), *head(4)), image(2)),
        "depthwise": (nn.Sequential(nn.Conv2d(2, 4, 1), nn.Conv2d(4, 4, 3, groups=4), nn.ReLU(), *head(4)), image(2)),
        "transposed": (nn.Sequential(nn.ConvTranspose2d(2, 3, 2, stride=2), nn.ReLU(), *head(3)), image(2)),
        "layer_norm": (nn.Sequential(nn.Linear(2, 4), nn.LayerNorm(4), nn.Linear(4, 2)), rows(2)),
        "group_norm": (nn.Sequential(nn.Conv2d(2, 4, 1), nn.GroupNorm(2, 4), nn.ReLU(), *head(4)), image(2)),
        "rms_norm": (nn.Sequential(nn.Linear(2, 4), nn.RMSNorm(4), nn.Linear(4, 2)), rows(2)),
    }  # fmt: skip


def layers_that_join() -> dict[str, Family]:
    """Networks that combine activations, share weights or compute them."""
    number, norm = torch.tensor([0, 1, 2]), nn.utils.parametrizations.weight_norm
    return {
        "residual": (
            Of(
                lambda m, x: m.last((h := m.first(x)) + m.inner(h).relu()),
                first=nn.Linear(2, 3), inner=nn.Linear(3, 3), last=nn.Linear(3, 2),
            ), rows(2),
        ),
        "cat": (
            Of(
                lambda m, x: m.last(torch.cat([m.a(x), m.b(x)], 1).relu()),
                a=nn.Linear(2, 3), b=nn.Linear(2, 2), last=nn.Linear(5, 2),
            ), rows(2),
        ),
        "gate": (nn.Sequential(nn.Linear(2, 6), nn.GLU(), nn.Linear(3, 2)), rows(2)),
        "attention": (
            Of(
                attention, q=nn.Linear(2, 4, bias=False), k=nn.Linear(2, 4, bias=False), v=nn.Linear(2, 4, bias=False),
                out=nn.Linear(4, 2),
            ), tokens(2),
        ),
        "embedding": (Of(tied, table=nn.Embedding(4, 3)), (number,)),
        "lstm": (
            Of(lambda m, x: m.last(m.lstm(x)[0]), lstm=nn.LSTM(2, 2, batch_first=True), last=nn.Linear(2, 1)),
            tokens(2),
        ),
        "bilinear": (
            Of(
                lambda m, x: m.form(m.a(x), m.b(x)),
                a=nn.Linear(2, 2), b=nn.Linear(2, 3), form=nn.Bilinear(2, 3, 2),
            ), rows(2),
        ),
        "experts": (
            Of(
                experts,
                up=nn.Parameter(torch.randn(2, 2, 2)), down=nn.Parameter(torch.randn(2, 2, 2)), last=nn.Linear(2, 1),
            ), rows(2),
        ),
        "weight_norm": (nn.Sequential(norm(nn.Linear(2, 3)), nn.ReLU(), nn.Linear(3, 2)), rows(2)),
        "scatter": (Of(messages, first=nn.Linear(2, 3), last=nn.Linear(3, 2)), (torch.zeros(3, 2), number, number)),
        "squeeze_excite": (
            Of(
                squeeze_excite,
                conv=nn.Conv2d(2, 3, 3), down=nn.Linear(3, 2), up=nn.Linear(2, 3), last=nn.Linear(3, 2),
            ), image(2),
        ),
        "unknown": (
            Of(lambda m, x: m.last(torch.special.bessel_j1(m.first(x))), first=nn.Linear(2, 3), last=nn.Linear(3, 2)),
            rows(2),
        ),
    }  # fmt: skip


def graph_of(name: str) -> ParameterGraph:
    module, inputs = families()[name]
    return ws.trace(module, *inputs).to_graph(module.state_dict())


def listing(name: str) -> str:
    """The sites and edge blocks of a family's network, as docs/parameter-graph.md shows them."""
    graph = graph_of(name)
    nodes = [f"{site.num_nodes} {_title(site)}" for site in graph.sites]
    edges = [f"{block.num_edges} {block.edge_type}{_taps(block)}" for block in graph.blocks]
    return _wrapped("nodes", nodes) + "\n" + _wrapped("edges", edges)


def _wrapped(title: str, parts: list[str]) -> str:
    lines = [f"{title}:"]
    for number, part in enumerate(parts):
        word = part + ("," if number < len(parts) - 1 else "")
        if len(lines[-1]) + len(word) > 110:
            lines.append("      ")
        lines[-1] += f" {word}"
    return "\n".join(lines)


def _title(site: Site) -> str:
    kind, functions = split_node_type(site.node_type)
    roles = {role: site.roles.count(role) for role in site.roles}
    numbers = " + ".join(f"{count} {role}" if count > 1 else role for role, count in roles.items())
    return ">".join((kind, *functions)) + (f" [{numbers}]" if numbers else "")


def _taps(block: EdgeBlock) -> str:
    taps = block.address.shape[1]
    return f" [{taps} {block.role}]" if taps > 1 else f" [{block.role}]" if taps else ""


# --- the picture


def columns(graph: ParameterGraph) -> list[int]:
    """Longest path from the input, steps back in time left out; a parameter stands right before what uses it."""
    flow = nx.DiGraph()
    flow.add_nodes_from(range(len(graph.sites)))
    for block in graph.blocks:
        if not block.edge_type.startswith("recurrent"):
            flow.add_edges_from({(site_of(graph, a), site_of(graph, b)) for a, b in block.edge_index.t().tolist()})
    depth: dict[int, int] = {}
    for i in nx.topological_sort(flow):
        depth[i] = max((depth[j] + 1 for j in flow.predecessors(i)), default=0)
    for i in flow:
        if not flow.in_degree(i) and flow.out_degree(i) and not graph.sites[i].node_type.startswith("input"):
            depth[i] = min(depth[j] for j in flow.successors(i)) - 1
    return [depth[i] for i in range(len(graph.sites))]


def site_of(graph: ParameterGraph, node: int) -> int:
    return bisect_right(graph.site_offsets, node) - 1


def places(graph: ParameterGraph, column: list[int]) -> tuple[list[float], list[float]]:
    """Where the nodes stand: the sites of a column below each other, ordered by what they are tied to."""
    x, y = [0.0] * graph.num_nodes, [0.0] * graph.num_nodes
    for number in range(min(column), max(column) + 1):
        members = [i for i, c in enumerate(column) if c == number]
        members.sort(key=lambda i: -_pull(graph, i, column, y))
        heights = [graph.sites[i].num_nodes - 1 + 2 for i in members]
        top = sum(heights) / 2
        for i, height in zip(members, heights, strict=True):
            for k in range(graph.sites[i].num_nodes):
                node = graph.site_offsets[i] + k
                x[node], y[node] = float(number), top - k
            top -= height
    return x, y


def _pull(graph: ParameterGraph, site: int, column: list[int], y: list[float]) -> float:
    """Mean height of what the site is tied to in earlier columns."""
    heights = [
        y[a]
        for block in graph.blocks
        for a, b in block.edge_index.t().tolist()
        if site_of(graph, b) == site and column[site_of(graph, a)] < column[site]
    ]
    return sum(heights) / len(heights) if heights else 0.0


def draw(graph: ParameterGraph, path: Path) -> None:
    """Write the picture of a small graph."""
    column = columns(graph)
    x, y = places(graph, column)
    types = list(dict.fromkeys(block.edge_type for block in graph.blocks))
    arcs = 1.6 * any(abs(x[b] - x[a]) > 1.01 for block in graph.blocks for a, b in block.edge_index.t().tolist())
    width = max(3.4, 1.02 * (max(column) - min(column)) + 1.2)
    height = max(1.6, 0.22 * (max(y) - min(y) + arcs) + 0.8)
    picture = Figure(figsize=(width, height), facecolor="white")
    axes = picture.add_axes((0, 0.3 / height, 1, 1 - 0.3 / height))
    axes.set_axis_off()
    for block in graph.blocks:
        _draw_block(axes, block, x, y, color=COLORS[types.index(block.edge_type) % len(COLORS)])
    for site, offset in zip(graph.sites, graph.site_offsets, strict=True):
        _draw_site(axes, site, x[offset : offset + site.num_nodes], y[offset : offset + site.num_nodes])
    axes.set_xlim(min(column) - 0.55, max(column) + 0.55)
    axes.set_ylim(min(y) - 1.5, max(y) + 0.6 + arcs)
    handles = [Line2D([], [], color=COLORS[i % len(COLORS)], label=name) for i, name in enumerate(types)]
    picture.legend(
        handles=handles, loc="lower center", ncols=len(types), frameon=False, fontsize=6.5, handlelength=1.1,
        columnspacing=0.9, handletextpad=0.4, borderpad=0,
    )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.savefig(path, dpi=110)
    Image.open(path).convert("RGB").quantize(200).save(path, optimize=True)


def _draw_block(axes: Axes, block: EdgeBlock, x: list[float], y: list[float], *, color: str) -> None:
    weighted = bool(block.address.shape[1])
    for a, b in block.edge_index.t().tolist():
        far = abs(x[b] - x[a]) > 1.01 or x[b] <= x[a]
        bend = -0.4 / (x[b] - x[a]) if x[b] > x[a] else 0.35
        style: Any = {"linestyle": "-", "linewidth": 1.1, "zorder": 2} if weighted else STRUCTURE
        arrow = FancyArrowPatch(
            (x[a], y[a]), (x[b], y[b]), arrowstyle="-|>", mutation_scale=5, shrinkA=3.6, shrinkB=3.6, color=color,
            connectionstyle=f"arc3,rad={bend if far else 0}", **style,
        )  # fmt: skip
        axes.add_patch(arrow)


def _draw_site(axes: Axes, site: Site, x: list[float], y: list[float]) -> None:
    fixed = bool((site.index >= 0).all()) and len(set(site.index.tolist())) == site.num_nodes
    axes.scatter(x, y, marker="s" if fixed else "o", s=34, c="white", edgecolors=INK, linewidths=1.0, zorder=3)
    kind, functions = split_node_type(site.node_type)
    text = ">".join((kind, *functions))
    if len(text) > 17:
        text = "\n>".join((kind, ">".join(functions)))
    axes.annotate(
        text, (x[-1], y[-1]), xytext=(0, -5), textcoords="offset points", ha="center", va="top", fontsize=6.5,
        color=INK, zorder=4, linespacing=0.95,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.3},
    )  # fmt: skip


# --- the experiment


@dataclass(frozen=True)
class Row:
    """One family."""

    family: str
    parameters: int
    nodes: int
    edges: int
    edge_types: tuple[str, ...]


@dataclass(frozen=True)
class Result:
    """All families."""

    rows: tuple[Row, ...]
    seconds: float


def run(names: Sequence[str], folder: Path) -> Result:
    start, rows = time.perf_counter(), []
    for name in names:
        graph = graph_of(name)
        draw(graph, folder / f"{name}.png")
        numbers = {int(k) for part in (*graph.sites, *graph.blocks) for k in part.address.flatten()}
        types = tuple(sorted({block.edge_type for block in graph.blocks}))
        rows.append(Row(name, len(numbers), graph.num_nodes, graph.num_edges, types))
    return Result(tuple(rows), round(time.perf_counter() - start, 2))


def main() -> Result:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="two drawings into a temporary folder, in seconds")
    parser.add_argument("--only", nargs="*", help="families to draw")
    arguments = parser.parse_args()
    if arguments.smoke:
        with tempfile.TemporaryDirectory() as temporary:
            result = run(("linear", "attention"), Path(temporary))
    else:
        result = run(arguments.only or tuple(families()), PICTURES)
    if not arguments.smoke and not arguments.only:
        RESULTS.write_text(json.dumps(asdict(result) | {"torch": torch.__version__}, indent=1) + "\n")
    print(json.dumps(asdict(result), indent=1))
    return result


if __name__ == "__main__":
    main()
