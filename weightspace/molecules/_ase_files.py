"""Molecules of extended XYZ files, in one pass to flat tensors."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from weightspace.errors import ConfigurationError, MoleculeError
from weightspace.extras import MOL
from weightspace.molecules._molecules import ENERGY, FORCES, Molecules
from weightspace.molecules._units import HARTREE, KCAL_MOL, KJ_MOL

UNITS = {"eV": 1.0, "kcal/mol": KCAL_MOL, "Hartree": HARTREE, "kJ/mol": KJ_MOL}
KEYS = {ENERGY: (ENERGY, "REF_energy", "REF_Energy", "energy_U0"), FORCES: (FORCES, "REF_forces", "REF_Forces")}
LONE = {"isolated_atom", "isolatedatom"}


@dataclass(frozen=True)
class Labels:
    """How a file names its labels.

    Args:
        energy: key of energies; by default energy, or REF_energy.
        forces: key of forces; by default forces, or REF_forces.
        unit: of energies, and of forces per Å: eV, kcal/mol, kJ/mol or Hartree.
        stated: the unit was given, so that nobody guesses.
    """

    energy: str | None = None
    forces: str | None = None
    unit: str = "eV"
    stated: bool = False

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise ConfigurationError(f"unit: found {self.unit!r}, wanted one of {', '.join(UNITS)}")


def path_and_labels(spec: str) -> tuple[Path, Labels]:
    """The parts of `FILE:energy=KEY:forces=KEY:unit=UNIT`.

    Raises:
        ConfigurationError: an unknown unit.
    """
    given = dict(re.findall(r":(energy|forces|unit)=([^:]+)", spec))
    path = Path(re.sub(r":(energy|forces|unit)=[^:]+", "", spec))
    return path, Labels(given.get("energy"), given.get("forces"), given.get("unit", "eV"), "unit" in given)


def read_extxyz(path: Path, labels: Labels | None = None) -> tuple[Molecules, dict[int, float]]:
    """All frames, and the energies of single atoms whose config_type is isolated_atom.

    Raises:
        ConfigurationError: ASE is missing.
        MoleculeError: not such a file, cut off, an unknown element, or labels that some frames have and some have not.
    """
    _count_frames(path)
    try:
        from ase.io import read

        frames = read(path, index=":", format="extxyz", do_not_split_by_at_sign=True)
    except ImportError as error:
        raise ConfigurationError(f"{path}: extended XYZ is read by ASE; {MOL}") from error
    except KeyError as error:
        raise MoleculeError(f"{path}: found element {error}, wanted a symbol of the periodic table") from error
    except (OSError, ValueError, IndexError, TypeError) as error:
        raise MoleculeError(f"{path}: not an extended XYZ file ({error})") from error
    return assembled(list(frames), path, labels or Labels())


def _count_frames(path: Path) -> None:
    """Each frame has as many lines as it says: ASE passes over a last one that is cut off."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise MoleculeError(f"{path}: cannot be read ({error})") from error
    while lines and not lines[-1].strip():
        lines.pop()
    at, frame = 0, 0
    while at < len(lines):
        if not lines[at].strip().isdigit():
            raise MoleculeError(f"{path}: line {at + 1} is {lines[at][:40]!r}, wanted the atom count of frame {frame}")
        end = at + 2 + int(lines[at])
        if end > len(lines):
            raise MoleculeError(
                f"{path}: frame {frame} names {lines[at].strip()} atoms, found {max(len(lines) - at - 2, 0)}; "
                "the file is cut off"
            )
        at, frame = end, frame + 1
    if not frame:
        raise MoleculeError(f"{path}: found no frames")


def assembled(frames: Sequence[Any], path: Path, labels: Labels) -> tuple[Molecules, dict[int, float]]:
    """Frames of ASE as molecules, and the energies of isolated atoms among them.

    Raises:
        MoleculeError: labels that some frames have and some have not, or of another shape; cells that are not whole.
    """
    energies = labels_of(frames, path, ENERGY, labels.energy)
    forces = labels_of(frames, path, FORCES, labels.forces)
    unit = UNITS[labels.unit]
    lone = [len(f) == 1 and str(f.info.get("config_type", "")).lower() in LONE for f in frames]
    isolated = {}
    if energies is not None:
        isolated = {
            int(f.numbers[0]): float(e) * unit for f, e, alone in zip(frames, energies, lone, strict=True) if alone
        }
    rows = [i for i, alone in enumerate(lone) if not alone or energies is None]
    kept = [frames[i] for i in rows]
    atom_values = {}
    if forces is not None:
        mine = np.concatenate([np.reshape(forces[i], (-1, 3)) for i in rows] or [np.zeros((0, 3))])
        atom_values[FORCES] = unit * _tensor(mine)
    values = {} if energies is None else {ENERGY: unit * _tensor(np.asarray([energies[i] for i in rows]))}
    return Molecules(
        z=torch.as_tensor(np.concatenate([f.numbers for f in kept] or [np.zeros(0)]), dtype=torch.long),
        pos=_tensor(np.concatenate([f.positions for f in kept] or [np.zeros((0, 3))])),
        ptr=torch.tensor([0, *np.cumsum([len(f) for f in kept]).tolist()]),
        values=values,
        atom_values=atom_values,
        cell=_cells(kept, path),
    ), isolated


