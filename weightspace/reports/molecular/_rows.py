"""Rows of the molecular benchmark: runs of one model on one data set, gathered over seeds, in the papers' units."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from weightspace.errors import ConfigurationError

RESULT, FAILURE = "result.json", "failure.json"
KCAL_PER_MOL = 0.0433641  # eV
FACTORS = {"meV": 1000.0, "kcal/mol": 1 / KCAL_PER_MOL, "eV": 1.0}
DEFAULTS = {"precision": "32-true", "compile": False, "threads": 1, "device": "cpu"}
Run = Mapping[str, Any]


@dataclass(frozen=True)
class Value:
    """A mean over seeds, and the standard deviation where there are several."""

    mean: float
    deviation: float | None
    seeds: int

    def text(self, digits: int | None = None) -> str:
        """As in a table; three significant digits unless told otherwise."""
        digits = _digits(self.mean) if digits is None else digits
        spread = "" if self.deviation is None else f" ± {self.deviation:.{digits}f}"
        return f"{self.mean:.{digits}f}{spread}"


def value_of(numbers: Sequence[float]) -> Value:
    """Of the seeds' numbers.

    Example:
        >>> value_of([1.0, 3.0]).text(1)
        '2.0 ± 1.4'
    """
    return Value(mean(numbers), stdev(numbers) if len(numbers) > 1 else None, len(numbers))


def _digits(number: float) -> int:
    if not math.isfinite(number) or number == 0:
        return 1
    return max(0, 2 - math.floor(math.log10(abs(number))))


@dataclass(frozen=True)
class BenchmarkRow:
    """Runs of one model on one data set, with one budget.

    Args:
        data: the data set.
        model: the row's name.
        runs: results, one per seed.
    """

    data: str
    model: str
    runs: tuple[Run, ...]

    @property
    def unit(self) -> str:
        """Of energies."""
        return self.runs[0]["unit"]

    @property
    def tests(self) -> tuple[str, ...]:
        """Labels of test parts."""
        return tuple(self.runs[0]["tests"])

    @property
    def quantities(self) -> tuple[str, ...]:
        """What is learnt: energy, forces, positions."""
        names = self.runs[0]["tests"][self.tests[0]]
        return tuple(name.removesuffix("_mae") for name in names if name.endswith("_mae"))

    def error(self, test: str, quantity: str, kind: str = "mae") -> Value:
        """Of a test part, in the papers' units: meV or kcal/mol, meV/Å, the square of lengths for positions ("mse")."""
        if kind == "mse":
            return value_of([run["tests"][test][f"{quantity}_rmse"] ** 2 for run in self.runs])
        factor = factor_of(quantity, self.unit)
        return value_of([factor * run["tests"][test][f"{quantity}_{kind}"] for run in self.runs])

    def headline(self, test: str, quantity: str) -> float:
        """The error that figures show: mean absolute, or mean square of positions."""
        return self.error(test, quantity, "mse" if quantity == "positions" else "mae").mean

    def seconds(self) -> Value:
        """Spent in training, on the clock of the budget."""
        return value_of([float(run["spent"]["seconds"]) for run in self.runs])

    def milliseconds(self, name: str) -> Value | None:
        """Per molecule: "energy", "forces", "positions" or "training_step"."""
        found = [run["milliseconds"][name] for run in self.runs if name in run.get("milliseconds", {})]
        return value_of(found) if found else None

    def memory(self) -> Value | None:
        """Peak memory in MB above what the process took before the model was made."""
        found = [
            run["peak_memory_mb"] - run.get("memory_before_mb", 0.0) for run in self.runs if "peak_memory_mb" in run
        ]
        return value_of(found) if found else None

    def samples(self) -> Value:
        """Molecules seen in training."""
        return value_of([float(run["spent"]["samples"]) for run in self.runs])

    def turning(self, name: str) -> Value | None:
        """Equivariance error by name: "energy" in eV, "energy_relative", "forces", "positions"."""
        found = [run["equivariance_error"][name] for run in self.runs if name in run.get("equivariance_error", {})]
        return value_of(found) if found else None

    def dynamics(self, name: str) -> Value | None:
        """A number of `md_stability`, where there is one."""
        found = [run["md"][name] for run in self.runs if run.get("md", {}).get(name) is not None]
        return value_of(found) if found else None


def factor_of(quantity: str, unit: str) -> float:
    """What errors in eV, eV/Å are multiplied by."""
    if quantity == "forces":
        return 1000.0
    return FACTORS.get(unit, 1.0) if quantity == "energy" else 1.0


def unit_of(quantity: str, unit: str) -> str:
    """Of errors in tables; systems of particles have no units."""
    return {"forces": "meV/Å", "energy": unit}.get(quantity, "dimensionless")


def read_runs(folder: str | Path) -> tuple[list[Run], list[tuple[str, str]]]:
    """Results under a folder, and failures as (run, what happened).

    Raises:
        ConfigurationError: there is neither.
    """
    folder = Path(folder)
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob(f"**/{RESULT}"))]
    failures = [
        (str(path.parent.relative_to(folder)), json.loads(path.read_text(encoding="utf-8"))["error"])
        for path in sorted(folder.glob(f"**/{FAILURE}"))
    ]
    if not runs and not failures:
        raise ConfigurationError(
            f"{folder}: holds no finished run; run `weightspace bench molecules --out {folder}` first"
        )
    return runs, failures


def rows_of(runs: Sequence[Run]) -> list[BenchmarkRow]:
    """Rows in the order of data sets and, within one, by their first error."""
    grouped: dict[tuple[str, str, str], list[Run]] = {}
    for run in runs:
        sizes = {name: run["model"].get(name) for name in ("factory", "arguments", "training")}
        key = (run["data"], run["model"]["name"], json.dumps([conditions_of(run), sizes], sort_keys=True))
        grouped.setdefault(key, []).append(run)
    found = [BenchmarkRow(data, model, tuple(group)) for (data, model, _), group in grouped.items()]
    return sorted(found, key=lambda row: (row.data, _first_error(row)))


def _first_error(row: BenchmarkRow) -> float:
    return row.headline(row.tests[0], row.quantities[-1])


def conditions_of(run: Run) -> list[Any]:
    """What runs of one table share: molecules and sizes of the parts, budget, what is learnt, how it is computed."""
    learnt = sorted({name for scores in run["tests"].values() for name in scores})
    computed = {name: run.get(name, value) for name, value in DEFAULTS.items()}
    device = run.get("hardware", {}).get("device")
    return [run["budget"], run["sizes"], run.get("fingerprint"), learnt, device, computed]


def by_conditions(rows: Sequence[BenchmarkRow]) -> Iterator[tuple[str, list[BenchmarkRow]]]:
    """The rows of each data set and, where there are several, of each budget, split, device..., with a title."""
    for data in dict.fromkeys(row.data for row in rows):
        groups: dict[str, list[BenchmarkRow]] = {}
        for row in rows:
            if row.data == data:
                groups.setdefault(json.dumps(conditions_of(row.runs[0]), sort_keys=True), []).append(row)
        for number, group in enumerate(groups.values(), 1):
            yield data if len(groups) == 1 else f"{data}, table {number}", group


def budget_text(run: Run) -> str:
    """A run's budget in words."""
    budget = run["budget"]
    if budget["samples"] is not None:
        return f"{budget['samples']:,} samples"
    clock = "CPU time of one process" if budget["clock"] == "process" else "wall time"
    return f"{budget['seconds']:g} s of {clock}"
