"""Matrix Function Networks: conformance, matrices that are self-adjoint and equivariant, resolvents in loops."""

import json

import pytest
import torch

from weightspace.errors import CompilationMismatchError, ConfigurationError
from weightspace.geometric import ForceField, MatrixFunctionNetwork, _matrix_blocks
from weightspace.geometric._matrix_blocks import SIZE, Resolvents, block_entries, chunks_of, coupling, hamiltonian
from weightspace.testing import AtomisticModelTests
from weightspace.testing._geometric_checks import assert_close
from weightspace.testing._geometric_samples import cluster, crystal, joined, rotation

TIGHT = {"rtol": 1e-10, "atol": 1e-10}
SMALL = {"channels": 4, "lmax": 2, "radial": (4, 4), "resolvents": (2, 2), "cutoff": 2.5}


class TestMatrixFunctionNetwork(AtomisticModelTests):
    def model(self):
        return MatrixFunctionNetwork(**SMALL, layers=2)

    @pytest.mark.slow
    def test_300_atoms(self):
        super().test_300_atoms()

    def test_supercell(self):
        """Atoms moved by lattice vectors; the energy of a supercell, which has more wave vectors, is another."""
        model = self._made()
        atoms = crystal(model)
        moved = atoms.pos + torch.tensor([[2.0, 0.0, -1.0], [0, 0, 0], [0, 1, 0], [0, 0, 0]]).double() @ atoms.cell[0]
        assert_close(atoms.at(moved)(model)["energy"], atoms(model)["energy"], 1e-10, "energy of moved atoms")


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MatrixFunctionNetwork(**SMALL, layers=1).double().requires_grad_(False)


def blocks(model, cloud):
    """Of edges and atoms, in the first layer."""
    seen = []
    hook = model.resolvents[0].register_forward_pre_hook(lambda _, inputs: seen.extend(inputs[:2]))
    model.evaluate(cloud)
    hook.remove()
    return seen


def matrices(model, atoms):
    """H (K, n S, n S) of one graph."""
    cloud = model.cloud(atoms.z, atoms.pos, atoms.batch)
    return hamiltonian(*blocks(model, cloud), chunks_of(cloud, 1)[0])[0]


@pytest.mark.parametrize("matrix", [rotation(1), -torch.eye(3, dtype=torch.float64), -rotation(2)])
def test_matrices_rotate(model, matrix):
    atoms = cluster(model, 5, 0)
    h, turned = matrices(model, atoms), matrices(model, atoms.at(atoms.pos @ matrix.t()))
    torch.testing.assert_close(h, h.mT, **TIGHT)
    d = torch.block_diag(*[torch.block_diag(torch.eye(1, dtype=torch.float64), matrix) for _ in range(5)])
    torch.testing.assert_close(turned, d @ h @ d.t(), **TIGHT)
    assert h.unflatten(2, (5, 4)).unflatten(1, (5, 4)).abs().amax((0, 1, 3)).gt(1e-3).sum() > 10  # parts of blocks


def test_matrices_permute(model):
    atoms, order = cluster(model, 4, 0), torch.tensor([2, 0, 3, 1])
    h = matrices(model, atoms).unflatten(2, (4, SIZE)).unflatten(1, (4, SIZE))
    other = matrices(model, type(atoms)(atoms.z[order], atoms.pos[order], atoms.batch))
    torch.testing.assert_close(
        other.unflatten(2, (4, SIZE)).unflatten(1, (4, SIZE)), h[:, order][:, :, :, order], **TIGHT
    )


