"""Labels of DFT, or their difference to GFN2-xTB: what a model learns of few frames in the same time.

The first frames of a data set's training part are learnt twice: with their own labels, and with the difference to those
of GFN2-xTB. The test part is predicted by the model, in the second case plus GFN2-xTB, so that both errors are of the
same energies and forces (docs/delta-learning.md). Finished runs are kept; killed ones go on from their last checkpoint.

Needs the extra mol.
Run:    WEIGHTSPACE_DATA=... python -m experiments.delta_learning [--data rmd17:ethanol] [--frames 25 100 400]
        python -m experiments.delta_learning --smoke                  (in seconds)
"""

import argparse
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from experiments._command import run
from experiments._table_runs import RESULTS, environment
from experiments.xtb_labels import xtb_labels
from weightspace.errors import ConfigurationError, MoleculeError
from weightspace.molecules import MolecularSplits, Molecules, load_molecules
from weightspace.tasks.molecular import Budget, RunOptions, preset, run_model

RUNS, RESULT = Path("runs/delta_learning"), RESULTS / "delta_learning.json"
LABELS = ("direct", "difference")


@dataclass(frozen=True)
class Comparison:
    """What was measured.

    Args:
        data: as `load_molecules` takes it.
        model: preset.
        budget: of each training, in seconds of CPU time of one process, or samples.
        validation, test: how many frames.
        spread: of the test part's labels, by kind: standard deviation of energies in meV, root mean square of force
            components in meV/Å.
        xtb_ms: time of GFN2-xTB a frame, energy and forces.
        runs: kind of labels, training frames, samples seen and errors of the test part, in meV and meV/Å.
        environment: machine, versions and commit.
    """

    data: str
    model: str
    budget: dict[str, Any]
    validation: int
    test: int
    spread: dict[str, dict[str, float]]
    xtb_ms: float
    runs: list[dict[str, Any]]
    environment: dict[str, str] = field(default_factory=environment)


def differences(splits: MolecularSplits, *, progress: bool = True) -> MolecularSplits:
    """The same frames with energies and forces less those of GFN2-xTB.

    Raises:
        MoleculeError: frames without energies or forces.
        ConfigurationError: tblite is missing.
    """

    def part(molecules: Molecules, label: str) -> Molecules:
        if molecules.energy is None or molecules.forces is None:
            raise MoleculeError(f"{splits.name}: found no energies or no forces, wanted the labels of a better method")
        energy, forces = xtb_labels(molecules, where=f"{splits.name}, {label}", progress=progress)
        return replace(
            molecules,
            values={**molecules.values, "energy": molecules.energy - energy},
            atom_values={**molecules.atom_values, "forces": molecules.forces - forces},
        )

    tests = {label: part(molecules, label) for label, molecules in splits.tests.items()}
    return replace(
        splits,
        name=f"{splits.name} less GFN2-xTB",
        train=part(splits.train, "training part"),
        validation=part(splits.validation, "validation part"),
        tests=tests,
        isolated={},
    )


def spread(molecules: Molecules) -> dict[str, float]:
    """Of labels: what a constant and no forces would be wrong by."""
    assert molecules.energy is not None and molecules.forces is not None
    return {
        "energy_mev": 1000 * float(molecules.energy.std(correction=0)),
        "forces_mev": 1000 * float(molecules.forces.square().mean().sqrt()),
    }


def compare(
    splits: MolecularSplits, frames: Sequence[int], model: str, budget: Budget, runs: Path, *, progress: bool = True
) -> Comparison:
    """Train with both kinds of labels on the first frames, as many as asked for.

    Raises:
        ConfigurationError: more frames than there are, or none.
    """
    wrong = [count for count in frames if not 0 < count <= len(splits.train)]
    if wrong:
        raise ConfigurationError(
            f"{splits.name}: found {wrong[0]} training frames asked for, wanted 1 to {len(splits.train)}; give other "
            "--frames"
        )
    began = time.process_time()
    both = dict(zip(LABELS, (splits, differences(splits, progress=progress)), strict=True))
    parts = (splits.train, splits.validation, *splits.tests.values())
    xtb_ms = 1000 * (time.process_time() - began) / sum(len(part) for part in parts)
    label = next(iter(splits.tests))
    rows = []
    for count in frames:
        for kind, data in both.items():
            few = replace(data, train=data.train[:count])
            found = run_model(
                preset(model), few, runs / f"{kind}-{count}", budget=budget, options=RunOptions(progress=progress)
            )
            rows.append(row_of(kind, count, found, label))
    return Comparison(
        data=splits.name,
        model=model,
        budget=asdict(budget),
        validation=len(splits.validation),
        test=len(splits.tests[label]),
        spread={kind: spread(data.tests[label]) for kind, data in both.items()},
        xtb_ms=xtb_ms,
        runs=rows,
    )


def row_of(kind: str, count: int, result: Mapping[str, Any], label: str) -> dict[str, Any]:
    """A run as the file holds it."""
    scores = result["tests"][label]
    errors = {f"{name}_mev": 1000 * scores[name] for name in ("energy_mae", "energy_rmse", "forces_mae", "forces_rmse")}
    return {"labels": kind, "frames": count, "samples": result["spent"]["samples"], **errors}


def main(argv: Sequence[str] | None = None) -> Comparison:
    """Compare, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="rmd17:ethanol", help="as `weightspace bench molecules` takes it")
    parser.add_argument("--data-root", type=Path, help="folder of full data sets (default: WEIGHTSPACE_DATA)")
    parser.add_argument("--frames", type=int, nargs="+", default=[25, 100, 400], help="training frames")
    parser.add_argument("--model", default="tensornet", help="a preset (default: tensornet)")
    parser.add_argument("--budget", default="120s", help="of each training, CPU time (default: 120s)")
    parser.add_argument("--runs", type=Path, default=RUNS, help="folder of the runs")
    parser.add_argument("--out", type=Path, default=RESULT, help="JSON file")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes; no files")
    given = parser.parse_args(argv)
    torch.set_num_threads(1)
    if given.smoke:
        splits = load_molecules("sample:ethanol")
        few = {label: part[:3] for label, part in splits.tests.items()}
        small = replace(splits, train=splits.train[:5], validation=splits.validation[:2], tests=few)
        with tempfile.TemporaryDirectory() as folder:
            return compare(small, [5], given.model, Budget(samples=10), Path(folder), progress=False)
    splits = load_molecules(given.data, data_root=given.data_root)
    report = compare(splits, given.frames, given.model, Budget.of(given.budget, "process"), given.runs)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(asdict(report), indent=1) + "\n", encoding="utf-8")
    return report


if __name__ == "__main__":
    run(main, interrupted="run it again, it goes on")
