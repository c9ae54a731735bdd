"""PONITA on molecules: conformance, the paper's equations in loops, and evaluations that must not change anything."""

import copy
import math

import pytest
import torch
from torch.nn.functional import gelu

from tests.geometric._ponita_twin import basis_mlp, plain_trunk
from weightspace.errors import ConfigurationError, GeometryError
from weightspace.geometric import ForceField, Ponita, PonitaExplicitBasis, set_ponita_evaluation
from weightspace.geometric._ponita_messages import KernelRows, messages
from weightspace.testing import AtomisticModelTests

TIGHT = {"rtol": 1e-10, "atol": 1e-10}
SMALL = {"channels": 6, "layers": 2, "basis_channels": 8, "cutoff": 2.5}


class TestPonita(AtomisticModelTests):
    outputs = {"vectors": "1o"}
    rotation_tolerance = 0.35  # of forces that nearly cancel in a crystal; energies: test_rotation_error.py

    def model(self):
        return Ponita(**SMALL, num_vectors=2)


class TestPonitaLebedev(AtomisticModelTests):
    rotation_tolerance = 0.15

    def model(self):
        return Ponita(**SMALL, grid="lebedev-26", window="mollifier")


class TestPositionOnly(AtomisticModelTests):
    def model(self):
        return Ponita(**SMALL, grid=None)


class TestPonitaExplicitBasis(AtomisticModelTests):
    outputs = {"vectors": "1o"}
    rotation_tolerance = 0.2

    def model(self):
        return PonitaExplicitBasis(channels=6, layers=2, num_rbf=4, degree=3, cutoff=2.5, num_vectors=1)


def molecule(generator, atoms=(5, 4)):
    batch = torch.arange(len(atoms)).repeat_interleave(torch.tensor(atoms))
    z = torch.randint(1, 9, (len(batch),), generator=generator)
    return z, torch.randn(len(batch), 3, dtype=torch.float64, generator=generator), batch


def readouts_by_loops(model, cloud):
    """Equations of the paper, with a kernel on pairs of points and orientations, one number at a time."""
    trunk = model.trunk
    ori, weights = trunk.orientations(cloud.pos)
    f = model.embedding(cloud.species)[:, None].expand(-1, len(ori), -1)
    edges = [*cloud.edge_index.t().tolist(), *[[i, i] for i in range(len(f))]]
    total = 0
    for block, readout in zip(trunk.blocks, trunk.readouts, strict=True):
        new = []
        for i in range(len(f)):
            for p in range(len(ori)):
                out = block.conv.bias
                for j, o in [(j, o) for j, t in edges if t == i for o in range(len(ori))]:
                    r = cloud.pos[j] - cloud.pos[i]
                    along, length = r @ ori[o], math.sqrt(r.square().sum())
                    spatial = basis_mlp(trunk.kernel.pair, torch.stack([along, (r - along * ori[o]).norm()]))
                    spatial = block.conv.pair.linear(spatial * (1 if i == j else window(length / 2.5)))
                    fiber = block.conv.fiber(basis_mlp(trunk.kernel.fiber, (ori[o] @ ori[p])[None]))
                    out = out + weights[o] * spatial * fiber * f[j, o]
                new.append(f[i, p] + block.linear_2(gelu(block.linear_1(block.norm(out)))))
        f = torch.stack(new).view(f.shape)
        total = total + readout(f) / len(trunk.blocks)
    return total


def window(x):
    return 1 - 28 * x**6 + 48 * x**7 - 21 * x**8 if x < 1 else 0.0


def test_the_separable_form_is_the_papers_convolution(generator):
    model = Ponita(channels=4, layers=2, basis_channels=5, cutoff=2.5, grid="antipodal-6").double()
    cloud = model.cloud(*molecule(generator, (3,)))
    with torch.no_grad():
        wanted = readouts_by_loops(model, cloud)
        _, weights = model.trunk.orientations(cloud.pos)
        torch.testing.assert_close(model.evaluate(cloud)["node_energy"], wanted[..., 0] @ weights, **TIGHT)


def test_the_plain_evaluation_is_the_same_function(generator):
    """The baseline that speed is measured against."""
    model = Ponita(**SMALL).double()
    cloud = model.cloud(*molecule(generator))
    x = model.trunk.lift(model.embedding(cloud.species))
    read = plain_trunk(model.trunk, x, cloud.edge_index, cloud.edge_vec, model.window)
    found = model.evaluate(cloud)["node_energy"]
    torch.testing.assert_close(found, read[..., 0] @ model.trunk.orientations(x)[1], **TIGHT)


EVALUATIONS = [{}, {"kernel_rows": 100}, {"kernel_rows": 100, "share_pairs": False}]


def everything(model, evaluation, inputs):
    """Energies, vectors, forces, and the gradients of a loss of them."""
    set_ponita_evaluation(model, **evaluation)
    model.zero_grad()
    found = ForceField(model).train()(*inputs)
    loss = found["forces"].square().sum() + found["vectors"].square().sum() + found["energy"].square().sum()
    loss.backward()
    return [found["energy"], found["vectors"], found["forces"], *(p.grad.clone() for p in model.parameters())]


