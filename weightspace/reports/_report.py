"""`report.html` of a finished folder, from its `results.json` alone (and `graph.png` where there is one)."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weightspace.errors import ConfigurationError
from weightspace.reports._figures import (
    accuracy_histogram,
    learning_curve,
    methods_side_by_side,
    predicted_against_true,
)
from weightspace.reports._page import Section, figure_image, image, side_by_side, table, write_page
from weightspace.reports._scores import interval
from weightspace.reports._task_sections import task_sections

RESULTS, PAGE, GRAPH = "results.json", "report.html", "graph.png"


def build_report(folder: str | os.PathLike[str]) -> Path:
    """Write `report.html` into a folder that a demo or a test run has finished.

    Args:
        folder: holds `results.json`; sections whose results are missing are left out.

    Returns:
        The page's path.

    Raises:
        ConfigurationError: there is no readable `results.json`.
    """
    folder = Path(folder)
    results = _read(folder / RESULTS)
    sections = [
        section
        for make in (_accuracy, _comparison, _symmetry, _zoo, _graph, _provenance)
        if (section := make(results, folder))
    ]
    sections = [*task_sections(results), *sections]
    return write_page(
        folder / PAGE, title=results.get("title", folder.name), lead=results.get("lead", ""), sections=sections
    )


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ConfigurationError(
            f"{path}: no such file; wanted a folder that `weightspace demo` or `weightspace test` has finished "
            "(run the command again to finish it)"
        )
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ConfigurationError(f"{path}: not JSON ({error}); remove it and run the command again") from error


def _accuracy(results: Mapping[str, Any], folder: Path) -> Section | None:
    test, curve = results.get("test"), results.get("learning_curve")
    bodies, text = [], ""
    if test:
        name = results["model"]
        row = next(row for row in results["table"] if row["name"] == name)
        scatter = predicted_against_true(
            test["target"], test["predictions"][name], test["architecture"], quantity="test accuracy"
        )
        bodies.append(figure_image(scatter, f"{name}: predicted against true accuracy"))
        text = (
            f"{name} read the weights of {len(test['target'])} networks that it had never seen "
            "and predicted their test accuracy: "
            f"Kendall tau {interval(row['kendall_tau'])}, mean absolute error {interval(row['mae'])}."
        )
    if test and curve:
        bodies.append(figure_image(learning_curve(curve), "learning curve"))
    return Section("Predicted against true accuracy", text, side_by_side(*bodies)) if bodies else None


def _comparison(results: Mapping[str, Any], folder: Path) -> Section | None:
    rows = results.get("table")
    if not rows:
        return None
    rows = sorted(rows, key=lambda row: -_tau(row))
    strong = next((i for i, row in enumerate(rows) if row["name"] == results.get("model")), None)
    header = ["method", "Kendall tau", "Spearman", "R2", "MAE", f"tau of {results.get('model')} minus this", "seconds"]
    cells = [
        [
            row["name"],
            *(interval(row[key]) for key in ("kendall_tau", "spearman", "r2", "mae")),
            interval(row.get("difference"), sign=True),
            f"{row['seconds']:.1f}" if "seconds" in row else "–",
        ]
        for row in rows
    ]
    ranked = [(row["name"], tuple(row["kendall_tau"])) for row in rows if _tau(row) > -math.inf]
    drawing = methods_side_by_side(ranked, highlight=results.get("model", ""))
    text = (
        "On the same held-out networks. Brackets: bootstrap 95 % intervals over networks; "
        "the differences are paired, network by network."
    )
    return Section(
        "Beside the baselines",
        text,
        table(header, cells, strong=strong) + figure_image(drawing, "Kendall tau of each method"),
    )


def _symmetry(results: Mapping[str, Any], folder: Path) -> Section | None:
    found = results.get("symmetry")
    if not found:
        return None
    text = (
        "To each test network a random element of its symmetry group was applied: the weights move, "
        "the function stays, and so must the prediction. The way back from the graph, its nodes and edges reordered, "
        "returns every entry bit for bit."
    )
    rows = [[row["what"], row["value"]] for row in found]
    return Section("Symmetry, checked on every test network", text, table(["check", "found"], rows))


def _zoo(results: Mapping[str, Any], folder: Path) -> Section | None:
    zoo = results.get("zoo")
    if not zoo:
        return None
    drawing = accuracy_histogram(zoo["accuracy"], zoo["architecture"])
    return Section("The zoo", zoo.get("text", ""), figure_image(drawing, "histogram of the zoo's test accuracies"))


def _graph(results: Mapping[str, Any], folder: Path) -> Section | None:
    if not (folder / GRAPH).is_file():
        return None
    legend = "Columns are sites of the computation, an edge's colour is the mean of its taps; grey edges are structure."
    text = f"{results.get('graph_text', '')} {legend}".strip()
    return Section("One network as a parameter graph", text, image(folder / GRAPH, "a drawn parameter graph"))


def _provenance(results: Mapping[str, Any], folder: Path) -> Section | None:
    rows = [
        [f"{kind}: {name}", str(value)]
        for kind in ("settings", "times", "versions")
        for name, value in results.get(kind, {}).items()
    ]
    return Section("Settings, times, versions", "", table(["what", "value"], rows)) if rows else None


def _tau(row: Mapping[str, Any]) -> float:
    value = row["kendall_tau"][0]  # none where a method gives every network the same number
    return -math.inf if value is None else value
