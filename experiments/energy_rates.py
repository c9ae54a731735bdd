"""Learning rates for energies alone: each model of the benchmark for a minute on QM7, two rates each.

What was chosen stands in `weightspace.tasks.molecular` (its presets for data without forces). A few trainings of five
minutes, which the rates for forces had had before, are in the file, too. The measure is the mean absolute error on
validation molecules; test molecules choose nothing.

Run: WEIGHTSPACE_DATA=... python -m experiments.energy_rates [--jobs 2]
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments._command import run
from experiments._table_runs import RESULTS
from weightspace.tasks.molecular import BenchmarkModel, BenchmarkPlan, Budget, preset, run_benchmark

RUNS, RESULT = Path("runs/energy_rates"), RESULTS / "energy_rates.json"
SHARES = {
    "tensornet": (1 / 4, 1 / 10),
    "egnn": (1 / 4, 1 / 10),
    "ponita": (1 / 4, 1 / 10),
    "nequip": (1, 1 / 4),
    "mace": (1, 1 / 4),
    "schnet": (1, 1 / 4),
    "ponita-explicit": (1, 1 / 4),
    "escn": (1 / 4, 1 / 10),
    "mfn": (1 / 4, 1 / 10),
}
"""Of the rate for forces, by model."""


def candidates() -> list[BenchmarkModel]:
    """Every model with every rate, by a name that says both."""
    found = []
    for name, shares in SHARES.items():
        entry = preset(name)
        for share in shares:
            rate = share * entry.training.learning_rate
            training = replace(entry.training, learning_rate=rate)
            found.append(replace(entry, name=f"{name} b{training.batch_size} lr{rate:g}", training=training))
    return found


def row_of(result: dict[str, Any]) -> dict[str, Any]:
    """What the file says of a run."""
    model = result["model"]
    return {
        "model": model["name"].partition(" ")[0],
        "arguments": model["arguments"],
        "learning_rate": model["training"]["learning_rate"],
        "batch_size": model["training"]["batch_size"],
        "budget": result["budget"],
        "samples": result["spent"]["samples"],
        "validation_mae_ev": result["validation"]["energy_mae"],
        "test_mae_ev": result["tests"]["test"]["energy_mae"],
        "hardware": result["hardware"],
    }


def collected(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Rows of all finished runs on QM7, by model and rate."""
    paths = sorted({path for folder in folders for path in folder.glob("**/seed0/result.json")})
    rows = [row_of(result) for result in map(json.loads, (path.read_text() for path in paths))]
    return sorted(rows, key=lambda row: (row["model"], row["budget"]["seconds"], row["learning_rate"]))


def main(argv: Sequence[str] | None = None) -> list[dict[str, Any]]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=RUNS, help="folder of the runs; finished ones are kept")
    parser.add_argument("--and", type=Path, nargs="*", default=[], dest="others", help="folders of longer runs to add")
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time")
    parser.add_argument("--collect", action="store_true", help="write the file of the runs that are finished, run none")
    given = parser.parse_args(argv)
    if not given.collect:
        given.runs.mkdir(parents=True, exist_ok=True)
        models = given.runs / "models.json"
        models.write_text(json.dumps([entry.to_json() for entry in candidates()]))
        budget = Budget.of("60s", "process")
        plan = BenchmarkPlan(data="qm7", models=[str(models)], budget=budget, out=given.runs / "qm7", seeds=range(1))
        run_benchmark(plan, jobs=given.jobs, tell=print)
    rows = collected([given.runs, *given.others])
    RESULT.write_text(json.dumps({"data": "qm7", "runs": rows}, indent=1) + "\n")
    return rows


if __name__ == "__main__":
    run(main, interrupted="run it again, it goes on")
