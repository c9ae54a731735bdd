"""The molecular benchmark: every model of the library, and other people's code where it was run, at an equal budget.

Each run has five minutes of CPU time of one process (two beside each other on two cores); `docs/benchmark.md` shows the
tables, `python -m experiments.benchmark_page` writes them. Runs that are there are kept.

Run: WEIGHTSPACE_DATA=... python -m experiments.molecular_benchmark [--tables ethanol aspirin] [--jobs 2]
"""

import argparse
import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments._molecular_tables import TABLES, MolecularTable
from experiments._table_runs import RESULTS
from weightspace.errors import ConfigurationError
from weightspace.molecules import MolecularSplits, composition_energies
from weightspace.reports.molecular import parity_points, predictions_under
from weightspace.tasks.molecular import BenchmarkModel, BenchmarkPlan, Budget, RunOptions, run_benchmark

FOLDER = RESULTS / "molecules"
RUNS, COMMITS = Path("runs/molecular_benchmark"), "commits.txt"
CURVE_POINTS, PARITY_POINTS = 40, 200
SMOKE = MolecularTable("smoke", "sample:ethanol", models=("schnet",))


def run_table(
    table: MolecularTable,
    *,
    runs: Path,
    budget: Budget | None = None,
    jobs: int,
    progress: bool = True,
    data_root: Path | None = None,
    collect: bool = False,
) -> dict[str, Any]:
    """Do the runs of a table that are missing, or none with `collect`, and return what its file holds.

    Args:
        table: models, data, seeds, budget.
        runs: folder of all runs.
        budget: instead of the table's.
        jobs: runs at the same time.
        progress: whether a bar is shown.
        data_root: folder of full data sets.
        collect: only gather what is finished.
    """
    plan = BenchmarkPlan(
        data=table.data,
        models=[_named(model, runs / table.name) for model in table.models],
        budget=budget or Budget.of(table.budget, "process"),
        out=runs / table.name,
        seeds=range(table.seeds),
        sizes=table.sizes,
        data_root=data_root,
        md=table.md,
    )
    if collect:
        folders = [path.parent for path in sorted(plan.out.glob("*/*/seed*/result.json"))]
    else:
        remember_commit(plan.out)
        folders = run_benchmark(plan, options=RunOptions(progress=progress), jobs=jobs, tell=print)
    found = [json.loads((folder / "result.json").read_text()) for folder in folders]
    points = predictions_under(plan.out)
    for run in found:
        if run["seed"] == 0 and table.models == ("all",):  # comparisons of one model have few points to show
            run["parity"] = parity_points(run, points, most=PARITY_POINTS)
    if table.baseline and found:
        found.append(composition_run(plan.splits(), found[0]))
    content = {"table": table.name, "about": table.about, "runs": [compact(run) for run in found]}
    return content | ({"commits": (plan.out / COMMITS).read_text().split()} if (plan.out / COMMITS).is_file() else {})


def remember_commit(folder: Path) -> None:
    """Add the checkout's commit to those that runs of a folder were started at."""
    folder.mkdir(parents=True, exist_ok=True)
    path, commit = folder / COMMITS, commit_of()
    known = path.read_text().split() if path.is_file() else []
    if commit and commit not in known:
        path.write_text("".join(f"{line}\n" for line in [*known, commit]))


def composition_run(splits: MolecularSplits, other: dict[str, Any]) -> dict[str, Any]:
    """A result of energies by composition alone and no forces, beside another run of the same table."""
    energies = composition_energies(splits)
    tests: dict[str, dict[str, float]] = {}
    for label, part in splits.tests.items():
        off = {"energy": part.values[splits.target] - energies[label]}
        off |= {} if part.forces is None else {"forces": part.forces.flatten()}
        scores = {f"{name}_mae": float(value.abs().mean()) for name, value in off.items()}
        scores |= {f"{name}_rmse": float(value.square().mean().sqrt()) for name, value in off.items()}
        tests[label] = {"molecules": len(part), **scores}
    names = (
        "data",
        "budget",
        "unit",
        "notes",
        "sizes",
        "hardware",
        "precision",
        "fingerprint",
        "device",
        "compile",
        "threads",
    )
    kept = {name: other[name] for name in names if name in other}
    return {
        **kept,
        "model": {"name": "composition alone"},
        "seed": 0,
        "tests": tests,
        "parameters": len(splits.train.elements) + 1,
        "spent": {"seconds": 0.0, "samples": len(splits.train), "ended": "closed form"},
        "curve": [],
    }


