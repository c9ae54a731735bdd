"""QM7: 7,101 molecules of up to 7 heavy atoms with atomisation energies of PBE0 and DFTB3."""

import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from weightspace.data_root import data_folder
from weightspace.errors import ConfigurationError, MoleculeError
from weightspace.molecules._asked import Asked
from weightspace.molecules._checks import check_molecules
from weightspace.molecules._downloads import AGAIN, FEWER
from weightspace.molecules._draws import random_split
from weightspace.molecules._molecules import ENERGY, MolecularSplits, Molecules
from weightspace.molecules._sources import QM7_REPOSITORY
from weightspace.molecules._symbols import atomic_number
from weightspace.molecules._units import KCAL_MOL

ARCHIVE, ENERGIES = "qml_qm7_xyz.tar.gz", "hof_qm7.txt"
MOLECULES, VALIDATION, TEST = 7101, 1000, 1101
DFTB3 = "dftb3_energy"


def load_qm7(asked: Asked) -> MolecularSplits:
    """QM7: 5,000 molecules to train, 1,000 to validate, 1,101 to test (these the same for every seed).

    The target is the PBE0 atomisation energy (negative) in eV; reports are in kcal/mol. There are no forces.

    Raises:
        ConfigurationError: no data folder.
        MoleculeError: files that are not as published, or hold fewer molecules where not all sizes are given.
    """
    try:
        folder = data_folder("qm7", ARCHIVE, asked.data_root)
        molecules = read_qm7(folder / ARCHIVE, folder / ENERGIES)
    except ConfigurationError:
        folder = asked.files("qm7", [QM7_REPOSITORY])
        molecules = read_qm7(folder / QM7_REPOSITORY.name, None)
    check_molecules(molecules, where="qm7")
    if len(molecules) < MOLECULES and None in asked.sizes:
        raise MoleculeError(f"qm7: the split names {MOLECULES} molecules, found {len(molecules)}; {FEWER}")
    rows = random_split(len(molecules), asked.seed, sizes=asked.sizes, defaults=(VALIDATION, TEST), where="qm7")
    return qm7_splits("qm7", molecules, rows)


def qm7_splits(
    name: str, molecules: Molecules, rows: tuple[Tensor, Tensor, Tensor], *, notes: tuple[str, ...] = ()
) -> MolecularSplits:
    """Parts with the unit of reports."""
    parts = [molecules[part] for part in rows]
    return MolecularSplits(
        name=name, train=parts[0], validation=parts[1], tests={"test": parts[2]}, unit="kcal/mol", notes=notes
    )


def read_qm7(archive: Path, energies: Path | None) -> Molecules:
    """The molecules of an archive of `qm7/NNNN.xyz`, in order of their names, with energies joined by name.

    Members are read in memory; nothing is extracted.

    Args:
        archive: tar, compressed or not.
        energies: lines of name, PBE0 and DFTB3 energy in kcal/mol; None where they lie in the archive.

    Raises:
        MoleculeError: a damaged archive, a molecule without energy or an energy without molecule.
    """
    texts: dict[str, str] = {}
    listed = "" if energies is None else _text(energies, archive)
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                folder, _, name = member.name.rpartition("/")
                if member.isfile() and folder.endswith("qm7") and name.endswith(".xyz"):
                    texts[name] = tar.extractfile(member).read().decode()  # type: ignore[union-attr]
                elif energies is None and member.isfile() and name == ENERGIES:
                    listed = tar.extractfile(member).read().decode()  # type: ignore[union-attr]
    except (OSError, EOFError, tarfile.TarError, zlib.error, UnicodeDecodeError) as error:
        raise MoleculeError(f"{archive}: not a whole archive ({error}); {AGAIN}") from error
    table = _energies(listed, energies or archive)
    apart = sorted(set(texts) ^ set(table))
    if apart or not texts:
        raise MoleculeError(
            f"{archive}: found {len(texts)} molecules and {len(table)} energies, wanted one each by name; first "
            f"without partner: {apart[0] if apart else 'none'}"
        )
    return _joined(texts, table, archive)


def _text(energies: Path, archive: Path) -> str:
    try:
        return energies.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise MoleculeError(
            f"{energies}: cannot be read ({error}); {energies.name} belongs beside {archive}: put it there, or delete "
            "the archive and run with download=True (--download), which fetches both"
        ) from error


def _energies(text: str, where: Path) -> dict[str, tuple[float, float]]:
    table = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        try:
            table[words[0]] = (float(words[1]), float(words[2]))
        except (IndexError, ValueError) as error:
            raise MoleculeError(f"{where}: line {number} is {line[:60]!r}, wanted a name and two energies") from error
    return table


def _joined(texts: Mapping[str, str], table: Mapping[str, tuple[float, float]], where: Path) -> Molecules:
    z: list[int] = []
    pos: list[list[float]] = []
    ptr = [0]
    names = sorted(texts)
    for name in names:
        lines = texts[name].splitlines()
        try:
            n = int(lines[0])
            atoms = [line.split() for line in lines[2 : 2 + n]]
            pos += [[float(x), float(y), float(w)] for _, x, y, w, *_ in atoms]
            if len(atoms) != n:
                raise ValueError(f"names {n} atoms, found {len(atoms)}")
        except (IndexError, ValueError) as error:
            raise MoleculeError(f"{where}: {name} is not an XYZ file ({error})") from error
        z += [atomic_number(atom[0], f"{where}: {name}") for atom in atoms]
        ptr.append(len(z))
    energies = torch.tensor([table[name] for name in names], dtype=torch.float64) * KCAL_MOL
    return Molecules(
        z=torch.tensor(z),
        pos=torch.tensor(pos, dtype=torch.float64),
        ptr=torch.tensor(ptr),
        values={ENERGY: energies[:, 0].contiguous(), DFTB3: energies[:, 1].contiguous()},
    )
