"""Many runs: every model, every seed, each in a process of its own."""

import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import Any

from tqdm import tqdm

from weightspace.errors import ConfigurationError, MoleculeError
from weightspace.molecules import MolecularSplits, Molecules, load_molecules, require_forces
from weightspace.tasks._folder import write_json
from weightspace.tasks.molecular._budget import Budget
from weightspace.tasks.molecular._entry import BenchmarkModel
from weightspace.tasks.molecular._fit import RunOptions
from weightspace.tasks.molecular._presets import models_named
from weightspace.tasks.molecular._run import RESULT
from weightspace.tasks.molecular._settings import check_settings, run_settings
from weightspace.tasks.molecular._stability import check_dynamics, has_dynamics

JOB, FAILURE, LOG = "job.json", "failure.json", "log.txt"
INTERRUPTED, BUSY = (130, -signal.SIGINT, -signal.SIGTERM), 75


@dataclass(frozen=True)
class BenchmarkPlan:
    """What is compared on what.

    Args:
        data: as `load_molecules` takes it.
        models: names of presets, `package.module:name` of a class or a `BenchmarkModel` of one's own, or JSON files.
        budget: of each run.
        out: folder of all runs.
        seeds: of weights and order; the split is the same for all.
        sizes: "train", "validation" and "test" molecules, where not the data set's own numbers.
        data_root: folder of full data sets; None for `WEIGHTSPACE_DATA`.
        md: whether each model of the first seed runs molecular dynamics afterwards.
        md_temperature: of molecular dynamics in K; None for the temperature of the first test part, or 300 K where the
            data state none.
        forces: whether forces are learnt; None where the data have them.
        cutoff: of every model, in Å; None for each model's own.
    """

    data: str
    models: Sequence[str]
    budget: Budget
    out: Path
    seeds: Sequence[int] = (0,)
    sizes: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    data_root: Path | None = None
    md: bool = False
    md_temperature: float | None = None
    forces: bool | None = None
    cutoff: float | None = None

    def splits(self, *, download: bool = False, progress: bool = False) -> MolecularSplits:
        """The data, checked."""
        found = load_molecules(
            self.data, data_root=self.data_root, download=download, progress=progress, **dict(self.sizes)
        )
        if self.forces:
            require_forces(found)
        return without_forces(found) if self.forces is False else found

    def entries(self, splits: MolecularSplits) -> list[BenchmarkModel]:
        """The models, with their cutoff.

        Raises:
            ConfigurationError: a name that nothing answers to, twice the same, or a model without a cutoff.
        """
        found = models_named(self.models, splits)
        return found if self.cutoff is None else [entry.with_cutoff(self.cutoff) for entry in found]

    def runs_md(self, seed: int) -> bool:
        """Whether the models of a seed run molecular dynamics."""
        return self.md and seed == self.seeds[0]

    def folder(self, model: str, seed: int) -> Path:
        """Of one run."""
        return self.out / slug(self.data) / slug(model) / f"seed{seed}"


def slug(name: str) -> str:
    """A name as a folder's: a path's stem, colons and other signs as dashes.

    Example:
        >>> slug("rmd17:ethanol"), slug("runs/mine.extxyz"), slug("mine.db:unit=kcal/mol")
        ('rmd17-ethanol', 'mine', 'mine')
    """
    name = re.sub(r":(energy|forces|unit)=[^:]+", "", name)
    stem = Path(name).stem if Path(name).suffix in {".npz", ".xyz", ".extxyz", ".db", ".json"} else name
    return re.sub(r"[^A-Za-z0-9_.=+]+", "-", stem).strip("-")


def without_forces(splits: MolecularSplits) -> MolecularSplits:
    """The same data with energies alone."""

    def part(molecules: Molecules) -> Molecules:
        kept = {name: value for name, value in molecules.atom_values.items() if name != "forces"}
        return replace(molecules, atom_values=kept)

    tests = {label: part(molecules) for label, molecules in splits.tests.items()}
    return replace(splits, train=part(splits.train), validation=part(splits.validation), tests=tests)


def run_benchmark(
    plan: BenchmarkPlan,
    *,
    options: RunOptions = RunOptions(),  # noqa: B008  frozen
    jobs: int = 1,
    download: bool = False,
    tell: Callable[[str], None] = lambda text: None,
    failed: Callable[[str], None] = lambda run: None,
) -> list[Path]:
    """Run what is not finished yet; a run that fails is reported, and the others go on.

    Args:
        plan: models, data, budget, seeds.
        options: device, precision, threads of each run.
        jobs: runs at the same time; budgets on the process clock are fair to them, those in wall time only where each
            has its own cores.
        download: whether missing data are fetched.
        tell: takes a line about every run.
        failed: takes the name of every run that did not end well.

    Returns:
        Folders of the finished runs.

    Raises:
        WeightspaceError: data or models that are not there or not right, or a folder with runs of other settings,
            before anything runs.
    """
    if jobs < 1 or not plan.seeds:
        raise ConfigurationError(f"bench: found {jobs} jobs and {len(plan.seeds)} seeds, wanted at least one of each")
    splits = plan.splits(download=download, progress=options.progress)
    _check_parts(splits)
    if plan.md_temperature is not None and not plan.md:
        raise ConfigurationError("bench: found a temperature of molecular dynamics without --md; give both, or none")
    if plan.md:
        check_dynamics(splits, plan.md_temperature)
    entries = plan.entries(splits)
    todo = [(entry, seed) for seed in plan.seeds for entry in entries]
    for entry, seed in todo:
        check_settings(
            plan.folder(entry.name, seed), run_settings(entry, splits, plan.budget, seed=seed, options=options)
        )
    open_ones = [(e, s) for e, s in todo if not _is_done(plan, splits, e, s)]
    tell(
        f"{plan.data}: {len(splits.train)} training, {len(splits.validation)} validation molecules; "
        f"{len(open_ones)} of {len(todo)} runs to do, {plan.budget} each"
    )
    with ThreadPoolExecutor(jobs) as pool, _Children() as children:
        waiting = {
            pool.submit(_run_alone, plan, entry, seed, options, children, jobs == 1): (entry, seed)
            for entry, seed in open_ones
        }
        shown = tqdm(as_completed(waiting), total=len(waiting), disable=not options.progress, unit=" runs")
        for done in shown:
            entry, seed = waiting[done]
            said, well = done.result()
            tell(f"{entry.name}, seed {seed}: {said}")
            if not well:
                failed(f"{entry.name}, seed {seed}")
    return [plan.folder(e.name, s) for e, s in todo if (plan.folder(e.name, s) / RESULT).is_file()]


