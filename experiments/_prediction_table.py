"""The command that all prediction tables share: baselines and metanets, each within the same budget of CPU seconds."""

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from experiments._budgeted_training import predict, train_within
from experiments._metanet_presets import PRESETS, build
from experiments._table_runs import TableResult, run_path, table_of, write_run, write_table
from experiments._zoo_problems import ZooProblem
from weightspace.metanets import fit_input_scales, save_pretrained
from weightspace.tasks import traced_networks
from weightspace.zoo import Zoo

BASELINES = {"mean": "Mean of the training targets", "statistics": "Weight statistics, gradient boosting"}
RUNS = Path("runs/experiments")
SMOKE_SECONDS = 0.05


@dataclass(frozen=True)
class PredictionTable:
    """A table of models that predict something of a zoo's networks.

    Args:
        name: of its files.
        problem: of a zoo.
        metric: by which models are compared with the statistics baseline.
        models: rows, in their order.
        seconds: the budget of each training.
        smoke: makes a tiny zoo in a folder.
    """

    name: str
    problem: Callable[[Zoo], ZooProblem]
    metric: str
    models: Sequence[str]
    seconds: float
    smoke: Callable[[Path], Zoo]


def train_model(table: PredictionTable, zoo: Zoo, model: str, seed: int, *, seconds: float, folder: Path) -> None:
    """One run: train, predict the test networks, write its file."""
    problem = table.problem(zoo)
    test = problem.split.test
    content: dict[str, Any] = {}
    if model in BASELINES:
        content["label"] = BASELINES[model]
        prediction = problem.baseline(model, seed)
    else:
        torch.manual_seed(seed)
        scales = fit_input_scales(problem.networks.take(problem.split.train)[0])
        metanet = build(model, problem.outputs, scales, traced_networks(zoo).values())
        preset = PRESETS[model]
        training = train_within(metanet, problem.training(), preset.recipe, seconds=seconds, seed=seed)
        prediction = problem.read(predict(metanet, problem.training(), test))
        save_pretrained(metanet, run_path(folder, table.name, model, seed).with_suffix(""))
        content |= {"label": preset.label, "parameters": sum(p.numel() for p in metanet.parameters())}
        content |= {"recipe": asdict(preset.recipe), "validation": training.best, "curve": training.curve}
        content |= {"cpu_seconds": training.cpu_seconds, "wall_seconds": training.wall_seconds}
        content |= {"steps": training.steps, "networks_seen": training.networks}
    content["scores"] = problem.scores(prediction, test)
    content |= {"prediction": prediction.tolist(), "target": problem.target[test].tolist()}
    write_run(folder, table.name, model, seed, content)


def configuration_of(table: PredictionTable, zoo: Zoo, seconds: float) -> dict[str, Any]:
    """What all runs of a table share."""
    problem = table.problem(zoo)
    split = {part: len(getattr(problem.split, part)) for part in ("train", "validation", "test")}
    training = zoo.path / "training.json"
    made = json.loads(training.read_text()) if training.exists() else {}
    return {"cpu_seconds_per_model": seconds, "networks": split, "architectures": len(zoo.spaces), "zoo": made}


def run_command(table: PredictionTable, description: str | None, argv: Sequence[str] | None = None) -> TableResult:
    """Parse the command line, do the runs that are missing, write the table."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a tiny zoo and a second per model; no result file")
    parser.add_argument("--zoo", type=Path, help="folder of the zoo")
    parser.add_argument("--runs", type=Path, default=RUNS, help="folder of the runs; those that are there are kept")
    parser.add_argument("--models", nargs="+", default=list(table.models), choices=list(table.models))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--seconds", type=float, default=table.seconds, help="CPU seconds per training")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    if arguments.smoke:
        return _smoke(table)
    zoo = Zoo(arguments.zoo)
    for seed in arguments.seeds:
        for model in arguments.models:
            if not run_path(arguments.runs, table.name, model, seed).exists():
                train_model(table, zoo, model, seed, seconds=arguments.seconds, folder=arguments.runs)
    result = table_of(
        table.name,
        arguments.runs,
        table.models,
        configuration_of(table, zoo, arguments.seconds),
        metric=table.metric,
    )
    print(write_table(result))
    return result


def _smoke(table: PredictionTable) -> TableResult:
    """Every model of the table, each for a moment on a tiny zoo."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        zoo = table.smoke(folder / "zoo")
        for model in table.models:
            train_model(table, zoo, model, 0, seconds=SMOKE_SECONDS, folder=folder)
        configuration = configuration_of(table, zoo, SMOKE_SECONDS)
        return table_of(table.name, folder, table.models, configuration, metric=table.metric)
