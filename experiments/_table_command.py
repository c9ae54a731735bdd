"""The command that all tables share: do the runs that are missing, one file each, and write the table."""

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from experiments._table_runs import TableResult, run_path, table_of, write_run, write_table
from weightspace.zoo import Zoo

RUNS = Path("runs/experiments")
SMOKE_SECONDS = 0.02


@dataclass(frozen=True)
class Job:
    """One run of one model.

    Args:
        model: which.
        seed: of initial weights and of the order of the networks.
        seconds: budget of CPU time.
        folder: for the trained model.
    """

    model: str
    seed: int
    seconds: float
    folder: Path


@dataclass(frozen=True)
class Table:
    """A table of models.

    Args:
        name: of its files.
        models: rows, in their order.
        seconds: the budget of each training.
        work: does jobs on a zoo; returns what a run's file holds: label, scores, prediction and so on.
        metric: by which models are compared with the statistics baseline, None for no comparison.
        tiny_zoo: makes a zoo for `--smoke` in a folder.
        about: the zoo and what all runs share, for the table's file.
    """

    name: str
    models: Sequence[str]
    seconds: float
    work: Callable[[Zoo], Callable[[Job], dict[str, Any]]]
    metric: str | None
    tiny_zoo: Callable[[Path], Zoo]
    about: Callable[[Zoo], dict[str, Any]]


def run_command(table: Table, description: str | None, argv: Sequence[str] | None = None) -> TableResult:
    """Parse the command line, do the runs that are missing, write the table."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="every model for a moment on a tiny zoo; no files")
    parser.add_argument("--zoo", type=Path, help="folder of the zoo")
    parser.add_argument("--runs", type=Path, default=RUNS, help="folder of the runs; those that are there are kept")
    parser.add_argument("--models", nargs="*", default=list(table.models), choices=list(table.models))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--seconds", type=float, default=table.seconds, help="CPU seconds of each training")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    if arguments.smoke:
        return _smoke(table)
    zoo = Zoo(arguments.zoo)
    do_jobs(table, zoo, arguments.runs, seeds=arguments.seeds, models=arguments.models, seconds=arguments.seconds)
    result = _collect(table, zoo, arguments.runs, arguments.seconds)
    print(write_table(result))
    return result


def do_jobs(
    table: Table, zoo: Zoo, folder: Path, *, seeds: Sequence[int], models: Sequence[str], seconds: float
) -> None:
    """Do the runs that are missing in a folder."""
    work = table.work(zoo) if models else None
    for seed in seeds:
        for model in models:
            path = run_path(folder, table.name, model, seed)
            if work is not None and not path.exists():
                torch.manual_seed(seed)
                write_run(path, work(Job(model, seed, seconds, path.with_suffix(""))), model=model, seed=seed)


def _collect(table: Table, zoo: Zoo, folder: Path, seconds: float) -> TableResult:
    shared = {"cpu_seconds_per_model": seconds, **table.about(zoo), "zoo": _training_of(zoo)}
    return table_of(table.name, folder, table.models, shared, metric=table.metric)


def _training_of(zoo: Zoo) -> dict[str, Any]:
    """How the zoo was trained, as its folder says."""
    path = zoo.path / "training.json"
    return json.loads(path.read_text()) if path.exists() else {}


def _smoke(table: Table) -> TableResult:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        zoo = table.tiny_zoo(folder / "zoo")
        do_jobs(table, zoo, folder, seeds=[0], models=table.models, seconds=SMOKE_SECONDS)
        return _collect(table, zoo, folder, SMOKE_SECONDS)
