"""QM9: 130,831 molecules of C, H, N, O, F at the B3LYP level, twelve targets, both published splits."""

import csv
import shutil
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from zipfile import BadZipFile, ZipFile

import numpy as np
import torch
from torch import Tensor

from weightspace.data_root import data_folder
from weightspace.errors import ConfigurationError, MoleculeError
from weightspace.molecules._asked import Asked
from weightspace.molecules._checks import check_molecules
from weightspace.molecules._downloads import AGAIN
from weightspace.molecules._molecules import MolecularSplits, Molecules
from weightspace.molecules._qm9_processed import read_processed
from weightspace.molecules._qm9_targets import ATOM_REFERENCES, TARGETS, UNITS
from weightspace.molecules._sdf import read_sdf
from weightspace.molecules._sources import QM9_MOLECULES, QM9_REFUSED
from weightspace.molecules._units import HARTREE

SDF, TABLE, REFUSED = "gdb9.sdf", "gdb9.sdf.csv", "uncharacterized.txt"
PROCESSED = "data_v3.pt"
RECORDS, UNCHARACTERISED = 133885, 3054
KEPT = RECORDS - UNCHARACTERISED
SPLITS = ("dimenet", "egnn")


def load_qm9(variant: str, asked: Asked) -> MolecularSplits:
    """One target of QM9 with a published split; fewer molecules are the first ones of each part.

    Source: Ramakrishnan et al. 2014 (data); "dimenet", Gasteiger et al. 2020, arXiv 2003.03123: 110,000 / 10,000 /
    10,831 from `RandomState(42).permutation`; "egnn", Satorras et al. 2021, arXiv 2102.09844 (as Cormorant): 100,000 /
    17,748 / 13,083 from seed 0. Both leave out the 3,054 molecules of `uncharacterized.txt`.

    Args:
        variant: target, or target:split, such as "U0" (dimenet) or "U0:egnn".
        asked: where, how many, and whether bars are shown while files are fetched and 133,885 records are read.

    Raises:
        ConfigurationError: an unknown target or split, or no data folder.
        MoleculeError: files that are not as published.
    """
    target, split = target_and_split(variant)
    molecules = _all(asked)
    check_molecules(molecules, where="qm9", units=False)  # published units, converted by the reader
    rows = [part[:size] for part, size in zip(published_split(split), asked.sizes, strict=True)]
    for part, size in zip(rows, asked.sizes, strict=True):
        if size is not None and len(part) < size:
            raise MoleculeError(f"qm9: the split {split} has {len(part)} molecules in a part, {size} were asked for")
    name = f"qm9:{target}" + ("" if split == SPLITS[0] else f":{split}")
    return splits_of_target(name, molecules, target, (rows[0], rows[1], rows[2]), notes=(f"split of {split}",))


def target_and_split(variant: str) -> tuple[str, str]:
    """The parts of "U0:egnn"; U0 and dimenet where left out.

    Raises:
        ConfigurationError: unknown ones.
    """
    target, _, split = (variant or "U0").partition(":")
    if target not in TARGETS:
        raise ConfigurationError(f"qm9: found target {target!r}, wanted one of {', '.join(TARGETS)}")
    if (split or SPLITS[0]) not in SPLITS:
        raise ConfigurationError(f"qm9: found split {split!r}, wanted one of {', '.join(SPLITS)}")
    return target, split or SPLITS[0]


def published_split(split: str) -> tuple[Tensor, Tensor, Tensor]:
    """Rows among the 130,831 molecules that are left, in order of their names.

    Example:
        >>> [len(part) for part in published_split("egnn")]
        [100000, 17748, 13083]
    """
    seed, train, validation = (42, 110000, 10000) if split == SPLITS[0] else (0, 100000, 17748)
    order = torch.from_numpy(np.random.RandomState(seed).permutation(KEPT))
    return order[:train], order[train : train + validation], order[train + validation :]


def splits_of_target(
    name: str,
    molecules: Molecules,
    target: str,
    rows: tuple[Tensor, Tensor, Tensor],
    *,
    notes: tuple[str, ...] = (),
) -> MolecularSplits:
    """Parts with the references and the unit of one target; energies are reported in meV."""
    parts = [molecules[part] for part in rows]
    return MolecularSplits(
        name=name,
        train=parts[0],
        validation=parts[1],
        tests={"test": parts[2]},
        isolated=MappingProxyType(dict(ATOM_REFERENCES.get(target, {}))),
        target=target,
        unit="meV" if UNITS[target] == "eV" else UNITS[target],
        notes=notes,
    )


