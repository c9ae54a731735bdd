"""Small zoos that the tests share."""

import torch
from torch import Tensor

import weightspace as ws
from weightspace.zoo import Zoo, build

SPECS = [
    {"factory": "mlp", "widths": [3], "image": [1, 2, 2], "classes": 2},
    {"factory": "resnet", "channels": [2], "image": [1, 4, 4], "classes": 2, "activation": "tanh"},
    {"factory": "cnn", "channels": [2, 3], "image": [1, 4, 4], "classes": 2},
]
_SPACES: dict[int, ws.WeightSpace] = {}


def space_of(kind: int) -> ws.WeightSpace:
    if kind not in _SPACES:
        _SPACES[kind] = ws.trace(build(SPECS[kind]), torch.zeros(1, *SPECS[kind]["image"]))
    return _SPACES[kind]


def random_stack(kind: int, models: int, generator: torch.Generator) -> dict[str, Tensor]:
    state = build(SPECS[kind]).state_dict()
    return {
        name: torch.randn(models, *value.shape, generator=generator)
        if value.is_floating_point()
        else torch.randint(9, (models, *value.shape), generator=generator)
        for name, value in state.items()
    }


def rows(kind: int, models: int, start: int = 0) -> list[dict]:
    family = SPECS[kind]["factory"]
    return [{"test_accuracy": (start + i) / 100, "family": family, "architecture": SPECS[kind]} for i in range(models)]


def small_zoo(
    path, generator: torch.Generator, shards=((0, 4), (1, 3), (0, 2), (2, 1))
) -> tuple[Zoo, list[dict[str, Tensor]]]:
    """A zoo of several shards, and the state_dict of every network in its order."""
    zoo, states = Zoo.create(path), []
    for kind, models in shards:
        stacked = random_stack(kind, models, generator)
        zoo.append(space_of(kind), stacked, rows(kind, models, len(states)))
        states += [{name: value[i] for name, value in stacked.items()} for i in range(models)]
    return zoo, states
