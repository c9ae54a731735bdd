"""Revised MD17: ten small molecules at 500 K, PBE/def2-SVP, official split 01."""

import difflib
import tokenize
import zlib
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray

from weightspace.data_root import data_folder
from weightspace.errors import ConfigurationError, MoleculeError
from weightspace.molecules._asked import Asked
from weightspace.molecules._checks import check_molecules
from weightspace.molecules._downloads import AGAIN, FEWER
from weightspace.molecules._draws import drawn_parts, fixed_subset
from weightspace.molecules._molecules import ENERGY, FORCES, MolecularSplits, Molecules
from weightspace.molecules._sources import rmd17_files
from weightspace.molecules._units import KCAL_MOL

NAMES = (
    "aspirin",
    "azobenzene",
    "benzene",
    "ethanol",
    "malonaldehyde",
    "naphthalene",
    "paracetamol",
    "salicylic",
    "toluene",
    "uracil",
)
MOST_TRAINING_FRAMES, TEST_FRAMES = 1000, 1000
VALIDATION_FRAMES = 50
TEMPERATURE = 500.0  # K, of the trajectories of MD17
FIELDS = ("nuclear_charges", "coords", "energies", "forces")
DAMAGED = (OSError, ValueError, EOFError, MemoryError, SyntaxError, tokenize.TokenError, BadZipFile, zlib.error)
"""What numpy raises at an npz file with damaged bytes or an absurd header."""


def known_name(molecule: str) -> str:
    """The molecule's name as in the files.

    Raises:
        ConfigurationError: not one of the ten.
    """
    if molecule in NAMES:
        return molecule
    near = difflib.get_close_matches(molecule.lower(), NAMES, n=2, cutoff=0.5)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    raise ConfigurationError(f"rmd17: found molecule {molecule!r}, wanted one of {', '.join(NAMES)}{hint}")


def read_npz(
    path: Path,
    rows: NDArray[np.int64] | None = None,
    *,
    fix: str = "write it again by numpy.savez",
    unit: float = KCAL_MOL,
) -> Molecules:
    """Frames of one molecule in the format of rMD17, kcal/mol to eV.

    Args:
        path: npz with nuclear_charges (n,), coords (G, n, 3), energies (G,) and forces (G, n, 3).
        rows: which frames, in this order; all by default.
        fix: what to do about a damaged file, for the error.
        unit: of energies, and of forces per Å, in eV.

    Raises:
        MoleculeError: not such a file, an array is missing, or shapes do not fit each other.
    """
    arrays = _arrays(path, fix)
    z, pos, energies, forces = (arrays[name] for name in FIELDS)
    frames = len(energies)
    if pos.shape != (frames, len(z), 3) or forces.shape != pos.shape or energies.shape != (frames,):
        raise MoleculeError(
            f"{path}: found nuclear_charges {z.shape}, coords {pos.shape}, energies {energies.shape} and forces "
            f"{forces.shape}, wanted (n,), (G, n, 3), (G,) and (G, n, 3)"
        )
    if rows is not None:
        if len(rows) and rows.max() >= frames:
            raise MoleculeError(f"{path}: the split names frame {rows.max()}, found {frames}; {fix}")
        pos, energies, forces, frames = pos[rows], energies[rows], forces[rows], len(rows)
    return Molecules(
        z=torch.from_numpy(z.astype(np.int64)).repeat(frames),
        pos=torch.from_numpy(pos.reshape(-1, 3).astype(np.float64)),
        ptr=torch.arange(frames + 1) * len(z),
        values={ENERGY: torch.from_numpy(energies.astype(np.float64)) * unit},
        atom_values={FORCES: torch.from_numpy(forces.reshape(-1, 3).astype(np.float64)) * unit},
    )


def _arrays(path: Path, fix: str) -> dict[str, NDArray[np.float64]]:
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            missing = [name for name in FIELDS if name not in file.files]
            if missing:
                raise MoleculeError(f"{path}: found arrays {sorted(file.files)}, wanted {list(FIELDS)} as in rMD17")
            found = {name: file[name] for name in FIELDS}
            kinds = {name: str(array.dtype) for name, array in found.items() if array.dtype.kind not in "iuf"}
            if kinds:
                raise MoleculeError(f"{path}: found arrays of {kinds}, wanted numbers; {fix}")
            return found
    except MoleculeError:
        raise
    except DAMAGED as error:
        raise MoleculeError(f"{path}: not a whole npz file of plain arrays ({error}); {fix}") from error


def load_rmd17(molecule: str, asked: Asked) -> MolecularSplits:
    """One molecule of rMD17 with its official split 01: 1,000 frames to train and validate, 1,000 to test, or fewer.

    Raises:
        ConfigurationError: unknown molecule, no data folder, or more than 1,000 frames asked for.
        MoleculeError: a file that is not as published, or has fewer frames than are asked for.
    """
    name = known_name(molecule)
    fitted, tested = _official(name, asked)
    held = VALIDATION_FRAMES if asked.validation is None else asked.validation
    kept = MOST_TRAINING_FRAMES - held if asked.train is None else asked.train
    if kept + held > MOST_TRAINING_FRAMES:
        raise ConfigurationError(
            f"rmd17: found {kept} training and {held} validation frames, wanted at most {MOST_TRAINING_FRAMES} "
            "together; frames of one trajectory are correlated, and the data set's authors ask that no more be used"
        )
    where = f"rmd17:{name}"
    for label, frames in (("training", fitted), ("test", tested)):
        check_molecules(frames, where=f"{where}, {label}")
    rows = drawn_parts(len(fitted), asked.seed, sizes=(kept, held), where=where, fix=FEWER)
    published = fixed_subset(len(tested), asked.test, f"{where}, test", published=TEST_FRAMES, fix=FEWER)
    return MolecularSplits(
        name=where,
        train=fitted[rows[0]],
        validation=fitted[rows[1]],
        tests={"test": tested[published]},
        temperatures={"test": TEMPERATURE},
    )


def _official(name: str, asked: Asked) -> tuple[Molecules, Molecules]:
    """The 1,000 training and the 1,000 test frames: from two files, or from the archive's trajectory and index."""
    try:
        folder = data_folder("rmd17", f"**/npz_data/rmd17_{name}.npz", asked.data_root)
        trajectory = next(iter(sorted(folder.glob(f"**/npz_data/rmd17_{name}.npz"))))
    except ConfigurationError:
        files = rmd17_files(name)
        folder = asked.files("rmd17", files)
        return read_npz(folder / files[0].name, fix=AGAIN), read_npz(folder / files[1].name, fix=AGAIN)
    splits = trajectory.parent.parent / "splits"
    train, test = (read_npz(trajectory, _index(splits, part), fix=AGAIN) for part in ("train", "test"))
    return train, test


def _index(folder: Path, part: str) -> NDArray[np.int64]:
    path = folder / f"index_{part}_01.csv"
    try:
        return np.loadtxt(path, dtype=np.int64, ndmin=1)
    except (OSError, ValueError) as error:
        raise MoleculeError(
            f"{path}: not a list of frames ({error}); keep splits/ beside npz_data/ as in the archive"
        ) from error
