"""Random modules over the rules: the derived group keeps the function, nothing is frozen without need, the way back
is exact.
"""

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import weightspace as ws
from tests.tracing import _random_images as images
from tests.tracing import _random_modules as sequences
from weightspace.testing import assert_function_kept, assert_round_trip, full_state

pytestmark = pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
QUICK: dict[str, Any] = {"max_examples": 8, "derandomize": True}
OPTIONS: dict[str, Any] = {"deadline": None, "suppress_health_check": list(HealthCheck)}


def check(module: nn.Module, inputs: tuple[Tensor, ...]) -> ws.WeightSpace:
    space = ws.trace(module, *inputs)
    assert_function_kept(space, module, inputs, elements=1, tolerance=1e-9)
    assert_round_trip(space, full_state(space, module, torch.Generator().manual_seed(0)))
    return space


def check_sequences(steps: list[tuple[str, str]], head: str) -> None:
    torch.manual_seed(0)
    space = check(sequences.Drawn(steps, head), (torch.zeros(2, sequences.LENGTH, 3),))
    needless = {name: reason for name, reason in space.frozen.items() if "cumsum" not in reason}
    assert sequences.may_freeze(steps) or not needless, needless


def check_images(steps: list[tuple[str, str]], head: str) -> None:
    torch.manual_seed(0)
    space = check(images.Pictured(steps, head), (torch.zeros(2, 2, images.SIZE, images.SIZE),))
    assert images.may_freeze(steps) or not space.frozen, space.frozen


SEQUENCES = (sequences.STEPS, st.sampled_from(["flat", "mean", "last"]))
IMAGES = (images.STEPS, st.sampled_from(images.HEADS))


@settings(**QUICK, **OPTIONS)
@given(*SEQUENCES)
def test_modules_on_sequences(steps: list[tuple[str, str]], head: str) -> None:
    check_sequences(steps, head)


@settings(**QUICK, **OPTIONS)
@given(*IMAGES)
def test_modules_on_images(steps: list[tuple[str, str]], head: str) -> None:
    check_images(steps, head)


@pytest.mark.slow
@settings(max_examples=500, **OPTIONS)
@given(*SEQUENCES)
def test_many_modules_on_sequences(steps: list[tuple[str, str]], head: str) -> None:
    check_sequences(steps, head)


@pytest.mark.slow
@settings(max_examples=500, **OPTIONS)
@given(*IMAGES)
def test_many_modules_on_images(steps: list[tuple[str, str]], head: str) -> None:
    check_images(steps, head)
