"""weightspace predict-molecule: tables, files, and what it says where it cannot."""

import pickle

import numpy as np
import pytest
import torch
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from ase.io import read, write
from ase.units import Bohr, Hartree, kcal, mol

from weightspace.cli import main
from weightspace.geometric import SchNet
from weightspace.molecules import WeightspaceCalculator

from ._springs import Springs


@pytest.fixture
def folder(tmp_path, monkeypatch):
    torch.manual_seed(0)
    SchNet(channels=8, layers=1, elements=(1, 6, 8)).save_pretrained(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_table_and_a_file_with_forces(folder, capsys):
    frames = [molecule("CH3CH2OH"), molecule("H2O")]
    write("mine.xyz", frames)
    assert main(["predict-molecule", "mine.xyz", "--model", "model", "--forces", "out/mine.extxyz"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["frame", "formula", "energy", "(eV)", "largest", "force", "(eV/Å)"]
    assert [line.split()[:2] for line in lines[1:3]] == [["0", "C2H6O"], ["1", "H2O"]]
    assert lines[3] == "written to out/mine.extxyz"
    calculator = WeightspaceCalculator("model")
    written = read("out/mine.extxyz", index=":")
    for atoms, given, line in zip(written, read("mine.xyz", index=":"), lines[1:], strict=False):
        given.calc = calculator
        assert np.allclose(atoms.get_forces(), given.get_forces(), atol=1e-7)
        assert atoms.get_potential_energy() == pytest.approx(given.get_potential_energy(), abs=1e-7)
        assert float(line.split()[2]) == pytest.approx(given.get_potential_energy(), abs=1e-6)
        assert float(line.split()[3]) == pytest.approx(np.linalg.norm(given.get_forces(), axis=1).max(), abs=1e-6)


def test_errors_against_labels_of_the_file(folder, capsys):
    atoms = molecule("H2O")
    calculator = WeightspaceCalculator("model")
    energy, forces = calculator.get_potential_energy(atoms), calculator.get_forces(atoms)
    atoms.calc = SinglePointCalculator(atoms, energy=energy + 0.002, forces=forces - 0.003)
    write("mine.extxyz", atoms)
    assert main(["predict-molecule", "mine.extxyz", "--model", "model"]) == 0
    text = capsys.readouterr().out
    assert "the file's energies: 2.000 meV" in text and "the file's forces: 3.000 meV/Å" in text


def test_relaxation(folder, capsys):
    Springs(k=20.0, length=1.1).save_pretrained("springs")
    write("mine.xyz", molecule("H2O"))
    words = ["predict-molecule", "mine.xyz", "--model", "springs", "--class", f"{Springs.__module__}:Springs"]
    assert main([*words, "--relax", "--fmax", "0.0001", "--forces", "relaxed.xyz"]) == 0
    assert float(capsys.readouterr().out.splitlines()[1].split()[3]) < 1e-4
    assert np.allclose(read("relaxed.xyz").get_all_distances()[np.triu_indices(3, 1)], 1.1, atol=1e-4)
    assert main([*words, "--relax", "--fmax", "1e-9", "--steps", "1"]) == 0
    assert "note: not relaxed to the force asked for: frame 0" in capsys.readouterr().out
    assert main([*words, "--relax", "--fmax", "-1"]) == 1
    assert "found fmax=-1.0" in capsys.readouterr().err


def test_crystals_are_written_with_stress(folder, capsys):
    write("mine.cif", bulk("CO", "rocksalt", a=3.5))
    assert main(["predict-molecule", "mine.cif", "--model", "model", "--forces", "out.xyz"]) == 0
    assert read("out.xyz").get_stress().shape == (6,)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("no.xyz", None, "no.xyz: no such file; wanted a file of molecules"),
        ("bad.xyz", b"nonsense\n1 2 3\n", "bad.xyz: ASE cannot read it"),
        ("bad.what", b"nonsense\n1 2 3\n", "bad.what: ASE cannot read it"),
        ("empty.xyz", b"", "empty.xyz: ASE cannot read it"),
        ("mine.pckl", pickle.dumps([1]), "mine.pckl: a pickle, which runs what is in it; write the molecules as"),
        ("mine.traj", b"PickleTrajectory", "mine.traj: a pickle"),
        ("mine.traj", pickle.dumps([1], protocol=0), "mine.traj: a pickle"),
    ],
)
def test_files_that_cannot_be_read(folder, capsys, name, content, words):
    if content is not None:
        (folder / name).write_bytes(content)
    assert main(["predict-molecule", name, "--model", "model"]) == 1
    error = capsys.readouterr().err
    assert words in error and len(error.splitlines()) == 1


def test_what_the_model_does_not_take_is_named_with_its_frame(folder, capsys):
    write("mine.xyz", [molecule("H2O"), molecule("NH3")])
    assert main(["predict-molecule", "mine.xyz", "--model", "model"]) == 1
    assert "mine.xyz, frame 1: atom 0 is N, and SchNet was trained on H C O" in capsys.readouterr().err
    assert main(["predict-molecule", "mine.xyz", "--model", "model", "--forces", "mine.xyz"]) == 1
    assert "wanted another file than the input, .xyz or .extxyz" in capsys.readouterr().err
    assert main(["predict-molecule", "mine.xyz", "--model", "nothing"]) == 1
    assert "nothing/config.json: not found" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("positions", "words"),
    [
        ([[0, 0, 0], [0.1, 0, 0], [2, 0, 0]], "frame 0: atoms 0 and 1 are 0.1 Å apart"),
        ([[0, 0, 0], [1, 0, 0], [40, 0, 0]], "frame 0: atom 2 has no neighbour within the cutoff of 10.0 Å"),
        ([[0, 0, 0], [1, 0, 0], [np.nan, 0, 0]], "frame 0: the position of atom 2 is [nan, 0.0, 0.0]"),
    ],
)
def test_geometries_that_cannot_be_right_are_named(folder, capsys, positions, words):
    atoms = molecule("H2O")
    atoms.positions = positions
    write("mine.extxyz", atoms)
    assert main(["predict-molecule", "mine.extxyz", "--model", "model"]) == 1
    assert words in capsys.readouterr().err
    allowed = main(["predict-molecule", "mine.extxyz", "--model", "model", "--allow-isolated"])
    assert allowed == (0 if "no neighbour" in words else 1)


