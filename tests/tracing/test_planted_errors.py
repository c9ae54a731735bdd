"""Planted errors: rules that are wrong in one place each, and the check that notices.

Where a conformance class cannot see it, because the group and the way back are right all the same, the automorphisms
of the graph do.
"""

from collections.abc import Callable
from math import factorial, log10
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import weightspace as ws
from tests.architectures import tiny
from tests.testing._failures import failures
from tests.tracing._refinement import log10_actions
from weightspace.testing import AbstractTracingConformance, full_state, networks_are_isomorphic
from weightspace.tracing import _registry
from weightspace.tracing._cache import SPACES
from weightspace.tracing._call import Call, node_uses
from weightspace.tracing._parameters import Parameters
from weightspace.tracing._records import Value
from weightspace.tracing._sites import SiteBook

Network = tuple[nn.Module, tuple[Tensor, ...], float]
Rules = dict[str, Callable[[Call], Any]]


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Rules:
    monkeypatch.setattr(_registry, "_RULES", dict(_registry._RULES))
    return _registry._RULES


class Net(nn.Module):
    """Parts, parameters, and a function of them."""

    def __init__(self, run: Callable[..., Tensor], **parts: nn.Module | nn.Parameter) -> None:
        super().__init__()
        self._run = run
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self._run(self, x)


def mlp() -> Network:
    net = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1))
    return net, (torch.zeros(1, 2),), log10(factorial(4) * factorial(3))


def concatenated() -> Network:
    net = Net(
        lambda s, x: s.last(torch.cat([torch.relu(s.a(x)), torch.tanh(s.b(x))], -1)),
        a=nn.Linear(2, 3), b=nn.Linear(2, 3), last=nn.Linear(6, 1),
    )  # fmt: skip
    return net, (torch.zeros(1, 2),), log10(factorial(3) ** 2)


def halves() -> Network:
    net = Net(
        lambda s, x: s.last(torch.tanh(s.a(x)[..., :3]) + s.a(x)[..., 3:]), a=nn.Linear(2, 6), last=nn.Linear(3, 1)
    )
    return net, (torch.zeros(1, 2),), log10(factorial(3))


def attention() -> Network:
    """Single-head attention without biases, on a stream of the inputs."""
    net = Net(
        lambda s, x: s.last(F.scaled_dot_product_attention(s.q(x), s.k(x), s.v(x))),
        q=nn.Linear(3, 2, bias=False), k=nn.Linear(3, 2, bias=False), v=nn.Linear(3, 2), last=nn.Linear(2, 1),
    )  # fmt: skip
    return net, (torch.zeros(1, 4, 3),), log10(factorial(2) * factorial(2))


def packed() -> Network:
    """Two layers in one parameter."""

    def run(s: Any, x: Tensor) -> Tensor:
        first, second = s.weight.chunk(2)
        return s.last(torch.cat([torch.relu(F.linear(x, first)), torch.tanh(F.linear(x, second))], -1))

    net = Net(run, weight=nn.Parameter(torch.randn(6, 2)), last=nn.Linear(6, 1))
    return net, (torch.zeros(1, 2),), log10(factorial(3) ** 2)


def counted(make: Callable[[], tiny.Tiny]) -> Callable[[], Network]:
    module, inputs, order = make()
    return lambda: (module, inputs, log10(order))


# --- wrong rules


def deaf(rule: Callable[[Call], Any], *names: str) -> Callable[[Call], Any]:
    """A rule that does not unify the axes of some arguments with anything."""

    def wrong(call: Call) -> Any:
        ignored = [id(axis) for name in names if call[name] is not None for axis in call[name].axes]
        honest = call.unify
        call.unify = lambda a, b: True if {id(a), id(b)} & set(ignored) else honest(a, b)
        return rule(call)

    return wrong


def cat_that_ties_its_arguments(rule: Callable[[Call], Any]) -> Callable[[Call], Any]:
    def wrong(call: Call) -> Any:
        first, *others = call["tensors"]
        for other in others:
            call.unify(first.axes[call["dim"]], other.axes[call["dim"]])
        return rule(call)

    return wrong


def group_norm_without_groups(call: Call) -> Any:
    x, named = call["input"], [(call["weight"], "norm_weight"), (call["bias"], "norm_bias")]
    for value, _ in named:
        call.unify(value.axes[0], x.axes[1])
    call.solver.mark_neurons(x.axes[1])
    attributes = {"eps": call["eps"], "groups": call["num_groups"]}
    uses = node_uses(*named)
    return call.site("group_norm", axes=x.axes, attributes=attributes, inputs=(x,), edge_type="norm", uses=uses, dim=1)


def batch_norm_without_statistics(call: Call) -> Any:
    x, named = call["input"], [(call["weight"], "norm_weight"), (call["bias"], "norm_bias")]
    for value, _ in named:
        call.unify(value.axes[0], x.axes[1])
    call.solver.mark_neurons(x.axes[1])
    return call.site("batch_norm", axes=x.axes, inputs=(x,), edge_type="norm", uses=node_uses(*named), dim=1)


def freezing(rule: Callable[[Call], Any], dim: int) -> Callable[[Call], Any]:
    """A rule that freezes a dimension of its weight."""

    def wrong(call: Call) -> Any:
        call.solver.freeze(call["weight"].axes[dim], call.reason)
        return rule(call)

    return wrong


def without_scope(rule: Callable[[Call], Any]) -> Callable[[Call], Any]:
    """Nothing shows what is normalised together."""

    def wrong(call: Call) -> Any:
        honest = call.site
        call.site = lambda op, *, axes, **record: honest(op, axes=axes, **{**record, "scope": None})
        return rule(call)

    return wrong


