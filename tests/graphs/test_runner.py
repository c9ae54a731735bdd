"""Runner: stacked states through the module, with gradients and activations."""

import pytest
import torch
from torch import nn

import weightspace as ws
from tests import architectures


def test_stacked_outputs_are_those_of_each_network(generator):
    for make in (architectures.cnn_flatten, architectures.resnet, architectures.squeeze_excite):
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


def test_activations_of_leaf_modules(generator):
    net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    space = ws.trace(net, torch.zeros(1, 2))
    stacked = {k: torch.stack([v, 2 * v]) for k, v in net.state_dict().items()}
    x = torch.randn(5, 2, generator=generator)
    seen = ws.Runner(space, net).activations(stacked, x)
    torch.testing.assert_close(seen["1"][0], torch.tanh(net[0](x)))
    assert not net[0]._forward_hooks


def test_one_state_is_refused():
    net = nn.Linear(2, 1)
    with pytest.raises(ws.WeightspaceError, match="wanted stacked tensors"):
        ws.Runner(ws.trace(net, torch.zeros(1, 2)), net)(net.state_dict(), torch.zeros(1, 2))
