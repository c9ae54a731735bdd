"""One run of the benchmark: a model, a data set, a seed, a budget, a folder."""

import json
import math
import platform
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from weightspace import __version__
from weightspace.errors import TrainingError
from weightspace.molecules import MolecularSplits
from weightspace.pretrained import save_pretrained
from weightspace.tasks._folder import read_training_checkpoint, write_json
from weightspace.tasks.molecular._budget import Budget
from weightspace.tasks.molecular._entry import BenchmarkModel
from weightspace.tasks.molecular._fit import ENDED, REMEDY, RunOptions, fit
from weightspace.tasks.molecular._measure import (
    device_name,
    equivariance_error,
    forget_peak,
    milliseconds,
    parameters_of,
    peak_memory,
)
from weightspace.tasks.molecular._objectives import AbstractObjective, objective_for
from weightspace.tasks.molecular._scores import Predictions, predictions_of
from weightspace.tasks.molecular._settings import alone_in, check_settings, run_settings
from weightspace.tasks.molecular._stability import has_dynamics, stability_of
from weightspace.tasks.molecular._task import MONITOR, MolecularTask

RESULT, PREDICTIONS, MODEL = "result.json", "predictions.npz", "model"


def run_model(
    entry: BenchmarkModel,
    splits: MolecularSplits,
    folder: str | Path,
    *,
    budget: Budget,
    seed: int = 0,
    options: RunOptions = RunOptions(),  # noqa: B008  frozen
    md: bool = False,
    md_temperature: float | None = None,
) -> dict[str, Any]:
    """Train one model, going on from its last checkpoint, test it and measure it.

    Writes into the folder: `run.json` (settings), `checkpoints/`, `model/` (`save_pretrained`), `predictions.npz`
    (predicted and wanted values of every test part) and, last, `result.json`; a folder that holds it is done.

    Args:
        entry: the model and its training.
        splits: the data.
        folder: of this run alone.
        budget: of the training.
        seed: of weights and of the order of molecules.
        options: device, precision, threads.
        md: whether the model runs molecular dynamics, too; added to a finished run where it is missing.
        md_temperature: in K; None for the temperature of the first test part, or 300 K where the data state none.

    Returns:
        The content of `result.json`.

    Raises:
        ConfigurationError: the folder holds a run with other settings, another process is at work in it, or the model
            is not for such data.
        CheckpointError: the folder's checkpoint is damaged.
        TrainingError: losses or predictions that are not finite.
    """
    folder = Path(folder)
    settings = run_settings(entry, splits, budget, seed=seed, options=options)
    with alone_in(folder):
        check_settings(folder, settings, write=True)
        if options.threads is not None:
            torch.set_num_threads(options.threads)
        if (folder / RESULT).is_file():
            result = json.loads((folder / RESULT).read_text())
        else:
            result = _trained(entry, splits, folder, settings, options)
        if md and not has_dynamics(result, splits, md_temperature):
            result["md"] = stability_of(_objective_in(folder, entry, splits, options), splits, md_temperature)
            write_json(folder / RESULT, result)
        return result


def _trained(
    entry: BenchmarkModel, splits: MolecularSplits, folder: Path, settings: dict[str, Any], options: RunOptions
) -> dict[str, Any]:
    """The result of a run that is not finished."""
    budget, seed = Budget(**settings["budget"]), settings["seed"]
    forget_peak(options.device)
    before = peak_memory(options.device)
    model = entry.build_for(splits, seed=seed)
    objective = objective_for(model, splits, entry.training, compile=options.compile)
    options.fit_precision(objective)
    splits = objective.prepared(splits)
    task = MolecularTask(objective, entry.training, budget)
    with tempfile.TemporaryDirectory() as scratch:
        _save_model(model, Path(scratch))  # a model that cannot be saved says so before the training
    ended = fit(task, splits, folder, seed=seed, options=options)
    ended.setdefault("peak_memory_mb", round(peak_memory(options.device), 1))
    ended.setdefault("memory_before_mb", round(before, 1))
    write_json(folder / ENDED, ended)
    objective.to(options.device)  # Lightning hands it back on the CPU
    result = {
        **settings,
        "model": entry.to_json(),
        "parameters": parameters_of(model),
        "cutoff": getattr(model, "cutoff", None),
        "spent": {"seconds": round(task.seconds, 2), "samples": task.samples, "ended": ended["why"]},
        "curve": task.curve,
        "validation": min((row for row in task.curve if math.isfinite(row[MONITOR])), key=lambda row: row[MONITOR]),
        "tests": test_scores(objective, splits, folder),
        "equivariance_error": equivariance_error(objective, next(iter(splits.tests.values()))),
        "milliseconds": milliseconds(
            objective, splits, batch_size=entry.training.batch_size, device=options.device, precision=options.precision
        ),
        "peak_memory_mb": ended["peak_memory_mb"],
        "memory_before_mb": ended["memory_before_mb"],
        "hardware": hardware(options.device),
    }
    _save_model(model, folder)
    write_json(folder / RESULT, result)
    return result


def _objective_in(
    folder: Path, entry: BenchmarkModel, splits: MolecularSplits, options: RunOptions
) -> AbstractObjective:
    """The objective of a finished run, with its model's best weights."""
    model = entry.build_for(splits)
    objective = objective_for(model, splits, entry.training, compile=options.compile)
    options.fit_precision(objective)
    task = MolecularTask(objective, entry.training, Budget(samples=1))
    task.load_state_dict(read_training_checkpoint(folder / "checkpoints" / "best.ckpt")["state_dict"])
    return objective.to(options.device).eval()


def test_scores(objective: AbstractObjective, splits: MolecularSplits, folder: Path) -> dict[str, dict[str, float]]:
    """Errors of every test part; predictions go to `predictions.npz`."""
    found: dict[str, dict[str, float]] = {}
    arrays: dict[str, np.ndarray] = {}
    for label, molecules in splits.tests.items():
        predictions = predictions_of(objective, molecules)
        found[label] = {"molecules": len(molecules), **predictions.scores()}
        wrong = [name for name, value in found[label].items() if not math.isfinite(value)]
        if wrong:
            raise TrainingError(f"{splits.name}, {label}: {wrong[0]} is {found[label][wrong[0]]}; {REMEDY}")
        arrays |= _arrays(label, predictions)
    np.savez_compressed(folder / PREDICTIONS, allow_pickle=False, **arrays)
    return found


def _arrays(label: str, predictions: Predictions) -> dict[str, np.ndarray]:
    both = (("predicted", predictions.predicted), ("wanted", predictions.wanted))
    return {f"{label}/{name}/{kind}": v.float().numpy() for kind, values in both for name, v in values.items()}


def _save_model(model: nn.Module, folder: Path) -> None:
    if "config" in vars(model):
        save_pretrained(model, folder / MODEL)
    else:
        torch.save(model.state_dict(), folder / "model.pt")


def hardware(device: torch.device) -> dict[str, Any]:
    """Device, versions, threads."""
    return {
        "device": device_name(device),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "weightspace": __version__,
        "threads": torch.get_num_threads(),
    }
