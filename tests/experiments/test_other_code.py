from dataclasses import replace

import pytest
import torch

from experiments import other_code
from experiments._other_particles import pairs
from experiments._other_sources import VARIABLE, WANTED, other_module
from weightspace.errors import ConfigurationError
from weightspace.geometric import SchNet
from weightspace.molecules import load_molecules
from weightspace.tasks.molecular import BenchmarkModel, Budget, MolecularTraining, run_model

EVERY = [*other_code.MOLECULES, *other_code.DYNAMICS]


class Lazy(SchNet):
    """A model that has to see molecules before it can be used."""

    def __init__(self, elements, neighbours=0.0):
        super().__init__(channels=8, layers=1, num_rbf=8, cutoff=4.0, elements=elements)
        del self.config
        self.register_buffer("seen", torch.zeros(()))
        self.register_buffer("neighbours", torch.tensor(neighbours))

    def initialise_on(self, molecules):
        self.seen.fill_(len(molecules)).add_(torch.rand(()))


LAZY = replace(
    other_code.MOLECULES[1],
    factory="tests.experiments.test_other_code:Lazy",
    arguments={},
    counted=("neighbours", 4.0),
    training=MolecularTraining(batch_size=10),
)


@pytest.fixture(scope="module")
def splits():
    return load_molecules("sample:ethanol")


def test_a_model_sees_training_molecules_before_its_training(splits):
    entry = LAZY.entry("ethanol", splits)
    assert entry.arguments == {"neighbours": pytest.approx(8.0, abs=0.1)}
    one, two = entry.build_for(splits, seed=3), entry.build_for(splits, seed=3)
    assert int(one.seen) == len(splits.train) and one.seen == two.seen


def test_a_result_becomes_a_row_that_says_what_it_is(splits, tmp_path):
    run_model(LAZY.entry("ethanol", splits), splits, tmp_path / "ethanol" / "mace" / "seed0", budget=Budget(samples=20))
    content = other_code.collected("ethanol", tmp_path)
    [row] = content["runs"]
    assert row["model"]["name"] == "MACE (mace-torch 0.3.16)" and row["tests"]["test"]["forces_mae"] > 0
    assert row["remark"].startswith("mace-torch 0.3.16") and "; loss, loop, batch size" in row["remark"]
    assert "max_ell=3" in row["remark"]
    assert other_code.collected("aspirin", tmp_path)["runs"] == []


def test_remarks_of_squared_losses_do_not_say_that_the_loss_is_the_same():
    remarks = [other.row("ethanol", {"model": {}, "curve": []})["remark"] for other in EVERY]
    assert ["; loss, loop" in remark for remark in remarks] == [True, True, True, False, False, False, False]
    assert all("batch size and schedule are those of this library's own models" in remark for remark in remarks)


@pytest.mark.parametrize("other", EVERY, ids=lambda other: other.factory.rpartition(":")[2])
def test_repositories_that_are_not_there_are_named(other, tmp_path, monkeypatch):
    for root in (None, str(tmp_path)):
        monkeypatch.delenv(VARIABLE, raising=False)
        if root is not None:
            monkeypatch.setenv(VARIABLE, root)
        with pytest.raises(ConfigurationError, match=rf"{VARIABLE}: found .*, wanted a FOLDER that holds"):
            BenchmarkModel(other.name, other.factory, other.arguments).build((1, 6, 8))


def test_a_folder_without_the_module_is_named(tmp_path, monkeypatch):
    (tmp_path / "egnn").mkdir()
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigurationError, match=f"cannot be imported .* wanted {WANTED['egnn']}"):
        other_module("no_such_module_here", "egnn")


def test_pairs_stay_within_their_system():
    found = pairs(3, loops=False)
    assert found.shape == (2, 60) and torch.equal(found[0] // 5, found[1] // 5) and (found[0] != found[1]).all()
    assert pairs(3, loops=True).shape == (2, 75)


def test_models_that_there_are_not_are_named():
    with pytest.raises(ConfigurationError, match="nbody: found the model 'nequp', wanted some of egnn, ponita"):
        other_code.main(["--tables", "nbody", "--models", "nequp"])
