"""Labels by GFN2-xTB: resumed to the same frames, forces that are derivatives, differences for delta learning."""

import dataclasses

import numpy as np
import pytest

from experiments import xtb_labels
from experiments.xtb_labels import Sampling, label_difference, main, sample
from weightspace.errors import ConfigurationError, MoleculeError
from weightspace.molecules import read_molecules

ase_build = pytest.importorskip("ase.build")
SHORT = Sampling(frames=4, every=3)


@pytest.fixture
def water():
    pytest.importorskip("tblite")
    return ase_build.molecule("H2O")


def test_a_resumed_run_writes_the_same_frames(water, tmp_path, monkeypatch):
    monkeypatch.setattr(xtb_labels, "SETTLING", 5)
    whole = sample(water, tmp_path / "whole.extxyz", SHORT, progress=False)
    sample(water, tmp_path / "parts.extxyz", dataclasses.replace(SHORT, frames=2), progress=False)
    with (tmp_path / "parts.extxyz").open("a") as stream:
        stream.write("3\nhalf a frame")
    parts = sample(water, tmp_path / "parts.extxyz", SHORT, progress=False)
    assert (tmp_path / "parts.extxyz").read_text() == (tmp_path / "whole.extxyz").read_text()
    assert parts.frames == whole.frames == 4 and whole.force_error < 1
    molecules = read_molecules(tmp_path / "whole.extxyz")
    assert len(molecules) == 4 and float(molecules.energy.std()) > 0 and molecules.forces is not None
    with pytest.raises(ConfigurationError, match="wanted the same settings and molecule; give another --out"):
        sample(water, tmp_path / "parts.extxyz", dataclasses.replace(SHORT, seed=1), progress=False)
    (tmp_path / "other.extxyz").write_text("mine")
    with pytest.raises(ConfigurationError, match="there is such a file already"):
        sample(water, tmp_path / "other.extxyz", SHORT, progress=False)


def test_differences_and_labels_add_up(water, tmp_path, monkeypatch):
    monkeypatch.setattr(xtb_labels, "SETTLING", 5)
    sample(water, tmp_path / "labels.extxyz", SHORT, progress=False)
    found = label_difference(tmp_path / "labels.extxyz", tmp_path / "delta.extxyz", progress=False)
    assert found.frames == 4 and found.energy_spread < 1 and found.force_spread < 1  # the same method: no difference
    molecules = read_molecules(f"{tmp_path / 'delta.extxyz'}:unit=eV")
    assert np.abs(molecules.energy.numpy()).max() < 1e-4


def test_labels_must_be_there(water, tmp_path):
    (tmp_path / "bare.xyz").write_text("1\nbare\nH 0 0 0\n")
    with pytest.raises(MoleculeError, match="found no energies or no forces"):
        label_difference(tmp_path / "bare.xyz", tmp_path / "delta.extxyz", progress=False)


def test_frames_that_fail_are_named(water, tmp_path, monkeypatch):
    class Fails:
        def get_potential_energy(self, atoms):
            raise RuntimeError("no convergence")

    (tmp_path / "few.extxyz").write_text("1\nProperties=species:S:1:pos:R:3:forces:R:3 energy=-0.5\nH 0 0 0 0 0 0\n")
    monkeypatch.setattr(xtb_labels, "xtb", lambda charge: Fails())
    with pytest.raises(
        MoleculeError, match=r"few.extxyz:unit=eV, frame 0: GFN2-xTB failed \(no convergence\); look at"
    ):
        label_difference(f"{tmp_path / 'few.extxyz'}:unit=eV", tmp_path / "delta.extxyz", progress=False)
    assert not (tmp_path / "delta.extxyz").exists()


def test_periodic_molecules_are_refused(water, tmp_path):
    words = "found a periodic cell, wanted a molecule, which is all that GFN2-xTB labels here; set pbc="
    boxed = water.copy()
    boxed.set_cell([9, 9, 9])
    boxed.pbc = True
    with pytest.raises(MoleculeError, match=f"boxed.extxyz: {words}"):
        sample(boxed, tmp_path / "boxed.extxyz", SHORT, progress=False)
    assert not list(tmp_path.iterdir())
    head = 'Lattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3:forces:R:3 energy=-1 pbc="T T T"'
    (tmp_path / "salt.extxyz").write_text(f"2\n{head}\nLi 0 0 0 0 0 0\nF 2 2 2 0 0 0\n")
    with pytest.raises(MoleculeError, match=f"salt.extxyz: {words}"):
        label_difference(tmp_path / "salt.extxyz", tmp_path / "delta.extxyz", progress=False)


def test_training_states_the_unit(water, tmp_path, monkeypatch, capsys):
    import weightspace.cli

    asked = []
    monkeypatch.setattr(xtb_labels, "SETTLING", 2)
    monkeypatch.setattr(weightspace.cli, "main", lambda words: asked.append(words) or 0)
    out = tmp_path / "labels.extxyz"
    words = ["--out", str(out), "--frames", "1", "--every", "1"]
    main([*words, "--train", "1min"])
    assert asked[0][asked[0].index("--data") + 1] == f"{out}:unit=eV"
    main(words)
    assert f"--data {out}:unit=eV" in capsys.readouterr().out


def test_smoke(water):
    assert main(["--smoke"]).frames == 4


def test_without_tblite(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tblite.ase", None)
    with pytest.raises(ConfigurationError, match=r"needs tblite.*install the extra mol"):
        xtb_labels.xtb()


@pytest.mark.parametrize("name", ["frames", "timestep", "every"])
def test_numbers_must_be_positive(name):
    with pytest.raises(ConfigurationError, match=f"{name}: found 0, wanted a positive number"):
        Sampling(**{name: 0})