def as_array(value: Any) -> np.ndarray:
    """What a file holds under some key; ragged lists are objects."""
    try:
        return np.asarray(value)
    except ValueError:
        return np.asarray(value, dtype=object)


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float64))


def _places(frame: Any, name: str) -> Iterator[Mapping[str, Any]]:
    """Where a label may stand: ASE moves `energy` and `forces` of a file into a calculator."""
    if frame.calc is not None:
        yield frame.calc.results
    yield frame.info if name == ENERGY else frame.arrays
    yield frame.info


def _label_of(frame: Any, name: str, keys: Sequence[str]) -> Any:
    for key in keys:
        for place in _places(frame, name):
            if place.get(key) is not None:
                return place[key]
    return None


def labels_of(frames: Sequence[Any], path: Path, name: str, key: str | None) -> list[Any] | None:
    """The label of every frame in the file's unit, or None where no frame has it.

    Args:
        frames: of ASE.
        path: of their file, for errors.
        name: energy or forces.
        key: under which it stands; None for the usual ones.

    Raises:
        MoleculeError: none under a key that was given, labels that some frames have and some have not, or other shapes.
    """
    keys = (key,) if key else KEYS[name]
    found = [_label_of(frame, name, keys) for frame in frames]
    missing = [i for i, label in enumerate(found) if label is None]
    alone = name == FORCES and all(len(frames[i]) == 1 for i in missing)  # no force acts on a single atom
    if key and len(missing) == len(frames):
        known = sorted({word for frame in frames[:1] for place in _places(frame, name) for word in place})
        raise MoleculeError(f"{path}: found no {name} under {key!r}, the first frame has {', '.join(known) or 'none'}")
    if len(missing) == len(frames):
        return None
    if missing and alone:
        found = [np.zeros((1, 3)) if label is None else label for label in found]
    elif missing:
        raise MoleculeError(
            f"{path}: frame {missing[0]} has no {name} ({len(missing)} of {len(frames)} have none), wanted all or none"
        )
    for i, (frame, label) in enumerate(zip(frames, found, strict=True)):
        wanted = 1 if name == ENERGY else 3 * len(frame)
        array = as_array(label)
        if array.size != wanted or array.dtype.kind not in "fiu":
            raise MoleculeError(
                f"{path}: frame {i} has {name} of shape {array.shape} and kind {array.dtype}, wanted {wanted} numbers "
                f"for its {len(frame)} atoms"
            )
    return found if name == FORCES else [float(np.reshape(label, -1)[0]) for label in found]


def _cells(frames: Sequence[Any], path: Path) -> torch.Tensor | None:
    kinds = {tuple(bool(p) for p in frame.pbc) for frame in frames}
    if any(len(set(kind)) > 1 for kind in kinds):
        row = next(i for i, frame in enumerate(frames) if len({bool(p) for p in frame.pbc}) > 1)
        raise MoleculeError(
            f"{path}: frame {row} is periodic along some directions alone (pbc {frames[row].pbc.tolist()}), wanted all "
            "or none; for a slab set pbc to T T T with a vacuum wider than the cutoff"
        )
    if len(kinds) > 1:
        raise MoleculeError(f"{path}: some frames are periodic and some are not, wanted all or none")
    if not kinds or not next(iter(kinds))[0]:
        return None
    flat = [row for row, frame in enumerate(frames) if not np.asarray(frame.cell).any(axis=1).all()]
    if flat:
        raise MoleculeError(
            f"{path}: frame {flat[0]} is periodic with the cell {np.asarray(frames[flat[0]].cell).tolist()}, wanted "
            'three lattice vectors; add Lattice="...", or pbc="F F F" for a molecule'
        )
    return _tensor(np.stack([np.asarray(frame.cell) for frame in frames]))