def test_resolvents_by_eigenvalues(model):
    """Features of atoms of graphs of unequal size, one graph, matrix, pole and atom at a time."""
    batch = joined([cluster(model, n, n) for n in (3, 1, 5)])
    cloud = model.cloud(batch.z, batch.pos, batch.batch)
    resolvents, (edges, atoms) = model.resolvents[0], blocks(model, cloud)
    found = resolvents(edges, atoms, cloud)
    for graph in range(3):
        rows = (batch.batch == graph).nonzero().flatten().tolist()
        for k in range(2):
            m = torch.zeros(len(rows), SIZE, len(rows), SIZE, dtype=torch.float64)
            for e, (j, i) in enumerate(cloud.edge_index.t().tolist()):
                if i in rows:
                    m[rows.index(i), :, rows.index(j)] += edges[e, k]
            for place, i in enumerate(rows):
                m[place, :, place] += atoms[i, k]
            m = m.flatten(2).flatten(0, 1)
            values, vectors = torch.linalg.eigh((m + m.t()) / 2**0.5)
            for p, z in enumerate(resolvents.poles()[k]):
                f = (vectors.to(z) @ torch.diag(1 / (z - values)) @ vectors.t().to(z)).view(len(rows), 4, len(rows), 4)
                for place, i in enumerate(rows):
                    block = f[place, :, place]
                    for part, value in enumerate((block.real, block.imag)):
                        channel = 4 * part + 2 * k + p
                        trace = value.diagonal()[1:].sum()
                        wanted = torch.stack([value[0, 0], 3**0.5 * trace])
                        torch.testing.assert_close(found["0e"][i, 0, [channel, 8 + channel]], wanted, **TIGHT)
                        torch.testing.assert_close(found["1o"][i, :, channel], value[0, 1:], **TIGHT)
                        norm = found["2e"][i, :, channel].norm() * 5**0.5 / 3
                        deviator = value[1:, 1:] - trace / 3 * torch.eye(3).double()
                        torch.testing.assert_close(norm, deviator.norm(), **TIGHT)


def test_blocks_are_what_their_parts_say():
    for symmetric in (True, False):
        c = coupling(block_entries(symmetric=symmetric))
        gram = torch.tensordot(c, c, ([1, 2], [1, 2]))
        torch.testing.assert_close(gram, torch.diag(gram.diagonal()), **TIGHT)
    assert len(c) == 1 + 1 + 3 + 3 + 5


def test_small_chunks_change_nothing(model, monkeypatch):
    batch = joined([cluster(model, n, n) for n in (3, 4, 3, 1, 4)])
    cloud = model.cloud(batch.z, batch.pos, batch.batch)
    wanted = model.evaluate(cloud)["node_energy"]
    assert len(chunks_of(cloud, 4)) == 3
    monkeypatch.setattr(_matrix_blocks, "MOST_NUMBERS", 1)
    assert len(chunks_of(cloud, 4)) == 5
    torch.testing.assert_close(model.evaluate(cloud)["node_energy"], wanted, **TIGHT)


def test_second_derivatives_of_resolvents(model):
    atoms = cluster(model, 2, 0)
    cloud = model.cloud(atoms.z, atoms.pos)
    edges, own = (value[:, :1].clone().requires_grad_() for value in blocks(model, cloud))
    resolvents = Resolvents(1, 1).double()

    def features(edges, own):
        return torch.cat([value.flatten() for value in resolvents(edges, own, cloud).values()])[::3]

    assert torch.autograd.gradgradcheck(features, (edges, own))


def test_poles_stay_away_from_the_axis():
    resolvents = Resolvents(2, 3, gap=0.5)
    with torch.no_grad():
        resolvents.imaginary.fill_(-1e3)
    assert (resolvents.poles().imag >= 0.5).all()


def test_far_atoms_are_felt(model):
    """Along a chain, beyond the reach of its one layer of messages."""
    pos = torch.zeros(8, 3, dtype=torch.float64)
    pos[:, 0] = 1.2 * torch.arange(8)
    z, other = torch.tensor([6] * 7 + [1]), torch.tensor([6] * 7 + [8])
    change = (model(z, pos)["node_energy"] - model(other, pos)["node_energy"]).abs()
    assert (change > 1e-9).all()


def test_a_configuration_makes_the_same_model(model):
    again = MatrixFunctionNetwork(**json.loads(json.dumps(model.config))).double()
    again.load_state_dict(model.state_dict())
    z, pos = torch.tensor([1, 8]), torch.eye(3)[:2].double()
    assert torch.equal(again(z, pos)["energy"], model(z, pos)["energy"])


@pytest.mark.slow
def test_does_not_compile(model):
    """Sizes of its matrices are numbers of atoms."""
    field = ForceField(model, compile=True, backend="aot_eager")
    with pytest.raises(CompilationMismatchError, match="MatrixFunctionNetwork: energy and forces do not compile"):
        field(torch.tensor([1, 8]), torch.eye(3)[:2].double())


def test_messages():
    with pytest.raises(ConfigurationError, match=r"found layers=2, .*resolvents=\(0, 2\), wanted at least one of each"):
        MatrixFunctionNetwork(**{**SMALL, "resolvents": (0, 2)})