def _check_parts(splits: MolecularSplits) -> None:
    sizes = {"training": len(splits.train), "validation": len(splits.validation)}
    sizes |= {label: len(part) for label, part in splits.tests.items()}
    empty, found = [label for label, size in sizes.items() if not size], ", ".join(f"{n} {s}" for s, n in sizes.items())
    if empty:
        raise MoleculeError(
            f"{splits.name}: found no molecules in the {empty[0]} part ({found}), wanted at least one in each; give "
            "sizes (--train, --validation, --test), or more molecules"
        )


def _is_done(plan: BenchmarkPlan, splits: MolecularSplits, entry: BenchmarkModel, seed: int) -> bool:
    path = plan.folder(entry.name, seed) / RESULT
    if not path.is_file() or not plan.runs_md(seed):
        return path.is_file()
    return has_dynamics(json.loads(path.read_text()), splits, plan.md_temperature)


class _Children:
    """Processes that end when the parent is interrupted, or asked to end (SIGTERM)."""

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[str]] = []
        self.stopped = threading.Event()
        self.in_main = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> "_Children":
        if self.in_main:
            self.before = signal.signal(signal.SIGTERM, _interrupt)
        return self

    def watch(self, process: "subprocess.Popen[str]") -> None:
        """End a process with the others, also where they have been ended while it started."""
        self.processes.append(process)
        if self.stopped.is_set():
            process.terminate()

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if self.in_main:
            signal.signal(signal.SIGTERM, self.before or signal.SIG_DFL)
        if kind is not None:
            self.stopped.set()
            for process in self.processes:
                process.terminate()


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _run_alone(
    plan: BenchmarkPlan, entry: BenchmarkModel, seed: int, options: RunOptions, children: _Children, alone: bool
) -> tuple[str, bool]:
    """One run in its own process; what there is to say of it, and whether it ended well."""
    if children.stopped.is_set():
        return "not started", False
    folder = plan.folder(entry.name, seed)
    written = {
        "budget": asdict(plan.budget),
        "out": str(plan.out),
        "sizes": dict(plan.sizes),
        "seeds": list(plan.seeds),
        "data_root": None if plan.data_root is None else str(plan.data_root),
    }
    job = {
        "plan": {**vars(plan), **written},
        "entry": entry.to_json(),
        "seed": seed,
        "options": {**asdict(options), "progress": options.progress and alone},
    }
    path = write_json(folder / JOB, job)
    (folder / FAILURE).unlink(missing_ok=True)
    with (folder / LOG).open("a") as log:
        shown = None if options.progress and alone else log
        command = [sys.executable, "-m", "weightspace.tasks.molecular._worker", str(path)]
        process = subprocess.Popen(command, stderr=shown, stdout=log, text=True)  # noqa: S603
        children.watch(process)
        code = process.wait()
    if code == 0:
        (folder / FAILURE).unlink(missing_ok=True)  # of a process that found this one at work
        return _summary(json.loads((folder / RESULT).read_text())), True
    if code in INTERRUPTED:
        return "interrupted", False
    if code == BUSY:
        return "another process works on it", False
    if not (folder / FAILURE).is_file():
        write_json(folder / FAILURE, {"error": f"the process ended with code {code}; see {folder / LOG}"})
    return "failed: " + json.loads((folder / FAILURE).read_text())["error"], False


def _summary(result: Mapping[str, Any]) -> str:
    label, scores = next(iter(result["tests"].items()))
    errors = ", ".join(f"{name} {value:.4g}" for name, value in scores.items() if name.endswith("_mae"))
    return f"{label}: {errors} ({result['spent']['samples']} samples)"


def plan_from(job: Mapping[str, Any]) -> BenchmarkPlan:
    """The plan of a job that was written for a process.

    Raises:
        ConfigurationError: not a job.
    """
    try:
        plan = dict(job["plan"])
        root = plan["data_root"]
        return BenchmarkPlan(
            **{
                **plan,
                "budget": Budget(**plan["budget"]),
                "out": Path(plan["out"]),
                "data_root": None if root is None else Path(root),
            }
        )
    except (KeyError, TypeError) as error:
        raise ConfigurationError(
            f"job: found no plan of runs ({error}); jobs are written by `weightspace bench`"
        ) from error
