"""Augmentations: symmetries keep the function, noise and gaps have the size asked for, and the seed decides."""

import pytest
import torch

import weightspace as ws
from weightspace.errors import ConfigurationError
from weightspace.metanets import TracedNetwork
from weightspace.tasks._augmentation import Augmentation, Augmenter
from weightspace.zoo import build

SPEC = {"factory": "resnet", "channels": [3, 4], "image": [1, 6, 6]}


@pytest.fixture(scope="module")
def stack():
    generator = torch.Generator().manual_seed(0)
    module = build(SPEC).double().eval()
    images = torch.randn(4, 1, 6, 6, generator=generator, dtype=torch.float64)
    space = ws.trace(module, images)
    states = {
        name: torch.rand(5, *v.shape, generator=generator, dtype=torch.float64) - (0.5 if "var" not in name else -0.1)
        if v.is_floating_point()
        else torch.zeros(5, *v.shape, dtype=v.dtype)
        for name, v in module.state_dict().items()
    }
    return TracedNetwork(space, module, (images,)), states, images


def changed(stack, augmentation, number=0):
    network, states, _ = stack
    [graph] = Augmenter(augmentation, lambda graph: network)([network.space.to_graphs(states)], number)
    return network.space.to_state_dict(graph)


def moved(stack, found):
    return [not torch.equal(found["0.weight"][i], stack[1]["0.weight"][i]) for i in range(5)]


@pytest.mark.parametrize("augmentation", [Augmentation(group=True), Augmentation(rescale=0.5), Augmentation(True, 1.0)])
def test_symmetries_move_every_network_and_keep_its_function(stack, augmentation):
    network, states, images = stack
    found = changed(stack, augmentation)
    assert sum(moved(stack, found)) >= 3, "a group of few elements may draw the identity"
    run = ws.Runner(network.space, network.module)
    wanted = run(states, images)
    assert (run(found, images) - wanted).abs().max() < 1e-10 * wanted.abs().max()
    blurred = changed(stack, Augmentation(group=True, noise=0.1))
    assert (run(blurred, images) - wanted).abs().max() > 1e-4 * wanted.abs().max()


def test_scales_reach_as_far_as_asked(stack):
    factors = [
        (changed(stack, Augmentation(rescale=size))["0.weight"] / stack[1]["0.weight"]).abs() for size in (0.1, 1.0)
    ]
    assert factors[0].log().abs().max() <= 0.1 + 1e-9 < factors[1].log().abs().max() <= 1 + 1e-9


def test_noise_and_gaps_have_the_size_asked_for(stack):
    states = stack[1]
    found = changed(stack, Augmentation(noise=0.1))
    spread = [
        (found[name] - states[name]).std() / states[name].square().mean().sqrt()
        for name in states
        if name.endswith(("conv1.weight", "conv2.weight"))
    ]
    assert all(0.06 < value < 0.15 for value in spread)
    erased = changed(stack, Augmentation(dropout=0.3))
    weights = torch.cat([v.flatten() for v in erased.values() if v.is_floating_point()])
    assert 0.25 < (weights == 0).double().mean() < 0.35


def test_the_seed_and_the_number_decide(stack):
    a, b = (changed(stack, Augmentation(noise=0.1), number=3)["0.weight"] for _ in range(2))
    assert torch.equal(a, b)
    assert not torch.equal(a, changed(stack, Augmentation(noise=0.1), number=4)["0.weight"])
    assert not torch.equal(a, changed(stack, Augmentation(noise=0.1, seed=1), number=3)["0.weight"])


def test_no_augmentation_changes_nothing(stack):
    assert not any(moved(stack, changed(stack, Augmentation())))


@pytest.mark.parametrize("values", [{"noise": -1.0}, {"dropout": 1.0}, {"rescale": -0.1}])
def test_an_augmentation_without_sense(values):
    with pytest.raises(ConfigurationError, match="wanted none negative, and a dropout below 1"):
        Augmentation(**values)
