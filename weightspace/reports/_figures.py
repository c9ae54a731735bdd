"""The figures of a report: predicted against true, learning curve, histogram of a zoo, methods side by side."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from weightspace.reports._style import INK, MUTED, SERIES, label, legend_above, plot


def predicted_against_true(
    target: Sequence[float],
    prediction: Sequence[float],
    groups: Sequence[str],
    *,
    quantity: str = "accuracy",
    log: bool = False,
) -> Figure:
    """Scatter of predictions over true values, one colour per group (architecture), with the diagonal.

    Args:
        target: true values.
        prediction: predicted values, in the same order.
        groups: name of each network's group.
        quantity: what is predicted, for the axis labels.
        log: decades on both axes, with zeros at their lower end.

    Example:
        >>> len(predicted_against_true([0.1, 0.9], [0.2, 0.8], ["mlp", "cnn"]).axes[0].collections)
        2
    """
    drawing, [axes] = plot(width=5.2, height=4.4)
    x, y, names = np.asarray(target), np.asarray(prediction), np.asarray(groups)
    if log:
        positive = np.concatenate([x[x > 0], y[y > 0]])
        x, y = (np.maximum(side, positive.min()) for side in (x, y))
        axes.set(xscale="log", yscale="log")
    low, high = min(x.min(), y.min()), max(x.max(), y.max())
    axes.plot([low, high], [low, high], color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    for color, name in zip(_colors(names), np.unique(names), strict=False):
        chosen = names == name
        axes.scatter(
            x[chosen],
            y[chosen],
            s=20,
            color=color,
            alpha=0.75,
            linewidths=0,
            label=f"{name} ({chosen.sum()})",
            zorder=2,
        )
    label(axes, x=f"true {quantity}", y=f"predicted {quantity}")
    legend_above(axes)
    return drawing


def learning_curve(rows: Sequence[Mapping[str, float]], *, monitor: str = "val_kendall_tau") -> Figure:
    """Training and validation loss over the epochs, and the metric that tells the best epoch on a second panel.

    Args:
        rows: one mapping per epoch with `epoch` and any of `train_loss`, `val_loss` and the metric.
        monitor: key of the metric.

    Example:
        >>> rows = [{"epoch": 0, "train_loss": 1.0, "val_kendall_tau": 0.1}, {"epoch": 1, "train_loss": 0.5}]
        >>> len(learning_curve(rows).axes)
        2
    """
    drawing, [losses, metrics] = plot(width=5.2, height=4.4, rows=2)
    for axes, names in ((losses, ("train_loss", "val_loss")), (metrics, (monitor,))):
        for name, color in zip(names, SERIES, strict=False):
            points = [(row["epoch"], row[name]) for row in rows if row.get(name) is not None]
            if points:
                axes.plot(*zip(*points, strict=True), color=color, linewidth=1.6, label=name.replace("_", " "))
        if axes.lines:
            legend_above(axes)
    label(losses, x="", y="loss")
    label(metrics, x="epoch", y=monitor.removeprefix("val_").replace("_", " ").replace("kendall", "Kendall"))
    metrics.xaxis.set_major_locator(MaxNLocator(integer=True))
    return drawing


def accuracy_histogram(
    values: Sequence[float], groups: Sequence[str], *, quantity: str = "test accuracy", bins: int = 24
) -> Figure:
    """Histogram of a zoo, stacked by group (architecture).

    Example:
        >>> len(accuracy_histogram([0.1, 0.5, 0.9], ["mlp", "mlp", "cnn"]).axes[0].containers)
        2
    """
    drawing, [axes] = plot(width=5.2, height=3.4)
    names = np.asarray(groups)
    order = np.unique(names)
    parts = [np.asarray(values)[names == name] for name in order]
    axes.hist(
        parts,
        bins=bins,
        stacked=True,
        color=_colors(names),
        label=[f"{name} ({len(part)})" for name, part in zip(order, parts, strict=True)],
        edgecolor="white",
        linewidth=0.5,
    )
    label(axes, x=quantity, y="networks")
    legend_above(axes)
    return drawing


def methods_side_by_side(
    rows: Sequence[tuple[str, tuple[float, float, float]]], *, highlight: str = "", quantity: str = "Kendall tau"
) -> Figure:
    """One dot with its interval per method.

    Args:
        rows: name and (value, low, high) of each method, best first.
        highlight: name of the method to show in colour.
        quantity: label of the axis.

    Example:
        >>> methods_side_by_side([("GMN", (0.8, 0.7, 0.9)), ("mean", (0.0, 0.0, 0.0))]).axes[0].get_xlabel()
        'Kendall tau, 95 % interval'
    """
    drawing, [axes] = plot(width=5.2, height=0.42 * len(rows) + 0.9)
    for row, (name, (value, low, high)) in enumerate(rows):
        color = SERIES[0] if name == highlight else MUTED
        axes.plot([low, high], [row, row], color=color, linewidth=2.2, solid_capstyle="round")
        axes.plot(value, row, "o", color=color, markersize=7)
        axes.annotate(
            f"{value:.3f}", (value, row), xytext=(0, 6), textcoords="offset points", ha="center", fontsize=8, color=INK
        )
    axes.set_yticks(range(len(rows)), [name for name, _ in rows], color=INK, fontsize=9)
    axes.set_ylim(len(rows) - 0.5, -0.7)
    label(axes, x=f"{quantity}, 95 % interval", y="")
    return drawing


def _colors(names: np.ndarray) -> list[str]:
    return [SERIES[i % len(SERIES)] for i in range(len(np.unique(names)))]
