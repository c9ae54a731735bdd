"""`load_molecules`: one way to every data set."""

from pathlib import Path
from typing import TypedDict

from weightspace.errors import ConfigurationError
from weightspace.molecules._botnet import load_3bpa, load_acac
from weightspace.molecules._molecules import MolecularSplits
from weightspace.molecules._nbody_splits import nbody_splits
from weightspace.molecules._own_files import is_file_spec, load_file
from weightspace.molecules._qm7 import load_qm7
from weightspace.molecules._qm9 import load_qm9
from weightspace.molecules._rmd17 import load_rmd17
from weightspace.molecules._samples import load_sample

WANTED = (
    "rmd17:<molecule>, acac, acac:600K, 3bpa, qm7, qm9:<target>, qm9:<target>:egnn, nbody, sample:<name>, or a file "
    ".xyz, .extxyz, .db, .json or .npz"
)


class _Place(TypedDict):
    data_root: str | Path | None
    download: bool
    progress: bool


class _Sizes(TypedDict):
    train: int | None
    validation: int | None
    test: int | None


def load_molecules(
    spec: str,
    *,
    data_root: str | Path | None = None,
    train: int | None = None,
    validation: int | None = None,
    test: int | None = None,
    seed: int = 0,
    download: bool = False,
    progress: bool = False,
) -> MolecularSplits:
    """A data set of molecules as it is trained and tested on, in Å, eV and eV/Å.

    Args:
        spec: "rmd17:ethanol" and the nine others of rMD17 (950 training, 50 validation, 1,000 test frames); "acac" and
            "acac:600K"; "3bpa"; "qm7"; "qm9:U0" and eleven other targets, "qm9:U0:egnn" with EGNN's split instead of
            DimeNet's; "nbody", which is simulated; "sample:ethanol", "sample:acac", "sample:qm7" and "sample:qm9",
            which lie in the repository; or a file as in `read_molecules`.
        data_root: folder that holds `rmd17/` and others; `WEIGHTSPACE_DATA` by default.
        train: number of training molecules.
        validation: number of validation molecules.
        test: number of test molecules, the same ones for every seed.
        seed: draws training and validation molecules.
        download: fetch missing files from their official place.
        progress: show a progress bar where it takes long.

    Raises:
        ConfigurationError: unknown name, or files that are not there.
        MoleculeError: files that are not what they should be.
    """
    name, _, rest = spec.partition(":")
    place: _Place = {"data_root": data_root, "download": download, "progress": progress}
    sizes: _Sizes = {"train": train, "validation": validation, "test": test}
    if name == "rmd17":
        return load_rmd17(rest, seed=seed, **sizes, **place)
    if name == "acac":
        return load_acac(rest, seed=seed, **sizes, **place)
    if name == "3bpa":
        return load_3bpa(seed=seed, **sizes, **place)
    if name == "qm7":
        return load_qm7(seed=seed, **sizes, **place)
    if name == "qm9":
        return load_qm9(rest, **sizes, **place)
    if name == "nbody":
        return nbody_splits(
            seed=seed,
            train=3000 if train is None else train,
            validation=2000 if validation is None else validation,
            test=2000 if test is None else test,
        )
    if name == "sample":
        return load_sample(rest)
    if is_file_spec(spec):
        return load_file(spec, seed=seed, **sizes)
    raise ConfigurationError(f"load_molecules: found {spec!r}, wanted {WANTED}")
