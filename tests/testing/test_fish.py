"""The net catches fish: what is broken makes the conformance classes fail."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from math import log10
from typing import Any

import pytest
import torch
from torch import nn

import weightspace as ws
from tests.testing import _networks
from tests.testing._failures import failures
from weightspace.axes import FREE
from weightspace.testing import AbstractTracingConformance
from weightspace.testing import _tracing as conformance
from weightspace.tracing._cache import SPACES

pytestmark = pytest.mark.filterwarnings("ignore:enable_nested_tensor is True:UserWarning")


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Broken spaces are not kept."""
    SPACES.clear()
    yield
    SPACES.clear()


class Convolutions(AbstractTracingConformance):
    log10_order = _networks.ORDERS[_networks.cnn]

    def network(self):
        return _networks.cnn()


def test_nothing_fails_for_what_is_right():
    assert failures(Convolutions()) == set()


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[ws.WeightSpace], ws.WeightSpace]], set[str]]:
    """Failures of the convolutions where their space is a broken one."""

    def run(change: Callable[[ws.WeightSpace], ws.WeightSpace]) -> set[str]:
        honest = conformance.trace
        monkeypatch.setattr(conformance, "trace", lambda *args, **options: change(honest(*args, **options)))
        return failures(Convolutions())

    return run


def with_atom(space: ws.WeightSpace, name: str, **changed: Any) -> ws.WeightSpace:
    return replace(space, atoms={**space.atoms, name: replace(space.atoms[name], **changed)})


def test_an_output_that_is_free(broken):
    found = broken(lambda space: with_atom(space, "6.weight:0", kind=FREE))
    assert {"test_function_is_kept", "test_order"} <= found


def test_a_neuron_group_that_is_frozen(broken):
    found = broken(lambda space: with_atom(space, "3.weight:0", kind="frozen"))
    assert found == {"test_order"}


def test_a_forgotten_parameter(broken):
    """The running mean is no part of the space."""

    def change(space: ws.WeightSpace) -> ws.WeightSpace:
        rest = {name: spec for name, spec in space.parameters.items() if name != "1.running_mean"}
        return replace(space, parameters=rest)

    found = broken(change)
    assert {"test_function_is_kept", "test_every_entry_is_on_the_graph"} <= found


def test_a_forgotten_key(broken):
    found = broken(lambda space: replace(space, keys=space.keys[:-1]))
    assert {"test_every_entry_is_on_the_graph", "test_round_trip"} <= found


def test_a_block_that_is_left_out(broken):
    found = broken(lambda space: replace(space, blocks=space.blocks[:-1]))
    assert {"test_every_entry_is_on_the_graph", "test_round_trip"} <= found


NAMES = ("0.bias", "1.weight", "1.running_mean", "1.running_var", "3.weight", "6.weight")


@pytest.mark.parametrize("name", NAMES)
def test_an_action_that_ignores_one_parameter(broken, name):
    def change(space: ws.WeightSpace) -> ws.WeightSpace:
        changed = replace(space)
        changed._actions[name] = lambda g, tensor, *, stacked: tensor
        return changed

    found = broken(change)
    assert {"test_function_is_kept", "test_moved_networks_have_isomorphic_graphs"} <= found


class Blind(nn.Module):
    """Does not look at its input."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(2, 3), nn.Linear(3, 2)

    def forward(self, x):
        return torch.relu(self.b(torch.relu(self.a(x)))) * 0 + 1


def test_a_network_that_gives_the_check_nothing_to_see():
    class Subject(AbstractTracingConformance):
        def network(self):
            return Blind(), (torch.zeros(1, 2),)

    assert "test_what_is_not_in_the_group_changes_the_function" in failures(Subject())


def test_another_order_than_the_closed_form():
    class Subject(Convolutions):
        log10_order = log10(24)

    assert failures(Subject()) == {"test_order"}