def test_labels_that_are_not_finite_are_a_note_or_an_error_where_they_were_named(folder, capsys):
    frames = [molecule("H2O"), molecule("H2O")]
    for atoms, energy in zip(frames, (-2000.0, np.nan), strict=True):
        atoms.info["REF_energy"] = energy
    write("mine.extxyz", frames)
    assert main(["predict-molecule", "mine.extxyz", "--model", "model"]) == 0
    found = capsys.readouterr().out
    assert "note: no errors of energy: mine.extxyz: energy of frame 1: found" in found and "nan meV" not in found
    assert main(["predict-molecule", "mine.extxyz:energy=REF_energy", "--model", "model"]) == 1
    assert "energy of frame 1: found numbers that are not finite; correct them" in capsys.readouterr().err


def test_the_folder_of_a_run_will_do(folder, capsys):
    write("mine.xyz", molecule("H2O"))
    outputs = []
    for model in ("model", "."):
        assert main(["predict-molecule", "mine.xyz", "--model", model]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]


def test_labels_have_the_names_and_the_unit_that_the_path_states(folder, capsys):
    atoms = molecule("H2O")
    calculator = WeightspaceCalculator("model")
    energy, forces = calculator.get_potential_energy(atoms), calculator.get_forces(atoms)
    atoms.info["dft"], atoms.arrays["grad"] = (energy + 0.002) / kcal * mol, (forces - 0.003) / kcal * mol
    write("mine.extxyz", atoms)
    assert main(["predict-molecule", "mine.extxyz:energy=dft:forces=grad:unit=kcal/mol", "--model", "model"]) == 0
    text = capsys.readouterr().out
    assert "the file's energies: 2.000 meV" in text and "the file's forces: 3.000 meV/Å" in text
    assert main(["predict-molecule", "mine.extxyz:energy=other", "--model", "model"]) == 1
    assert "found no energy under 'other'" in capsys.readouterr().err


def test_labels_that_some_frames_lack_are_a_note(folder, capsys):
    frames = [molecule("H2O"), molecule("H2O")]
    frames[0].info["REF_energy"] = -2000.0
    write("mine.extxyz", frames)
    assert main(["predict-molecule", "mine.extxyz", "--model", "model"]) == 0
    assert "note: no errors of energy: mine.extxyz: frame 1 has no energy" in capsys.readouterr().out


def test_databases_are_read_as_for_training(folder, capsys):
    atoms = molecule("H2O")
    calculator = WeightspaceCalculator("model")
    energy = calculator.get_potential_energy(atoms)
    with connect("mine.db") as database:
        small = atoms.copy()
        small.positions /= Bohr
        database.write(small, data={"energy": (energy + 0.002) / Hartree})
        database.metadata = {"_property_unit_dict": {"energy": "Hartree"}, "_distance_unit": "Bohr"}
    assert main(["predict-molecule", "mine.db", "--model", "model"]) == 0
    text = capsys.readouterr().out
    assert "the file's energies: 2.000 meV" in text and float(text.splitlines()[1].split()[2]) == pytest.approx(energy)
