"""What every task shares: budgets, fitted inputs, networks that run, and metanets that read networks."""

import pytest
import torch
from torch import nn

from weightspace.errors import ConfigurationError
from weightspace.metanets import GMN, InputScales
from weightspace.runner import Runner
from weightspace.tasks import (
    AttributePrediction,
    Augmentation,
    Optimisation,
    SplitRule,
    ZooData,
    last_checkpoint,
    train_in,
)
from weightspace.tasks import _task as task_module
from weightspace.tasks._folder import read_training_checkpoint


class Clock:
    """Every look at it takes a second."""

    def __init__(self):
        self.now = 0

    def __call__(self, device):
        self.now += 1
        return float(self.now)


def little(budget=None):
    torch.manual_seed(0)
    return AttributePrediction(GMN(1, channels=8, layers=1), Optimisation(learning_rate=0.02, budget_seconds=budget))


def fresh_data(zoo_path):
    return ZooData(zoo_path, batch_size=16, split=SplitRule(fractions=(0.6, 0.2, 0.2)))


def test_a_budget_ends_the_training_and_shapes_the_learning_rate(tmp_path, zoo_path, monkeypatch):
    monkeypatch.setattr(task_module, "seconds_on", Clock())
    rates = []
    training_step = AttributePrediction.training_step

    def noting(self, batch, number):
        rates.append(self.optimizers().param_groups[0]["lr"])
        return training_step(self, batch, number)

    monkeypatch.setattr(AttributePrediction, "training_step", noting)
    task = little(budget=60)
    train_in(tmp_path, task, fresh_data(zoo_path), progress=False)
    assert 60 <= task.history[-1]["seconds"] < 66 and task.history[-1]["val_score"] == task.history[-1]["val_score"]
    peak = rates.index(max(rates))
    assert rates[: peak + 1] == sorted(rates[: peak + 1]) and rates[peak:] == sorted(rates[peak:], reverse=True)
    assert 0.018 < max(rates) <= 0.02 and rates[-1] < 0.002 and 0 < peak < len(rates) / 3
    steps = len(rates)
    again = little(budget=60)
    train_in(tmp_path, again, fresh_data(zoo_path), progress=False)
    assert len(rates) == steps and again.history == task.history, "a spent budget is spent"
    more = little(budget=120)
    train_in(tmp_path, more, fresh_data(zoo_path), progress=False)
    assert steps < len(rates) and 120 <= more.history[-1]["seconds"] < 126
    assert [row["epoch"] for row in more.history] == list(range(len(more.history)))
    assert read_training_checkpoint(last_checkpoint(tmp_path))["seconds"] >= 120


def test_neither_epochs_nor_a_budget(tmp_path, data):
    with pytest.raises(ConfigurationError, match="train_in: found neither epochs nor a budget; give epochs="):
        train_in(tmp_path, little(), data, progress=False)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"learning_rate": 0.0}, "found learning_rate 0 and warmup 0.15, wanted a positive rate"),
        ({"warmup": 1.0}, "warmup 1, wanted a positive rate and a share from 0 to below 1"),
        ({"budget_seconds": -1.0}, "found budget_seconds -1, wanted a positive number, or null"),
    ],
)
def test_an_optimisation_without_sense(values, words):
    with pytest.raises(ConfigurationError, match=words):
        Optimisation(**values)


class Reader(nn.Module):
    """A metanet that wants to know the networks, and divides nothing."""

    def __init__(self):
        super().__init__()
        self.known = {}
        self.linear = nn.Linear(1, 1)

    def attach(self, networks):
        self.known |= dict(networks)

    def forward(self, graphs):
        assert all(graph.signature in self.known for graph in graphs)
        return self.linear(torch.cat([graph.sites[-1].x.mean((1, 2))[:, None] for graph in graphs]))


def test_a_metanet_that_reads_networks_is_told_of_them(tmp_path, data):
    task = AttributePrediction(Reader(), Optimisation(learning_rate=0.02))
    task.metanet.config = {}
    train_in(tmp_path, task, data, epochs=1, progress=False)
    assert set(task.metanet.known) == set(data.zoo.spaces)
    for signature, network in task.metanet.known.items():
        assert network.space is data.zoo.spaces[signature]
        assert network.module(*network.inputs).shape == (1, 10)
    assert task.input_scales.per_role, "fitted all the same, for augmentations"


def test_networks_of_a_batch_run(data):
    task = little()
    task.prepare(data)
    for batch in data.whole("validation"):
        [graph] = batch.graphs
        runner = task.runner(graph)
        assert isinstance(runner, Runner) and runner is task.runner(graph)
        images = torch.rand(3, 1, 4, 4)
        states = task.space(graph).to_state_dict(graph)
        found = runner(states, images)
        wanted = torch.stack([data.zoo.module(i)(images) for i in batch.index.tolist()])
        assert torch.allclose(found, wanted, atol=1e-5)


def test_a_network_that_the_data_do_not_hold(data):
    [graph] = next(data.whole("validation")).graphs
    with pytest.raises(ConfigurationError, match="which the data do not hold; call prepare"):
        little().runner(graph)


def test_a_split_without_validation_networks(tmp_path, zoo_path):
    data = ZooData(zoo_path, split=SplitRule(fractions=(0.8, 0.0, 0.2)))
    with pytest.raises(ConfigurationError, match="no validation networks, which tell the best epoch; give some with"):
        train_in(tmp_path, little(), data, epochs=1, progress=False)


def test_training_networks_are_augmented_and_scored_ones_are_not(data):
    batch = next(data.whole("train"))
    losses, outputs = [], []
    for augmentation in (None, Augmentation(group=True), Augmentation(noise=0.5)):
        torch.manual_seed(0)
        task = AttributePrediction(GMN(1, channels=8, layers=1), augmentation=augmentation)
        task.prepare(data)
        task.fit_inputs(data)
        losses.append(task.loss(batch).item())
        outputs.append(task.evaluate(batch)["output test_accuracy"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-5), "GMN is invariant under the group"
    assert abs(losses[2] - losses[0]) > 1e-4 * abs(losses[0])
    assert torch.equal(outputs[0], outputs[1]) and torch.equal(outputs[0], outputs[2])


def test_a_checkpoint_keeps_what_was_fitted(tmp_path, data, zoo_path):
    task = little()
    train_in(tmp_path, task, data, epochs=1, progress=False)
    checkpoint = read_training_checkpoint(last_checkpoint(tmp_path))
    again = little()
    again.restore_fitted(checkpoint)
    assert again.input_scales == task.input_scales == again.metanet.input_scales != InputScales()
    assert again.targets == task.targets
