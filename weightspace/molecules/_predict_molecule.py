"""Predictions for the molecules of a file."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from weightspace.errors import ConfigurationError, MoleculeError
from weightspace.molecules._ase import ase_module
from weightspace.molecules._ase_files import UNITS, Labels, labels_of, path_and_labels
from weightspace.molecules._database import database_frames
from weightspace.molecules._molecules import ENERGY, FORCES
from weightspace.molecules._relax import relax

if TYPE_CHECKING:
    from ase import Atoms

    from weightspace.molecules._calculator import WeightspaceCalculator

OUTPUTS, DATABASES = (".xyz", ".extxyz"), (".db", ".json")
UNREADABLE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    StopIteration,
    TypeError,
    ValueError,
)  # what ASE's readers raise at files that they do not understand


@dataclass(frozen=True)
class Relaxation:
    """How far `predict_molecules` relaxes geometries.

    Args:
        fmax: largest force that is left, in eV/Å.
        steps: at most.
    """

    fmax: float = 0.01
    steps: int = 500

    def __post_init__(self) -> None:
        if not (self.fmax > 0 and self.steps > 0):
            raise ConfigurationError(
                f"relaxation: found fmax={self.fmax} and steps={self.steps}, wanted positive numbers"
            )


def predict_molecules(
    file: str | Path,
    model: str | Path,
    *,
    forces: str | Path | None = None,
    relaxation: Relaxation | None = None,
    model_class: str | None = None,
    device: str | None = None,
    allow_isolated: bool = False,
) -> str:
    """Energies and forces of all molecules in a file, by a trained model, in float64.

    Args:
        file: any that ASE reads, with one or more frames; pickles are refused, as reading one runs what is in it.
            `FILE:energy=KEY:forces=KEY:unit=kcal/mol` says how its labels are named and what unit they have.
        model: folder that `save_pretrained` wrote, or that of a finished run.
        forces: extended XYZ file to write with geometries, energies and forces (and stresses of crystals).
        relaxation: relax each geometry first; None for the geometries as they are.
        model_class: path of a user's own model, package.module:Class.
        device: where it runs; the CPU by default.
        allow_isolated: whether an atom of several may have no neighbour within the cutoff.

    Returns:
        A table: frame, formula, energy in eV, largest force in eV/Å; then errors against the labels that the file
        has, and what did not relax.

    Raises:
        CheckpointError: the folder of the model is not what it should be.
        ConfigurationError: a file that is not there, that ASE does not read, or that is a pickle; where to write.
        MoleculeError: the model does not take a molecule; the error names the frame.
    """
    ase_module("ase", "predict-molecule")
    from weightspace.molecules._calculator import WeightspaceCalculator

    file, labels = path_and_labels(str(file))
    out = None if forces is None else Path(forces)
    if out is not None and (out.suffix not in OUTPUTS or out.resolve() == file.resolve()):
        raise ConfigurationError(f"forces: found {str(out)!r}, wanted another file than the input, .xyz or .extxyz")
    frames = read_frames(file, labels)
    wanted = _Wanted.of(frames, file, labels)
    calculator = WeightspaceCalculator(model, device=device, model_class=model_class, allow_isolated=allow_isolated)
    done = [_predicted(atoms, f"{file}, frame {row}", calculator, relaxation) for row, atoms in enumerate(frames)]
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        ase_module("ase.io", "predict-molecule").write(out, [each.atoms for each in done], format="extxyz")
    lines = [f"{'frame':>6}  {'formula':<16}{'energy (eV)':>18}  {'largest force (eV/Å)':>20}"]
    lines += [each.line(row) for row, each in enumerate(done)]
    lines += [] if relaxation is not None else wanted.errors(done)
    rough = [str(row) for row, each in enumerate(done) if not each.relaxed]
    lines += [f"note: not relaxed to the force asked for: frame {', '.join(rough)}"] if rough else []
    lines += [f"written to {out}"] if out is not None else []
    return "\n".join(lines)


def read_frames(file: Path, labels: Labels | None = None) -> "list[Atoms]":
    """All frames of a file that ASE reads, never by pickle; of databases with the units that they name.

    Raises:
        ConfigurationError: no such file, a pickle, a kind that ASE does not know, or a file without frames.
    """
    if not file.is_file():
        raise ConfigurationError(f"{file}: no such file; wanted a file of molecules that ASE reads, such as .xyz")
    with file.open("rb") as stream:
        first = stream.read(16)
    if first.startswith((b"\x80", b"PickleTraj")) or (file.suffix == ".traj" and not first.startswith(b"- of Ulm")):
        raise ConfigurationError(f"{file}: a pickle, which runs what is in it; write the molecules as extended XYZ")
    if file.suffix in DATABASES:
        frames = database_frames(file, labels or Labels())
        if not frames:
            raise ConfigurationError(f"{file}: found no frames, wanted at least one molecule")
        return frames
    unknown = ase_module("ase.io.formats", "predict-molecule").UnknownFileTypeError
    try:
        frames = ase_module("ase.io", "predict-molecule").read(file, index=":", do_not_split_by_at_sign=True)
    except (*UNREADABLE, unknown) as error:
        raise ConfigurationError(
            f"{file}: ASE cannot read it ({type(error).__name__}: {error}); wanted a file of molecules, such as .xyz"
        ) from error
    if not frames:
        raise ConfigurationError(f"{file}: found no frames, wanted at least one molecule")
    return frames


@dataclass(frozen=True)
class _Prediction:
    atoms: "Atoms"  # with the results
    relaxed: bool

    @property
    def energy(self) -> float:
        return float(self.atoms.get_potential_energy())

    @property
    def forces(self) -> np.ndarray:
        return self.atoms.get_forces(apply_constraint=False)

    def line(self, row: int) -> str:
        largest = float(np.linalg.norm(self.forces, axis=1).max(initial=0.0))
        return f"{row:>6}  {self.atoms.get_chemical_formula():<16}{self.energy:>18.6f}  {largest:>20.6f}"


def _predicted(
    atoms: "Atoms", where: str, calculator: "WeightspaceCalculator", relaxation: Relaxation | None
) -> _Prediction:
    copy, relaxed = atoms.copy(), True
    copy.calc = calculator
    try:
        if relaxation is not None:
            copy, relaxed = relax(copy, calculator, fmax=relaxation.fmax, steps=relaxation.steps)
        copy.get_forces(apply_constraint=False)
    except MoleculeError as error:
        raise MoleculeError(f"{where}: {error}") from error
    kept: dict[str, Any] = {name: calculator.results[name] for name in ("energy", "forces", "stress")
                            if name in calculator.results}  # fmt: skip
    copy.calc = ase_module("ase.calculators.singlepoint", "predict-molecule").SinglePointCalculator(copy, **kept)
    return _Prediction(copy, relaxed)


def _finite(labels: list[Any] | None, file: Path, name: str) -> list[Any] | None:
    for row, label in enumerate(labels or ()):
        if not np.isfinite(np.asarray(label, dtype=float)).all():
            raise MoleculeError(
                f"{file}: {name} of frame {row}: found numbers that are not finite; correct them or leave it out"
            )
    return labels


@dataclass(frozen=True)
class _Wanted:
    """Labels of the file, in eV and eV/Å: None where there are none; what must be said of them."""

    energy: list[float] | None
    forces: list[np.ndarray] | None
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, frames: "list[Atoms]", file: Path, labels: Labels) -> "_Wanted":
        """Read them; labels that not all frames have, or nan, are an error only where their key was given."""
        found: dict[str, list[Any] | None] = {}
        notes = []
        for name, key in ((ENERGY, labels.energy), (FORCES, labels.forces)):
            try:
                found[name] = _finite(labels_of(frames, file, name, key), file, name)
            except MoleculeError as error:
                if key is not None:
                    raise
                found[name] = None
                notes.append(f"note: no errors of {name}: {error}")
        unit, energy, forces = UNITS[labels.unit], found[ENERGY], found[FORCES]
        return cls(
            None if energy is None else [unit * value for value in energy],
            None if forces is None else [unit * np.reshape(value, (-1, 3)) for value in forces],
            tuple(notes),
        )

    def errors(self, done: list[_Prediction]) -> list[str]:
        """Mean absolute errors, and notes."""
        lines = []
        if self.energy is not None:
            errors = [abs(label - each.energy) for label, each in zip(self.energy, done, strict=True)]
            lines.append(f"mean absolute error against the file's energies: {1000 * float(np.mean(errors)):.3f} meV")
        if self.forces is not None:
            gaps = [np.abs(label - each.forces).ravel() for label, each in zip(self.forces, done, strict=True)]
            lines.append(
                f"mean absolute error against the file's forces: {1000 * np.concatenate(gaps).mean():.3f} meV/Å"
            )
        return [*lines, *self.notes]
