"""Colours and the empty figure that every picture starts from."""

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

INK, MUTED, GRID, STRUCTURE = "#1f2933", "#66727f", "#e4e8ec", "#a9b4be"
ACCENT, WARM = "#1f6feb", "#d9822b"
SERIES = ("#1f6feb", "#d9822b", "#2f9e6e", "#8f6bd1", "#c2456b", "#5c7080")
WEIGHTS = colormaps["RdBu_r"]


def figure(*, width: float, height: float) -> Figure:
    """An empty figure of the given size in inches, on the Agg canvas and without pyplot's global state."""
    empty = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(empty)
    return empty


def plot(*, width: float = 5.2, height: float = 3.6, rows: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure with quiet axes, `rows` of them below each other on one x axis."""
    drawing = figure(width=width, height=height)
    drawing.set_layout_engine("constrained")
    panels = [axes[0] for axes in drawing.subplots(rows, 1, sharex=True, squeeze=False)]
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(MUTED)
        axes.tick_params(colors=MUTED, labelsize=8)
        axes.grid(True, color=GRID, linewidth=0.7)
        axes.set_axisbelow(True)
    return drawing, panels


def label(axes: Axes, *, x: str, y: str) -> None:
    """Axis labels in the house's size and colour."""
    axes.set_xlabel(x, color=INK, fontsize=9)
    axes.set_ylabel(y, color=INK, fontsize=9)


def legend_above(axes: Axes) -> None:
    """A legend in one line above the axes, where it covers no data."""
    entries = max(1, len(axes.get_legend_handles_labels()[1]))
    axes.legend(
        frameon=False,
        fontsize=8,
        labelcolor=INK,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=entries,
        handlelength=1.2,
    )
