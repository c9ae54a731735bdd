"""Images of networks before an edit of their weights, as they were wanted, and after it."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from weightspace.reports._figures import methods_side_by_side
from weightspace.reports._page import Section, figure_image
from weightspace.reports._style import INK, figure

ROWS = ("before", "wanted", "after")
INCHES = 0.62  # of an image


def edited_images(images: Mapping[str, Sequence[Sequence[Sequence[float]]]]) -> Figure:
    """A grid of grey-value images: a column for each network, the rows before, wanted and after.

    Args:
        images: "before", "wanted" and "after", each a list of images (rows of grey values from 0 to 255).

    Example:
        >>> image = [[0, 255], [128, 0]]
        >>> drawing = edited_images({"before": [image] * 4, "wanted": [image] * 4, "after": [image] * 4})
        >>> len(drawing.axes), drawing.axes[0].get_ylabel()
        (12, 'before')
    """
    columns = max(1, len(images[ROWS[0]]))
    drawing = figure(width=INCHES * columns + 0.7, height=INCHES * len(ROWS) + 0.2)
    drawing.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02)
    grid = drawing.subplots(len(ROWS), columns, squeeze=False)
    for row, name in zip(grid, ROWS, strict=True):
        for axes, image in zip(row, images[name], strict=False):
            axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        for axes in row:
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(False)
        row[0].set_ylabel(name, color=INK, fontsize=9, rotation=0, ha="right", va="center")
    return drawing


def edit_sections(results: Mapping[str, Any]) -> list[Section]:
    """What an editing task shows beside its scores: images, and ways side by side; empty for other tasks."""
    sections = []
    if images := results.get("images"):
        text = (
            f"Test networks, their weights edited to {results['edit']}: rendered before, the image wanted, and after."
        )
        sections.append(Section("Edited images", text, figure_image(edited_images(images), "images before and after")))
    if methods := results.get("methods"):
        rows = [(name, tuple(value)) for name, value in methods]
        drawing = methods_side_by_side(rows, highlight=rows[0][0], quantity=results["quantity"])
        text = f"The edit: {results['edit']}. Means over test networks, with bootstrap 95 % intervals."
        sections.append(Section("Beside each other", text, figure_image(drawing, "ways side by side")))
    return sections
