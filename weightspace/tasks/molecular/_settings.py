"""What a run was started with: a folder never holds a run of other settings than those asked for."""

import errno
import fcntl
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from weightspace.errors import ConfigurationError
from weightspace.molecules import MolecularSplits
from weightspace.tasks._folder import write_json
from weightspace.tasks.molecular._budget import Budget
from weightspace.tasks.molecular._entry import BenchmarkModel
from weightspace.tasks.molecular._fit import RunOptions

SETTINGS, LOCK = "run.json", "lock"


def run_settings(
    entry: BenchmarkModel, splits: MolecularSplits, budget: Budget, *, seed: int, options: RunOptions
) -> dict[str, Any]:
    """All that the numbers of a run depend on, as JSON values."""
    tests = {name: len(part) for name, part in splits.tests.items()}
    return {
        "data": splits.name,
        "fingerprint": fingerprint(splits),
        "surroundings": surroundings(splits),
        "model": {**entry.to_json(), "source": ""},  # where the sizes come from changes no number
        "seed": seed,
        "budget": asdict(budget),
        "unit": splits.unit,
        "notes": list(splits.notes),
        "sizes": {"train": len(splits.train), "validation": len(splits.validation), "tests": tests},
        "precision": options.precision,
        "compile": options.compile,
        "threads": options.threads,
        "device": options.device.type,
    }


def fingerprint(splits: MolecularSplits) -> str:
    """Of the molecules of all parts and what is known of them: two files of one name are told apart."""
    digest = hashlib.sha256()
    for part in (splits.train, splits.validation, *splits.tests.values()):
        labels = {**part.values, **part.atom_values}
        for tensor in (part.z, part.pos, part.ptr, *(labels[name] for name in sorted(labels))):
            digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def surroundings(splits: MolecularSplits) -> str:
    """Of what stands beside the molecules: cells, energies of isolated atoms, the learnt value."""
    cells = [None if part.cell is None else part.cell.tolist() for part in splits.tests.values()]
    cells += [None if part.cell is None else part.cell.tolist() for part in (splits.train, splits.validation)]
    told = json.dumps([splits.target, sorted(splits.isolated.items()), cells])
    return hashlib.sha256(told.encode()).hexdigest()[:16]


class FolderInUseError(ConfigurationError):
    """Another process works in the folder of a run."""


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Work in a run's folder that no other process works in; the lock ends with the process, however that ends.

    File systems that know no locks go without.

    Raises:
        FolderInUseError: another process does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FolderInUseError(
                f"{folder}: another process works on this run; wait for it, or give another --out"
            ) from error
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
        yield


def check_settings(folder: Path, settings: Mapping[str, Any], *, write: bool = False) -> None:
    """Compare with the settings that a folder's run was started with; those of an empty folder are written, if asked.

    What an older run did not note down counts as the same.

    Raises:
        ConfigurationError: the folder holds a run with other settings.
    """
    path = folder / SETTINGS
    if not path.is_file():
        if write:
            write_json(path, dict(settings))
        return
    found, wanted = json.loads(path.read_text(encoding="utf-8")), json.loads(json.dumps(settings))
    other = [name for name in wanted if found.get(name, wanted[name]) != wanted[name]]
    if other:
        raise ConfigurationError(
            f"{folder}: holds a run with another {', '.join(other)} (found {found[other[0]]!r}, wanted "
            f"{wanted[other[0]]!r}); give another --out, or remove that folder"
        )
