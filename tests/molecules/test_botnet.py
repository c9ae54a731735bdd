"""AcAc and 3BPA: parts, references, and the note that must stand beside substitutes."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.molecules._extxyz import water, write_waters
from weightspace.errors import ConfigurationError, MoleculeError
from weightspace.molecules import _botnet, _downloads, load_molecules
from weightspace.molecules._downloads import RemoteFile

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
        write_waters(folder / f"{name}.xyz", 500 if k < 2 else 650 + k, seed=k)
    atoms(folder / "isolated_atoms.xyz")
    cold, hot = (load_molecules(name, data_root=tmp_path) for name in ("acac", "acac:600K"))
    assert (len(cold.train), len(cold.validation), len(hot.train)) == (450, 50, 450)
    for splits in (cold, hot):
        assert {label: len(part) for label, part in splits.tests.items()} == {"300 K": 652, "600 K": 653}
        assert dict(splits.isolated) == {1: -13.6, 8: -2040.0} and splits.notes == ()
    with pytest.raises(ConfigurationError, match="found variant '900K', wanted acac or acac:600K"):
        load_molecules("acac:900K", data_root=tmp_path)
    with pytest.raises(MoleculeError, match=r"acac: the split names 451 \+ 50 frames, found 500; ask for fewer"):
        load_molecules("acac", data_root=tmp_path, train=451)


def test_short_files_are_refused_where_no_sizes_are_given(tmp_path):
    folder, words = (
        tmp_path / "acac",
        r"ask for fewer \(train=, validation=, test=\), or .* delete it and run with download",
    )
    for k, name in enumerate(("train_300K", "train_600K", "test_MD_300K", "test_MD_600K")):
        write_waters(folder / f"{name}.xyz", 60 + k, seed=k)
    atoms(folder / "isolated_atoms.xyz")
    for name, frames in (("acac", 60), ("acac:600K", 61)):
        with pytest.raises(MoleculeError, match=rf"{name}: the split names 450 \+ 50 frames, found {frames}; {words}"):
            load_molecules(name, data_root=tmp_path)
        with pytest.raises(MoleculeError, match=rf"{name}, 300 K: the split names 650 frames, found 62; {words}"):
            load_molecules(name, data_root=tmp_path, train=5)
        splits = load_molecules(name, data_root=tmp_path, train=5, validation=7, test=62)
        assert [len(part) for part in (splits.train, splits.validation, *splits.tests.values())] == [5, 7, 62, 62]
    write_waters(tmp_path / "3bpa" / "train_300K.xyz", 60)
    atoms(tmp_path / "3bpa" / "iso_atoms.xyz")
    for t in (300, 600, 1200):
        write_waters(tmp_path / "3bpa" / f"test_{t}K.xyz", 7, seed=t)
    with pytest.raises(MoleculeError, match=rf"3bpa: the split names 450 \+ 50 frames, found 60; {words}"):
        load_molecules("3bpa", data_root=tmp_path)
    with pytest.raises(MoleculeError, match=rf"3bpa, 300 K: the split names 1669 frames, found 7; {words}"):
        load_molecules("3bpa", data_root=tmp_path, train=9)
    assert len(load_molecules("3bpa", data_root=tmp_path, train=9, validation=50, test=7).train) == 9


def test_3bpa_leaves_out_what_is_trained_on_unless_the_official_tests_are_there(tmp_path):
    folder, rng = tmp_path / "3bpa", np.random.default_rng(0)
    folder.mkdir()
    frames = [water(rng) for _ in range(500)]
    own = [water(rng) for _ in range(496)]
    (folder / "train_mixedT.xyz").write_text("".join(frames))
    (folder / "train_300K.xyz").write_text("".join(own + [frames[3], frames[100], frames[140], frames[166]]))
    atoms(folder / "iso_atoms.xyz")
    splits = load_molecules("3bpa", data_root=tmp_path)
    assert [len(part) for part in splits.tests.values()] == [163, 167, 166]
    assert "not the official test sets" in splits.notes[0]
    seen = torch.cat([splits.train.pos, splits.validation.pos]).reshape(500, -1)
    for part in splits.tests.values():
        assert torch.cdist(part.pos.reshape(len(part), -1), seen).min() > 1e-3
    for t in (300, 600, 1200):
        write_waters(folder / f"test_{t}K.xyz", 7, seed=t)
    official = load_molecules("3bpa", data_root=tmp_path, test=7)
    assert [len(part) for part in official.tests.values()] == [7, 7, 7] and official.notes == ()


def test_the_official_tests_of_3bpa_are_fetched_also_where_the_substitute_is_there(tmp_path, monkeypatch):
    folder, official = tmp_path / "3bpa", "https://official"
    tests = [RemoteFile(f"test_{t}K.xyz", f"{official}/test_{t}K.xyz") for t in (300, 600, 1200)]
    monkeypatch.setattr(_botnet, "THREE_BPA_TESTS", tests)
    monkeypatch.setattr(_downloads, "fetch", lambda file, folder, **options: write_waters(folder / file.name, 7))
    write_waters(folder / "train_300K.xyz", 500)
    write_waters(folder / "train_mixedT.xyz", 500, seed=1)
    atoms(folder / "iso_atoms.xyz")
    assert "not the official test sets" in load_molecules("3bpa", data_root=tmp_path).notes[0]
    found = load_molecules("3bpa", data_root=tmp_path, test=7, download=True)
    assert found.notes == () and [len(part) for part in found.tests.values()] == [7, 7, 7]

    def unreachable(file, folder, **options):
        raise OSError("no answer")

    monkeypatch.setattr(_downloads, "fetch", unreachable)
    (folder / "test_600K.xyz").unlink()
    assert "not the official" in load_molecules("3bpa", data_root=tmp_path, download=True).notes[0]
    (folder / "train_mixedT.xyz").unlink()
    with pytest.raises(ConfigurationError, match="https://official/test_600K.xyz cannot be fetched .no answer"):
        load_molecules("3bpa", data_root=tmp_path, download=True)
    with pytest.raises(ConfigurationError, match="found no test_600K.xyz in .*https://official/test_600K.xyz"):
        load_molecules("3bpa", data_root=tmp_path)


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
