"""Scales and signs of all architectures: function kept, canonical forms; dimensions in closed form for many."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import weightspace as ws
from tests.architectures import FAMILIES, Case, every_other_slow

from ._scaling import assert_close, dimensions, error_under_scalings, full_state, trace

CASES = [make for family in FAMILIES.values() for make in family]


@pytest.fixture(scope="module", params=every_other_slow(CASES), ids=lambda case: case.__name__)
def traced(request: pytest.FixtureRequest) -> tuple[ws.WeightSpace, nn.Module, tuple[Tensor, ...]]:
    torch.manual_seed(0)
    make: Callable[[], Case] = request.param
    module, inputs, _ = make()
    return trace(module, *inputs), module, inputs


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_random_scalings_keep_the_function(traced):
    space, module, inputs = traced
    assert error_under_scalings(space, module, inputs) < 1e-10
    assert space.scale_dim >= 0 and space.sign_rank >= 0


WANTED = {
    "mlp": (6, 8), "cnn_flatten": (14, 4), "resnet": (60, 36), "grouped_groupnorm": (20, 4), "nested_blocks": (20, 12),
    "grouped_input": (6, 0), "depthwise": (34, 26), "dense_block": (24, 6), "siamese": (5, 0),
    "squeeze_excite": (10, 7), "unknown": (6, 0), "tied": (1, 0), "pre_activation": (6, 0), "conv1d": (4, 5),
    "conv3d": (5, 5), "scalars": (1, 7), "shuffle": (16, 0), "option_a": (16, 8), "gated_linear": (7, 7),
    "siren": (0, 18), "lstm": (0, 10), "gru": (0, 6), "rnn": (0, 10), "rnn_relu": (6, 0),
    "weight_norm": (11, 11),
}  # fmt: skip


@pytest.mark.parametrize("name", WANTED)
@pytest.mark.filterwarnings("ignore:The tensor attributes:UserWarning")
def test_dimensions_of_the_architectures(name):
    make = next(make for make in CASES if make.__name__ == name)
    module, inputs, _ = make()
    assert dimensions(module, *inputs) == WANTED[name]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_canonical_forms_agree_on_an_orbit(traced, generator):
    space, module, _ = traced
    state = full_state(space, module, generator)
    form, (element, scaling) = space.canonicalize(state, return_element=True)
    assert_close(form, space.rescale(scaling, space.act(element, state)))
    assert_close(form, space.canonicalize(form))
    for _ in range(2):
        moved = space.rescale(space.random_scaling(generator), state)
        assert_close(form, space.canonicalize(space.act(space.random_element(generator), moved)))
