"""The calculator: derivatives, folders, cells, and what it says where it cannot."""

import ast
import functools
import sys
from pathlib import Path

import ase
import numpy as np
import pytest
import torch
from ase.build import bulk, molecule
from ase.calculators.calculator import PropertyNotImplementedError

import weightspace.molecules
from weightspace.errors import CheckpointError, ConfigurationError, MoleculeError
from weightspace.geometric import EGNN, ForceField, SchNet, TensorNet
from weightspace.molecules import WeightspaceCalculator, relax

from ._springs import Springs


def tensornet(**options) -> TensorNet:
    torch.manual_seed(0)
    model = TensorNet(channels=8, layers=1, num_rbf=8, cutoff=3.0, **options).double()
    model.references.copy_(torch.linspace(-2000, -1, 119))
    model.scale.fill_(1.7)
    return model


def crystal() -> ase.Atoms:
    atoms = bulk("NaCl", "rocksalt", a=4.3)
    atoms.rattle(0.1, seed=0)
    return atoms


def test_energies_and_forces_are_those_of_the_model():
    model = tensornet()
    atoms = molecule("CH3CH2OH", calculator=WeightspaceCalculator(model))
    z, pos = torch.tensor(atoms.numbers), torch.tensor(atoms.positions)
    found = ForceField(model)(z, pos)
    assert atoms.get_potential_energy() == pytest.approx(float(found["energy"].detach()), rel=1e-12)
    assert atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()
    assert np.allclose(atoms.get_forces(), found["forces"].detach().numpy(), rtol=1e-10, atol=1e-12)
    assert atoms.get_potential_energies().sum() == pytest.approx(atoms.get_potential_energy(), rel=1e-12)
    assert model.training and model.readout[0].weight.requires_grad  # a copy was taken


def test_forces_and_stress_are_derivatives():
    atoms = crystal()
    atoms.calc = WeightspaceCalculator(tensornet())
    for atom, axis in ((0, 0), (1, 2)):
        energies = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[atom, axis] += sign * 1e-4
            energies.append(atoms.calc.get_potential_energy(moved))
        assert atoms.get_forces()[atom, axis] == pytest.approx((energies[1] - energies[0]) / 2e-4, abs=1e-7)
    stress = atoms.get_stress(voigt=False)
    for i, j in ((0, 0), (0, 2)):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[i, j] += sign * 5e-5
            strain[j, i] += sign * 5e-5
            moved = atoms.copy()
            moved.set_cell(atoms.cell.array @ strain, scale_atoms=True)
            energies.append(atoms.calc.get_potential_energy(moved))
        size = 2e-4 if i == j else 1e-4  # both of 1e-4, the diagonal element got it twice
        wanted = (energies[0] - energies[1]) / size / atoms.get_volume()
        assert stress[i, j] * (1 if i == j else 2) == pytest.approx(wanted, abs=1e-7)


def test_a_supercell_has_twice_the_energy():
    atoms = crystal()
    calculator = WeightspaceCalculator(tensornet())
    twice = atoms.repeat((2, 1, 1))
    energies = [calculator.get_potential_energy(each) for each in (atoms, twice)]
    assert energies[1] == pytest.approx(2 * energies[0], rel=1e-12)


def test_atoms_may_stand_outside_the_cell():
    atoms = crystal()
    calculator = WeightspaceCalculator(tensornet())
    before = calculator.get_potential_energy(atoms)
    atoms.positions[0] += 3 * atoms.cell[1]
    assert calculator.get_potential_energy(atoms) == pytest.approx(before, rel=1e-12)


def test_a_slab_is_a_crystal_with_much_vacuum():
    atoms = crystal().repeat((2, 2, 1))
    atoms.center(vacuum=10, axis=2)
    calculator = WeightspaceCalculator(tensornet())
    atoms.pbc = True
    forces = calculator.get_forces(atoms)
    atoms.pbc = (True, True, False)
    for height in (20.0, 2.0, 0.0):  # of a direction without period, which must not matter
        atoms.set_cell([*atoms.cell[:2], [0, 0, height]])
        assert np.allclose(calculator.get_forces(atoms), forces, rtol=1e-10, atol=1e-12)
    with pytest.raises(PropertyNotImplementedError, match="wanted three periodic directions"):
        calculator.get_stress(atoms)


@pytest.mark.slow
def test_compiled_it_says_the_same_of_molecules_and_crystals(monkeypatch):
    model = tensornet()
    eager = WeightspaceCalculator(model)
    quick = functools.partial(ForceField, backend="aot_eager")  # both passes in one graph, without making code of it
    monkeypatch.setattr(weightspace.molecules._calculator, "ForceField", quick)
    compiled = WeightspaceCalculator(model, compile=True)
    for atoms in (molecule("CH3CH2OH"), crystal(), molecule("H2O")):
        assert compiled.get_potential_energy(atoms) == pytest.approx(eager.get_potential_energy(atoms), rel=1e-12)
        assert np.allclose(compiled.get_forces(atoms), eager.get_forces(atoms), rtol=1e-8, atol=1e-10)
        if atoms.pbc.all():
            assert np.allclose(compiled.get_stress(atoms), eager.get_stress(atoms), rtol=1e-8, atol=1e-12)


