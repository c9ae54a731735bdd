"""ProbeGen: against a loop over networks, image sizes, symmetry, saving, and what the errors say."""

import pytest
import torch
from torch import nn

import weightspace as ws
from tests.metanets.test_probes import cnn, mlp, stacked, traced
from weightspace.errors import ConfigurationError, WeightspaceError
from weightspace.metanets import NetworkReader, ProbeGen, TracedNetwork, from_pretrained, save_pretrained

TIGHT = {"rtol": 1e-10, "atol": 1e-12}


def probegen(networks, **options):
    torch.manual_seed(0)
    shape = tuple(networks[0].inputs[0].shape)
    sizes = {"probes": 4, "channels": 8, "layers": 3, "latent": 5, "width": 2}
    model = ProbeGen(2, input_shape=shape, outputs=options.pop("outputs", 3), **{**sizes, **options}).double()
    model.attach(networks)
    return model


def test_outputs_of_a_mixed_batch_equal_a_loop_over_networks():
    networks = [mlp(), mlp(5)]
    model = probegen(networks)
    states = [stacked(network, 2, seed) for seed, network in enumerate(networks)]
    graphs = [network.space.to_graphs(state) for network, state in zip(networks, states, strict=True)]
    answers = []
    for network, state in zip(networks, states, strict=True):
        for i in range(2):
            network.module.double().load_state_dict({key: value[i] for key, value in state.items()})
            answers.append(torch.cat([network.module(probe).flatten() for probe in model.probes()]))
    found = model([graphs[0].relabel(torch.Generator().manual_seed(0)), graphs[1]])
    torch.testing.assert_close(found, model.head(torch.stack(answers)), **TIGHT)
    found.square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())


def test_generators_are_linear_up_to_the_tanh():
    for network, outputs in ((mlp(), 3), (cnn(), 2)):
        model = probegen([network], outputs=outputs)
        generator, codes = model.generator, torch.randn(3, 5, dtype=torch.float64)

        def linear(codes, generator=generator):
            out = generator(codes)
            return out.atanh() if out.dim() == 4 else out

        middle = linear((codes[:1] + codes[1:2]) / 2)
        torch.testing.assert_close(middle, (linear(codes[:1]) + linear(codes[1:2])) / 2, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(("height", "width"), [(28, 28), (32, 32), (8, 8), (4, 4), (3, 5), (17, 9)])
def test_images_have_the_size_of_the_inputs(height, width):
    model = ProbeGen(1, input_shape=(1, 3, height, width), outputs=2, probes=2, width=2)
    images = model.probes()
    assert images.shape == (2, 1, 3, height, width) and images.abs().max() < 1


def test_the_group_leaves_the_prediction_alone():
    network = cnn()
    model, state = probegen([network], outputs=2), stacked(network, 3)
    moved = network.space.act(network.space.random_element(torch.Generator().manual_seed(0), n=3), state)
    torch.testing.assert_close(model(network.space.to_graphs(moved)), model(network.space.to_graphs(state)), **TIGHT)
    assert (model(network.space.to_graphs(state)).std(0) > 1e-8).all()


def test_gradients_reach_the_networks_running_statistics_included():
    network = cnn()
    model = probegen([network], outputs=2)
    state = stacked(network, 2)
    leaves = {key: value.requires_grad_() for key, value in state.items() if value.is_floating_point()}

    def output(*values):
        return model(network.space.to_graphs({**state, **dict(zip(leaves, values, strict=True))}))

    assert torch.autograd.gradcheck(output, tuple(leaves.values()), fast_mode=True)


def test_a_saved_model_comes_back(tmp_path):
    network = mlp()
    model = probegen([network]).float()
    graph = network.space.to_graphs({key: value.float() for key, value in stacked(network, 2).items()})
    again = from_pretrained(save_pretrained(model, tmp_path))
    assert isinstance(again, NetworkReader) and again.config == model.config
    with pytest.raises(WeightspaceError, match=r"ProbeGen: found a network of architecture .* not attached"):
        again(graph)
    again.attach([network])
    assert torch.equal(again(graph), model(graph))


def test_what_does_not_fit_is_named():
    network = mlp()
    with pytest.raises(ConfigurationError, match="ProbeGen: found layers=1, wanted at least 2"):
        probegen([network], layers=1)
    with pytest.raises(
        WeightspaceError, match=r"inputs of shape \(1, 1, 3, 3\), wanted one floating tensor of shape \(1, 2\)"
    ):
        probegen([network]).attach([cnn()])
    tokens = TracedNetwork(
        ws.trace(net := nn.Embedding(4, 3), torch.zeros(1, 2).long()), net, (torch.zeros(1, 2).long(),)
    )
    with pytest.raises(WeightspaceError, match="inputs of shape None, wanted one floating tensor"):
        probegen([network]).attach([tokens])
    with pytest.raises(WeightspaceError, match="gives 3 numbers for one input, wanted 4 as given by outputs"):
        probegen([network], outputs=4)(network.space.to_graphs(stacked(network, 2)))
    lstm = traced(nn.LSTM(2, 3, batch_first=True), 1, 4, 2)
    with pytest.raises(WeightspaceError, match="ProbeGen: networks of architecture .* cannot be run at once"):
        probegen([lstm], outputs=18)(lstm.space.to_graphs(stacked(lstm, 2)))
