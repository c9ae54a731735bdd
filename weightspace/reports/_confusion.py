"""The confusion matrix of a classification."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from weightspace.reports._style import INK, label, plot

MOST_NUMBERS = 16  # classes up to which the cells are labelled


def confusion_matrix(target: Sequence[int], prediction: Sequence[int], classes: Sequence[str]) -> Figure:
    """Share of each true class (row) that was predicted as each class (column).

    Args:
        target: true classes, as positions in `classes`.
        prediction: predicted classes, in the same order.
        classes: their names.

    Example:
        >>> len(confusion_matrix([0, 1, 1], [0, 1, 0], ["cat", "dog"]).axes[0].texts)
        4
    """
    count = len(classes)
    matrix = np.zeros((count, count))
    np.add.at(matrix, (np.asarray(target), np.asarray(prediction)), 1)
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    side = 1.6 + 0.32 * min(count, 24)
    drawing, [axes] = plot(width=side + 0.4, height=side)
    axes.grid(False)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(count), classes, rotation=45, ha="right", fontsize=8)
    axes.set_yticks(range(count), classes, fontsize=8)
    if count <= MOST_NUMBERS:
        for (row, column), value in np.ndenumerate(share):
            color = "white" if value > 0.5 else INK
            axes.text(column, row, f"{value:.2f}".lstrip("0"), ha="center", va="center", fontsize=6, color=color)
    label(axes, x="predicted", y="true")
    return drawing
