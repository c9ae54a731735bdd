"""Figures and the self-contained HTML report."""

from weightspace.reports._drawing import draw_parameter_graph
from weightspace.reports._edited_images import edited_images
from weightspace.reports._figures import (
    accuracy_histogram,
    learning_curve,
    methods_side_by_side,
    predicted_against_true,
)
from weightspace.reports._graphml import write_graphml
from weightspace.reports._inspect import SpaceFiles, inspect_network
from weightspace.reports._page import Section, figure_image, image, side_by_side, table, write_page
from weightspace.reports._report import build_report

__all__ = [
    "Section",
    "SpaceFiles",
    "accuracy_histogram",
    "build_report",
    "draw_parameter_graph",
    "edited_images",
    "figure_image",
    "image",
    "inspect_network",
    "learning_curve",
    "methods_side_by_side",
    "predicted_against_true",
    "side_by_side",
    "table",
    "write_graphml",
    "write_page",
]