@pytest.mark.parametrize("cls", [Ponita, PonitaExplicitBasis])
@pytest.mark.parametrize("kind", ["molecules", "one way", "crystal"])
def test_shared_pairs_and_small_memory_change_nothing(cls, kind, generator):
    model = cls(channels=6, layers=2, cutoff=2.5, num_vectors=1, elements=range(1, 9)).double()
    z, pos, batch = molecule(generator)
    inputs = (z, pos, batch)
    if kind == "one way":
        edges = model.cloud(*inputs).edge_index[:, 1:]
        inputs = (*inputs, edges)
    if kind == "crystal":
        inputs = (*inputs, None, 3.0 * torch.eye(3, dtype=torch.float64).expand(2, -1, -1))
    wanted = everything(model, {"share_pairs": False}, inputs)
    shared = len(model.cloud(*inputs).pair_edge) < model.cloud(*inputs).edge_index.shape[1]
    assert shared == (kind != "one way")
    for evaluation in EVALUATIONS:
        for found, value in zip(everything(model, evaluation, inputs), wanted, strict=True):
            torch.testing.assert_close(found, value, rtol=1e-9, atol=1e-10 * (1 + wanted[3].abs().max().item()))


def test_an_edge_to_itself_counts_once(generator):
    model = Ponita(**SMALL).double()
    z, pos, batch = molecule(generator)
    edges = model.cloud(z, pos, batch).edge_index
    loops = torch.cat([edges, torch.arange(len(z)).expand(2, -1)], dim=1)
    torch.testing.assert_close(model(z, pos, batch, loops)["energy"], model(z, pos, batch)["energy"], **TIGHT)


def test_kernels_are_evaluated_once_for_a_pair(generator):
    model = Ponita(**SMALL).double()
    rows = []
    model.trunk.kernel.pair.register_forward_hook(lambda _, inputs, __: rows.append(inputs[0].shape[:-1].numel()))
    inputs = molecule(generator)
    model(*inputs)
    set_ponita_evaluation(model, share_pairs=False)(*inputs)
    edges = model.cloud(*inputs).edge_index.shape[1]
    assert rows[::2] == [8 * edges, 16 * edges] and rows[1::2] == [1, 1]


@pytest.mark.parametrize("shared", [False, True])
def test_messages_have_right_derivatives_of_two_orders(shared, generator):
    source, target = torch.tensor([[0, 1, 2], [1, 2, 0]])
    rows = KernelRows(None, source[None], target[None])
    if shared:
        rows = KernelRows(None, torch.stack([source, target + 3]), torch.stack([target, source + 3]))
    antipode = torch.tensor([1, 0])
    kernel, x = (torch.randn(3, 2, 2, dtype=torch.float64, generator=generator).requires_grad_() for _ in range(2))
    wanted = torch.zeros_like(x)
    for r, (s, t) in enumerate(zip(source.tolist(), target.tolist(), strict=True)):
        wanted = wanted.index_add(0, torch.tensor([t]), (kernel[r] * x[s])[None])
        if shared:
            wanted = wanted.index_add(0, torch.tensor([s]), (kernel[r].flip(0) * x[t])[None])

    def run(kernel, x):
        return messages(kernel, x, rows, antipode)

    torch.testing.assert_close(run(kernel, x), wanted, **TIGHT)
    assert torch.autograd.gradcheck(run, (kernel, x)) and torch.autograd.gradgradcheck(run, (kernel, x))


@pytest.mark.parametrize("cls", [Ponita, PonitaExplicitBasis])
def test_calibration_keeps_the_spread_of_features(cls, generator):
    model = cls(channels=8, layers=3).double()
    inputs = molecule(generator)
    model.calibrate(*inputs)
    spreads = []
    for block in model.trunk.blocks:
        block.register_forward_pre_hook(lambda _, given: spreads.append(given[0].std()))
        block.norm.register_forward_pre_hook(lambda _, given: spreads.append(given[0].std()))
    model(*inputs)
    for before, after in zip(spreads[::2], spreads[1::2], strict=True):
        torch.testing.assert_close(after, before, rtol=1e-8, atol=0)


@pytest.mark.parametrize("model", [Ponita(**SMALL, grid="lebedev-6"), PonitaExplicitBasis(channels=4, layers=1)])
def test_models_come_back_from_disk(model, tmp_path, generator):
    z, pos, batch = molecule(generator)
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    assert again(z, pos.float(), batch)["energy"].equal(model.eval()(z, pos.float(), batch)["energy"])


def test_the_grid_stays_exact_when_the_model_is_cast():
    model = Ponita(**SMALL)
    exact = copy.deepcopy(model.trunk.grid)(torch.zeros((), dtype=torch.float64))[0]
    assert model.half().double().trunk.orientations(torch.zeros((), dtype=torch.float64))[0].equal(exact)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Ponita(channels=0), "found channels=0, wanted a positive number"),
        (lambda: Ponita(grid="circle-8"), "'circle-8' on the circle"),
        (lambda: PonitaExplicitBasis(grid="circle-8"), "'circle-8' on the circle"),
        (lambda: Ponita(grid=None, num_vectors=1), "num_vectors=1 and grid=None"),
        (lambda: Ponita(window="box"), "found 'box', wanted one of polynomial, mollifier"),
        (lambda: set_ponita_evaluation(torch.nn.Linear(1, 1)), "no PonitaTrunk in Linear"),
        (lambda: set_ponita_evaluation(Ponita(**SMALL), kernel_rows=0), "kernel_rows=0"),
    ],
)
def test_what_cannot_be_built_is_refused(make, words):
    with pytest.raises(ConfigurationError, match=words):
        make()


def test_an_unknown_grid_is_refused():
    with pytest.raises(GeometryError, match="found 'sphere'"):
        Ponita(grid="sphere")
