"""The group: composition, inverses, identity, uniform elements, stacks, gradients."""

from collections import Counter
from collections.abc import Mapping

import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor

import weightspace as ws
from tests import architectures
from weightspace.symmetry import random_state

MAKERS = (
    architectures.cnn_flatten,
    architectures.nested_blocks,
    architectures.grouped_input,
    architectures.dense_block,
)


@pytest.fixture(scope="module", params=MAKERS, ids=lambda make: make.__name__)
def traced(request: pytest.FixtureRequest):
    torch.manual_seed(0)
    module, inputs, _ = request.param()
    space = ws.trace(module, *inputs)
    state = random_state(space, torch.Generator().manual_seed(1))
    return space, {key: state.get(key, module.state_dict()[key]) for key in space.keys}


def assert_same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> None:
    assert list(a) == list(b)
    for key, value in a.items():
        assert torch.equal(value, b[key]), key


def test_acting_with_a_composition_is_acting_twice(traced, generator):
    space, state = traced
    g, h = space.random_element(generator), space.random_element(generator)
    assert_same(space.act(space.compose(g, h), state), space.act(g, space.act(h, state)))


def test_the_inverse_takes_back(traced, generator):
    space, state = traced
    g = space.random_element(generator)
    moved = space.act(g, state)
    assert any(not torch.equal(moved[key], state[key]) for key in state)
    assert_same(space.act(space.inverse(g), moved), state)


def test_the_identity_moves_nothing(traced):
    space, state = traced
    assert_same(space.act(space.identity(), state), state)


def test_a_batch_of_elements_acts_model_by_model(traced, generator):
    space, state = traced
    g = space.random_element(generator, n=3)
    stacked = {key: torch.stack([value + i for i in range(3)]) for key, value in state.items()}
    moved = space.act(g, stacked)
    back = space.act(space.inverse(g), moved)
    twice = space.act(space.compose(g, g), stacked)
    spread = space.act(g, state)
    for i in range(3):
        alone = {key: value[i] for key, value in stacked.items()}
        assert_same({key: value[i] for key, value in moved.items()}, space.act(g[i], alone))
        assert_same({key: value[i] for key, value in spread.items()}, space.act(g[i], state))
        assert_same({key: value[i] for key, value in twice.items()}, space.act(g[i], space.act(g[i], alone)))
    assert_same(back, stacked)


def test_one_element_acts_on_every_model_of_a_stack(traced, generator):
    space, state = traced
    g = space.random_element(generator)
    moved = space.act(g, {key: torch.stack([value, value + 1]) for key, value in state.items()})
    assert_same({key: value[0] for key, value in moved.items()}, space.act(g, state))


def test_acting_is_differentiable(traced, generator):
    space, state = traced
    leaves = {k: v.clone().requires_grad_(v.is_floating_point()) for k, v in state.items()}
    g = space.random_element(generator)
    weights = {
        k: torch.randn(v.shape, generator=generator, dtype=torch.float64) for k, v in space.act(g, state).items()
    }
    loss = sum((v * weights[k]).sum() for k, v in space.act(g, leaves).items() if v.is_floating_point())
    loss.backward()
    wanted = space.act(space.inverse(g), {k: weights[k].to(v.dtype) for k, v in state.items()})
    for key, leaf in leaves.items():
        if leaf.is_floating_point():
            torch.testing.assert_close(leaf.grad, wanted[key], rtol=0, atol=0)


def test_elements_are_uniform():
    """S_2 wr S_3 has 48 elements; each must come up as often as any other."""
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 6, 1), torch.nn.GroupNorm(3, 6), torch.nn.ReLU(), torch.nn.Conv2d(6, 1, 1)
    )
    space = ws.trace(net, torch.zeros(1, 1, 3, 3))
    assert round(10**space.log10_order) == 48
    state = {key: torch.zeros_like(value) for key, value in net.state_dict().items()} | {"0.bias": torch.arange(6.0)}
    moved = space.act(space.random_element(torch.Generator().manual_seed(0), n=48 * 100), state)
    seen = Counter(map(tuple, moved["0.bias"].tolist()))
    assert len(seen) == 48
    assert chisquare(list(seen.values())).pvalue > 1e-3


def test_elements_follow_their_generator(traced):
    space, _ = traced
    g, h = (space.random_element(torch.Generator().manual_seed(5)) for _ in range(2))
    assert all(torch.equal(g.permutations[name], h.permutations[name]) for name in g.permutations)


def test_one_element_is_no_batch(traced):
    with pytest.raises(IndexError, match="random_element"):
        traced[0].identity()[0]
