"""A user's own molecules: extended XYZ, ASE databases, and npz in the format of rMD17."""

from pathlib import Path

from weightspace.errors import ConfigurationError, MoleculeError
from weightspace.molecules._ase_files import UNITS, Labels, path_and_labels, read_extxyz
from weightspace.molecules._asked import Asked
from weightspace.molecules._checks import check_kcal, check_molecules
from weightspace.molecules._database import read_database
from weightspace.molecules._draws import random_split
from weightspace.molecules._molecules import MolecularSplits, Molecules
from weightspace.molecules._rmd17 import read_npz

SUFFIXES = (".xyz", ".extxyz", ".db", ".json", ".npz")


def is_file_spec(spec: str) -> bool:
    """Whether a spec names a file rather than a data set."""
    return path_and_labels(spec)[0].suffix in SUFFIXES


def read_molecules(spec: str | Path) -> Molecules:
    """The molecules of one file, checked; with energies and forces where it has them.

    Args:
        spec: path to .xyz or .extxyz, .db or .json (ASE database), or .npz (arrays as in rMD17, and kcal/mol
            unless a unit is given); labels of other names and units as `FILE:energy=KEY:forces=KEY:unit=kcal/mol` (eV,
            kcal/mol, kJ/mol, Hartree; of forces the same per Å).

    Raises:
        ConfigurationError: no such file, an unknown kind, or ASE is missing.
        MoleculeError: a file that is not what it should be.
    """
    return _read(str(spec))[0]


def _read(spec: str) -> tuple[Molecules, dict[int, float]]:
    path, labels = path_and_labels(spec)
    if path.suffix not in SUFFIXES:
        raise ConfigurationError(f"{path}: found a file of kind {path.suffix!r}, wanted one of {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise ConfigurationError(f"{path}: no such file")
    molecules, isolated = _read_kind(path, labels)
    if not len(molecules):
        what = f"isolated atoms alone ({len(isolated)})" if isolated else "nothing"
        raise MoleculeError(f"{path}: found {what}, wanted molecules; add frames without config_type=isolated_atom")
    check_molecules(molecules, where=str(path), isolated=isolated, units=not labels.stated)
    if path.suffix == ".npz" and not labels.stated:
        check_kcal(molecules, where=str(path))
    return molecules, isolated


def _read_kind(path: Path, labels: Labels) -> tuple[Molecules, dict[int, float]]:
    if path.suffix == ".npz":
        if labels.energy or labels.forces:
            raise ConfigurationError(f"{path}: npz files have the arrays of rMD17, under their names; give no keys")
        return read_npz(path, unit=UNITS[labels.unit if labels.stated else "kcal/mol"]), {}
    return (read_database if path.suffix in (".db", ".json") else read_extxyz)(path, labels)


def load_file(spec: str, asked: Asked) -> MolecularSplits:
    """A user's file, split at random: 10 % to test, the same for every seed; of the rest 10 % of all to validate.

    Raises:
        ConfigurationError: no such file, an unknown kind, or ASE is missing.
        MoleculeError: a file that is not what it should be, without energies, or with too few molecules.
    """
    molecules, isolated = _read(spec)
    path, _ = path_and_labels(spec)
    if molecules.energy is None:
        raise MoleculeError(
            f"{path}: found no energies, wanted them to train on; name their key with {path}:energy=KEY"
        )
    tenth = len(molecules) // 10
    rows = random_split(len(molecules), asked.seed, sizes=asked.sizes, defaults=(tenth, tenth), where=str(path))
    return MolecularSplits(
        name=path.name,
        train=molecules[rows[0]],
        validation=molecules[rows[1]],
        tests={"test": molecules[rows[2]]},
        isolated=isolated,
    )
