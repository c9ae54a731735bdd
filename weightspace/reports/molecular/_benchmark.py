"""Tables and figures of a folder of runs."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from weightspace.reports.molecular._pictures import drawn, error_against_time, error_per_test, learning_curves, parity
from weightspace.reports.molecular._rows import BenchmarkRow, Run, by_conditions, conditions_of, read_runs, rows_of
from weightspace.reports.molecular._tables import csv_table, data_section

PREDICTIONS = "predictions.npz"
Points = Callable[[Run, str], tuple[np.ndarray, np.ndarray] | None]


def build_benchmark_page(folder: str | Path) -> str:
    """Write `results.json`, `table.csv`, `table.md` and `figures/` of all finished runs under a folder.

    Returns:
        The Markdown of the tables, with where the files lie.

    Raises:
        ConfigurationError: no run has finished or failed there.
    """
    folder = Path(folder)
    runs, failures = read_runs(folder)
    rows = rows_of(runs)
    (folder / "results.json").write_text(json.dumps(list(runs), indent=1) + "\n", encoding="utf-8")
    (folder / "table.csv").write_text(csv_table(rows), encoding="utf-8")
    tables = list(by_conditions(rows))
    parts = ["# Molecular benchmark", *(data_section(title, group, {}) for title, group in tables)]
    if failures:
        parts.append("## Failed\n\n" + "\n".join(f"- {run}: {error}" for run, error in failures))
    points = predictions_under(folder)
    for title, group in tables:
        names = write_figures(group, folder / "figures", title=title, points=points)
        links = [f"![{name}](figures/{name})" for name in names]
        parts.append(f"## Figures: {title}\n\n" + "\n".join(links))
    text = "\n\n".join(parts) + "\n"
    (folder / "table.md").write_text(text, encoding="utf-8")
    shown = [part for part in parts if not part.startswith("## Figures")]
    return "\n\n".join([*shown, f"{folder}: table.md, table.csv, results.json, figures/"])


def write_figures(
    rows: Sequence[BenchmarkRow], folder: Path, *, title: str | None = None, points: Points | None = None
) -> list[str]:
    """Figures of one table as PNG.

    Args:
        rows: of its models.
        folder: where the figures go.
        title: begins the files' names; the data set's name by default.
        points: gives true and predicted values of the first test part, in eV and eV/Å, of a run and a quantity, for
            parity plots; by default those in the run's own "parity", if any (`parity_points`).

    Returns:
        File names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    slug = "-".join(re.findall(r"[^\W_]+", title or rows[0].data))
    figures = {"curves": learning_curves(rows), "time": error_against_time(rows)}
    if len(rows[0].tests) > 1:
        figures["tests"] = error_per_test(rows)
    for quantity in rows[0].quantities:
        found = {row.model: (points or _kept_points)(row.runs[0], quantity) for row in rows}
        shown = {model: values for model, values in found.items() if values is not None}
        if shown:
            figures[f"parity-{quantity}"] = parity(shown, quantity, rows[0].unit)
    names = []
    for kind, drawing in figures.items():
        names.append(f"{slug}-{kind}.png")
        drawing.savefig(folder / names[-1], dpi=130, metadata={"Software": None})
    return names


def _kept_points(run: Run, quantity: str) -> tuple[np.ndarray, np.ndarray] | None:
    kept = run.get("parity", {}).get(quantity)
    return None if kept is None else (np.asarray(kept["wanted"]), np.asarray(kept["predicted"]))


def predictions_under(folder: Path) -> Points:
    """True and predicted values of runs whose folders lie below a folder."""
    files = {_key(json.loads(path.read_text())): path.parent for path in sorted(folder.glob("**/result.json"))}

    def found(run: Run, quantity: str) -> tuple[np.ndarray, np.ndarray] | None:
        path, label = files.get(_key(run), folder) / PREDICTIONS, next(iter(run["tests"]))
        if not path.is_file():
            return None
        with np.load(path, allow_pickle=False) as arrays:
            wanted, predicted = (arrays[f"{label}/{quantity}/{kind}"] for kind in ("wanted", "predicted"))
        return wanted, predicted

    return found


def parity_points(run: Run, read: Points, *, most: int) -> dict[str, dict[str, list[float]]]:
    """At most so many true and predicted values of each quantity, drawn, with four digits; {} without a file.

    Args:
        run: a result.
        read: gives its predictions, such as `predictions_under(folder)`.
        most: values of a quantity.
    """
    label, kept = next(iter(run["tests"])), {}
    for name in run["tests"][label]:
        values = read(run, name.removesuffix("_mae")) if name.endswith("_mae") else None
        if values is not None:
            places = drawn(len(values[0]), most)
            short = ([float(f"{x:.4g}") for x in array[places]] for array in values)
            kept[name.removesuffix("_mae")] = dict(zip(("wanted", "predicted"), short, strict=True))
    return kept


def _key(run: Run) -> str:
    told = (run["data"], run["model"]["name"], run["model"].get("arguments"), run["seed"], conditions_of(run))
    return json.dumps(told, sort_keys=True)
