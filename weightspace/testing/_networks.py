"""Asserts on the group and the graph of a network."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from weightspace.graph import EdgeBlock, Site
from weightspace.runner import evaluation_call
from weightspace.space import WeightSpace
from weightspace.symmetry import random_state
from weightspace.symmetry._double import DoublePrecision
from weightspace.tracing import trace
from weightspace.tracing._cache import SPACES

TOLERANCE = 1e-10
MOVED = 1e-6


def full_state(space: WeightSpace, module: nn.Module, generator: torch.Generator) -> dict[str, Tensor]:
    """A random float64 value for every floating entry of a module's state_dict; constants as they are.

    Args:
        space: of the module.
        module: is left as it is.
        generator: draws the values.
    """
    values = random_state(space, generator, like=dict(module.named_buffers()))
    own = module.state_dict()
    return {key: values.get(space.tied.get(key, key), own[key]) for key in space.keys}


def assert_function_kept(
    space: WeightSpace,
    module: nn.Module,
    inputs: Sequence[Any],
    *,
    elements: int = 3,
    tolerance: float = TOLERANCE,
    seed: int = 0,
) -> None:
    """Random elements of the group keep the function on random weights and inputs.

    Args:
        space: of the module.
        module: is left as it is.
        inputs: floating ones are replaced by random numbers of their shape.
        elements: how many are tried.
        tolerance: of the results, relative to the largest number in them.
        seed: of everything random.
    """
    generator = torch.Generator().manual_seed(seed)
    state, args = full_state(space, module, generator), random_inputs(inputs, generator)
    wanted = _results(module, state, args)
    assert all(bool(torch.isfinite(w).all()) for w in wanted), "the module's results on random weights are not finite"
    for _ in range(elements):
        moved = space.act(space.random_element(generator), state)
        error = relative_error(_results(module, moved, args), wanted)
        assert error <= tolerance, (
            f"a random group element changes the function by {error:.1e}, allowed {tolerance:.0e}; "
            f"groups: {', '.join(group.name for group in space.groups)}"
        )


def assert_control(space: WeightSpace, module: nn.Module, inputs: Sequence[Any], *, seed: int = 0) -> None:
    """The negative control: what is not in the group changes the function.

    Each neuron group on a single one of its parameters, and all entries of the network in another order. Without it a
    module whose result does not depend on its weights would pass every check.
    """
    space.verify(module, *inputs)
    generator = torch.Generator().manual_seed(seed)
    state, args = full_state(space, module, generator), random_inputs(inputs, generator)
    other = full_state(space, module, generator)
    error = relative_error(_results(module, other, args), _results(module, state, args))
    assert error > MOVED, f"other random weights change the function by {error:.1e} only, wanted more than {MOVED:.0e}"


def assert_order(space: WeightSpace, log10_order: float) -> None:
    """The group has the order that is wanted: too few symmetries are a defect as much as too many."""
    found = space.log10_order
    assert abs(found - log10_order) <= 1e-9 * max(1.0, abs(log10_order)), (
        f"the group's order is 10**{found:.9g}, wanted 10**{log10_order:.9g}; "
        f"groups {[(group.name, group.size) for group in space.groups]}, frozen {dict(space.frozen)}"
    )


def assert_round_trip(space: WeightSpace, state: Mapping[str, Tensor], *, seed: int = 0) -> None:
    """A state_dict comes back from its graph with every key, bit for bit, also from one with its nodes and edges in
    another order.
    """
    graph = space.to_graph(state)
    for name, each in (("graph", graph), ("relabelled graph", graph.relabel(torch.Generator().manual_seed(seed)))):
        back = space.to_state_dict(each)
        assert list(back) == list(state), f"keys of the {name}: found {list(back)}, wanted {list(state)}"
        for key, value in state.items():
            assert back[key].dtype == value.dtype, f"{key} of the {name}: {back[key].dtype}, wanted {value.dtype}"
            assert torch.equal(back[key], value), f"{key} of the {name} is not what went in"


def assert_entries_covered(space: WeightSpace, module: nn.Module) -> None:
    """Every floating entry of the state_dict, buffers included, lies on an edge or a node of the graph."""
    own = {key: value for key, value in module.state_dict().items() if value.is_floating_point()}
    unknown = [key for key in own if space.tied.get(key, key) not in space.parameters]
    assert not unknown, f"floating entries of the state_dict that the space does not know: {unknown}"
    assert list(space.keys) == list(module.state_dict()), "the space's keys are not those of the module's state_dict"
    graph = space.to_graph(module.state_dict())
    parts: list[Site | EdgeBlock] = [*graph.sites, *graph.blocks]
    lies = torch.cat([p.address.flatten() for p in parts]).unique()
    first = 0
    for name, spec in space.parameters.items():
        found = int(((lies >= first) & (lies < first + spec.numel)).sum())
        assert found == spec.numel, f"{found} of the {spec.numel} entries of {name} lie on the graph"
        first += spec.numel


def assert_json_round_trip(space: WeightSpace, state: Mapping[str, Tensor]) -> None:
    """A space is the same after a trip through JSON, and makes the same graphs."""
    again = WeightSpace.from_json(space.to_json())
    assert again == space, "from_json(to_json()) is another space"
    mine, theirs = space.to_graph(state), again.to_graph(state)
    pairs: list[tuple[Tensor, Tensor]] = [
        *((a.address, b.address) for a, b in zip(mine.sites, theirs.sites, strict=True)),
        *((a.address, b.address) for a, b in zip(mine.blocks, theirs.blocks, strict=True)),
    ]
    assert all(torch.equal(a, b) for a, b in pairs), "from_json(to_json()) puts entries elsewhere"


def assert_same_signature(module: nn.Module, inputs: Sequence[Any]) -> None:
    """Networks of one architecture with other weights have one signature; both are traced anew."""
    signatures = []
    for seed in (0, 1):
        other = copy.deepcopy(module)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
        SPACES.clear()
        signatures.append(trace(other, *inputs, verify=False).signature)
    assert signatures[0] == signatures[1], f"two initialisations have the signatures {' and '.join(signatures)}"


def assert_group_laws(space: WeightSpace, state: Mapping[str, Tensor], *, seed: int = 0) -> None:
    """Acting with a composition is acting twice, the inverse takes back, the identity moves nothing; exactly.

    Args:
        space: of the networks.
        state: of one network, all entries different from each other.
        seed: of the elements.
    """
    generator = torch.Generator().manual_seed(seed)
    g, h = space.random_element(generator), space.random_element(generator)
    moved = space.act(h, state)
    laws = {
        "act(compose(g, h), s) == act(g, act(h, s))": (space.act(space.compose(g, h), state), space.act(g, moved)),
        "act(inverse(h), act(h, s)) == s": (space.act(space.inverse(h), moved), state),
        "act(identity, s) == s": (space.act(space.identity(), state), state),
    }
    for law, (found, wanted) in laws.items():
        wrong = [key for key, value in wanted.items() if not torch.equal(found[key], value)]
        assert not wrong, f"{law} does not hold for {wrong}"


def random_inputs(inputs: Sequence[Any], generator: torch.Generator) -> tuple[Any, ...]:
    """Random numbers for floating tensors; tokens and indices as they are."""
    return torch.utils._pytree.tree_map(
        lambda x: (
            torch.randn(x.shape, generator=generator, dtype=torch.float64)
            if isinstance(x, Tensor) and x.is_floating_point()
            else x
        ),
        tuple(inputs),
    )


def _results(module: nn.Module, state: Mapping[str, Tensor], args: tuple[Any, ...]) -> list[Tensor]:
    with torch.no_grad(), DoublePrecision():
        return evaluation_call(copy.deepcopy(module).double(), state, args, {})


def relative_error(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
    """The largest difference, relative to the largest number that is wanted; infinite where one is not finite."""
    pairs = [(f, w) for f, w in zip(found, wanted, strict=True) if w.numel()]
    if not all(bool(torch.isfinite(f).all() and torch.isfinite(w).all()) for f, w in pairs):
        return torch.inf
    largest = max((float((f - w).abs().max()) for f, w in pairs), default=0.0)
    return largest / (max((float(w.abs().max()) for _, w in pairs), default=1.0) or 1.0)
