"""Bad input: each error says where, what was found against what was wanted, and what to do."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import weightspace as ws
from tests import architectures


class Branch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) if float(x.sum()) > 0 else x


@pytest.fixture(scope="module")
def space() -> ws.WeightSpace:
    return ws.trace(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2)), torch.zeros(2, 3))


@pytest.fixture
def state(space: ws.WeightSpace) -> dict[str, torch.Tensor]:
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
    return dict(net.state_dict())


def test_what_is_no_module():
    with pytest.raises(ws.TraceError, match=r"found dict, wanted a torch\.nn\.Module"):
        ws.trace({}, torch.zeros(1))


def test_a_module_that_cannot_be_exported():
    with pytest.raises(ws.TraceError, match=r"torch\.export cannot follow Branch.*torch\.where"):
        ws.trace(Branch(), torch.zeros(1, 3))


def test_wrong_example_inputs():
    with pytest.raises(ws.TraceError, match=r"Linear does not run on the example inputs \(\(1, 5\)\).*Hand in inputs"):
        ws.trace(nn.Linear(3, 2), torch.zeros(1, 5))


def test_no_example_inputs():
    with pytest.raises(ws.TraceError, match="none given"):
        ws.trace(nn.Linear(3, 2))


def test_a_module_without_weights():
    with pytest.raises(ws.TraceError, match="ReLU has no floating entry"):
        ws.trace(nn.ReLU(), torch.zeros(1))


def test_complex_weights():
    net = nn.Linear(2, 2, bias=False)
    net.weight = nn.Parameter(torch.zeros(2, 2, dtype=torch.complex64))
    with pytest.raises(ws.TraceError, match=r"state_dict\['weight'\] is complex"):
        ws.trace(net, torch.zeros(1, 2, dtype=torch.complex64))


def test_unknown_options():
    net = nn.Linear(2, 2)
    with pytest.raises(ws.ConfigurationError, match="on_unknown='skip'.*wanted 'freeze' or 'raise'"):
        ws.trace(net, torch.zeros(1, 2), on_unknown="skip")
    with pytest.raises(ws.ConfigurationError, match="symmetries"):
        ws.trace(net, torch.zeros(1, 2), symmetries={"rotation"})


def test_an_operation_without_a_rule_is_named_on_request():
    class Net(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.special.bessel_y0(super().forward(x))

    with pytest.raises(ws.UnsupportedOperationError, match=r"aten\.special_bessel_y0\.default; no tracing rule.*rule"):
        ws.trace(Net(3, 2), torch.zeros(1, 3), on_unknown="raise")


def test_a_missing_and_an_extra_key(space, state):
    state["extra"] = state.pop("0.weight")
    with pytest.raises(ws.StateDictError, match=r"missing '0\.weight'; unknown 'extra' \(wanted 9 keys\)"):
        space.to_graph(state)


def test_a_prefix_is_hinted_at(space, state):
    with pytest.raises(ws.StateDictError, match=r"and 4 more.*Strip prefixes such as 'module\.'"):
        space.to_graph({f"module.{key}": value for key, value in state.items()})


def test_a_wrong_shape(space, state):
    state["3.weight"] = torch.zeros(2, 5)
    with pytest.raises(ws.StateDictError, match=r"state_dict\['3\.weight'\] has shape \(2, 5\), wanted \(2, 4\)"):
        space.to_graph(state)


def test_values_that_are_not_finite(space, state):
    state["1.running_var"][2] = float("nan")
    with pytest.raises(ws.StateDictError, match=r"'1\.running_var'\] holds 1 of 4 values that are not finite"):
        space.to_graph(state)
    state["1.running_var"][2] = float("inf")
    with pytest.raises(ws.StateDictError, match="not finite"):
        space.to_graphs({key: value[None] for key, value in state.items()})


def test_large_finite_values_are_finite(space, state):
    state["0.weight"] = torch.full((4, 3), 3e38)
    assert torch.equal(space.to_state_dict(space.to_graph(state))["0.weight"], state["0.weight"])


def test_an_integer_weight(space, state):
    state["0.bias"] = torch.zeros(4, dtype=torch.long)
    with pytest.raises(ws.StateDictError, match=r"'0\.bias'\] has dtype torch\.int64, wanted a floating dtype"):
        space.to_graph(state)


def test_a_stack_where_one_network_is_wanted_and_the_other_way_round(space, state):
    with pytest.raises(ws.WeightspaceError, match=r"use to_graphs\(stacked\)"):
        space.to_graph({key: value[None] for key, value in state.items()})
    with pytest.raises(ws.WeightspaceError, match=r"use to_graph\(state_dict\)"):
        space.to_graphs(state)


def test_a_stack_of_another_size_than_the_elements(space, state):
    stacked = {key: torch.stack([value] * 3) for key, value in state.items()}
    with pytest.raises(ws.StateDictError, match="3 networks and 2 group elements"):
        space.act(space.random_element(n=2), stacked)


def test_tied_keys_that_differ():
    module, inputs, _ = architectures.tied()
    space = ws.trace(module, *inputs)
    state = dict(module.state_dict())
    state["c.weight"] = state["c.weight"] + 1
    with pytest.raises(ws.StateDictError, match=r"'c\.weight'\] and state_dict\['b\.weight'\] are one tensor"):
        space.to_graph(state)


def test_a_graph_of_another_space(space):
    other = nn.Linear(3, 2)
    graph = ws.trace(other, torch.zeros(1, 3)).to_graph(other.state_dict())
    with pytest.raises(ws.StateDictError, match="the graph is of signature"):
        space.to_state_dict(graph)


def test_a_graph_that_lost_a_block(space, state):
    graph = space.to_graph(state)
    with pytest.raises(ws.StateDictError, match="12 of 42 entries lie on no edge and no node"):
        space.to_state_dict(replace(graph, blocks=graph.blocks[1:]))


def test_json_that_is_no_space():
    with pytest.raises(ws.WeightspaceError, match="not a weight space"):
        ws.WeightSpace.from_json("[]")
    with pytest.raises(ws.WeightspaceError, match="found format 99"):
        ws.WeightSpace.from_json('{"format": 99}')
