"""What cannot be right is refused, and true data are not."""

import dataclasses

import pytest
import torch

from weightspace.errors import MoleculeError
from weightspace.molecules import Molecules, check_molecules

BOHR, HARTREE, KCAL = 0.529177, 27.211386, 0.0433641


def chain(frames: int, *, seed: int = 0) -> Molecules:
    """Frames of a walk of HCN in springs: forces are minus the gradient of the energies."""
    generator = torch.Generator().manual_seed(seed)
    rest = torch.tensor([[-1.07, 0, 0], [0, 0, 0], [1.16, 0, 0]], dtype=torch.float64)
    steps = 0.02 * torch.randn(frames, 3, 3, dtype=torch.float64, generator=generator)
    pos = (rest + steps).requires_grad_()
    ends = torch.tensor([[0, 1], [1, 2], [0, 2]])
    lengths = (pos[:, ends[:, 0]] - pos[:, ends[:, 1]]).norm(dim=-1)
    energy = 15 * (lengths - torch.tensor([1.07, 1.16, 2.23])).square().sum(1)
    (gradient,) = torch.autograd.grad(energy.sum(), pos)
    total = energy.detach() - HARTREE * (0.5 + 37.8 + 54.6 + 0.4)
    return Molecules(
        torch.tensor([1, 6, 7]).repeat(frames),
        pos.detach().reshape(-1, 3),
        torch.arange(frames + 1) * 3,
        {"energy": total},
        {"forces": -gradient.reshape(-1, 3)},
    )


def scaled(data: Molecules, energy: float, forces: float) -> Molecules:
    return dataclasses.replace(
        data, values={"energy": data.energy * energy}, atom_values={"forces": data.forces * forces}
    )


def test_true_data_pass_with_total_pseudopotential_and_atomisation_energies():
    data = chain(50)
    check_molecules(data)
    for shift in (HARTREE * 92.9, HARTREE * 80.0):
        check_molecules(dataclasses.replace(data, values={"energy": data.energy + shift}))
    gold = Molecules(
        torch.tensor([79]), torch.zeros(1, 3).double(), torch.tensor([0, 1]), {"energy": torch.tensor([-5.3e5])}
    )
    check_molecules(gold)


@pytest.mark.parametrize(
    ("energy", "forces", "words"),
    [
        (1 / KCAL, 1 / KCAL, "wanted no less than all electrons of the free atoms have; likely kcal/mol"),
        (1 / HARTREE, 1 / HARTREE, "look like those of all electrons in Hartree, wanted eV"),
        (-1, 1, "wanted at most 100 eV per atom"),
        (1, 10, "rise by 0.0999 times the work against the forces"),
        (1, -1, "rise by -0.999 times the work against the forces, .* gradients rather than forces"),
        (1, 1 / KCAL, "forces of frames of one molecule have a root mean square of .* eV/Å, wanted at most 15"),
    ],
)
def test_wrong_units_are_named_and_a_stated_unit_is_believed(energy, forces, words):
    data = scaled(chain(50), energy, forces)
    with pytest.raises(MoleculeError, match=f"mine.xyz: .*{words}.*FILE:unit="):
        check_molecules(data, where="mine.xyz")
    check_molecules(data, where="mine.xyz", units=False)


def test_forces_of_few_or_different_molecules_may_be_harder():
    data = chain(50)
    for some in (data[:19], dataclasses.replace(data, z=data.z.clone().index_fill_(0, torch.tensor(2), 8))):
        check_molecules(scaled(some, 1, 4))
        with pytest.raises(
            MoleculeError, match="forces have a root mean square of .* eV/Å, wanted at most 100; likely"
        ):
            check_molecules(scaled(some, 1, 1000))


def test_energies_are_compared_with_isolated_atoms_of_the_same_file():
    data = chain(30)
    atoms = {1: -0.5 * HARTREE, 6: -37.8 * HARTREE, 7: -54.6 * HARTREE}
    check_molecules(data, isolated=atoms)
    wrong = {z: value / HARTREE for z, value in atoms.items()}
    with pytest.raises(MoleculeError, match="wanted from -20 to 100 eV per atom beside isolated atoms"):
        check_molecules(data, isolated=wrong)


