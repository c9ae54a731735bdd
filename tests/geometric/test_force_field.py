"""Forces and stress of a batch, in every mode; what the conformance class leaves open."""

import pytest
import torch

from weightspace.geometric import EGNN, ForceField, SchNet
from weightspace.testing._geometric_samples import Atoms, cluster, crystal, joined


@pytest.fixture
def model():
    torch.manual_seed(0)
    return SchNet(channels=6, layers=1, num_rbf=4, cutoff=2.5).double()


def test_stress_of_a_batch_and_of_cells_without_volume(model):
    first, second = crystal(model), crystal(model)
    second = second.at(1.1 * second.pos, 1.1 * second.cell)
    slab = second.cell.clone()
    slab[0, 2] = 0
    graphs = [first, second, second.at(second.pos, slab)]
    together = joined(graphs).at(torch.cat([g.pos for g in graphs]), torch.cat([g.cell for g in graphs]))
    field = ForceField(model).eval()
    found = together(field)
    for g, graph in enumerate(graphs[:2]):
        torch.testing.assert_close(found["stress"][g], graph(field)["stress"][0], rtol=1e-10, atol=1e-12)
    assert (found["stress"][2] == 0).all()
    assert torch.isfinite(found["forces"]).all()


def test_tension_is_positive(model):
    """The sign of ASE: dE/dstrain over the volume."""
    atoms = crystal(model)
    field = ForceField(model).eval()
    energies = [atoms.at(s * atoms.pos, s * atoms.cell)(field)["energy"] for s in (0.9999, 1.0001)]
    slope = (energies[1] - energies[0]) / 2e-4
    volume = torch.linalg.det(atoms.cell[0])
    pressure = atoms(field)["stress"][0].trace() * volume
    torch.testing.assert_close(pressure, slope[0], rtol=1e-6, atol=1e-9)


def test_hessians_through_positions_that_ask_for_gradients(model):
    atoms = cluster(model, 4, 3)
    field = ForceField(model).train()

    def forces(pos):
        return Atoms(atoms.z, pos, atoms.batch)(field)["forces"].flatten()

    hessian = torch.autograd.functional.jacobian(forces, atoms.pos).flatten(1)
    torch.testing.assert_close(hessian, hessian.t(), rtol=1e-9, atol=1e-12)
    assert hessian.abs().max() > 1e-3


def test_forces_of_no_atoms_and_frozen_models(model):
    field = ForceField(model).eval()
    none = torch.zeros(0, dtype=torch.long)
    assert field(none, torch.zeros(0, 3, dtype=torch.float64))["forces"].shape == (0, 3)
    atoms = cluster(model, 4, 3)
    wanted = atoms(field)["forces"]
    torch.testing.assert_close(atoms(ForceField(model.requires_grad_(False)).eval())["forces"], wanted)


def test_inputs_are_left_alone(model):
    atoms = cluster(model, 4, 3)
    before = atoms.pos.clone()
    atoms(ForceField(model).train())
    assert torch.equal(atoms.pos, before) and not atoms.pos.requires_grad and atoms.pos.grad is None


def test_vectors_are_no_forces():
    """Forces are derivatives of the energy also where a model returns vectors: work around a loop is zero."""
    torch.manual_seed(0)
    model = EGNN(channels=6, layers=2).double()
    atoms, field = cluster(model, 3, 1), ForceField(model).eval()
    generator = torch.Generator().manual_seed(0)
    steps = torch.randn(3, 3, 3, dtype=torch.float64, generator=generator)
    corners = [atoms.pos + 0.2 * step for step in steps]
    nodes, weights = torch.tensor([-1.0, 0, 1]).double() * 0.6**0.5, torch.tensor([5.0, 8, 5]).double() / 18
    work = torch.zeros((), dtype=torch.float64)
    for start, end in zip(corners, corners[1:] + corners[:1], strict=True):
        for node, weight in zip(nodes, weights, strict=True):
            pos = start + (end - start) * (node + 1) / 2
            work += weight * (atoms.at(pos)(field)["forces"] * (end - start)).sum()
    scale = atoms(field)["forces"].abs().max()
    assert work.abs() < 1e-4 * scale
