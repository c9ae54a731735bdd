"""AcAc and 3BPA, the benchmarks of BOTNet and MACE: training at one temperature, tests at higher ones."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from weightspace.errors import ConfigurationError, MoleculeError
from weightspace.molecules._ase_files import read_extxyz
from weightspace.molecules._asked import Asked
from weightspace.molecules._checks import check_molecules
from weightspace.molecules._downloads import AGAIN, FEWER
from weightspace.molecules._draws import drawn_parts, fixed_subset
from weightspace.molecules._molecules import MolecularSplits, Molecules
from weightspace.molecules._sources import THREE_BPA_MIXED, THREE_BPA_TESTS, THREE_BPA_TRAINING, acac_files

TRAINING_FRAMES, VALIDATION_FRAMES = 500, 50  # of the file, and of these
TEMPERATURES = (300, 600, 1200)
ACAC_TESTS = {"300 K": 650, "600 K": 650}
THREE_BPA_OFFICIAL = {"300 K": 1669, "600 K": 2138, "1200 K": 2139}
MIXED = {300: slice(0, 167), 600: slice(167, 334), 1200: slice(334, 500)}  # frames of train_mixedT.xyz
SUBSTITUTE = "not the official test sets: frames of train_mixedT.xyz that are not in train_300K.xyz (136 / 167 / 166)"


def load_acac(variant: str, asked: Asked) -> MolecularSplits:
    """Acetylacetone (PBE), trained on its 300 K frames, or its 600 K frames with "600K"; tested on both.

    Raises:
        ConfigurationError: another variant, or no data folder.
        MoleculeError: files that are not as published, or have fewer frames than are asked for.
    """
    if variant not in ("", "300K", "600K"):
        raise ConfigurationError(f"acac: found variant {variant!r}, wanted acac or acac:600K")
    file = f"train_{variant or '300K'}.xyz"
    folder = asked.files("acac", acac_files(file))
    tests = {f"{t} K": _frames(folder / f"test_MD_{t}K.xyz") for t in TEMPERATURES[:2]}
    isolated = _isolated(folder / "isolated_atoms.xyz")
    fitted = _frames(folder / file)
    name = "acac:600K" if variant == "600K" else "acac"
    return _splits(name, fitted, tests, isolated, asked, published=ACAC_TESTS)


def load_3bpa(asked: Asked) -> MolecularSplits:
    """3BPA (wB97X/6-31G(d)), trained on 300 K frames, tested at 300, 600 and 1200 K.

    Where `test_300K.xyz`, `test_600K.xyz` and `test_1200K.xyz` are not in the folder and cannot be fetched, the tests
    are the frames of `train_mixedT.xyz` that do not also stand in the training file, and `notes` says so.

    Raises:
        ConfigurationError: no data folder.
        MoleculeError: files that are not as published, or have fewer frames than are asked for.
    """
    folder = _folder_of_3bpa(asked)
    fitted = _frames(folder / "train_300K.xyz")
    official = {f"{t} K": folder / f"test_{t}K.xyz" for t in TEMPERATURES}
    notes: tuple[str, ...] = ()
    published: Mapping[str, int] = {}
    if all(path.is_file() for path in official.values()):
        tests, published = {label: _frames(path) for label, path in official.items()}, THREE_BPA_OFFICIAL
    else:
        tests, notes = _mixed_blocks(_frames(folder / "train_mixedT.xyz"), fitted), (SUBSTITUTE,)
    isolated = _isolated(folder / "iso_atoms.xyz")
    return _splits("3bpa", fitted, tests, isolated, asked, published=published, notes=notes)


def _folder_of_3bpa(asked: Asked) -> Path:
    """With the official tests where they are or can be fetched, else with the file that stands in for them."""
    here = replace(asked, download=False)
    failed = []
    for each, tests in ((here, THREE_BPA_TESTS), (asked, THREE_BPA_TESTS), (here, THREE_BPA_MIXED)):
        try:
            return each.files("3bpa", [*THREE_BPA_TRAINING, *tests])
        except ConfigurationError as error:
            failed.append(error)
    raise failed[1]


def _frames(path: Path) -> Molecules:
    frames, _ = read_extxyz(path)
    if frames.energy is None or frames.forces is None:
        raise MoleculeError(f"{path}: found no energies or no forces, wanted both; {AGAIN}")
    return frames


def _isolated(path: Path) -> dict[int, float]:
    """Energies of single atoms in eV, whatever their config_type."""
    frames, isolated = read_extxyz(path)
    if bool((frames.num_atoms != 1).any()) or (len(frames) and frames.energy is None):
        raise MoleculeError(f"{path}: wanted single atoms with energies; {AGAIN}")
    energies = [] if frames.energy is None else frames.energy.tolist()
    return isolated | dict(zip(frames.z.tolist(), energies, strict=True))


def _mixed_blocks(mixed: Molecules, fitted: Molecules) -> dict[str, Molecules]:
    """The block of each temperature without the frames that are trained on, found by their positions."""
    n = int(fitted.num_atoms[0])
    if len(mixed) != MIXED[1200].stop or bool((mixed.num_atoms != n).any()):
        raise MoleculeError(
            f"train_mixedT.xyz: found {len(mixed)} frames, wanted {MIXED[1200].stop} of {n} atoms; {AGAIN}"
        )
    seen = {tuple(row) for row in fitted.pos.reshape(len(fitted), -1).tolist()}
    fresh = torch.tensor([tuple(row) not in seen for row in mixed.pos.reshape(len(mixed), -1).tolist()])
    rows = torch.arange(len(mixed))
    return {f"{t} K": mixed[rows[block][fresh[block]]] for t, block in MIXED.items()}


def _splits(
    name: str,
    fitted: Molecules,
    tests: dict[str, Molecules],
    isolated: dict[int, float],
    asked: Asked,
    *,
    published: Mapping[str, int],
    notes: tuple[str, ...] = (),
) -> MolecularSplits:
    held = VALIDATION_FRAMES if asked.validation is None else asked.validation
    kept = TRAINING_FRAMES - held if asked.train is None else asked.train
    for label, frames in {"training": fitted, **tests}.items():
        check_molecules(frames, where=f"{name}, {label}", isolated=isolated)
    rows = drawn_parts(len(fitted), asked.seed, sizes=(kept, held), where=name, fix=FEWER)
    tested = {
        label: fixed_subset(len(frames), asked.test, f"{name}, {label}", published=published.get(label, 0), fix=FEWER)
        for label, frames in tests.items()
    }
    return MolecularSplits(
        name=name,
        train=fitted[rows[0]],
        validation=fitted[rows[1]],
        tests={label: frames[tested[label]] for label, frames in tests.items()},
        isolated=isolated,
        notes=notes,
        temperatures={f"{t} K": float(t) for t in TEMPERATURES if f"{t} K" in tests},
    )
