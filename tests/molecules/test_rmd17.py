"""rMD17: the official split, units, and what is refused."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from weightspace.errors import ConfigurationError, MoleculeError
from weightspace.molecules import load_molecules, read_molecules

ROOT = os.environ.get("WEIGHTSPACE_DATA")
full = pytest.mark.skipif(
    not ROOT or not (Path(ROOT) / "rmd17").is_dir(), reason="set WEIGHTSPACE_DATA to a folder that holds rmd17/"
)
KCAL = 0.0433641


def write(path, frames, rng, atoms=3):
    arrays = {
        "nuclear_charges": np.array([8, 1, 1], dtype=np.uint8)[:atoms],
        "coords": np.eye(3)[None, :atoms] + 0.1 * rng.random((frames, atoms, 3)),
        "energies": -50000 + rng.random(frames),
        "forces": rng.standard_normal((frames, atoms, 3)),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)
    return arrays


def test_the_split_is_disjoint_the_same_for_a_seed_and_nested_in_the_training_size(tmp_path):
    rng = np.random.default_rng(0)
    train = write(tmp_path / "rmd17/rmd17_ethanol_train_01.npz", 1000, rng)
    test = write(tmp_path / "rmd17/rmd17_ethanol_test_01.npz", 1000, rng)
    splits = load_molecules("rmd17:ethanol", data_root=tmp_path)
    assert (len(splits.train), len(splits.validation), len(splits.tests["test"])) == (950, 50, 1000)
    both = torch.cat([splits.train.energy, splits.validation.energy])
    assert torch.equal(both.sort().values, torch.tensor(train["energies"] * KCAL).sort().values)
    assert torch.equal(splits.tests["test"].energy, torch.tensor(test["energies"] * KCAL))
    assert torch.equal(splits.tests["test"].forces, torch.tensor(test["forces"].reshape(-1, 3) * KCAL))
    assert torch.equal(splits.tests["test"].pos, torch.tensor(test["coords"].reshape(-1, 3)))
    again, other = (load_molecules("rmd17:ethanol", data_root=tmp_path, seed=seed) for seed in (0, 1))
    assert torch.equal(again.train.energy, splits.train.energy)
    assert not torch.equal(other.train.energy, splits.train.energy)
    few = load_molecules("rmd17:ethanol", data_root=tmp_path, train=20, test=7)
    assert torch.equal(few.validation.energy, splits.validation.energy)
    assert torch.isin(few.train.energy, splits.train.energy).all() and len(few.tests["test"]) == 7
    other = load_molecules("rmd17:ethanol", data_root=tmp_path, test=7, seed=5)
    assert torch.equal(few.tests["test"].energy, other.tests["test"].energy)


def test_the_archive_of_whole_trajectories_is_read_by_its_official_index(tmp_path):
    folder = tmp_path / "rmd17"
    arrays = write(folder / "npz_data/rmd17_uracil.npz", 3000, np.random.default_rng(1))
    rows = np.random.default_rng(2).permutation(3000)
    (folder / "splits").mkdir()
    np.savetxt(folder / "splits/index_train_01.csv", rows[:1000], fmt="%d")
    np.savetxt(folder / "splits/index_test_01.csv", rows[1000:2000], fmt="%d")
    for root in (tmp_path, folder):
        splits = load_molecules("rmd17:uracil", data_root=root)
        assert torch.equal(splits.tests["test"].energy, torch.tensor(arrays["energies"][rows[1000:2000]] * KCAL))
        assert len(splits.train) == 950


def test_unknown_molecule_too_many_frames_and_short_files_say_so(tmp_path):
    rng = np.random.default_rng(0)
    with pytest.raises(ConfigurationError, match=r"found molecule 'etanol', wanted one of .*did you mean ethanol"):
        load_molecules("rmd17:etanol", data_root=tmp_path)
    with pytest.raises(
        ConfigurationError, match=r"found no rmd17_ethanol_train_01.npz.*/rmd17/rmd17_ethanol_train_01.npz from https"
    ):
        load_molecules("rmd17:ethanol", data_root=tmp_path)
    write(tmp_path / "rmd17/rmd17_ethanol_train_01.npz", 100, rng)
    write(tmp_path / "rmd17/rmd17_ethanol_test_01.npz", 30, rng)
    with pytest.raises(ConfigurationError, match="wanted at most 1000 together; frames .* are correlated"):
        load_molecules("rmd17:ethanol", data_root=tmp_path, train=1000)
    with pytest.raises(MoleculeError, match=r"the split names 900 \+ 50 frames, found 100; ask for fewer \(train="):
        load_molecules("rmd17:ethanol", data_root=tmp_path, train=900)
    with pytest.raises(MoleculeError, match="test: the split names 31 frames, found 30; ask for fewer"):
        load_molecules("rmd17:ethanol", data_root=tmp_path, train=20, validation=10, test=31)
    splits = load_molecules("rmd17:ethanol", data_root=tmp_path, train=20, validation=10, test=30)
    assert (len(splits.train), len(splits.validation), len(splits.tests["test"])) == (20, 10, 30)


def test_files_shorter_than_the_official_split_are_refused_where_no_sizes_are_given(tmp_path):
    rng = np.random.default_rng(0)
    write(tmp_path / "rmd17/rmd17_ethanol_train_01.npz", 999, rng)
    write(tmp_path / "rmd17/rmd17_ethanol_test_01.npz", 999, rng)
    words = (
        r"ask for fewer \(train=, validation=, test=\), or where the file is cut off delete it and run with download"
    )
    for sizes, names in (({}, r"950 \+ 50"), ({"validation": 100}, r"900 \+ 100")):
        with pytest.raises(MoleculeError, match=f"rmd17:ethanol: the split names {names} frames, found 999; {words}"):
            load_molecules("rmd17:ethanol", data_root=tmp_path, **sizes)
    with pytest.raises(MoleculeError, match=f"rmd17:ethanol, test: the split names 1000 frames, found 999; {words}"):
        load_molecules("rmd17:ethanol", data_root=tmp_path, train=100)


def test_an_own_file_in_another_unit_is_told_by_its_energies_and_read_where_that_is_named(tmp_path):
    path = tmp_path / "mine.npz"
    wanted = write(path, 30, np.random.default_rng(0))
    assert torch.equal(read_molecules(path).energy, torch.tensor(wanted["energies"]) * KCAL)
    for unit, size in (("eV", 1.0), ("Hartree", 27.211386245988)):
        energies, forces = wanted["energies"] * KCAL / size, wanted["forces"] / size
        np.savez(path, **(wanted | {"energies": energies, "forces": forces}))
        with pytest.raises(
            MoleculeError, match=f"mine.npz: energies, read as kcal/mol, look like .* in {unit}; name th"
        ):
            read_molecules(path)
        found = read_molecules(f"{path}:unit={unit}")
        assert torch.allclose(found.energy, torch.tensor(energies) * size, rtol=1e-14)
        assert torch.allclose(found.forces, torch.tensor(forces).reshape(-1, 3) * size, rtol=1e-14)
        assert torch.equal(read_molecules(f"{path}:unit=kcal/mol").energy, torch.tensor(energies) * KCAL)
    with pytest.raises(ConfigurationError, match="npz files have the arrays of rMD17, under their names; give no keys"):
        read_molecules(f"{path}:energy=E")


def test_damaged_and_ragged_files_say_so(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "rmd17/rmd17_ethanol_train_01.npz"
    arrays = write(path, 100, rng)
    write(tmp_path / "rmd17/rmd17_ethanol_test_01.npz", 30, rng)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MoleculeError, match="train_01.npz: not a whole npz file .*; delete it and run with download"):
        load_molecules("rmd17:ethanol", data_root=tmp_path)
    with pytest.raises(MoleculeError, match="train_01.npz: not a whole npz file .*; write it again by numpy.savez"):
        read_molecules(path)
    np.savez(path, **{**arrays, "forces": arrays["forces"][:-1]})
    with pytest.raises(MoleculeError, match=r"found nuclear_charges \(3,\), coords .* forces \(99, 3, 3\), wanted"):
        load_molecules("rmd17:ethanol", data_root=tmp_path)
    np.savez_compressed(path, **arrays)
    packed = bytearray(path.read_bytes())
    packed[300:340] = bytes(40)
    path.write_bytes(bytes(packed))
    with pytest.raises(MoleculeError, match="not a whole npz file"):
        load_molecules("rmd17:ethanol", data_root=tmp_path)
    np.savez(path, **{**arrays, "nuclear_charges": np.array(["O", "H", "H"])})
    with pytest.raises(MoleculeError, match="found arrays of {'nuclear_charges': '<U1'}, wanted numbers"):
        load_molecules("rmd17:ethanol", data_root=tmp_path)
    np.savez(path, coords=arrays["coords"])
    with pytest.raises(MoleculeError, match=r"found arrays \['coords'\], wanted"):
        load_molecules("rmd17:ethanol", data_root=tmp_path)
    np.savez(path, **{**arrays, "forces": np.array([None, arrays["forces"]], dtype=object)})
    with pytest.raises(MoleculeError, match="plain arrays"):
        load_molecules("rmd17:ethanol", data_root=tmp_path)


@full
def test_azobenzene_has_24_atoms_and_forces_add_up_to_nothing():
    frames = load_molecules("rmd17:azobenzene").tests["test"]
    assert len(frames) == 1000 and set(frames.num_atoms.tolist()) == {24}
    assert frames.forces.reshape(1000, 24, 3).sum(1).abs().max() < 0.02  # eV/Å; the labels' own error