def without_loop(rule: Callable[[Call], Any]) -> Callable[[Call], Any]:
    def wrong(call: Call) -> Any:
        honest = call.emit
        call.emit = lambda kind, op, **record: None if kind == "loop" else honest(kind, op, **record)
        return rule(call)

    return wrong


def without_types(rule: Callable[[Call], Any]) -> Callable[[Call], Any]:
    """Queries and keys are two factors of a product."""

    def wrong(call: Call) -> Any:
        honest = call.contract

        def contract(op: str, operands: Any, letters: Any, *, types: Any = (), **attributes: Any) -> Any:
            types = ("multiply", "multiply") if types == ("query", "key") else types
            return honest(op, operands, letters, types=types, **attributes)

        call.contract = contract
        return rule(call)

    return wrong


def always_the_first_half(rule: Callable[[Call], Any]) -> Callable[[Call], Any]:
    def wrong(call: Call) -> Any:
        size = call.shape[call["dim"]]
        call.arguments = {**call.arguments, "start": 0, "end": size}
        return rule(call)

    return wrong


# --- the checks


def conformance(make: Callable[[], Network]) -> set[str]:
    """Names of the methods of a conformance class that fail."""

    class Subject(AbstractTracingConformance):
        log10_order = make()[2]

        def network(self):
            return make()[:2]

    return failures(Subject())


def actions(make: Callable[[], Network]) -> int:
    module, inputs, _ = make()
    graph = ws.trace(module, *inputs, verify=False).to_graph(module.state_dict())
    return round(10 ** log10_actions(graph.to_networkx()))


KEPT, ORDER, COVERED = "test_function_is_kept", "test_order", "test_every_entry_is_on_the_graph"
WRONG: dict[str, tuple[str, Callable[[Any], Any], Callable[[], Network], str]] = {
    "linear without its bias": ("aten.linear.default", lambda r: deaf(r, "bias"), mlp, KEPT),
    "linear without its columns": ("aten.linear.default", lambda r: deaf(r, "input"), mlp, KEPT),
    "cat that ties its arguments": ("aten.cat.default", cat_that_ties_its_arguments, concatenated, ORDER),
    "group norm without groups": (
        "aten.group_norm.default", lambda _: group_norm_without_groups, counted(tiny.group_norm), KEPT,
    ),
    "batch norm without statistics": (
        "aten.batch_norm.default", lambda _: batch_norm_without_statistics, counted(tiny.cnn), KEPT,
    ),
    "frozen rows": ("aten.linear.default", lambda r: freezing(r, 0), mlp, ORDER),
    "frozen tied table": ("aten.embedding.default", lambda r: freezing(r, 1), counted(tiny.tied_embedding), ORDER),
    "always the first half": ("aten.slice.Tensor", always_the_first_half, halves, KEPT),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_the_conformance_class_notices(registry, name):
    operation, plant, make, method = WRONG[name]
    assert conformance(make) == set()
    registry[operation] = plant(registry[operation])
    assert method in conformance(make)


BLIND = {
    "group norm without its scope": ("aten.group_norm.default", without_scope, counted(tiny.group_norm)),
    "recurrence without its loop": ("aten.lstm.input", without_loop, counted(tiny.lstm)),
}


@pytest.mark.parametrize("name", BLIND)
def test_the_automorphisms_notice(registry, name):
    operation, plant, make = BLIND[name]
    order = round(10 ** make()[2])
    assert actions(make) == order
    registry[operation] = plant(registry[operation])
    assert actions(make) > order


def exchanged(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Queries' weights where keys' were, and the other way round."""
    return {**state, "q.weight": state["k.weight"], "k.weight": state["q.weight"]}


def test_queries_and_keys_are_told_apart(registry, monkeypatch):
    module, inputs, _ = attention()
    space = ws.trace(module, *inputs)
    state = full_state(space, module, torch.Generator().manual_seed(0))
    x = torch.randn(1, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    results = [torch.func.functional_call(module, s, (x,)) for s in (state, exchanged(state))]
    assert (results[0] - results[1]).abs().max() > 1e-3
    assert not networks_are_isomorphic(space.to_graph(state), space.to_graph(exchanged(state)))
    name = "aten.scaled_dot_product_attention.default"
    registry[name] = without_types(registry[name])
    honest = SiteBook.link

    def link(book: SiteBook, source: int, target: int, edge_type: str, **attributes: Any) -> None:
        """Factors of a product have no position."""
        honest(book, source, target, edge_type, **({} if edge_type == "multiply" else attributes))

    monkeypatch.setattr(SiteBook, "link", link)
    SPACES.clear()
    untyped = ws.trace(module, *inputs)
    SPACES.clear()
    assert networks_are_isomorphic(untyped.to_graph(state), untyped.to_graph(exchanged(state)))


def test_a_wrong_view_of_a_packed_parameter_is_noticed(monkeypatch):
    """Axes are right, but each half has the entries of the other."""
    assert conformance(packed) == set()
    honest = Parameters._see

    def see(self: Parameters, value: Value, source: Value, seen: Tensor) -> None:
        honest(self, value, source, seen)
        if tuple(seen.shape) == (3, 2):
            value.offset = 6 - value.offset

    monkeypatch.setattr(Parameters, "_see", see)
    SPACES.clear()
    found = conformance(packed)
    SPACES.clear()
    assert "test_moved_networks_have_isomorphic_graphs" in found
