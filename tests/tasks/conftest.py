"""A little zoo whose "accuracy" can be read from the weights: three architectures, some runs with two checkpoints."""

from pathlib import Path

import pytest
import torch

import weightspace as ws
from weightspace.metanets import GMN
from weightspace.tasks import AttributePrediction, Optimisation, SplitRule, ZooData
from weightspace.zoo import Zoo, build

SPECS = (
    {"factory": "mlp", "widths": [4], "image": [1, 4, 4]},
    {"factory": "mlp", "widths": [5, 3], "image": [1, 4, 4], "activation": "tanh"},
    {"factory": "cnn", "channels": [3, 4], "image": [1, 4, 4]},
)
NETWORKS = 40


def write_zoo(path: Path, networks: int = NETWORKS) -> Path:
    generator = torch.Generator().manual_seed(0)
    zoo = Zoo.create(path)
    for k, spec in enumerate(SPECS):
        module = build(spec)
        space = ws.trace(module, torch.zeros(1, *spec["image"]))
        size = 0.2 + torch.rand(networks, generator=generator)
        stacked = {
            name: torch.randn(networks, *value.shape, generator=generator) * size.view(-1, *[1] * value.ndim)
            for name, value in module.state_dict().items()
        }
        rows = [
            {
                "test_accuracy": float(s - 0.2),
                "below": -float(s),
                "spread": float(s),
                "run": f"{k}-{i // 2}",
                "family": spec["factory"],
                "architecture": spec,
            }
            for i, s in enumerate(size)
        ]
        zoo.append(space, stacked, rows)
    return path


@pytest.fixture(scope="session")
def zoo_path(tmp_path_factory) -> Path:
    return write_zoo(tmp_path_factory.mktemp("zoos") / "zoo")


@pytest.fixture
def data(zoo_path) -> ZooData:
    data = ZooData(zoo_path, batch_size=16, split=SplitRule(fractions=(0.6, 0.2, 0.2)))
    data.setup()
    return data


@pytest.fixture
def task() -> AttributePrediction:
    torch.manual_seed(0)
    return AttributePrediction(GMN(1, channels=8, layers=1), Optimisation(learning_rate=0.02))
