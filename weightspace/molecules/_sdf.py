"""SD files (V2000) as flat arrays: atoms and positions, without bonds and without rdkit."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from weightspace.errors import MoleculeError
from weightspace.molecules._downloads import AGAIN
from weightspace.molecules._symbols import atomic_number

HEADER_LINES = 4
FIELD = 10  # columns of each coordinate; the symbol is in columns 31 to 34


def read_sdf(path: Path, *, progress: bool = False) -> tuple[list[str], torch.Tensor, torch.Tensor, torch.Tensor]:
    """Names, atomic numbers (N,), positions (N, 3) in Å and ptr (G + 1,) of all records.

    Raises:
        MoleculeError: a record that is cut off, not V2000, an unknown element, or a coordinate that is no number.
    """
    try:
        records = path.read_text().replace("\r\n", "\n").split("$$$$\n")
    except (OSError, UnicodeDecodeError) as error:
        raise MoleculeError(f"{path}: cannot be read ({error})") from error
    rest = records.pop()
    if rest.strip() or not records:
        raise MoleculeError(
            f"{path}: found {len(records)} whole records and {len(rest)} characters after them; the file is cut off"
        )
    names: list[str] = []
    coordinates: list[str] = []
    symbols: list[str] = []
    ptr = [0]
    for record in tqdm(records, desc=path.name, unit=" molecules", disable=not progress):
        lines = record.split("\n")
        atoms = _atom_lines(lines, len(names), path)
        names.append(lines[0].strip())
        coordinates += [line[: 3 * FIELD] for line in atoms]
        symbols += [line[3 * FIELD : 3 * FIELD + 4] for line in atoms]
        ptr.append(len(symbols))
    return names, _numbers(symbols, path), _positions(coordinates, path), torch.tensor(ptr)


def _atom_lines(lines: list[str], record: int, path: Path) -> list[str]:
    try:
        counts = lines[HEADER_LINES - 1]
        n = int(counts[:3])
    except (IndexError, ValueError):
        n = -1
    atoms = lines[HEADER_LINES : HEADER_LINES + max(n, 0)]
    if n < 1 or "V2000" not in counts or len(atoms) < n or min(map(len, atoms)) < 3 * FIELD + 2:
        raise MoleculeError(
            f"{path}: record {record} ({lines[0].strip()!r}) is no V2000 record with {max(n, 0)} atom lines; {AGAIN}"
        )
    return atoms


def _numbers(symbols: Iterable[str], path: Path) -> torch.Tensor:
    unique, inverse = np.unique(np.array([symbol.strip() for symbol in symbols]), return_inverse=True)
    table = np.array([atomic_number(str(symbol), str(path)) for symbol in unique])
    return torch.from_numpy(table[inverse])


def _positions(coordinates: list[str], path: Path) -> torch.Tensor:
    fields: NDArray[np.bytes_] = np.frombuffer("".join(coordinates).encode("ascii", "replace"), dtype=f"S{FIELD}")
    try:
        return torch.from_numpy(fields.astype(np.float64).reshape(-1, 3))
    except ValueError as error:
        raise MoleculeError(f"{path}: a coordinate is no number ({error})") from error
