"""`load_molecules`: one way to every data set."""

from pathlib import Path

from weightspace.errors import ConfigurationError
from weightspace.molecules._botnet import load_3bpa, load_acac
from weightspace.molecules._molecules import MolecularSplits
from weightspace.molecules._own_files import is_file_spec, load_file
from weightspace.molecules._rmd17 import load_rmd17

WANTED = "rmd17:<molecule>, acac, acac:600K, 3bpa, or a file .xyz, .extxyz, .db, .json or .npz"


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
            "acac:600K"; "3bpa"; or a file as in `read_molecules`.
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
    if name == "rmd17":
        return load_rmd17(rest, data_root=data_root, train=train, validation=validation, test=test, seed=seed)
    if name == "acac":
        return load_acac(rest, data_root=data_root, train=train, validation=validation, test=test, seed=seed)
    if name == "3bpa":
        return load_3bpa(data_root=data_root, train=train, validation=validation, test=test, seed=seed)
    if is_file_spec(spec):
        return load_file(spec, train=train, validation=validation, test=test, seed=seed)
    raise ConfigurationError(f"load_molecules: found {spec!r}, wanted {WANTED}")
