import json

import pytest
import torch

from weightspace.errors import ConfigurationError
from weightspace.geometric import SchNet
from weightspace.molecules import load_molecules
from weightspace.tasks.molecular import BenchmarkModel, preset, presets_for
from weightspace.tasks.molecular._objectives import FUTURE, INTERACTION, EnergyObjective
from weightspace.tasks.molecular._paper_presets import ATOMS, PAPERS
from weightspace.tasks.molecular._presets import models_named

SLOW = {"ponita-paper", "mace-paper", "escn-paper"}
NAMES = [pytest.param(entry.name, marks=[pytest.mark.slow] * (entry.name in SLOW)) for entry in PAPERS]
PARAMETERS = {
    "schnet-paper": 420_353,
    "egnn-paper": 710_536,
    "tensornet-paper": 753_921,
    "ponita-paper": 1_057_029,
    "nequip-paper": 1_950_440,
    "mace-paper": 3_297_808,
    "escn-paper": 47_985_408,
    "mfn-paper": 550_208,
}
IN_KCAL = 1 / 0.0433641


def squares(energy, forces):
    """As the authors write it: squared errors of whole energies and of force components."""
    return lambda de, df: energy * de.square().mean() + forces * df.square().mean()


PUBLISHED_LOSS = {
    "schnet-paper": lambda de, df: squares(0.01, 0.99)(de * IN_KCAL, df * IN_KCAL),
    "tensornet-paper": lambda de, df: squares(0.5 * 0.01, 0.5)(de * IN_KCAL, df * IN_KCAL),
    "ponita-paper": lambda de, df: (de**2).mean() / 500 + (df**2).sum(-1).mean() / 3,
    "nequip-paper": squares(1.0, 1000.0),
    "mace-paper": lambda de, df: squares(1.0, 1000.0)(de / ATOMS, df),
    "escn-paper": lambda de, df: (2 * de.abs().mean() + 100 * df.norm(dim=-1).mean()) / 2.887317180633545,
    "mfn-paper": lambda de, df: squares(10.0, 100.0)(de / ATOMS, df),
}


@pytest.fixture(scope="module")
def sample():
    return load_molecules("sample:ethanol")


@pytest.mark.parametrize("name", NAMES)
def test_each_builds_with_as_many_parameters(name):
    model = preset(name).build((1, 6, 8))
    assert model.elements == (1, 6, 8)
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("entry", PAPERS, ids=lambda entry: entry.name)
def test_each_comes_back_from_json_and_says_where_it_is_from(entry):
    assert entry == BenchmarkModel.from_json(json.loads(json.dumps(entry.to_json())))
    assert " at " in entry.source and "github.com/" in entry.source and "here" in entry.source


@pytest.mark.parametrize("name", PUBLISHED_LOSS)
def test_the_loss_is_the_published_one_for_molecules_of_21_atoms(name):
    generator = torch.Generator().manual_seed(0)
    de = torch.randn(4, generator=generator, dtype=torch.float64)
    df = torch.randn(4 * ATOMS, 3, generator=generator, dtype=torch.float64)
    objective = EnergyObjective(SchNet(channels=4, layers=1, num_rbf=4), preset(name).training, forces=True)
    batch = {INTERACTION: torch.zeros_like(de), "forces": torch.zeros_like(df), "size": torch.full((4,), ATOMS)}
    wanted = PUBLISHED_LOSS[name](de, df)
    torch.testing.assert_close(objective.loss({"energy": de, "forces": df}, batch), wanted, rtol=1e-10, atol=0)


def test_they_answer_to_their_names_and_all_leaves_them_out(sample):
    names = [entry.name for entry in PAPERS]
    assert [entry.name for entry in models_named(names, sample)] == names
    assert not set(names) & {entry.name for entry in models_named(["all"], sample)}
    assert not set(names) & set(presets_for(sample))
    with pytest.raises(ConfigurationError, match="did you mean 'mace-paper'"):
        models_named(["mace-papers"], sample)


def test_they_are_no_models_of_particles():
    splits = load_molecules("nbody", train=2, validation=1, test=1)
    assert FUTURE in splits.train.atom_values
    with pytest.raises(ConfigurationError, match="found 'mace-paper', wanted one of linear"):
        models_named(["mace-paper"], splits)
