"""Samples of published data sets that lie in the repository: enough to run everything, too few to judge a model."""

from pathlib import Path

import torch
from torch import Tensor

import weightspace
from weightspace.errors import ConfigurationError
from weightspace.molecules._ase_files import read_extxyz
from weightspace.molecules._asked import Asked
from weightspace.molecules._checks import check_molecules
from weightspace.molecules._molecules import MolecularSplits
from weightspace.molecules._qm7 import qm7_splits, read_qm7
from weightspace.molecules._qm9 import read_sdf_and_csv, splits_of_target
from weightspace.molecules._rmd17 import TEMPERATURE, read_npz

NAMES = ("ethanol", "acac", "qm7", "qm9")
NOTE = "a sample for trying things out, not a benchmark"


def load_sample(name: str, asked: Asked = Asked()) -> MolecularSplits:  # noqa: B008  frozen
    """A sample with its fixed split: ethanol 40/10/10, acac 26/6/8 and 12 at 600 K, qm7 140/20/40, qm9 6/2/2.

    Raises:
        ConfigurationError: no such sample, other sizes than its own, or the repository's `datasets/` is not there.
    """
    if asked.sizes != (None, None, None):
        raise ConfigurationError(
            f"sample:{name}: found {asked.train}, {asked.validation} and {asked.test} molecules asked for, wanted "
            "none: a sample has a fixed split; leave sizes out, or take a full data set"
        )
    if name == "ethanol":
        frames = read_npz(_sample("rmd17/ethanol_sample.npz"))
        check_molecules(frames, where="sample:ethanol")
        train, validation, test = _parts(40, 10, 10)
        return MolecularSplits(
            "sample:ethanol",
            frames[train],
            frames[validation],
            {"test": frames[test]},
            notes=(NOTE,),
            temperatures={"test": TEMPERATURE},
        )
    if name == "acac":
        frames, isolated = read_extxyz(_sample("acac/sample.xyz"))
        check_molecules(frames, where="sample:acac", isolated=isolated)
        train, validation, cold, hot = _parts(26, 6, 8, 12)
        tests = {"300 K": frames[cold], "600 K": frames[hot]}
        kelvin = {"300 K": 300.0, "600 K": 600.0}
        return MolecularSplits(
            "sample:acac", frames[train], frames[validation], tests, isolated, notes=(NOTE,), temperatures=kelvin
        )
    if name == "qm7":
        molecules = read_qm7(_sample("qm7/sample_xyz.tar.gz"), _sample("qm7/sample_hof.txt"))
        check_molecules(molecules, where="sample:qm7")
        order = torch.randperm(200, generator=torch.Generator().manual_seed(0))  # names go with size
        train, validation, test = (order[part] for part in _parts(140, 20, 40))
        return qm7_splits("sample:qm7", molecules, (train, validation, test), notes=(NOTE,))
    if name == "qm9":
        molecules = read_sdf_and_csv(_sample("qm9/sample.sdf"), _sample("qm9/sample.sdf.csv"))
        check_molecules(molecules, where="sample:qm9")
        train, validation, test = _parts(6, 2, 2)
        return splits_of_target("sample:qm9", molecules, "U0", (train, validation, test), notes=(NOTE,))
    raise ConfigurationError(f"sample: found {name!r}, wanted one of {', '.join(NAMES)}")


def _parts(*sizes: int) -> list[Tensor]:
    return list(torch.arange(sum(sizes)).split(list(sizes)))


def _sample(name: str) -> Path:
    folders = [Path(weightspace.__file__).parent.parent / "datasets", Path("datasets")]
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise ConfigurationError(
        f"sample: found no datasets/{name} beside the package ({folders[0].parent}) or in the working directory; "
        "samples lie in the repository: run in a clone of it, or copy its datasets/ here"
    )
