"""Runner: stacked states through the module, with gradients and activations."""

import pytest
import torch
from torch import nn

import weightspace as ws
from tests import architectures
from weightspace.axes import Atom, Product
from weightspace.group import PartAction
from weightspace.symmetry import random_state


def transformer():
    layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
    return nn.Sequential(nn.Linear(2, 8), layer), (torch.zeros(1, 3, 2),), None


def test_stacked_outputs_are_those_of_each_network(generator):
    for make in (architectures.cnn_flatten, architectures.resnet, architectures.squeeze_excite, transformer):
        module, inputs, _ = make()
        space = ws.trace(module, *inputs)
        states = [{k: v + 0.1 * i for k, v in module.state_dict().items()} for i in range(3)]
        stacked = {key: torch.stack([state[key] for state in states]) for key in space.keys}
        x = torch.randn((4, *inputs[0].shape[1:]), generator=generator)
        outputs = ws.Runner(space, module)(stacked, x)
        for state, output in zip(states, outputs, strict=True):
            module.load_state_dict(state)
            torch.testing.assert_close(output, module.eval()(x), rtol=1e-4, atol=1e-5)


def test_gradients_reach_the_stack_and_the_inputs():
    net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)).double()
    space = ws.trace(net, torch.zeros(1, 2, dtype=torch.float64))
    stacked = {k: torch.stack([v, 2 * v]).requires_grad_() for k, v in net.state_dict().items()}
    x = torch.randn(2, 5, 2, dtype=torch.float64, requires_grad=True)
    names = list(stacked)

    def run(inputs, *values):
        return ws.Runner(space, net)(dict(zip(names, values, strict=True)), inputs, shared=False)

    assert torch.autograd.gradcheck(run, (x, *stacked.values()))


def test_activations_are_those_of_the_computation(generator):
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(36, 2))
    net.eval()
    space = ws.trace(net, torch.zeros(1, 1, 5, 5))
    stacked = {k: torch.stack([v, 2 * v]) for k, v in net.state_dict().items()}
    x = torch.randn(3, 1, 5, 5, generator=generator)
    seen = {space.sites[i].node_type: h[0] for i, h in ws.Runner(space, net).activations(stacked, x).items()}
    assert seen.keys() == {"input", "conv", "batch_norm(eps=1e-05)>relu", "linear>output"}
    torch.testing.assert_close(seen["conv"], net[0](x).movedim(1, -1))
    torch.testing.assert_close(seen["batch_norm(eps=1e-05)>relu"], net[:3](x).movedim(1, -1))
    torch.testing.assert_close(seen["linear>output"], net(x))


@pytest.mark.parametrize("make", architectures.BASIC, ids=lambda make: make.__name__)
def test_a_group_element_moves_the_activations_as_it_moves_the_nodes(make, generator):
    torch.manual_seed(0)
    module, inputs, _ = make()
    space = ws.trace(module, *inputs, verify=False)
    state = {**module.state_dict(), **random_state(space, generator)}
    state |= {key: state[name] for key, name in space.tied.items()}
    g = space.random_element(generator)
    x = tuple(torch.randn(v.shape, generator=generator, dtype=torch.float64) for v in inputs)
    runner = ws.Runner(space, module.double())
    before, after = (
        runner.activations({key: value[None] for key, value in s.items()}, *x) for s in (state, space.act(g, state))
    )
    assert before
    for number, h in before.items():
        atoms = tuple(map(Atom, space.sites[number].atoms))
        move = PartAction((Product(atoms),), space.group)
        rows = h.reshape(-1, h.shape[-1]).sort(0).values  # other dimensions may be permuted, too
        wanted = torch.stack([move(g, row, stacked=False) for row in rows])
        found = after[number].reshape(rows.shape).sort(0).values
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


def test_activations_of_chosen_sites_have_gradients(generator):
    net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    space = ws.trace(net, torch.zeros(1, 2))
    stacked = {k: torch.stack([v, 2 * v]).requires_grad_() for k, v in net.state_dict().items()}
    (hidden,) = (i for i, site in enumerate(space.sites) if site.node_type == "linear>tanh")
    seen = ws.Runner(space, net).activations(stacked, torch.randn(5, 2, generator=generator), sites=[hidden])
    seen[hidden].sum().backward()
    assert seen.keys() == {hidden} and stacked["0.weight"].grad.abs().sum() > 0 and stacked["2.weight"].grad is None


def test_sites_without_activation_and_other_modules_are_refused():
    net = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.Linear(3, 1))
    space = ws.trace(net, torch.zeros(1, 2))
    stacked = {k: v[None] for k, v in net.state_dict().items()}
    (hub,) = (i for i, site in enumerate(space.sites) if site.node_type == "normaliser")
    with pytest.raises(ws.WeightspaceError, match="are no activations; those of this space are"):
        ws.Runner(space, net).activations(stacked, torch.zeros(1, 2), sites=[hub])
    other = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.LayerNorm(3)), nn.Linear(3, 1))
    other[1] = nn.BatchNorm1d(3, track_running_stats=False)
    with pytest.raises(ws.WeightspaceError, match="not the one that was traced"):
        ws.Runner(space, other).activations(stacked, torch.zeros(4, 2))


def test_one_state_is_refused():
    net = nn.Linear(2, 1)
    with pytest.raises(ws.WeightspaceError, match="wanted stacked tensors"):
        ws.Runner(ws.trace(net, torch.zeros(1, 2)), net)(net.state_dict(), torch.zeros(1, 2))
