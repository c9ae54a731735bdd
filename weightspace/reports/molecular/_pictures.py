"""Figures of the molecular benchmark: learning curves, parity, error against time, error per temperature."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator, ScalarFormatter

from weightspace.reports._style import INK, MUTED, figure, label, plot
from weightspace.reports.molecular._rows import BenchmarkRow, factor_of, unit_of

MOST_POINTS = 2000


def learning_curves(rows: Sequence[BenchmarkRow]) -> Figure:
    """Error on validation molecules (absolute, of positions squared) over the time spent, a line per run."""
    quantity, unit = rows[0].quantities[-1], rows[0].unit
    factor, key = factor_of(quantity, unit), f"{quantity}_{'rmse' if quantity == 'positions' else 'mae'}"
    drawing, [axes] = plot(width=6.4, height=4.2)
    for color, row in zip(colors(rows), rows, strict=True):
        for k, run in enumerate(run for run in row.runs if run["curve"]):
            kept = [point for point in run["curve"] if point.get(key) is not None]  # None: not finite
            points = [(p["seconds"], p[key] ** 2 if quantity == "positions" else factor * p[key]) for p in kept]
            if not points:
                continue
            x, y = zip(*points, strict=True)
            mark = "." if len(points) < 3 else None
            axes.plot(x, y, color=color, linewidth=1.4, alpha=0.9, marker=mark, label=None if k else row.model)
    axes.set(yscale="log")
    clock = "CPU" if rows[0].runs[0]["budget"]["clock"] == "process" else "wall"
    label(axes, x=f"{clock} seconds of training", y=f"validation {_headline(quantity, unit)}")
    _legend(axes)
    return drawing


def error_against_time(rows: Sequence[BenchmarkRow]) -> Figure:
    """Test error over the time that a prediction takes, a point per model; a line joins those that nothing beats."""
    quantity, unit = rows[0].quantities[-1], rows[0].unit
    drawing, [axes] = plot(width=6.0, height=4.2)
    points = []
    for color, row in zip(colors(rows), rows, strict=True):
        time = row.milliseconds(quantity)
        if time is None:
            continue
        error = row.headline(row.tests[0], quantity)
        points.append((time.mean, error))
        axes.scatter([time.mean], [error], color=[color], s=36, zorder=3)
        axes.annotate(row.model, (time.mean, error), xytext=(5, 4), textcoords="offset points", fontsize=8, color=INK)
    front = pareto_front(points)
    if front:
        axes.plot(*zip(*front, strict=True), color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    axes.set(xscale="log", yscale="log")
    axes.margins(x=0.2, y=0.1)
    for axis in (axes.xaxis, axes.yaxis):
        _plain_numbers(axis)
    label(axes, x=f"ms per molecule ({quantity})", y=f"test {_headline(quantity, unit)}")
    return drawing


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points that no other beats in both coordinates, from left to right.

    Example:
        >>> pareto_front([(1, 5), (2, 6), (3, 1)])
        [(1, 5), (3, 1)]
    """
    front: list[tuple[float, float]] = []
    for point in sorted(points):
        if not front or point[1] < front[-1][1]:
            front.append(point)
    return front


def error_per_test(rows: Sequence[BenchmarkRow]) -> Figure:
    """Root mean square error on each test part, such as temperatures, a line per model."""
    quantity, unit, tests = rows[0].quantities[-1], rows[0].unit, rows[0].tests
    drawing, [axes] = plot(width=5.6, height=4.0)
    for k, (color, row) in enumerate(zip(colors(rows), rows, strict=True)):
        errors = [row.error(test, quantity, "rmse").mean for test in tests]
        width = max(0.8, 3.0 - 0.25 * k)  # lines may lie on each other
        axes.plot(range(len(tests)), errors, color=color, linewidth=width, marker="o", markersize=4, label=row.model)
    axes.set(yscale="log")
    axes.set_xticks(range(len(tests)), tests)
    label(axes, x="test part", y=f"{quantity} RMSE {_in(quantity, unit)}")
    _legend(axes)
    return drawing


def parity(
    predictions: Mapping[str, tuple[np.ndarray, np.ndarray]], quantity: str, unit: str, *, columns: int = 4
) -> Figure:
    """Predicted over true values, a small panel per model.

    Args:
        predictions: true and predicted values by model, in eV or eV/Å.
        quantity: energy, forces or positions.
        unit: of energies in reports.
        columns: panels side by side.
    """
    columns = min(columns, len(predictions))
    lines = -(-len(predictions) // columns)
    drawing = figure(width=2.3 * columns, height=2.4 * lines)
    drawing.set_layout_engine("constrained")
    panels = drawing.subplots(lines, columns, squeeze=False).ravel()
    factor = factor_of(quantity, unit)
    for axes, (model, (wanted, predicted)) in zip(panels, predictions.items(), strict=False):
        kept = drawn(len(wanted), MOST_POINTS)
        x, y = factor * wanted[kept], factor * predicted[kept]
        low, high = min(x.min(), y.min()), max(x.max(), y.max())
        axes.plot([low, high], [low, high], color=MUTED, linewidth=0.8)
        axes.scatter(x, y, s=2, color="#1f6feb", alpha=0.4, linewidths=0)
        axes.set_title(model, fontsize=8, color=INK)
        axes.tick_params(colors=MUTED, labelsize=6)
    for axes in panels[len(predictions) :]:
        axes.set_axis_off()
    what = "energy less references" if quantity == "energy" else quantity
    drawing.supxlabel(f"true {what} {_in(quantity, unit)}", fontsize=8, color=INK)
    drawing.supylabel(f"predicted {what} {_in(quantity, unit)}", fontsize=8, color=INK)
    return drawing


def drawn(count: int, most: int) -> np.ndarray:
    """At most so many of the places 0 to count - 1, in order: drawn, since every k-th force may be x of one atom.

    Example:
        >>> drawn(3, 5).tolist(), len(drawn(100, 5))
        ([0, 1, 2], 5)
    """
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, most, replace=False))


def colors(rows: Sequence[BenchmarkRow]) -> list[tuple[float, ...]]:
    """A colour per row, the same for the same model in every figure of these rows."""
    names = sorted({row.model for row in rows})
    table = colormaps["tab10" if len(names) <= 10 else "tab20"]
    return [table(names.index(row.model)) for row in rows]


def _in(quantity: str, unit: str) -> str:
    found = unit_of(quantity, unit)
    return f"({found})" if found else ""


def _headline(quantity: str, unit: str) -> str:
    return f"{quantity} {'MSE' if quantity == 'positions' else 'MAE'} {_in(quantity, unit)}"


def _plain_numbers(axis: Axis) -> None:
    """Few numbers without powers of ten on a logarithmic axis that is shorter than a decade."""
    low, high = axis.get_view_interval()
    if high < 10 * low:
        axis.set_major_locator(MaxNLocator(5))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(ScalarFormatter())


def _legend(axes: Axes) -> None:
    if axes.lines:
        axes.legend(frameon=False, fontsize=7, labelcolor=INK, loc="center left", bbox_to_anchor=(1.0, 0.5))
