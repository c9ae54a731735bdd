"""The data module: every network once, its own target, one order per seed and epoch, runs on one side only."""

import pytest
import torch

import weightspace as ws
from weightspace.errors import ConfigurationError, ZooError
from weightspace.factory import module_from
from weightspace.tasks import FactoryRule, SplitRule, Target, ZooData
from weightspace.zoo import Zoo

from .conftest import NETWORKS


def test_no_run_stands_on_two_sides(data):
    runs = [{data.attributes[i]["run"] for i in part.tolist()} for part in (data.split.train, data.split.test)]
    assert not runs[0] & runs[1] and len(runs[0]) > 15


def test_every_network_comes_once_with_its_target(data):
    for batches, part in ((data.train_dataloader(), data.split.train), (data.test_dataloader(), data.split.test)):
        seen = list(batches)
        assert len(seen) == len(batches)
        index = torch.cat([batch.index for batch in seen])
        assert index.sort().values.tolist() == part.tolist()
        for batch in seen:
            assert torch.equal(batch.target["test_accuracy"], data.target["test_accuracy"][batch.index])
            assert sum(graph.batch_shape[0] for graph in batch.graphs) == len(batch.index)


def test_graphs_belong_to_their_index(data):
    zoo = data.zoo
    for batch in data.train_dataloader():
        states = [
            (graph, i, zoo.spaces[graph.signature].to_state_dict(graph))
            for graph in batch.graphs
            for i in range(graph.batch_shape[0])
        ]
        for position, (_, row, state) in zip(batch.index.tolist(), states, strict=True):
            assert all(torch.equal(state[key][row], value) for key, value in zoo[position].state_dict.items())


def test_training_batches_mix_architectures_in_a_seeded_order(zoo_path, data):
    first, second = (torch.cat([b.index for b in data.train_dataloader()]).tolist() for _ in range(2))
    assert first == second, "the same epoch has the same order"
    other = ZooData(zoo_path, batch_size=16, split=SplitRule(fractions=(0.6, 0.2, 0.2)), seed=1)
    assert torch.cat([b.index for b in other.train_dataloader()]).tolist() != first
    assert any(len(batch.graphs) > 1 for batch in data.train_dataloader())


def test_the_whole_of_a_part(data):
    batches = list(data.whole("validation"))
    assert torch.cat([b.index for b in batches]).sort().values.tolist() == data.split.validation.tolist()
    assert all(len(batch.graphs) == 1 for batch in batches)


def test_networks_without_a_run_stand_alone(zoo_path):
    data = ZooData(zoo_path, split=SplitRule(group="no such attribute"))
    data.setup()
    assert len(data.split.train) == round(0.7 * 3 * NETWORKS)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (Target("tset_accuracy"), r"network 0 of the zoo: attribute 'tset_accuracy' is None, wanted a number; its att"),
        (Target("family"), "attribute 'family' is 'mlp', wanted a number"),
        (Target("below", "log"), "attribute 'below' is -.*, wanted a number that is not negative"),
        (Target("below", "fraction"), "attribute 'below' is -.*, wanted a fraction from 0 to 1"),
        (Target("architecture", "class"), "attribute 'architecture' is .*, wanted a text or a number"),
    ],
)
def test_a_target_of_another_kind(zoo_path, target, words):
    with pytest.raises(ConfigurationError, match=words):
        ZooData(zoo_path, targets=[target]).setup()


def test_no_zoo(tmp_path):
    with pytest.raises(ZooError, match="this is not a zoo"):
        ZooData(tmp_path).setup()


def test_the_zoo_is_not_written_to(zoo_path, data):
    before = {path.name: path.stat().st_mtime_ns for path in zoo_path.rglob("*")}
    list(data.train_dataloader())
    assert {path.name: path.stat().st_mtime_ns for path in zoo_path.rglob("*")} == before
    assert len(Zoo(zoo_path)) == 3 * NETWORKS


def test_a_filter(zoo_path):
    data = ZooData(
        zoo_path, where={"family": "mlp", "run": ["0-1", "1-2", "2-3"]}, split=SplitRule(fractions=(1, 0, 0))
    )
    assert {row["run"] for row in data.attributes} == {"0-1", "1-2"} and len(data.zoo) == 4
    batch = next(iter(data.train_dataloader()))
    assert torch.equal(batch.target["test_accuracy"], data.target["test_accuracy"][batch.index])
    with pytest.raises(
        ConfigurationError, match="none of 120 networks has .*'gnn'.*; change data.where .*family='mlp'"
    ):
        ZooData(zoo_path, where={"family": "gnn"}).setup()


def test_networks_of_the_data(data):
    for signature, network in data.networks.items():
        assert network.space.signature == signature
        assert network.module(*network.inputs).shape == (1, 10)


FACTORY = """
import torch

def net():
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))

def other():
    return torch.nn.Linear(3, 2)
"""


def test_a_zoo_of_networks_from_elsewhere(tmp_path, monkeypatch):
    (tmp_path / "nets_for_data.py").write_text(FACTORY)
    monkeypatch.syspath_prepend(tmp_path)
    module = module_from("nets_for_data:net")
    zoo = Zoo.create(tmp_path / "zoo")
    stacked = {name: value.detach().expand(4, *value.shape).clone() for name, value in module.state_dict().items()}
    zoo.append(ws.trace(module, torch.zeros(1, 3)), stacked, [{"test_accuracy": 0.5}] * 4)
    [network] = ZooData(zoo.path, factory=FactoryRule("nets_for_data:net")).networks.values()
    assert network.module(*network.inputs).shape == (1, 2)
    with pytest.raises(ZooError, match="or name its factory with data.factory.module"):
        _ = ZooData(zoo.path).networks
    with pytest.raises(ConfigurationError, match="'nets_for_data:other' builds the architecture .*, wanted one of"):
        _ = ZooData(zoo.path, factory=FactoryRule("nets_for_data:other")).networks
