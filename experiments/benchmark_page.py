"""The tables and figures of docs/benchmark.md, from the result files; the text between them is written by hand.

Run:   python -m experiments.benchmark_page          (writes page and figures)
       python -m experiments.benchmark_page --check   (only says whether the page is up to date)
"""

import argparse
import inspect
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from experiments._molecular_tables import TABLES, MolecularTable
from experiments._table_runs import ROOT
from experiments.molecular_benchmark import FOLDER
from weightspace.errors import ConfigurationError
from weightspace.factory import factory_from
from weightspace.reports.molecular import by_conditions, data_section, markdown_table, rows_of, write_figures
from weightspace.tasks.molecular._presets import DYNAMICS, ENERGY_RATES, MOLECULES

PAGE, FIGURES = ROOT / "docs" / "benchmark.md", ROOT / "docs" / "benchmark"
MARKED = re.compile(r"(<!-- begin ([\w-]+) -->\n)(.*?)(<!-- end \2 -->)", re.DOTALL)


def runs_of(name: str) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    """What a table's file holds, and its runs with those of other people's code."""
    path, others = FOLDER / f"{name}.json", FOLDER / "others" / f"{name}.json"
    content = json.loads(path.read_text()) if path.is_file() else None
    runs = list(content["runs"]) if content else []
    if others.is_file():
        runs += json.loads(others.read_text())["runs"]
    return content, runs


def section(name: str, *, figures: Path | None) -> str:
    """The part of the page about one table; its figures are written where a folder is given."""
    if name in GENERATED:
        return GENERATED[name]()
    table = next(table for table in TABLES if table.name == name)
    about, (content, runs) = table.about, runs_of(name)
    if content is None:
        return f"{about}\n\nNot run yet.\n"
    rows = rows_of(runs)
    groups = list(by_conditions(rows))
    if len(groups) > 1:
        told = "; ".join(", ".join(row.model for row in group) for _, group in groups)
        raise ConfigurationError(f"{name}: found runs of different budgets, data or devices, wanted one kind: {told}")
    notes = {run["model"]["name"]: run["remark"] for run in runs if run.get("remark")}
    every = table.models == ("all",)  # published numbers say nothing to comparisons of one model
    text = data_section(runs[0]["data"], rows, notes, published=every).partition("\n\n")[2]
    shown = list(_figures(name, rows, figures))
    pictures = "\n".join(f"![{figure.stem}](benchmark/{figure.name})" for figure in shown)
    missing = missing_of(table, runs)
    return f"{about} {text}\n\n{missing}{pictures}\n"


def presets_table() -> str:
    """The models of the tables: class, cutoff, sizes, learning rate."""
    lines = []
    for entry in (*MOLECULES, *DYNAMICS):
        given = dict(entry.arguments)
        known = inspect.signature(factory_from(entry.factory)).parameters
        cutoff = given.pop("cutoff", known["cutoff"].default if "cutoff" in known else None)
        sizes = {**given, **given.pop("shape", {})} if "shape" in given else given
        words = ", ".join(f"{key}={value}" for key, value in sizes.items() if key != "shape")
        particles = entry in DYNAMICS
        lines.append(
            [
                f"{entry.name}, particles" if particles else entry.name,
                f"`{entry.factory.rpartition(':')[2]}`",
                "all pairs" if cutoff is None else f"{cutoff:g}",
                f"`{words}`" if words else "",
                f"{entry.training.learning_rate:g}",
                "" if particles else f"{ENERGY_RATES[entry.name]:g}",
                str(entry.training.batch_size),
            ]
        )
    headings = [
        "model",
        "class",
        "cutoff, Å",
        "sizes, where not the class's own",
        "learning rate",
        "for energies alone",
        "batch",
    ]
    return markdown_table(headings, lines) + "\n"


def cost() -> str:
    """What all runs of the page took together."""
    seconds = sum(run["spent"]["seconds"] for table in TABLES for run in runs_of(table.name)[1])
    return f"All runs of this page together trained for {seconds / 7200:.1f} hours of two cores.\n"


GENERATED: dict[str, Callable[[], str]] = {"cost": cost, "presets": presets_table}


def missing_of(table: MolecularTable, runs: Sequence[dict[str, Any]]) -> str:
    """Which models and seeds of a table have not been run yet, in a paragraph, or nothing."""
    names = [model if isinstance(model, str) else model.name for model in table.models]
    if names == ["all"]:
        names = [entry.name for entry in (DYNAMICS if table.data == "nbody" else MOLECULES)]
    seeds = {name: {run["seed"] for run in runs if run["model"]["name"] == name} for name in names}
    parts = [
        f"{name} ({len(found)} of {table.seeds} seeds done)"
        for name, found in seeds.items()
        if 0 < len(found) < table.seeds
    ]
    parts = [name for name, found in seeds.items() if not found] + parts
    return f"Not run yet: {', '.join(parts)}.\n\n" if parts else ""


def _figures(name: str, rows: Sequence[Any], folder: Path | None) -> list[Path]:
    if folder is None:
        return sorted(FIGURES.glob(f"{name}-*.png"))
    return sorted(folder / written for written in write_figures(rows, folder, title=name))


def page(text: str, *, figures: Path | None = None) -> str:
    """The page with its marked parts made anew."""
    return MARKED.sub(lambda found: found[1] + section(found[2], figures=figures) + found[4], text)


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page, or say whether it is up to date."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 where the page is old")
    arguments = parser.parse_args(argv)
    text = PAGE.read_text(encoding="utf-8")
    if arguments.check:
        old = page(text) != text
        print("docs/benchmark.md is old: python -m experiments.benchmark_page" if old else "up to date")
        return int(old)
    PAGE.write_text(page(text, figures=FIGURES), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