def _named(model: str | BenchmarkModel, folder: Path) -> str:
    """A model as the command line takes it: a name, or a file for an entry of one's own."""
    if isinstance(model, str):
        return model
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{model.name.replace(' ', '-').replace(',', '').replace('=', '')}.json"
    path.write_text(json.dumps(model.to_json(), indent=1))
    return str(path)


def compact(run: dict[str, Any]) -> dict[str, Any]:
    """A result with at most `CURVE_POINTS` points of its learning curve and four digits each."""
    curve = run["curve"]
    step = max(1, -(-len(curve) // CURVE_POINTS))
    kept = curve[::-1][::step][::-1]  # the last one stays
    short = [{name: None if v is None else float(f"{v:.4g}") for name, v in row.items()} for row in kept]
    return {**run, "curve": short}


def commit_of() -> str | None:
    """Of the checkout."""
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def main(argv: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Run tables, and write a JSON file of each; what they hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [table.name for table in TABLES]
    parser.add_argument("--tables", nargs="+", choices=names, default=names)
    parser.add_argument("--runs", type=Path, default=RUNS, help="folder of the runs; those that are there are kept")
    parser.add_argument("--budget", help="of each run, instead of each table's own")
    parser.add_argument("--clock", default="process", help="of --budget: wall or process")
    parser.add_argument("--jobs", type=int, default=2, help="runs at the same time")
    parser.add_argument("--seeds", type=int, help="instead of each table's own number")
    parser.add_argument("--collect", action="store_true", help="write tables of the runs that are finished, run none")
    parser.add_argument("--data-root", type=Path, help="folder of full data sets (default: WEIGHTSPACE_DATA)")
    parser.add_argument("--smoke", action="store_true", help="one model for a moment on the built-in sample; no files")
    arguments = parser.parse_args(argv)
    if arguments.smoke:
        with tempfile.TemporaryDirectory() as folder:
            return [run_table(SMOKE, runs=Path(folder), budget=Budget(samples=20), jobs=1, progress=False)]
    budget = None if arguments.budget is None else Budget.of(arguments.budget, arguments.clock)
    found = []
    for table in TABLES:
        if table.name not in arguments.tables:
            continue
        if arguments.seeds is not None:
            table = MolecularTable(**{**vars(table), "seeds": arguments.seeds})
        try:
            content = run_table(
                table,
                runs=arguments.runs,
                budget=budget,
                jobs=arguments.jobs,
                data_root=arguments.data_root,
                collect=arguments.collect,
            )
        except ConfigurationError as error:
            print(f"{table.name}: skipped: {error}")
            continue
        path = FOLDER / f"{table.name}.json"
        lost = lost_runs(path, content)
        if lost or not content["runs"]:
            print(f"{path}: kept as it is; the folder of runs has no {', '.join(lost) or 'finished run'}")
            continue
        FOLDER.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1) + "\n")
        found.append(content)
    return found


def lost_runs(path: Path, content: dict[str, Any]) -> list[str]:
    """Models with seeds that a table's file holds and its new content does not; delete the file to be rid of them."""
    if not path.is_file():
        return []
    before, after = (
        {f"{run['model']['name']} (seed {run['seed']})": None for run in runs}
        for runs in (json.loads(path.read_text())["runs"], content["runs"])
    )
    return [run for run in before if run not in after]


if __name__ == "__main__":
    main()
