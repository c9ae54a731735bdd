"""AcAc and 3BPA: parts, references, and the note that must stand beside substitutes."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.molecules._extxyz import water, write_waters
from weightspace.errors import ConfigurationError, MoleculeError
from weightspace.molecules import load_molecules

ROOT = os.environ.get("WEIGHTSPACE_DATA")
LONE = 'Properties=species:S:1:pos:R:3 energy={} pbc="F F F"'
full = pytest.mark.skipif(
    not ROOT or not (Path(ROOT) / "3bpa").is_dir(), reason="set WEIGHTSPACE_DATA to a folder that holds acac/ and 3bpa/"
)


def atoms(path):
    path.write_text("".join(f"1\n{LONE.format(e)}\n{s} 0 0 0\n" for s, e in (("H", -13.6), ("O", -2040.0))))


def test_acac_trains_at_one_temperature_and_tests_at_both(tmp_path):
    folder = tmp_path / "acac"
    for k, name in enumerate(("train_300K", "train_600K", "test_MD_300K", "test_MD_600K")):
        write_waters(folder / f"{name}.xyz", 60 + k, seed=k)
    atoms(folder / "isolated_atoms.xyz")
    cold, hot = (load_molecules(name, data_root=tmp_path) for name in ("acac", "acac:600K"))
    assert (len(cold.train), len(cold.validation), len(hot.train)) == (10, 50, 11)
    for splits in (cold, hot):
        assert {label: len(part) for label, part in splits.tests.items()} == {"300 K": 62, "600 K": 63}
        assert dict(splits.isolated) == {1: -13.6, 8: -2040.0} and splits.notes == ()
    with pytest.raises(ConfigurationError, match="found variant '900K', wanted acac or acac:600K"):
        load_molecules("acac:900K", data_root=tmp_path)
    with pytest.raises(MoleculeError, match=r"acac: the split names 11 \+ 50 frames, found 60"):
        load_molecules("acac", data_root=tmp_path, train=11)


def test_3bpa_leaves_out_what_is_trained_on_unless_the_official_tests_are_there(tmp_path):
    folder, rng = tmp_path / "3bpa", np.random.default_rng(0)
    folder.mkdir()
    frames = [water(rng) for _ in range(500)]
    own = [water(rng) for _ in range(56)]
    (folder / "train_mixedT.xyz").write_text("".join(frames))
    (folder / "train_300K.xyz").write_text("".join(own + [frames[3], frames[100], frames[140], frames[166]]))
    atoms(folder / "iso_atoms.xyz")
    splits = load_molecules("3bpa", data_root=tmp_path)
    assert [len(part) for part in splits.tests.values()] == [163, 167, 166]
    assert "not the official test sets" in splits.notes[0]
    seen = torch.cat([splits.train.pos, splits.validation.pos]).reshape(60, -1)
    for part in splits.tests.values():
        assert torch.cdist(part.pos.reshape(len(part), -1), seen).min() > 1e-3
    for t in (300, 600, 1200):
        write_waters(folder / f"test_{t}K.xyz", 7, seed=t)
    official = load_molecules("3bpa", data_root=tmp_path)
    assert [len(part) for part in official.tests.values()] == [7, 7, 7] and official.notes == ()


@full
def test_31_frames_of_the_mixed_file_are_in_the_training_file():
    splits = load_molecules("3bpa")
    assert {label: len(part) for label, part in splits.tests.items()} == {"300 K": 136, "600 K": 167, "1200 K": 166}
    assert 167 - len(splits.tests["300 K"]) == 31
    energies = [float(part.energy.mean()) for part in splits.tests.values()]
    assert energies == sorted(energies)  # hotter frames lie higher


@full
def test_acac_is_hotter_at_600_kelvin():
    splits = load_molecules("acac")
    assert (len(splits.train), len(splits.validation)) == (450, 50) and splits.train.elements == (1, 6, 8)
    cold, hot = (part.forces.square().mean() for part in splits.tests.values())
    assert 1.5 < float(hot / cold) < 2.5
