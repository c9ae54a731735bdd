"""Tables and figures of a folder of runs."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from weightspace.reports.molecular._pictures import error_against_time, error_per_test, learning_curves, parity
from weightspace.reports.molecular._rows import BenchmarkRow, Run, by_data, read_runs, rows_of
from weightspace.reports.molecular._tables import csv_table, data_section

PREDICTIONS = "predictions.npz"


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
    parts = ["# Molecular benchmark", *(data_section(data, group, {}) for data, group in by_data(rows))]
    if failures:
        parts.append("## Failed\n\n" + "\n".join(f"- {run}: {error}" for run, error in failures))
    for data, group in by_data(rows):
        names = write_figures(group, folder / "figures", folder)
        links = [f"![{name}](figures/{name})" for name in names]
        parts.append(f"## Figures: {data}\n\n" + "\n".join(links))
    text = "\n\n".join(parts) + "\n"
    (folder / "table.md").write_text(text, encoding="utf-8")
    shown = [part for part in parts if not part.startswith("## Figures")]
    return "\n\n".join([*shown, f"{folder}: table.md, table.csv, results.json, figures/"])


def write_figures(rows: Sequence[BenchmarkRow], folder: Path, runs: Path | None = None) -> list[str]:
    """Figures of one data set as PNG.

    Args:
        rows: of its models.
        folder: where the figures go.
        runs: folder of the runs, whose predictions parity plots show; None for no such plots.

    Returns:
        File names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    slug = "".join(c if c.isalnum() else "-" for c in rows[0].data).strip("-")
    figures = {"curves": learning_curves(rows), "time": error_against_time(rows)}
    if len(rows[0].tests) > 1:
        figures["tests"] = error_per_test(rows)
    for quantity in rows[0].quantities if runs is not None else ():
        predictions = _predictions(rows, runs, quantity) if runs is not None else {}
        if predictions:
            figures[f"parity-{quantity}"] = parity(predictions, quantity, rows[0].unit)
    names = []
    for kind, drawing in figures.items():
        names.append(f"{slug}-{kind}.png")
        drawing.savefig(folder / names[-1], dpi=130, metadata={"Software": None})
    return names


def _predictions(
    rows: Sequence[BenchmarkRow], folder: Path, quantity: str
) -> Mapping[str, tuple[np.ndarray, np.ndarray]]:
    """True and predicted values of the first test part by model, of the first seed whose file is there."""
    found = {}
    files = {_key(json.loads(path.read_text())): path.parent for path in sorted(folder.glob("**/result.json"))}
    for row in rows:
        path = files.get(_key(row.runs[0]), folder) / PREDICTIONS
        if path.is_file():
            with np.load(path, allow_pickle=False) as arrays:
                found[row.model] = tuple(
                    arrays[f"{row.tests[0]}/{quantity}/{kind}"] for kind in ("wanted", "predicted")
                )
    return found


def _key(run: Run) -> tuple[str, str, int, str]:
    return run["data"], run["model"]["name"], run["seed"], json.dumps(run["budget"], sort_keys=True)
