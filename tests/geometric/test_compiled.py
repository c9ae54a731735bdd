"""Compiled force fields: right in every mode, and what is wrong is found on the first batch."""

import copy
from pathlib import Path

import pytest
import torch

import weightspace.geometric
from weightspace.errors import CompilationMismatchError
from weightspace.geometric import EGNN, AbstractAtomisticModel, ForceField, SchNet, TensorNet
from weightspace.geometric._take import take_by_brackets
from weightspace.testing._geometric_checks import assert_force_loss, assert_forces, assert_stress
from weightspace.testing._geometric_samples import cluster, crystal, joined


def small():
    torch.manual_seed(0)
    return SchNet(channels=6, layers=1, num_rbf=4, cutoff=2.5).double()


class Springs(AbstractAtomisticModel):
    """The smallest model with a parameter."""

    def __init__(self) -> None:
        super().__init__(2.5, elements=None, config={})
        self.stiffness = torch.nn.Parameter(torch.ones(()))

    def evaluate(self, cloud):
        stretch = (2.5**2 - cloud.edge_len.square()) ** 3
        return {"node_energy": cloud.sum_edges(0.01 * self.stiffness * stretch * self.stiffness)}


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def test_energies_forces_and_their_gradients_compile():
    model = Springs().double()
    batch = joined([cluster(model, 4, 4), cluster(model, 3, 1)])
    found, wanted = batch(ForceField(model, compile=True, backend="eager")), batch(ForceField(model))
    for name in ("energy", "forces"):
        torch.testing.assert_close(found[name], wanted[name], rtol=1e-10, atol=1e-12)
    slopes = [torch.autograd.grad(each["forces"].square().sum(), model.stiffness) for each in (found, wanted)]
    torch.testing.assert_close(*slopes, rtol=1e-10, atol=1e-12)


@pytest.mark.slow
def test_sizes_and_modes_change():
    model = Springs().double()
    field, eager = ForceField(model, compile=True, backend="aot_eager"), ForceField(model)
    for training in (True, False):
        for numbers in ((4, 3), (6, 3, 5), (5,), (2, 1)):
            batch = joined([cluster(model, number, number) for number in numbers])
            found, wanted = batch(field.train(training)), batch(eager.train(training))
            assert found["forces"].requires_grad == training
            torch.testing.assert_close(found["forces"], wanted["forces"], rtol=1e-10, atol=1e-12)


def zero_forces(graph, inputs):
    """A backend whose results are zero wherever they have the shape of positions."""

    def run(*arguments):
        return tuple(0 * out if out.dim() == 2 and out.shape[1] == 3 else out for out in graph(*arguments))

    return run


def wrong_energies(graph, inputs):
    """A backend that is off by 1 %."""
    return lambda *arguments: tuple(1.01 * out for out in graph(*arguments))


def raises(graph, inputs):
    """A backend that cannot."""
    raise RuntimeError("out of registers")


def test_a_batch_without_edges_runs_eagerly():
    model = Springs().double()
    field = ForceField(model, compile=True, backend=raises)
    assert (field(torch.tensor([1]), torch.zeros(1, 3).double())["forces"] == 0).all()


@pytest.mark.parametrize(
    ("backend", "words", "training"),
    [
        (
            zero_forces,
            "Springs compiled with backend .*: forces differs from the eager one by .* where its largest",
            True,
        ),
        (wrong_energies, "Springs compiled with backend .*: energy differs from the eager one by", False),
        (raises, r"Springs: energy and forces do not compile to one graph with backend (.|\n)*out of registers", True),
    ],
)
def test_what_is_wrong_is_found_on_the_first_batch(backend, words, training):
    model = Springs().double()
    model.references.fill_(-1.0)
    field = ForceField(model, compile=True, backend=backend).train(training)
    with pytest.raises(CompilationMismatchError, match=words):
        cluster(model, 4, 4)(field)


@pytest.mark.slow
def test_the_check_goes_on_until_forces_are_not_zero():
    """A first batch whose atoms feel nothing proves nothing."""
    model = Springs().double()
    field = ForceField(model, compile=True, backend=zero_forces).eval()
    z, pos = torch.tensor([1, 1]), torch.tensor([[0.0, 0, 0], [2.5, 0, 0]]).double()  # at the cutoff
    assert (field(z, pos)["forces"] == 0).all()
    with pytest.raises(CompilationMismatchError, match="forces differs"):
        cluster(model, 4, 4)(field)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # of inductor's import
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
@pytest.mark.parametrize(
    "model",
    [
        SchNet(channels=6, layers=1, num_rbf=4, cutoff=2.5),
        EGNN(channels=6, layers=2, cutoff=2.5),
        TensorNet(channels=6, layers=1, num_rbf=4, cutoff=2.5),
    ],
    ids=lambda model: type(model).__name__,
)
def test_models_compile(model, backend, monkeypatch):
    """Forces, stress and gradients of a force loss of compiled models against finite differences."""
    if backend == "inductor" and not isinstance(model, SchNet):
        pytest.skip("inductor takes minutes for each model; the smallest stands for it")
    model = copy.deepcopy(model).double()
    monkeypatch.setattr(
        "weightspace.testing._geometric_checks.ForceField",
        lambda model: ForceField(model, compile=True, backend=backend),
    )
    assert_forces(model, joined([cluster(model, 4, 4), cluster(model, 3, 3)]))
    assert_force_loss(model, cluster(model, 4, 4))
    assert_stress(model, crystal(model))


def test_rows_by_brackets_are_rows_compiled_or_not():
    def rows(x, index):  # dimensions are constants in models, too
        return take_by_brackets(x, 0, index), take_by_brackets(x, 1, index)

    x, index = torch.rand(4, 5, 2), torch.tensor([3, 0, 3])
    for call in (rows, torch.compile(rows, backend="eager", fullgraph=True, dynamic=True)):
        for dim, found in enumerate(call(x, index)):
            assert torch.equal(found, x.index_select(dim, index))


def test_models_take_rows_in_the_way_that_every_torch_compiles():
    files = Path(weightspace.geometric.__file__).parent.glob("*.py")
    found = [path.name for path in files if "index_select(" in path.read_text(encoding="utf-8")]
    assert found == ["_take.py"], "of these, use weightspace.geometric._take.take"
