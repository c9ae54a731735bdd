"""`load_molecules`: one way to every data set."""

from pathlib import Path

from weightspace.errors import ConfigurationError
from weightspace.molecules._asked import Asked
from weightspace.molecules._botnet import load_3bpa, load_acac
from weightspace.molecules._molecules import MolecularSplits
from weightspace.molecules._nbody_splits import nbody_splits
from weightspace.molecules._own_files import is_file_spec, load_file
from weightspace.molecules._qm7 import load_qm7
from weightspace.molecules._qm9 import load_qm9
from weightspace.molecules._rmd17 import load_rmd17
from weightspace.molecules._samples import load_sample

WANTED = (
    "rmd17:<molecule>, acac, acac:600K, 3bpa, qm7, qm9:<target>, qm9:<target>:egnn, nbody, nbody:exact, sample:<name>, "
    "or a file .xyz, .extxyz, .db, .json or .npz"
)


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
            DimeNet's; "nbody", which is simulated, and "nbody:exact", whose energy is conserved; "sample:ethanol",
            "sample:acac", "sample:qm7" and "sample:qm9", which lie in the repository; or a file as in `read_molecules`.
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
    asked = Asked(data_root, train, validation, test, seed, download, progress)
    if name == "rmd17":
        return load_rmd17(rest, asked)
    if name == "acac":
        return load_acac(rest, asked)
    if name == "3bpa":
        return load_3bpa(asked)
    if name == "qm7":
        return load_qm7(asked)
    if name == "qm9":
        return load_qm9(rest, asked)
    if name == "nbody" and rest in ("", "exact"):
        return nbody_splits(
            exact=rest == "exact",
            seed=seed,
            train=3000 if train is None else train,
            validation=2000 if validation is None else validation,
            test=2000 if test is None else test,
        )
    if name == "sample":
        return load_sample(rest, asked)
    if is_file_spec(spec):
        return load_file(spec, asked)
    raise ConfigurationError(f"load_molecules: found {spec!r}, wanted {WANTED}")
