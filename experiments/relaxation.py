"""The minima that a trained model finds from test frames, by `weightspace.molecules.relax`.

Takes the folder of any run of `weightspace bench molecules` (or one that `save_pretrained` wrote), relaxes the first
test frames in float64, and writes which of them got there, what energies they have then, and how many minima of
different energy those are. Mirror images have one energy.

Needs the extra mol.
Run:    python -m experiments.relaxation --model runs/molecules/rmd17-ethanol/tensornet/seed0 --data rmd17:ethanol
        python -m experiments.relaxation --smoke                   (random weights, in seconds)
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from experiments._command import run
from experiments._table_runs import environment
from experiments._trained_model import arguments, atoms_of, first_test_part, parsed, smoke_model, write_report
from weightspace.molecules import relax

SAME = 0.001  # eV: energies that are nearer than that are one minimum


@dataclass(frozen=True)
class Minima:
    """What was found.

    Args:
        model: where its weights are.
        data: whose first test part the starts are of.
        frames: how many starts, the first ones.
        fmax: largest force that may be left, in eV/Å.
        steps: at most.
        relaxed: how many starts came to `fmax`.
        largest_force: that is left in any of these, in eV/Å.
        lowered: mean difference of energies before and after, in eV.
        minima: energies above the lowest one in meV, and how many starts came there.
        seconds: wall time.
        environment: machine, versions and commit.
    """

    model: str
    data: str
    frames: int
    fmax: float
    steps: int
    relaxed: int
    largest_force: float | None
    lowered: float | None
    minima: list[tuple[float, int]]
    seconds: float
    environment: dict[str, str] = field(default_factory=environment)


def distinct(energies: Sequence[float], same: float = SAME) -> list[tuple[float, int]]:
    """Energies above the lowest in meV, neighbours within `same` eV taken together, and how many are of each.

    Example:
        >>> distinct([-1.0, -2.0, -1.9999, -0.5])
        [(0.0, 2), (1000.0, 1), (1500.0, 1)]
    """
    found: list[list[float]] = []
    for energy in sorted(energies):
        if found and energy - found[-1][-1] <= same:
            found[-1].append(energy)
        else:
            found.append([energy])
    return [(round(1000 * (group[0] - found[0][0]), 3), len(group)) for group in found]


def measure(given: argparse.Namespace) -> Minima:
    """Relax the frames that were asked for.

    Raises:
        CheckpointError: the folder holds no model.
        ConfigurationError: no such data, or ase is missing.
        MoleculeError: the model does not know an element of the molecule.
    """
    from weightspace.molecules import WeightspaceCalculator

    began = time.perf_counter()
    part = first_test_part(given.data, given.data_root)
    calculator = WeightspaceCalculator(given.model, model_class=given.model_class)
    count = min(given.frames, len(part))
    before, after, left = [], [], []
    for row in tqdm(range(count), desc="relaxing", disable=not given.progress):
        atoms = atoms_of(part[row])
        start = calculator.get_potential_energy(atoms)
        found, done = relax(atoms, calculator, fmax=given.fmax, steps=given.steps)
        if done:
            before.append(start)
            after.append(found.get_potential_energy())
            left.append(float(np.linalg.norm(found.get_forces(), axis=1).max()))
    return Minima(
        model=str(given.model),
        data=given.data,
        frames=count,
        fmax=given.fmax,
        steps=given.steps,
        relaxed=len(after),
        largest_force=max(left, default=None),
        lowered=float(np.mean(np.subtract(before, after))) if after else None,
        minima=distinct(after),
        seconds=time.perf_counter() - began,
    )


def _smoke(given: argparse.Namespace) -> Minima:
    """Random weights, whose forces are small everywhere."""
    with tempfile.TemporaryDirectory() as folder:
        small = {"model": smoke_model(Path(folder)), "data": "sample:ethanol", "frames": 2, "fmax": 0.2}
        return measure(argparse.Namespace(**{**vars(given), **small}))


def main(argv: Sequence[str] | None = None) -> Minima:
    parser = arguments(__doc__)
    parser.add_argument("--frames", type=int, default=20, help="how many test frames (default: 20)")
    parser.add_argument("--fmax", type=float, default=0.01, help="largest force that is left, in eV/Å (default: 0.01)")
    parser.add_argument("--steps", type=int, default=500, help="at most (default: 500)")
    given = parsed(parser, argv)
    if not (given.frames > 0 and given.fmax > 0 and given.steps > 0):
        parser.error(
            f"found --frames {given.frames} --fmax {given.fmax} --steps {given.steps}, wanted positive numbers"
        )
    report = _smoke(given) if given.smoke else measure(given)
    write_report(report, given, "relaxation.json")
    return report


if __name__ == "__main__":
    run(main, interrupted="nothing was written")
