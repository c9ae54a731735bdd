"""What the tests of scales and signs share."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

import weightspace as ws
from weightspace.runner import evaluation_call
from weightspace.symmetry import random_state

VECTOR, IMAGE, SEQUENCE = torch.zeros(2, 4), torch.zeros(1, 3, 8, 8), torch.zeros(1, 5, 4)
ALL = ("permutation", "scale", "sign")


def trace(module: nn.Module, *inputs: Tensor, symmetries: Iterable[str] = ALL) -> ws.WeightSpace:
    return ws.trace(module, *inputs, symmetries=symmetries, verify=False)


def dimensions(module: nn.Module, *inputs: Tensor) -> tuple[int, int]:
    space = trace(module, *inputs)
    return space.scale_dim, space.sign_rank


def full_state(space: ws.WeightSpace, module: nn.Module, generator: torch.Generator) -> dict[str, Tensor]:
    values = random_state(space, generator)
    return {key: values.get(space.tied.get(key, key), module.state_dict()[key]) for key in space.keys}


def error_under_scalings(
    space: ws.WeightSpace, module: nn.Module, inputs: tuple[Tensor, ...], rounds: int = 3
) -> float:
    """Largest change of the function by random scalings of a random network, relative to its largest value."""
    generator = torch.Generator().manual_seed(0)
    state = full_state(space, module, generator)
    x = tuple(
        torch.randn(i.shape, generator=generator, dtype=torch.float64) if i.is_floating_point() else i for i in inputs
    )
    wanted = evaluation_call(module, state, x, {})
    worst = 0.0
    for _ in range(rounds):
        found = evaluation_call(module, space.rescale(space.random_scaling(generator), state), x, {})
        for f, w in zip(found, wanted, strict=True):
            worst = max(worst, float((f - w).abs().max() / w.abs().max().clamp(min=1e-30)))
    return worst


def mlp(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 6), layers[0], nn.Linear(6, 5), layers[-1], nn.Linear(5, 3))


def conv(*after: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 6, 3), *after, nn.Conv2d(6, 2, 3))


def assert_close(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> None:
    assert list(a) == list(b)
    for key, value in a.items():
        torch.testing.assert_close(value, b[key], rtol=1e-10, atol=0)
