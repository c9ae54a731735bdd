"""The molecular benchmark: models of one room, trained alike, within one budget."""

from weightspace.tasks.molecular._bench import BenchmarkPlan, run_benchmark
from weightspace.tasks.molecular._budget import Budget
from weightspace.tasks.molecular._entry import BenchmarkModel, MolecularTraining
from weightspace.tasks.molecular._fit import RunOptions
from weightspace.tasks.molecular._presets import preset, presets_for
from weightspace.tasks.molecular._run import run_model

__all__ = [
    "BenchmarkModel",
    "BenchmarkPlan",
    "Budget",
    "MolecularTraining",
    "RunOptions",
    "preset",
    "presets_for",
    "run_benchmark",
    "run_model",
]