def of_valence(elements: list[int], energy: float, forces: float | None) -> Molecules:
    """A row of atoms with the energy of a semi-empirical method in eV."""
    pos = 1.5 * torch.arange(len(elements)).double()[:, None] * torch.eye(3).double()[:1]
    push = {} if forces is None else {"forces": forces * torch.ones(len(elements), 3).double()}
    ptr = torch.tensor([0, len(elements)])
    return Molecules(torch.tensor(elements), pos, ptr, {"energy": torch.tensor([energy]).double()}, push)


def test_semi_empirical_energies_in_ev_pass_with_forces_and_those_that_look_like_hartree_are_refused_without():
    chlorohexane = of_valence([6] * 6 + [1] * 13 + [17], -653.97, None)  # GFN2-xTB
    hexanethiol = [6] * 6 + [1] * 14 + [16], -632.12
    check_molecules(chlorohexane)
    check_molecules(of_valence(*hexanethiol, 1.0))
    check_molecules(of_valence(*hexanethiol, None), units=False)
    for forces in (None, 0.04):
        with pytest.raises(
            MoleculeError, match="look like those of all electrons in Hartree, wanted eV; .*FILE:unit=eV"
        ):
            check_molecules(of_valence(*hexanethiol, forces))


def test_isolated_atoms_are_those_of_all_elements_and_finite():
    data = chain(3)
    atoms = {1: -0.5 * HARTREE, 7: -54.6 * HARTREE, 8: -75.0 * HARTREE}
    words = "isolated atoms of C are missing, found those of H, N, O; add them, or remove all of them"
    for units in (True, False):
        with pytest.raises(MoleculeError, match=f"mine.xyz: {words}"):
            check_molecules(data, where="mine.xyz", isolated=atoms, units=units)
        for wrong in (float("nan"), float("inf")):
            with pytest.raises(
                MoleculeError, match=f"isolated atom of C has energy {wrong}, wanted a finite number; cor"
            ):
                check_molecules(data, isolated=atoms | {6: wrong}, units=units)
    check_molecules(data, isolated=atoms | {6: -37.8 * HARTREE})
    check_molecules(data[:0], isolated=atoms)


def test_atoms_on_top_of_each_other_are_named():
    data = chain(3)
    for gap in (0.0, 0.1):
        pos = data.pos.clone()
        pos[5] = pos[3] + torch.tensor([0, gap, 0])
        wrong = dataclasses.replace(data, pos=pos)
        with pytest.raises(MoleculeError, match=rf"atoms 0 and 2 of molecule 1 are {gap:.3f} Å apart, wanted at least"):
            check_molecules(wrong)
    pos = data.pos.clone()
    pos[2] = pos[0] + torch.tensor([9.9, 0, 0])
    boxed = dataclasses.replace(data, pos=pos, cell=10 * torch.eye(3).double().expand(3, 3, 3))
    with pytest.raises(MoleculeError, match="atoms 0 and 2 of molecule 0 are .* or images of each other"):
        check_molecules(boxed)


def test_numbers_that_are_not_finite_are_named():
    data = chain(3)
    pos, forces, energy = data.pos.clone(), data.forces.clone(), data.energy.clone()
    pos[4, 1], forces[7, 0], energy[2] = float("nan"), float("inf"), float("nan")
    with pytest.raises(MoleculeError, match="molecule 1 has positions .*nan.* wanted finite numbers"):
        check_molecules(dataclasses.replace(data, pos=pos))
    with pytest.raises(MoleculeError, match=r"molecule 2 has forces \[inf"):
        check_molecules(dataclasses.replace(data, atom_values={"forces": forces}))
    with pytest.raises(MoleculeError, match="molecule 2 has energy nan"):
        check_molecules(dataclasses.replace(data, values={"energy": energy}))
