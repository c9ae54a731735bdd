"""The drift of the total energy in molecular dynamics with a trained model, without thermostat.

Takes the folder of any run of `weightspace bench molecules` (or one that `save_pretrained` wrote), draws velocities for
one of the test frames, moves it by ASE's velocity Verlet in float64, and writes how the total energy drifts along a
line, how far it is from that line, and between what bounds it stays.

Needs the extra mol.
Run:    python -m experiments.nve_drift --model runs/molecules/rmd17-ethanol/tensornet/seed0 --data rmd17:ethanol
        python -m experiments.nve_drift --model MODEL --data mine.extxyz --picoseconds 20 --timestep 0.25
        python -m experiments.nve_drift --smoke                   (random weights, in seconds)
"""

import argparse
import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments._command import run
from experiments._table_runs import environment
from experiments._trained_model import arguments, atoms_of, first_test_part, parsed, smoke_model, write_report
from weightspace.errors import ConfigurationError
from weightspace.molecules import Dynamics, Molecules, Trajectory, run_dynamics

SAMPLES = 1000  # at most that many are kept beside the first


@dataclass(frozen=True)
class Drift:
    """What was found; numbers are None where the run failed before the second sample.

    Args:
        model: where its weights are.
        data: whose first test part the start is of.
        frame: which one.
        atoms: of the molecule.
        timestep: in fs.
        picoseconds: how long the trajectory is, up to its failure.
        temperature: that velocities were drawn at, in K.
        mean_temperature: of the trajectory, in K.
        drift: slope of a line through the total energy, in meV per atom and ps.
        rms: root mean square distance of the total energy from that line, in meV per atom.
        span: largest less smallest total energy, in meV per atom.
        failure: what ended the run, or None.
        seconds: wall time.
        seed: of the velocities.
        environment: machine, versions and commit.
    """

    model: str
    data: str
    frame: int
    atoms: int
    timestep: float
    picoseconds: float
    temperature: float
    mean_temperature: float
    drift: float | None
    rms: float | None
    span: float | None
    failure: str | None
    seconds: float
    seed: int
    environment: dict[str, str] = field(default_factory=environment)


def energy_drift(trajectory: Trajectory) -> dict[str, float | None]:
    """Drift, root mean square distance from it, and span of the total energy, per atom in meV (and ps)."""
    drift = trajectory.drift()
    if not math.isfinite(drift):
        return dict.fromkeys(("drift", "rms", "span"))
    energy = 1000 * (trajectory.potential + trajectory.kinetic) / trajectory.pos.shape[1]
    rest = energy - energy.mean() - drift * (trajectory.time - trajectory.time.mean())
    return {"drift": drift, "rms": float(rest.square().mean().sqrt()), "span": float(energy.max() - energy.min())}


def measure(given: argparse.Namespace) -> Drift:
    """Move the frame that was asked for.

    Raises:
        CheckpointError: the folder holds no model.
        ConfigurationError: no such frame, or ase is missing.
        MoleculeError: the model does not know an element of the molecule.
    """
    from weightspace.molecules import WeightspaceCalculator

    began = time.perf_counter()
    frame = _frame(given.data, given.data_root, given.frame)
    atoms = atoms_of(frame)
    steps = max(1, round(1000 * given.picoseconds / given.timestep))
    dynamics = Dynamics(steps, given.temperature, given.timestep, every=math.ceil(steps / SAMPLES))
    calculator = WeightspaceCalculator(given.model, device=given.device, model_class=given.model_class)
    found = run_dynamics(atoms, calculator, dynamics, seed=given.seed, progress=given.progress)
    return Drift(
        model=str(given.model),
        data=given.data,
        frame=given.frame,
        atoms=len(atoms),
        timestep=given.timestep,
        picoseconds=float(found.time[-1]) if found.failure_time is None else found.failure_time,
        temperature=given.temperature,
        mean_temperature=float(found.temperature.mean()),
        failure=found.failure,
        seconds=time.perf_counter() - began,
        seed=given.seed,
        **energy_drift(found),
    )


def _frame(data: str, root: Path | None, row: int) -> Molecules:
    part = first_test_part(data, root)
    if not 0 <= row < len(part):
        raise ConfigurationError(f"--frame: found {row}, wanted 0 to {len(part) - 1}, a test frame of {data}")
    return part[row]


def _smoke(given: argparse.Namespace) -> Drift:
    """Random weights, which know nothing, so that the molecule is cold."""
    with tempfile.TemporaryDirectory() as folder:
        small: dict[str, Any] = {"model": smoke_model(Path(folder)), "data": "sample:ethanol", "picoseconds": 0.02}
        return measure(argparse.Namespace(**{**vars(given), **small, "temperature": 10.0}))


def main(argv: Sequence[str] | None = None) -> Drift:
    parser = arguments(__doc__)
    parser.add_argument("--frame", type=int, default=0, help="which test frame to start from (default: the first)")
    parser.add_argument("--picoseconds", type=float, default=5.0, help="(default: 5)")
    parser.add_argument("--timestep", type=float, default=0.5, help="in fs (default: 0.5)")
    parser.add_argument("--temperature", type=float, default=300.0, help="of the velocities in K (default: 300)")
    parser.add_argument("--seed", type=int, default=0, help="of the velocities")
    parser.add_argument("--device", help="cpu or cuda (default: where the model is)")
    given = parsed(parser, argv)
    if not (given.picoseconds > 0 and given.timestep > 0):
        parser.error(f"found {given.picoseconds} ps in steps of {given.timestep} fs, wanted positive numbers")
    report = _smoke(given) if given.smoke else measure(given)
    write_report(report, given, "nve_drift.json")
    return report


if __name__ == "__main__":
    run(main, interrupted="nothing was written")
