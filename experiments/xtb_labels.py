"""Labels for a molecule of your own without a data set: GFN2-xTB energies and forces, offline, by tblite.

Samples geometries by Langevin dynamics on GFN2-xTB itself, writes them with energies (eV) and forces (eV/Å) as extended
XYZ, and trains on them. Or labels the frames of a file that has better labels with the difference, for delta learning
(docs/delta-learning.md). Stopped with Ctrl-C and run again, it goes on to the same frames.

Needs the extra mol.
Run:    python -m experiments.xtb_labels --molecule mine.xyz --frames 500 --out runs/xtb/mine.extxyz
        python -m experiments.xtb_labels --molecule mine.xyz --out runs/xtb/mine.extxyz --train 5min
        python -m experiments.xtb_labels --delta labelled.extxyz --out runs/xtb/delta.extxyz
        python -m experiments.xtb_labels --smoke                  (in seconds)

Source: Bannwarth, Ehlert and Grimme 2019, Journal of Chemical Theory and Computation 15 (GFN2-xTB); Ramakrishnan et
al. 2015, Journal of Chemical Theory and Computation 11 (delta learning).
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from experiments._command import run
from weightspace.errors import ConfigurationError, MoleculeError
from weightspace.extras import MOL

if TYPE_CHECKING:
    from weightspace.molecules import Molecules

METHOD = "GFN2-xTB"
ETHANOL = "CH3CH2OH"  # of ase.build.molecule, where no file is given
RELAXED = 0.05  # eV/Å, before the dynamics starts
SETTLING = 500  # steps before the first frame


@dataclass(frozen=True)
class Sampling:
    """How geometries are drawn.

    Args:
        frames: how many.
        temperature: in K.
        timestep: in fs.
        friction: of the thermostat in 1/fs.
        every: steps from one frame to the next.
        seed: of velocities and noise.
        charge: of the molecule.
    """

    frames: int = 500
    temperature: float = 500.0
    timestep: float = 0.5
    friction: float = 0.02
    every: int = 50
    seed: int = 0
    charge: float = 0.0

    def __post_init__(self) -> None:
        for name in ("frames", "temperature", "timestep", "friction", "every"):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"{name}: found {getattr(self, name)}, wanted a positive number")


@dataclass(frozen=True)
class Labelled:
    """What was written.

    Args:
        file: the labelled frames.
        frames: how many there are.
        energy_spread: standard deviation of energies in meV.
        force_spread: root mean square of force components in meV/Å.
        force_error: largest difference of two forces of the last frame from finite differences, in meV/Å.
        seconds: wall time of this run.
    """

    file: str
    frames: int
    energy_spread: float
    force_spread: float
    force_error: float
    seconds: float


def xtb(charge: float = 0.0) -> Any:
    """GFN2-xTB as a calculator of ASE.

    Raises:
        ConfigurationError: tblite is not installed.
    """
    try:
        from tblite.ase import TBLite
    except ImportError as error:
        raise ConfigurationError(f"xtb_labels: needs tblite, which cannot be imported ({error}); {MOL}") from error
    return TBLite(method=METHOD, charge=charge, verbosity=0)


def sample(molecule: Any, out: Path, sampling: Sampling, *, progress: bool = True) -> Labelled:
    """Label `sampling.frames` frames of a trajectory that starts at a molecule, going on where `out` ends.

    Raises:
        ConfigurationError: the file was begun with other settings or another molecule, or tblite is missing.
        MoleculeError: a periodic molecule, or GFN2-xTB does not converge.
    """
    began = time.perf_counter()
    _no_period(bool(molecule.pbc.any()), out)
    atoms, done = _resumed(molecule.copy(), out, sampling)
    try:
        with tqdm(total=sampling.frames, initial=done, unit=" frames", disable=not progress) as bar:
            for k in range(done, sampling.frames):
                atoms.calc = xtb(sampling.charge)  # a used one starts from its last charges: a resumed run could not
                if k == 0:
                    _start(atoms, sampling)
                _advance(atoms, sampling.every if k else SETTLING, sampling, k)
                _append(out, atoms, sampling, k + 1)
                bar.update()
    except RuntimeError as error:
        raise MoleculeError(
            f"{out}: {METHOD} failed after frame {done} ({error}); lower the temperature, or look at the geometry"
        ) from error
    return _summary(out, began, lambda: xtb(sampling.charge))


def label_difference(file: Path, out: Path, *, charge: float = 0.0, progress: bool = True) -> Labelled:
    """The frames of a labelled file with the difference of their labels and those of GFN2-xTB; both are kept.

    Raises:
        ConfigurationError: no such file, or tblite is missing.
        MoleculeError: a frame without energy or forces, or periodic frames.
    """
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.io import write

    from weightspace.molecules import read_molecules

    began = time.perf_counter()
    molecules = read_molecules(file)
    if molecules.energy is None or molecules.forces is None:
        raise MoleculeError(f"{file}: found no energies or no forces, wanted the better labels to learn the way to")
    _no_period(molecules.cell is not None, file)
    energies, forces = xtb_labels(molecules, where=str(file), charge=charge, progress=progress)
    frames = []
    for row in range(len(molecules)):
        frame, own = molecules[row], slice(int(molecules.ptr[row]), int(molecules.ptr[row + 1]))
        atoms = _atoms(frame.z.numpy(), frame.pos.numpy())
        energy, target = float(energies[row]), float(molecules.energy[row])
        gap = (molecules.forces[own] - forces[own]).numpy()
        atoms.info |= {"xtb_energy": energy, "reference_energy": target}
        atoms.arrays["xtb_forces"] = forces[own].numpy()
        atoms.calc = SinglePointCalculator(atoms, energy=target - energy, forces=gap)
        frames.append(atoms)
    out.parent.mkdir(parents=True, exist_ok=True)
    write(out, frames, format="extxyz")
    return _summary(out, began, None)


def xtb_labels(
    molecules: "Molecules", *, where: str, charge: float = 0.0, progress: bool = True
) -> tuple[Tensor, Tensor]:
    """Energies (G,) in eV and forces (N, 3) in eV/Å by GFN2-xTB; `where` names the molecules in errors.

    Raises:
        ConfigurationError: tblite is missing.
        MoleculeError: GFN2-xTB does not converge.
    """
    calculator, energies, forces = xtb(charge), [], []
    for row in tqdm(range(len(molecules)), desc=METHOD, unit=" frames", disable=not progress):
        atoms = _atoms(molecules[row].z.numpy(), molecules[row].pos.numpy())
        try:
            energies.append(float(calculator.get_potential_energy(atoms)))
            forces.append(torch.from_numpy(np.array(calculator.get_forces(atoms))))
        except RuntimeError as error:
            raise MoleculeError(
                f"{where}, frame {row}: {METHOD} failed ({error}); look at its geometry, or leave it out"
            ) from error
    return torch.tensor(energies, dtype=torch.float64), torch.cat(forces)


def _no_period(periodic: bool, where: Path) -> None:
    """Frames are written without cells: labels of a crystal would be those of its atoms in the void."""
    if periodic:
        raise MoleculeError(
            f"{where}: found a periodic cell, wanted a molecule, which is all that {METHOD} labels here; set "
            'pbc="F F F" for a molecule in a box, or label crystals by another method'
        )


def _atoms(z: np.ndarray, pos: np.ndarray) -> Any:
    from ase import Atoms

    return Atoms(z, pos)


def _start(atoms: Any, sampling: Sampling) -> None:
    """Relax, and draw velocities."""
    from weightspace.molecules import Dynamics, relax, run_dynamics

    relaxed, _ = relax(atoms, atoms.calc, fmax=RELAXED)
    first = Dynamics(1, sampling.temperature, sampling.timestep)
    moved = run_dynamics(relaxed, atoms.calc, first, seed=sampling.seed).atoms
    atoms.positions = moved.positions
    atoms.set_momenta(moved.get_momenta())


def _advance(atoms: Any, steps: int, sampling: Sampling, frame: int) -> None:
    """Move on to the next frame; noise depends on its number, so that a resumed run draws the same."""
    from ase import units
    from ase.md.langevin import Langevin

    Langevin(
        atoms,
        sampling.timestep * units.fs,
        temperature_K=sampling.temperature,
        friction=sampling.friction / units.fs,
        fixcm=False,
        rng=np.random.default_rng([sampling.seed, frame]),
    ).run(steps)


def _state_file(out: Path) -> Path:
    return out.with_suffix(".state.json")


def _append(out: Path, atoms: Any, sampling: Sampling, frames: int) -> None:
    """Add the frame, and then note where the trajectory stands."""
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.io import write

    labelled = _atoms(atoms.numbers, atoms.positions)
    labels = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
    labelled.calc = SinglePointCalculator(labelled, **labels)
    with out.open("a", encoding="utf-8") as stream:
        write(stream, labelled, format="extxyz")
    state = {"frames": frames, "bytes": out.stat().st_size, "sampling": _kept(sampling), "z": atoms.numbers.tolist()}
    state |= {"pos": atoms.positions.tolist(), "momenta": atoms.get_momenta().tolist()}
    waiting = _state_file(out).with_suffix(".part")
    waiting.write_text(json.dumps(state), encoding="utf-8")
    os.replace(waiting, _state_file(out))


def _kept(sampling: Sampling) -> dict[str, Any]:
    return {name: value for name, value in asdict(sampling).items() if name != "frames"}


def _resumed(atoms: Any, out: Path, sampling: Sampling) -> tuple[Any, int]:
    """Where the trajectory stands; what was half written is cut off."""
    out.parent.mkdir(parents=True, exist_ok=True)
    if not _state_file(out).is_file():
        if out.is_file() and out.stat().st_size:
            raise ConfigurationError(f"{out}: there is such a file already; wanted another --out")
        return atoms, 0
    state = json.loads(_state_file(out).read_text(encoding="utf-8"))
    if state["sampling"] != _kept(sampling) or state["z"] != atoms.numbers.tolist():
        raise ConfigurationError(
            f"{out}: begun with {state['sampling']} and {len(state['z'])} atoms, wanted the same settings and "
            "molecule; give another --out"
        )
    os.truncate(out, state["bytes"])
    atoms.positions = np.array(state["pos"])
    atoms.set_momenta(np.array(state["momenta"]))
    return atoms, state["frames"]


def _summary(out: Path, began: float, calculator: Any) -> Labelled:
    """Numbers of the file, read back, and two forces by finite differences."""
    from ase.io import read

    frames = read(out, index=":")
    energies = np.array([atoms.get_potential_energy() for atoms in frames])
    forces = np.concatenate([atoms.get_forces() for atoms in frames])
    error = 0.0 if calculator is None else _force_error(frames[-1], calculator)
    report = Labelled(
        file=str(out),
        frames=len(frames),
        energy_spread=1000 * float(energies.std()),
        force_spread=1000 * float(np.sqrt((forces**2).mean())),
        force_error=1000 * error,
        seconds=time.perf_counter() - began,
    )
    out.with_suffix(".json").write_text(json.dumps(asdict(report), indent=2) + "\n", encoding="utf-8")
    return report


def _force_error(labelled: Any, calculator: Any, step: float = 1e-3) -> float:
    """Largest difference of two labelled forces from central differences of the energy."""
    worst = 0.0
    for atom, axis in ((0, 0), (len(labelled) - 1, 2)):
        energies = []
        for sign in (1, -1):
            moved = _atoms(labelled.numbers, labelled.positions)
            moved.positions[atom, axis] += sign * step
            moved.calc = calculator()
            energies.append(moved.get_potential_energy())
        worst = max(worst, abs((energies[1] - energies[0]) / (2 * step) - labelled.get_forces()[atom, axis]))
    return float(worst)


def _molecule(file: Path | None) -> Any:
    from weightspace.molecules._predict_molecule import read_frames

    if file is not None:
        return read_frames(file)[0]
    from ase.build import molecule

    return molecule(ETHANOL)


def _smoke() -> Labelled:
    with tempfile.TemporaryDirectory() as folder:
        out, short = Path(folder) / "ethanol.extxyz", {"every": 2}
        sample(_molecule(None), out, Sampling(frames=2, **short), progress=False)
        return sample(_molecule(None), out, Sampling(frames=4, **short), progress=False)


def main(argv: Sequence[str] | None = None) -> Labelled:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--molecule", type=Path, help="a file that ASE reads (default: ethanol)")
    parser.add_argument("--delta", type=Path, help="label this file's frames with the difference instead")
    parser.add_argument("--out", type=Path, default=Path("runs/xtb/labels.extxyz"))
    parser.add_argument("--train", metavar="BUDGET", help="then train on the labels, e.g. 5min")
    parser.add_argument("--models", default="tensornet", help="with --train: names with commas")
    for name, value in asdict(Sampling()).items():
        parser.add_argument(f"--{name}", type=type(value), default=value, help=f"(default: {value})")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, in seconds")
    given = parser.parse_args(argv)
    if given.smoke:
        return _smoke()
    if given.delta is not None:
        report = label_difference(given.delta, given.out, charge=given.charge)
    else:
        sampling = Sampling(**{name: getattr(given, name) for name in asdict(Sampling())})
        report = sample(_molecule(given.molecule), given.out, sampling)
    print(json.dumps(asdict(report), indent=2))
    words = ["bench", "molecules", "--data", f"{given.out}:unit=eV", "--models", given.models]
    words += ["--budget", given.train or "5min", "--out", str(given.out.with_suffix(""))]
    if given.train is None:
        print("train on them with\n  weightspace " + " ".join(words))
        return report
    from weightspace.cli import main as command

    if command(words):
        raise SystemExit(1)
    return report


if __name__ == "__main__":
    run(main, interrupted="the same command goes on from the last frame")