def test_float32_is_near_and_references_are_not_rounded_together():
    model = tensornet()
    exact = molecule("CH3CH2OH", calculator=WeightspaceCalculator(model))
    fast = molecule("CH3CH2OH", calculator=WeightspaceCalculator(model, dtype=torch.float32))
    assert fast.calc.model.references.dtype == torch.float32
    assert np.allclose(exact.get_forces(), fast.get_forces(), atol=1e-4)
    assert exact.get_potential_energy() == pytest.approx(fast.get_potential_energy(), abs=1e-3)


@pytest.mark.parametrize("cls", [SchNet, TensorNet, EGNN])
def test_a_model_comes_back_from_its_folder(cls, tmp_path):
    torch.manual_seed(0)
    model = cls(elements=(1, 6, 8), layers=1, channels=8)
    folder = model.save_pretrained(tmp_path / "model")
    atoms = molecule("CH3CH2OH")
    energies = [WeightspaceCalculator(source).get_potential_energy(atoms) for source in (model, folder, str(folder))]
    assert energies[0] == energies[1] == energies[2]


def test_a_class_of_the_users(tmp_path, monkeypatch):
    Springs(k=3.0).save_pretrained(tmp_path / "model")
    (tmp_path / "my_springs.py").write_text((Path(__file__).parent / "_springs.py").read_text())
    monkeypatch.chdir(tmp_path)
    calculator = WeightspaceCalculator("model", model_class="my_springs:Springs")
    assert calculator.model.k == 3.0
    assert WeightspaceCalculator("model", model_class=Springs).model.k == 3.0
    with pytest.raises(CheckpointError, match="found model_class 'Springs', wanted SchNet or"):
        WeightspaceCalculator("model")
    with pytest.raises(ConfigurationError, match="wanted a class that inherits"):
        WeightspaceCalculator("model", model_class="torch.nn:Identity")


def water(**options) -> ase.Atoms:
    return molecule("H2O", calculator=WeightspaceCalculator(SchNet(channels=8, layers=1, **options)))


def test_an_element_that_the_model_does_not_know():
    atoms = water(elements=(1, 6))
    with pytest.raises(MoleculeError, match="atom 0 is O, and SchNet was trained on H C; train it on data with O"):
        atoms.get_forces()


def test_overlapping_atoms():
    atoms = water()
    atoms.positions[1] = atoms.positions[2] + (0, 0, 0.2)
    with pytest.raises(MoleculeError, match="atoms 1 and 2 are 0.2 Å apart, wanted at least 0.3 Å"):
        atoms.get_forces()
    atoms.positions[1] = atoms.positions[2]
    with pytest.raises(MoleculeError, match="atoms 1 and 2 are 0 Å apart"):
        atoms.get_forces()


def test_an_atom_without_neighbours():
    atoms = water(cutoff=3.0)
    atoms.positions[1] += 100
    with pytest.raises(MoleculeError, match="atom 1 has no neighbour within the cutoff of 3.0 Å"):
        atoms.get_forces()
    atoms.calc = WeightspaceCalculator(SchNet(channels=8, layers=1, cutoff=3.0), allow_isolated=True)
    assert not atoms.get_forces()[1].any()
    alone = ase.Atoms("H", calculator=WeightspaceCalculator(SchNet(channels=8, layers=1)))
    assert not alone.get_forces().any()


def test_positions_that_are_not_finite():
    atoms = water()
    atoms.positions[2, 1] = np.nan
    with pytest.raises(MoleculeError, match="the position of atom 2 is .*nan.* wanted finite numbers"):
        atoms.get_forces()


def test_a_period_without_a_cell():
    atoms = water()
    atoms.pbc = (False, True, False)
    with pytest.raises(MoleculeError, match="direction b is periodic .* its cell vector is zero"):
        atoms.get_forces()


def test_relaxation_ends_where_forces_are_small():
    start = molecule("H2O")
    start.rattle(0.1, seed=0)
    before = start.positions.copy()
    for optimiser in ("BFGS", "FIRE"):
        relaxed, done = relax(start, Springs(k=20.0, length=1.1), fmax=1e-4, optimiser=optimiser)
        assert done and np.allclose(relaxed.get_all_distances()[np.triu_indices(3, 1)], 1.1, atol=1e-3)
    assert np.array_equal(before, start.positions)
    with pytest.raises(ConfigurationError, match="found optimiser='Adam', wanted BFGS"):
        relax(start, Springs(), optimiser="Adam")


def test_without_ase_the_room_works_and_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "ase", None)
    with pytest.raises(
        ConfigurationError, match=r"WeightspaceCalculator: needs the package ase.*install the extra mol"
    ):
        _ = weightspace.molecules.WeightspaceCalculator
    with pytest.raises(AttributeError, match="no attribute 'Calculator'"):
        _ = weightspace.molecules.Calculator


def test_only_the_calculator_imports_ase():
    users = set()
    for path in Path(weightspace.molecules.__file__).parent.glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [getattr(node, "module", "")]
            if any((name or "").split(".")[0] == "ase" for name in names):
                users.add(path.name)
    assert users == {"_calculator.py"}


@pytest.mark.parametrize(
    "device",
    ["nowhere", pytest.param("cuda", marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"))],
)
def test_devices_that_are_not_there(device):
    with pytest.raises(ConfigurationError, match=f"device: found '{device}' .* leave it out for the CPU"):
        WeightspaceCalculator(SchNet(channels=8, layers=1), device=device)
