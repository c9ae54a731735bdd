"""The group that `random_element` and `act` really generate: its order by Schreier-Sims, and uniformity."""

from collections import Counter
from collections.abc import Callable

import pytest
import torch
from scipy.stats import chisquare
from sympy.combinatorics import Permutation, PermutationGroup

import weightspace as ws
from tests import architectures
from tests.architectures import tiny

ELEMENTS = 24


def numbered(space: ws.WeightSpace, module: torch.nn.Module) -> tuple[dict[str, torch.Tensor], int]:
    """A state_dict whose floating entries are all different integers, tied keys alike."""
    state, total = dict(module.state_dict()), 0
    for name, spec in space.parameters.items():
        state[name] = torch.arange(total, total + spec.numel, dtype=torch.float64).reshape(spec.shape)
        total += spec.numel
    return state | {key: state[name] for key, name in space.tied.items()}, total


def moved_entries(space: ws.WeightSpace, state: dict[str, torch.Tensor]) -> list[int]:
    return [int(entry) for name in space.parameters for entry in state[name].flatten()]


def order_of(make: Callable, products: int = 3) -> tuple[int, float]:
    """The order of what random elements generate, and the logarithm that the space gives."""
    torch.manual_seed(0)
    module, inputs, _ = make()
    space = ws.trace(module, *inputs, verify=False)
    state, total = numbered(space, module)
    generator = torch.Generator().manual_seed(3)
    images = {tuple(range(total))}
    for _ in range(ELEMENTS):
        moved = state
        for _ in range(1 + len(images) % products):
            moved = space.act(space.random_element(generator), moved)
        images.add(tuple(moved_entries(space, moved)))
    assert all(sorted(image) == list(range(total)) for image in images)
    distinct = PermutationGroup([Permutation(list(image)) for image in images])
    return distinct.order(), space.log10_order


@pytest.mark.parametrize("make", tiny.TINY, ids=lambda make: make.__name__)
def test_random_elements_generate_the_whole_group(make):
    found, log10_order = order_of(make)
    assert found == make()[2] == round(10**log10_order)


@pytest.mark.parametrize(
    "make",
    [architectures.mlp, architectures.grouped_input, architectures.nested_blocks, architectures.tied],
    ids=lambda make: make.__name__,
)
def test_larger_groups(make):
    found, log10_order = order_of(make)
    assert found == round(10**log10_order)


@pytest.mark.parametrize("make", [tiny.cnn, tiny.group_norm, tiny.grouped_convolution], ids=lambda make: make.__name__)
def test_elements_are_uniform(make):
    """S_3 x S_2, S_3 wr S_2, and two fibres over one base: every element comes up as often as any other."""
    torch.manual_seed(0)
    module, inputs, order = make()
    space = ws.trace(module, *inputs, verify=False)
    state, _ = numbered(space, module)
    batch = space.act(space.random_element(torch.Generator().manual_seed(1), n=100 * order), state)
    rows = torch.cat([batch[name].flatten(1) for name in space.parameters], 1).long()
    seen = Counter(map(tuple, rows.tolist()))
    assert len(seen) == order
    assert chisquare(list(seen.values())).pvalue > 1e-3
