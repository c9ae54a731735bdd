"""Molecules of ASE databases, SchNetPack's among them, which name their units."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from weightspace.errors import ConfigurationError, MoleculeError
from weightspace.extras import MOL
from weightspace.molecules._ase_files import KEYS, UNITS, Labels, as_array, assembled
from weightspace.molecules._molecules import ENERGY, FORCES, Molecules
from weightspace.molecules._units import BOHR, HARTREE

ENERGIES = {**UNITS, "meV": 1e-3, "Ha": HARTREE}
LENGTHS = {"Å": 1.0, "A": 1.0, "Ang": 1.0, "Angstrom": 1.0, "Bohr": BOHR, "bohr": BOHR, "a0": BOHR, "nm": 10.0}
UNITS_OF_VALUES, UNIT_OF_LENGTH = "_property_unit_dict", "_distance_unit"


def read_database(path: Path, labels: Labels | None = None) -> tuple[Molecules, dict[int, float]]:
    """All rows of an ASE database (SQLite or JSON), which stores eV and Å; of SchNetPack's, with the units they name.

    A unit given in `labels` counts instead of the one that the database names for energies and forces.

    Raises:
        ConfigurationError: ASE is missing.
        MoleculeError: not such a file, a unit that nobody knows, or labels that some rows have and some have not.
    """
    labels = labels or Labels()
    return assembled(database_frames(path, labels), path, labels)


def database_frames(path: Path, labels: Labels) -> list[Any]:
    """The rows as frames of ASE in Å, labels in their `info`, in eV where the database names a unit.

    Raises:
        ConfigurationError: ASE is missing.
        MoleculeError: not such a file, or a unit that nobody knows.
    """
    try:
        from ase.db import connect

        with connect(path, serial=True) as database:
            frames = [row.toatoms(add_additional_information=True) for row in database.select()]
            metadata = dict(database.metadata)
    except ImportError as error:
        raise ConfigurationError(f"{path}: databases are read by ASE; {MOL}") from error
    except Exception as error:  # noqa: BLE001  sqlite3, JSON and ASE each raise their own
        raise MoleculeError(f"{path}: not an ASE database ({error})") from error
    factors, length = _factors(metadata, path, labels), metadata.get(UNIT_OF_LENGTH)
    scale = 1.0 if length is None else _known(str(length), LENGTHS, UNIT_OF_LENGTH, path)
    for frame in frames:
        frame.info.update(frame.info.pop("key_value_pairs", {}))
        for name, value in frame.info.pop("data", {}).items():
            frame.info[name] = _scaled(value, factors[name]) if name in factors else value
        if scale != 1.0:
            frame.set_cell(np.asarray(frame.cell) * scale)
            frame.positions *= scale
    return frames


def _scaled(value: Any, factor: float) -> Any:
    """A label in eV, or eV/Å; whatever is no number stays as it is, to be refused where labels are looked at."""
    array = as_array(value)
    return array * factor if array.dtype.kind in "fiu" else value


def _factors(metadata: Mapping[str, Any], path: Path, labels: Labels) -> dict[str, float]:
    """What the labels of a database are multiplied with, by their keys."""
    units = metadata.get(UNITS_OF_VALUES)
    if labels.stated or not isinstance(units, Mapping):
        return {}
    found = {}
    for key in (labels.energy,) if labels.energy else KEYS[ENERGY]:
        if key in units:
            found[key] = _known(str(units[key]), ENERGIES, f"unit of {key}", path)
    for key in (labels.forces,) if labels.forces else KEYS[FORCES]:
        if key in units:
            unit = str(units[key]).replace(" ", "")
            energy, _, length = unit.rpartition("/")
            if length not in LENGTHS:  # kcal/mol and no length: per Å
                energy, length = unit, "Å"
            found[key] = _known(energy, ENERGIES, f"unit of {key}", path) / LENGTHS[length]
    return found


def _known(unit: str, table: Mapping[str, float], what: str, path: Path) -> float:
    if unit not in table:
        raise MoleculeError(
            f"{path}: found {unit!r} as {what}, wanted one of {', '.join(table)}; correct the database's metadata"
            + ("" if table is LENGTHS else f", or name the unit: {path}:unit=kcal/mol")
        )
    return table[unit]
