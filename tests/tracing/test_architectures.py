"""Every architecture: closed form of the order, function kept, exact way back, JSON, isomorphic graphs."""

import copy
from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor, nn

import weightspace as ws
from tests.architectures import CASES, FIXED_BATCH, FROZEN, ROUNDED, Case, ResNet, log_factorial
from tests.tracing._refinement import are_isomorphic, coloured
from weightspace.runner import evaluation_call
from weightspace.symmetry import random_state

pytestmark = [
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning"),
    pytest.mark.filterwarnings("ignore:enable_nested_tensor is True:UserWarning"),
]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.__name__)
def case(request: pytest.FixtureRequest) -> Callable[[], Case]:
    return request.param


@pytest.fixture(scope="module")
def traced(case: Callable[[], Case]) -> tuple[ws.WeightSpace, nn.Module, tuple[Tensor, ...], float]:
    torch.manual_seed(0)
    module, inputs, order = case()
    return ws.trace(module, *inputs), module, inputs, order


def full_state(space: ws.WeightSpace, module: nn.Module, generator: torch.Generator) -> dict[str, Tensor]:
    """Random float64 values for every floating key, tied keys included; constants as they are."""
    values = random_state(space, generator)
    return {key: values.get(space.tied.get(key, key), module.state_dict()[key]) for key in space.keys}


def run(module: nn.Module, state: Mapping[str, Tensor], inputs: tuple[Tensor, ...]) -> list[Tensor]:
    with torch.no_grad():
        return evaluation_call(copy.deepcopy(module).double(), state, inputs, {})


def random_inputs(inputs: tuple[Tensor, ...], generator: torch.Generator) -> tuple[Tensor, ...]:
    """Random numbers of the same shapes; tokens and edges as they are."""
    return tuple(
        torch.randn(x.shape, generator=generator, dtype=torch.float64) if x.is_floating_point() else x for x in inputs
    )


def test_order_has_the_closed_form(traced):
    space, _, _, order = traced
    assert space.log10_order == pytest.approx(order, rel=1e-12)


def test_nothing_is_frozen_but_by_an_operation_without_a_rule(traced, case):
    assert traced[0].frozen == FROZEN.get(case, {})


def test_random_elements_keep_the_function(traced, case, generator):
    space, module, inputs, _ = traced
    state, x = full_state(space, module, generator), random_inputs(inputs, generator)
    wanted = run(module, state, x)
    for _ in range(3):
        moved = space.act(space.random_element(generator), state)
        assert list(moved) == list(space.keys)
        for found, result in zip(run(module, moved, x), wanted, strict=True):
            assert (found - result).abs().max() <= ROUNDED.get(case, 1e-10) * result.abs().max()


def test_the_way_back_is_exact_also_after_reordering(traced, generator):
    space, module, _, _ = traced
    state = module.state_dict()
    back = space.to_state_dict(space.to_graph(state).relabel(generator))
    assert list(back) == list(state)
    for key, value in state.items():
        assert back[key].dtype == value.dtype and torch.equal(back[key], value), key


def test_every_entry_lies_on_an_edge_or_a_node(traced):
    space, module, _, _ = traced
    graph = space.to_graph(module.state_dict())
    addresses = torch.cat([s.address.flatten() for s in graph.sites] + [b.address.flatten() for b in graph.blocks])
    assert torch.equal(addresses.unique(), torch.arange(sum(p.numel for p in space.parameters.values())))


def test_a_batch_is_its_networks(traced, generator):
    space, module, _, _ = traced
    states = [full_state(space, module, generator) for _ in range(3)]
    stacked = {key: torch.stack([s[key] for s in states]) for key in space.keys}
    batch = space.to_graphs(stacked)
    for state, graph in zip(states, batch.unbatch(), strict=True):
        alone = space.to_graph(state)
        assert all(torch.equal(a.x, b.x) for a, b in zip(graph.sites, alone.sites, strict=True))
        assert all(torch.equal(a.edge_attr, b.edge_attr) for a, b in zip(graph.blocks, alone.blocks, strict=True))
    back = space.to_state_dict(batch.relabel(generator))
    assert all(torch.equal(back[key], stacked[key]) for key in space.keys)


def test_graphs_share_no_memory_with_the_state(traced):
    space, module, _, _ = traced
    stacked = {key: value[None].clone() for key, value in module.state_dict().items()}
    graph = space.to_graphs(stacked)
    before = [block.edge_attr.clone() for block in graph.blocks] + [site.x.clone() for site in graph.sites]
    for value in stacked.values():
        value.zero_()
    after = [block.edge_attr for block in graph.blocks] + [site.x for site in graph.sites]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_json_round_trip(traced):
    space, module, _, _ = traced
    again = ws.WeightSpace.from_json(space.to_json())
    assert again == space
    assert torch.equal(again.to_graph(module.state_dict()).sites[0].x, space.to_graph(module.state_dict()).sites[0].x)


def test_moved_networks_have_isomorphic_graphs(traced, generator):
    space, module, _, _ = traced
    state = full_state(space, module, generator)
    moved = space.act(space.random_element(generator), state)
    longest = max(space.parameters, key=lambda name: space.parameters[name].numel)
    changed = {key: v + 1 if space.tied.get(key, key) == longest else v for key, v in moved.items()}
    own, same, other = (coloured(space.to_graph(s).to_networkx(), values=True) for s in (state, moved, changed))
    assert are_isomorphic(own, same)
    assert not are_isomorphic(own, other)


@pytest.mark.slow_for_every_other
def test_signature_is_the_same_for_other_weights_batches_and_dtypes(traced, case):
    space, module, inputs, _ = traced
    module = copy.deepcopy(module)
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    other = tuple(x if case in FIXED_BATCH else torch.cat([x, x]) for x in inputs)
    other = tuple(x.double() if x.is_floating_point() else x for x in other)
    assert ws.trace(module.double(), *other, verify=False).signature == space.signature


def test_resnet20_option_b():
    torch.manual_seed(0)
    space = ws.trace(ResNet(3, (16, 32, 64)), torch.zeros(1, 3, 32, 32))
    assert space.log10_order == pytest.approx(sum(4 * log_factorial(n) for n in (16, 32, 64)), rel=1e-12)
    assert round(space.log10_order, 2) == 551.38
    assert not space.frozen
