"""The derived group against a count that knows nothing of rules: all tuples of permutations of the dimensions of the
parameters of tiny modules, and which of them keep the function.

The derived group acts by permutations along dimensions, so its elements have to be exactly these.
"""

from collections.abc import Iterator
from itertools import islice, permutations, product

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import weightspace as ws
from tests.tracing._tiny_modules import ACTIVATIONS, KINDS, Tiny
from weightspace.runner import evaluation_call
from weightspace.symmetry import random_state

pytestmark = pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
CHUNK = 4096


def orders(shape: tuple[int, ...]) -> list[tuple[tuple[int, ...], ...]]:
    """All tuples of permutations of the dimensions of a tensor."""
    return list(product(*(list(permutations(range(size))) for size in shape)))


def moved(value: Tensor, order: tuple[tuple[int, ...], ...]) -> Tensor:
    for dim, permutation in enumerate(order):
        value = value.index_select(dim, torch.tensor(permutation))
    return value


def chunks(count: list[int]) -> Iterator[Tensor]:
    """Numbers of a choice for each parameter, (at most CHUNK, parameters)."""
    numbers = product(*map(range, count))
    while rows := list(islice(numbers, CHUNK)):
        yield torch.tensor(rows)


def count_symmetries(module: nn.Module, state: dict[str, Tensor], x: Tensor) -> int:
    """How many tuples of permutations of the dimensions of all parameters keep the function."""
    names = list(state)
    choices = {name: torch.stack([moved(state[name], o) for o in orders(tuple(state[name].shape))]) for name in names}
    wanted = evaluation_call(module, state, (x,), {})[0]
    tolerance = 1e-10 * float(wanted.abs().max())

    def run(values: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(module, values, (x,))

    module.eval()
    found = 0
    for rows in chunks([len(choices[name]) for name in names]):
        values = {name: choices[name][rows[:, k]] for k, name in enumerate(names)}
        off = (torch.vmap(run)(values) - wanted).abs().flatten(1).amax(1)
        found += int((off <= tolerance).sum())
    return found


def check(kind: str, width: int, other: int, activation: str, *, most: int) -> None:
    torch.manual_seed(0)
    module = Tiny(kind, width, other, activation).double()
    floating = [value for value in module.state_dict().values() if value.is_floating_point()]
    tuples = torch.tensor([float(len(orders(tuple(value.shape)))) for value in floating]).prod()
    assume(tuples <= most)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 3, 2, generator=generator, dtype=torch.float64)
    space = ws.trace(module, x)
    state = random_state(space, generator)
    with torch.no_grad():
        assert count_symmetries(module, state, x) == round(10**space.log10_order)


DRAWN = (st.sampled_from(KINDS), st.integers(2, 3), st.integers(2, 3), st.sampled_from(sorted(ACTIVATIONS)))
OPTIONS = {"deadline": None, "suppress_health_check": list(HealthCheck)}


@settings(max_examples=12, derandomize=True, **OPTIONS)
@given(*DRAWN)
def test_the_group_is_every_symmetry_there_is(kind: str, width: int, other: int, activation: str) -> None:
    check(kind, width, other, activation, most=20_000)


@pytest.mark.slow
@settings(max_examples=150, **OPTIONS)
@given(*DRAWN)
def test_many_groups_are_every_symmetry_there_is(kind: str, width: int, other: int, activation: str) -> None:
    check(kind, width, other, activation, most=100_000)
