import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from weightspace.errors import ConfigurationError
from weightspace.zoo import Schedule, build, predict_population, train_population

SPECS = [
    {"factory": "mlp", "widths": [6], "activation": "tanh"},
    {"factory": "cnn", "channels": [3, 4], "activation": "gelu", "head": "flatten"},
    {"factory": "resnet", "channels": [3, 4], "activation": "relu"},
]
TORCH = {
    "sgd": lambda p, lr, wd: torch.optim.SGD(p, lr=lr, momentum=0.9, weight_decay=wd),
    "adam": lambda p, lr, wd: torch.optim.Adam(p, lr=lr, weight_decay=wd),
    "adamw": lambda p, lr, wd: torch.optim.AdamW(p, lr=lr, weight_decay=wd),
    "rmsprop": lambda p, lr, wd: torch.optim.RMSprop(p, lr=lr, weight_decay=wd),
}


def population(spec, generator, members=3, steps=(100, 40, 100)):
    modules = [build(spec).double() for _ in range(members)]
    stacked = {name: torch.stack([m.state_dict()[name] for m in modules]) for name in modules[0].state_dict()}
    images = torch.randn(30, 1, 8, 8, generator=generator, dtype=torch.float64)
    schedule = {
        "images": images,
        "labels": torch.randint(0, 10, (members, 30), generator=generator),
        "order": torch.randint(0, 30, (members, max(steps), 5), generator=generator),
        "steps": torch.tensor(steps),
        "learning_rate": torch.tensor([1e-2, 3e-3, 2e-2], dtype=torch.float64),
        "weight_decay": torch.tensor([0.0, 1e-1, 1e-3], dtype=torch.float64),
    }
    return modules, stacked, schedule


def train_alone(module: nn.Module, i: int, optimiser: str, schedule: dict) -> nn.Module:
    module = copy.deepcopy(module).train()
    torch_optimiser = TORCH[optimiser](
        module.parameters(), float(schedule["learning_rate"][i]), float(schedule["weight_decay"][i])
    )
    for chosen in schedule["order"][i, : schedule["steps"][i]]:
        torch_optimiser.zero_grad()
        F.cross_entropy(module(schedule["images"][chosen]), schedule["labels"][i][chosen]).backward()
        torch_optimiser.step()
    return module


ALONE = [
    pytest.param(
        spec,
        optimiser,
        marks=[pytest.mark.slow] * (spec["factory"] == "resnet" and optimiser != next(iter(TORCH))),
        id=f"{spec['factory']}-{optimiser}",
    )
    for spec in SPECS
    for optimiser in TORCH
]


@pytest.mark.parametrize(("spec", "optimiser"), ALONE)
def test_a_stacked_member_equals_the_same_network_trained_alone(spec, optimiser, generator):
    torch.manual_seed(0)
    modules, stacked, schedule = population(spec, generator)
    trained = train_population(build(spec).double(), stacked, Schedule(optimiser=optimiser, **schedule))
    outputs = predict_population(build(spec).double(), trained, schedule["images"])
    for i, module in enumerate(modules):
        alone = train_alone(module, i, optimiser, schedule)
        for name, value in alone.state_dict().items():
            torch.testing.assert_close(trained[name][i], value, rtol=1e-10, atol=1e-10, msg=f"{name} of member {i}")
        with torch.no_grad():
            torch.testing.assert_close(outputs[i], alone.eval()(schedule["images"]), rtol=1e-10, atol=1e-10)


def test_training_leaves_the_initial_state_alone_and_counts_steps(generator):
    _, stacked, schedule = population(SPECS[2], generator)
    before = {name: value.clone() for name, value in stacked.items()}
    made = []
    trained = train_population(
        build(SPECS[2]).double(), stacked, Schedule(optimiser="sgd", **schedule), on_step=made.append
    )
    assert all(torch.equal(before[name], stacked[name]) for name in before)
    assert sum(made) == 240 and trained["1.num_batches_tracked"].tolist() == [100, 40, 100]


def test_a_bad_schedule_is_refused(generator):
    _, _, schedule = population(SPECS[0], generator)
    with pytest.raises(ConfigurationError, match="optimiser: found 'lion', wanted one of sgd, adam"):
        Schedule(optimiser="lion", **schedule)
    with pytest.raises(ConfigurationError, match="found up to 101, but order holds 100"):
        Schedule(optimiser="sgd", **schedule | {"steps": torch.tensor([101, 1, 1])})
