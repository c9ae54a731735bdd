"""Databases of ASE, and SchNetPack's with the units that they name."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect

from weightspace.errors import ConfigurationError, MoleculeError
from weightspace.molecules import read_molecules

WATER = np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
HARTREE, KCAL, BOHR = 27.211386245988, 0.0433641, 0.529177210544
ENERGIES = -2080 + np.arange(3.0)  # eV
FORCES = np.random.default_rng(0).standard_normal((3, 3, 3))  # eV/Å


def schnetpack(
    path, units, *, energy=1.0, forces=1.0, length=None, positions=1.0, cell=None, keys=("energy", "forces")
):
    """Three waters whose labels are those above, over the size of their unit."""
    with connect(path) as database:
        for e, f in zip(ENERGIES / energy, FORCES / forces, strict=True):
            atoms = Atoms("OHH", WATER / positions, cell=cell, pbc=cell is not None)
            database.write(atoms, data={keys[0]: np.array([e]), keys[1]: f})
        database.metadata = {"_property_unit_dict": units} | ({} if length is None else {"_distance_unit": length})
    return path


def assert_true(found):
    assert torch.allclose(found.energy, torch.tensor(ENERGIES), rtol=1e-12)
    assert torch.allclose(found.forces, torch.tensor(FORCES.reshape(-1, 3)), rtol=1e-12)
    assert torch.allclose(found.pos, torch.tensor(np.tile(WATER, (3, 1))), rtol=1e-12)


def test_databases_of_ase_keep_energies_and_forces(tmp_path):
    for suffix in ("db", "json"):
        with connect(tmp_path / f"own.{suffix}") as database:
            for energy, force in zip(ENERGIES, FORCES, strict=True):
                atoms = Atoms("OHH", WATER)
                atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=force)
                database.write(atoms)
        found = read_molecules(tmp_path / f"own.{suffix}")
        assert torch.equal(found.energy, torch.tensor(ENERGIES)) and found.z.tolist() == [8, 1, 1] * 3
        assert torch.equal(found.forces, torch.tensor(FORCES.reshape(-1, 3))) and found.cell is None
    with connect(tmp_path / "empty.db") as database:
        database.metadata = {"title": "none"}
    with pytest.raises(MoleculeError, match="empty.db: found nothing, wanted molecules"):
        read_molecules(tmp_path / "empty.db")
    (tmp_path / "bad.db").write_bytes(b"SQLite format 3\0" + bytes(50))
    with pytest.raises(MoleculeError, match="bad.db: not an ASE database"):
        read_molecules(tmp_path / "bad.db")


@pytest.mark.parametrize(
    ("units", "energy", "forces"),
    [
        ({"energy": "eV", "forces": "eV/Ang"}, 1.0, 1.0),
        ({"energy": "kcal/mol", "forces": "kcal/mol/Ang"}, KCAL, KCAL),
        ({"energy": "kcal/mol", "forces": "kcal/mol / Angstrom"}, KCAL, KCAL),
        ({"energy": "Hartree", "forces": "Hartree/Bohr"}, HARTREE, HARTREE / BOHR),
        ({"energy": "Ha", "forces": "eV/Ang"}, HARTREE, 1.0),
        ({"energy": "meV", "forces": "kJ/mol/nm"}, 1e-3, 0.010364269656262175 / 10),
        ({"energy": "kcal/mol", "forces": "kcal/mol"}, KCAL, KCAL),
    ],
)
def test_labels_of_schnetpack_come_in_the_units_that_the_database_names(tmp_path, units, energy, forces):
    assert_true(read_molecules(schnetpack(tmp_path / "spk.db", units, energy=energy, forces=forces)))
    keys, own = ("tot", "pull"), {"tot": units["energy"], "pull": units["forces"]}
    path = schnetpack(tmp_path / "own.db", own, energy=energy, forces=forces, keys=keys)
    assert_true(read_molecules(f"{path}:energy=tot:forces=pull"))


def test_positions_and_cells_in_bohr_become_angstrom(tmp_path):
    units = {"energy": "eV", "forces": "eV/Ang"}
    assert_true(read_molecules(schnetpack(tmp_path / "a.db", units, length="Bohr", positions=BOHR)))
    found = read_molecules(schnetpack(tmp_path / "b.db", units, length="Bohr", positions=BOHR, cell=[20, 22, 24]))
    assert torch.allclose(found.cell, BOHR * torch.tensor([20.0, 22, 24]).double().diag().expand(3, 3, 3), rtol=1e-12)
    assert_true(found)
    assert_true(read_molecules(schnetpack(tmp_path / "c.db", units, length="Ang")))


def test_a_stated_unit_counts_instead_of_the_one_that_is_named(tmp_path):
    units = {"energy": "Hartree", "forces": "Hartree/Bohr"}  # wrong: the labels are in kcal/mol
    path = schnetpack(tmp_path / "spk.db", units, energy=KCAL, forces=KCAL, length="Bohr", positions=BOHR)
    assert_true(read_molecules(f"{path}:unit=kcal/mol"))


def test_units_that_nobody_knows_are_refused_with_what_to_do(tmp_path):
    path = schnetpack(tmp_path / "a.db", {"energy": "Ry", "forces": "eV/Ang"}, energy=HARTREE / 2)
    with pytest.raises(
        MoleculeError,
        match=r"found 'Ry' as unit of energy, wanted one of eV, .*correct the database's metadata, or name the unit: ",
    ):
        read_molecules(path)
    read_molecules(f"{path}:unit=eV")
    path = schnetpack(tmp_path / "b.db", {"energy": "eV", "forces": "Ry/Bohr"})
    with pytest.raises(MoleculeError, match="found 'Ry' as unit of forces, wanted one of eV"):
        read_molecules(path)
    path = schnetpack(tmp_path / "c.db", {}, length="inch")
    with pytest.raises(
        MoleculeError, match="found 'inch' as _distance_unit, wanted one of .*; correct the .* metadata$"
    ):
        read_molecules(path)
    with pytest.raises(ConfigurationError, match="unit: found 'Ry', wanted one of"):
        read_molecules(f"{path}:unit=Ry")


def test_what_is_no_number_stays_and_is_refused_as_a_label_alone(tmp_path):
    rows = {"name": "water", "group": {"point": "C2v"}, "ragged": [[1.0], [1.0, 2.0]], "energy": -2080.0}
    with connect(tmp_path / "a.db") as database:
        database.write(Atoms("OHH", WATER), data=rows)
        database.metadata = {"_property_unit_dict": {"energy": "eV", "name": "", "group": "?", "ragged": "D"}}
    assert read_molecules(tmp_path / "a.db").energy.tolist() == [-2080.0]
    for key in ("name", "group", "ragged"):
        with pytest.raises(MoleculeError, match=r"frame 0 has energy of shape .*, wanted 1 numbers for its 3 atoms"):
            read_molecules(f"{tmp_path / 'a.db'}:energy={key}:unit=eV")
    with connect(tmp_path / "b.db") as database:
        database.write(Atoms("OHH", WATER), data={"energy": "deep"})
        database.metadata = {"_property_unit_dict": {"energy": "kcal/mol"}}
    with pytest.raises(MoleculeError, match="frame 0 has energy of shape .* and kind .*, wanted 1 numbers"):
        read_molecules(tmp_path / "b.db")
