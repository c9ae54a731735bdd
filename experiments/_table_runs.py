"""Runs of a table, one JSON file per model and seed as each is finished, and the table that is made of them.

A run that is there is not done again, so a table can be stopped, gone on with, and spread over processes.
"""

import json
import math
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from weightspace.measures import bootstrap_mean, paired_bootstrap

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "experiments" / "results"
BASELINE = "statistics"


@dataclass(frozen=True)
class TableResult:
    """A table as its JSON file holds it."""

    table: str
    configuration: dict[str, Any]
    rows: list[dict[str, Any]]
    environment: dict[str, Any]


def run_path(folder: Path, table: str, model: str, seed: int) -> Path:
    """File of one run."""
    return folder / table / f"{model}-{seed}.json"


def write_run(path: Path, content: Mapping[str, Any], *, model: str, seed: int) -> None:
    """Write one run, with where it ran."""
    path.parent.mkdir(parents=True, exist_ok=True)
    run = {"model": model, "seed": seed, **content, **environment()}
    path.with_suffix(".tmp").write_text(json.dumps(run) + "\n")
    path.with_suffix(".tmp").replace(path)


def read_runs(folder: Path, table: str) -> dict[str, list[dict[str, Any]]]:
    """Runs by model, in the order of seeds."""
    runs: dict[str, list[dict[str, Any]]] = {}
    for path in sorted((folder / table).glob("*.json")):
        run = json.loads(path.read_text())
        runs.setdefault(run["model"], []).append(run)
    return runs


def environment() -> dict[str, str]:
    """Machine, versions and commit."""
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return {"hardware": f"{model}, 1 thread", "torch": torch.__version__, "commit": commit.stdout.strip()}


def table_of(
    table: str,
    folder: Path,
    order: Iterable[str],
    configuration: dict[str, Any],
    *,
    metric: str | None,
) -> TableResult:
    """The table of all runs that are there.

    Args:
        table: its name.
        folder: of the runs.
        order: of the models.
        configuration: what all runs share.
        metric: by which a model is compared with the baseline, on the same test networks; None for no comparison.
    """
    runs = read_runs(folder, table)
    rows = [_row(runs[model], runs.get(BASELINE, []), metric) for model in order if model in runs]
    every = [run for model in runs.values() for run in model]
    where = {key: sorted({run[key] for run in every}) for key in ("hardware", "torch", "commit")}
    return TableResult(table, configuration, rows, where)


def _row(runs: Sequence[dict[str, Any]], baseline: Sequence[dict[str, Any]], metric: str | None) -> dict[str, Any]:
    first = runs[0]
    kept = ("model", "label", "parameters", "recipe", "note")
    row = {key: first[key] for key in kept if key in first} | {"seeds": [run["seed"] for run in runs]}
    row["scores"] = {name: _spread([run["scores"][name] for run in runs]) for name in first["scores"]}
    for key in ("cpu_seconds", "wall_seconds", "steps", "networks_seen", "curve"):
        if key in first:
            row[key] = [run[key] for run in runs]
    if metric and baseline and first["model"] != BASELINE:
        row["above_statistics"] = {"metric": metric, "seeds": [_above(run, baseline, metric) for run in runs]}
    return row


def _spread(values: list[float]) -> dict[str, Any]:
    """Mean and standard deviation; none of what is not a number (the rank correlation of a constant)."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "deviation": deviation, "values": values}


def _above(run: dict[str, Any], baseline: Sequence[dict[str, Any]], metric: str) -> list[float]:
    """Difference to the baseline of the same seed (or its first) with its interval: value, low, high."""
    other = next((b for b in baseline if b["seed"] == run["seed"]), baseline[0])
    first, second, target = (torch.tensor(values) for values in (run["prediction"], other["prediction"], run["target"]))
    if metric == "accuracy":
        found = bootstrap_mean(((first == target).double() - (second == target).double()).numpy())
    else:
        found = paired_bootstrap(metric, first, second, target)
    return [found.value, found.low, found.high]


def write_table(result: TableResult) -> Path:
    """The table's JSON file."""
    path = RESULTS / f"{result.table}.json"
    path.parent.mkdir(exist_ok=True)
    content = {"configuration": result.configuration, "rows": result.rows, **result.environment}
    path.write_text(json.dumps(_rounded(content), indent=1) + "\n")
    return path


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    return value