def read_sdf_and_csv(sdf: Path, table: Path, *, progress: bool = False) -> Molecules:
    """Molecules of an SD file with the targets of the table beside it, Hartree to eV.

    Raises:
        MoleculeError: records and rows that do not match by name, or a missing column.
    """
    names, z, pos, ptr = read_sdf(sdf, progress=progress)
    ids, columns = _table(table)
    if ids != names:
        row = next((i for i, pair in enumerate(zip(ids, names, strict=False)) if pair[0] != pair[1]), len(names))
        raise MoleculeError(
            f"{table}: found {len(ids)} rows, wanted one for each of the {len(names)} records of {sdf.name}, in their "
            f"order; they part at row {row}"
        )
    return Molecules(z=z, pos=pos, ptr=ptr, values=columns)


def _table(path: Path) -> tuple[list[str], Mapping[str, Tensor]]:
    try:
        with open(path, newline="") as file:
            head, *rows = list(csv.reader(file))
        place = [head.index(column) for column, _ in TARGETS.values()]
        values = torch.from_numpy(np.array([[row[i] for i in place] for row in rows]).astype(np.float64))
        ids = [row[head.index("mol_id")] for row in rows]
    except (OSError, ValueError, IndexError) as error:
        raise MoleculeError(
            f"{path}: not the table of QM9 ({error}); wanted columns mol_id, "
            f"{', '.join(column for column, _ in TARGETS.values())}"
        ) from error
    factors = [HARTREE if unit == "Hartree" else 1.0 for _, unit in TARGETS.values()]
    return ids, {name: values[:, i] * factors[i] for i, name in enumerate(TARGETS)}


def _all(asked: Asked) -> Molecules:
    processed = _processed(asked.data_root)
    if processed is not None:
        molecules = read_processed(processed)
        _expect(len(molecules), KEPT, "molecules", processed)
        return molecules
    folder, refused = _published(asked)
    molecules = read_sdf_and_csv(folder / SDF, folder / TABLE, progress=asked.progress)
    _expect(len(molecules), RECORDS, "records", folder / SDF)
    kept = torch.ones(RECORDS, dtype=torch.bool)
    kept[uncharacterised(refused)] = False
    return molecules[kept]


def _processed(root: str | Path | None) -> Path | None:
    """PyG's file, unless the published ones are there."""
    try:
        data_folder("qm9", SDF, root)
    except ConfigurationError:
        try:
            folder = data_folder("qm9", f"**/{PROCESSED}", root)
        except ConfigurationError:
            return None
        return min(folder.glob(f"**/{PROCESSED}"))
    return None


def _published(asked: Asked) -> tuple[Path, Path]:
    """The folder of the SD file and its table, unpacked from the published archive where need be, and the list."""
    folder: Path | None = None
    with suppress(ConfigurationError):
        folder = data_folder("qm9", SDF, asked.data_root)
    if folder is not None and (folder / TABLE).is_file():
        beside = folder / REFUSED
        return folder, beside if beside.is_file() else asked.files("qm9", [QM9_REFUSED]) / REFUSED
    folder = asked.files("qm9", [QM9_MOLECULES, QM9_REFUSED])
    archive = folder / QM9_MOLECULES.name
    try:
        with ZipFile(archive) as packed:
            for name in (TABLE, SDF):
                with packed.open(name) as source, open(folder / f"{name}.part", "wb") as target:
                    shutil.copyfileobj(source, target)
                (folder / f"{name}.part").replace(folder / name)
    except (BadZipFile, KeyError, zlib.error, EOFError) as error:
        raise MoleculeError(f"{archive}: found no whole {SDF} and {TABLE} ({error}); {AGAIN}") from error
    return folder, folder / REFUSED


def uncharacterised(path: Path) -> list[int]:
    """Rows of the 3,054 molecules whose geometry did not survive a consistency check: numbers minus one.

    Raises:
        MoleculeError: another number of them, or one that is not a row.
    """
    try:
        words = [line.split()[0] for line in path.read_text().splitlines() if line.strip()]
    except OSError as error:
        raise MoleculeError(f"{path}: cannot be read ({error}); it belongs beside {SDF}") from error
    rows = sorted({int(word) - 1 for word in words if word.isdigit()})
    _expect(len(rows), UNCHARACTERISED, "uncharacterised molecules", path)
    if rows[0] < 0 or rows[-1] >= RECORDS:
        raise MoleculeError(f"{path}: found molecule {rows[-1] + 1}, wanted numbers from 1 to {RECORDS}")
    return rows


def _expect(found: int, wanted: int, what: str, path: Path) -> None:
    if found != wanted:
        raise MoleculeError(f"{path}: found {found} {what}, wanted the {wanted} that the published splits name")
