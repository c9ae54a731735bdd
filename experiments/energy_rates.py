"""Learning rates for energies alone: each model of the benchmark for a minute on QM7, four rates each.

What was chosen stands in `weightspace.tasks.molecular` (its presets for data without forces), and for other people's
code in `experiments.other_code`. A few trainings of five minutes are in the file, too; where a rate has one here or in
the table of QM7, that one counts. The measure is the mean absolute error on validation molecules; test molecules choose
nothing.

Run: WEIGHTSPACE_DATA=... python -m experiments.energy_rates [--jobs 2]; with WEIGHTSPACE_OTHERS=... and --others, other
people's code alone
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments._command import run
from experiments._table_runs import RESULTS
from experiments.other_code import ALONE, MOLECULES
from weightspace.molecules import MolecularSplits, load_molecules
from weightspace.tasks.molecular import BenchmarkModel, BenchmarkPlan, Budget, preset, run_benchmark
from weightspace.tasks.molecular._presets import ENERGY_RATES

RUNS, RESULT = Path("runs/energy_rates"), RESULTS / "energy_rates.json"
SHARES = (2.5, 1.0, 1 / 4, 1 / 10)
"""Of the rate for forces."""


def candidates() -> list[BenchmarkModel]:
    """Every model with every rate, by a name that says both."""
    return [varied(preset(name), share) for name in ENERGY_RATES for share in SHARES]


def other_candidates(splits: MolecularSplits) -> list[BenchmarkModel]:
    """The same of other people's models; those that learn forces by squared errors are tried with both losses."""
    found = []
    for other in MOLECULES:
        entry = replace(other.entry(ALONE[0], splits), name=other.label, training=other.training)
        losses = ("mae",) if other.training.loss == "mae" else ("mae", "mse")
        found += [varied(entry, share, loss) for loss in losses for share in SHARES]
    return found


def varied(entry: BenchmarkModel, share: float, loss: str = "mae") -> BenchmarkModel:
    """A model with a share of its learning rate."""
    rate = float(f"{share * entry.training.learning_rate:.4g}")
    training = replace(entry.training, learning_rate=rate, loss=loss)
    return replace(entry, name=f"{entry.name}, {loss} lr{training.learning_rate:g}", training=training)


def row_of(result: dict[str, Any]) -> dict[str, Any]:
    """What the file says of a run."""
    model = result["model"]
    return {
        "model": model["name"].partition(", ")[0],
        "arguments": model["arguments"],
        "learning_rate": model["training"]["learning_rate"],
        "loss": model["training"]["loss"],
        "batch_size": model["training"]["batch_size"],
        "budget": result["budget"],
        "samples": result["spent"]["samples"],
        "validation_mae_ev": result["validation"]["energy_mae"],
        "test_mae_ev": result["tests"]["test"]["energy_mae"],
        "hardware": result["hardware"],
    }


def collected(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Rows of all finished runs on QM7."""
    paths = sorted({path for folder in folders for path in folder.glob("**/seed0/result.json")})
    return [row_of(result) for result in map(json.loads, (path.read_text() for path in paths))]


def merged(old: Sequence[dict[str, Any]], new: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows by model, sizes, budget, loss and rate; where both have one, the new."""

    def key(row: dict[str, Any]) -> tuple[Any, ...]:
        sizes = json.dumps(row["arguments"], sort_keys=True)
        return row["model"], row["budget"]["seconds"], row["loss"], row["learning_rate"], sizes

    rows = {key(row): row for row in (*old, *new)}
    return [rows[each] for each in sorted(rows)]


def main(argv: Sequence[str] | None = None) -> list[dict[str, Any]]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=RUNS, help="folder of the runs; finished ones are kept")
    parser.add_argument("--and", type=Path, nargs="*", default=[], dest="longer", help="folders of longer runs to add")
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time")
    parser.add_argument("--others", action="store_true", help="other people's models, which WEIGHTSPACE_OTHERS holds")
    parser.add_argument("--collect", action="store_true", help="write the file of the runs that are finished, run none")
    given = parser.parse_args(argv)
    if not given.collect:
        given.runs.mkdir(parents=True, exist_ok=True)
        models = given.runs / ("others.json" if given.others else "models.json")
        entries = other_candidates(load_molecules("qm7")) if given.others else candidates()
        models.write_text(json.dumps([entry.to_json() for entry in entries]))
        budget = Budget.of("60s", "process")
        plan = BenchmarkPlan(data="qm7", models=[str(models)], budget=budget, out=given.runs / "qm7", seeds=range(1))
        run_benchmark(plan, jobs=given.jobs, tell=print)
    old = json.loads(RESULT.read_text())["runs"] if RESULT.is_file() else []
    rows = merged(old, collected([given.runs, *given.longer]))
    RESULT.write_text(json.dumps({"data": "qm7", "runs": rows}, indent=1) + "\n")
    return rows


if __name__ == "__main__":
    run(main, interrupted="run it again, it goes on")
