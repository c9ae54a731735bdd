"""Random modules over the rules: the derived group keeps the function, nothing is frozen without need, the way back
is exact.
"""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import weightspace as ws
from weightspace.runner import evaluation_call
from weightspace.symmetry import random_state

ACTIVATIONS = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "leaky": lambda x: F.leaky_relu(x, 0.1),
    "gelu": F.gelu,
    "square": torch.square,
    "scaled": lambda x: 1.5 * x - 0.25,
    "gate": lambda x: x * torch.sigmoid(x),
    "pool": lambda x: F.avg_pool2d(x, 2, 1),
    "drop": lambda x: F.dropout(x, 0.5, training=False),
}
STEP = st.one_of(
    st.tuples(st.just("conv"), st.integers(1, 3), st.sampled_from([1, 2, 4]), st.booleans()),
    st.tuples(st.just("depthwise"), st.integers(1, 2)),
    st.tuples(st.just("batch"), st.booleans()),
    st.tuples(st.just("group"), st.sampled_from([1, 2, 4])),
    st.tuples(st.just("instance"), st.booleans()),
    st.tuples(st.just("layer")),
    st.tuples(st.just("act"), st.sampled_from(sorted(ACTIVATIONS))),
    st.tuples(st.just("prelu"), st.booleans()),
    st.tuples(st.just("residual"), st.booleans()),
    st.tuples(st.just("dense"), st.integers(1, 2)),
    st.tuples(st.just("excite")),
)


class Steps(nn.Module):
    """A stack of drawn steps on maps of a multiple of four channels, then one of three heads."""

    def __init__(self, steps: list[tuple[Any, ...]], head: str) -> None:
        super().__init__()
        self.steps, self.head, self.parts = steps, head, nn.ModuleList()
        self.stem, channels, size = nn.Conv2d(2, 4, 1), 4, 6
        for step in steps:
            part, channels, size = self._part(step, channels, size)
            self.parts.append(part)
        self.last = nn.Linear(channels * size * size if head == "flatten" else channels, 2)

    def _part(self, step: tuple[Any, ...], c: int, size: int) -> tuple[nn.Module, int, int]:
        kind = step[0]
        if kind == "conv":
            return nn.Conv2d(c, 4 * step[1], 1, groups=step[2], bias=step[3]), 4 * step[1], size
        if kind == "depthwise" and c * step[1] <= 16:
            return nn.Conv2d(c, c * step[1], 3, padding=1, groups=c), c * step[1], size
        if kind == "dense" and c + 4 * step[1] <= 16:
            return nn.Conv2d(c, 4 * step[1], 1), c + 4 * step[1], size
        if kind == "act" and step[1] == "pool":
            return nn.Identity(), c, size - (size > 2)
        plain = {
            "batch": lambda: nn.BatchNorm2d(c, affine=step[1]),
            "group": lambda: nn.GroupNorm(step[1], c),
            "instance": lambda: nn.InstanceNorm2d(c, affine=step[1]),
            "layer": lambda: nn.LayerNorm([c, size, size]),
            "prelu": lambda: nn.PReLU(c if step[1] else 1),
            "residual": lambda: nn.Conv2d(c, c, 3, padding=1, bias=step[1]),
            "excite": lambda: nn.Linear(c, c),
        }
        return plain.get(kind, nn.Identity)(), c, size

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for step, part in zip(self.steps, self.parts, strict=True):
            x = self._step(step, part, x)
        x = x.flatten(1) if self.head == "flatten" else x.mean((2, 3)) if self.head == "mean" else x.amax((-1, -2))
        return self.last(x)

    def _step(self, step: tuple[Any, ...], part: nn.Module, x: Tensor) -> Tensor:
        if isinstance(part, nn.Identity):
            if step[0] != "act" or (step[1] == "pool" and x.shape[-1] <= 2):
                return x
            return ACTIVATIONS[step[1]](x)
        if step[0] == "residual":
            return x + torch.relu(part(x))
        if step[0] == "dense":
            return torch.cat([x, part(x)], 1)
        if step[0] == "excite":
            return x * torch.sigmoid(part(x.mean((2, 3)))).unsqueeze(-1).unsqueeze(-1)
        return part(x)


def check(steps: list[tuple[Any, ...]], head: str) -> None:
    torch.manual_seed(0)
    module = Steps(steps, head)
    space = ws.trace(module, torch.zeros(2, 2, 6, 6))
    generator = torch.Generator().manual_seed(1)
    state = {**module.state_dict(), **random_state(space, generator)}
    x = torch.randn(2, 2, 6, 6, generator=generator, dtype=torch.float64)
    moved = space.act(space.random_element(generator), state)
    wanted, found = (evaluation_call(module, s, (x,), {})[0] for s in (state, moved))
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9 * float(wanted.abs().max()))
    back = space.to_state_dict(space.to_graph(state).relabel(generator))
    assert all(torch.equal(back[key], value) for key, value in state.items())
    nested = all(step[0] not in ("dense",) for step in steps)
    assert not (nested and space.frozen), space.frozen


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(STEP, min_size=1, max_size=6), st.sampled_from(["flatten", "mean", "amax"]))
def test_random_modules(steps: list[tuple[Any, ...]], head: str) -> None:
    check(steps, head)


@pytest.mark.slow
@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(STEP, min_size=1, max_size=8), st.sampled_from(["flatten", "mean", "amax"]))
def test_many_random_modules(steps: list[tuple[Any, ...]], head: str) -> None:
    check(steps, head)
