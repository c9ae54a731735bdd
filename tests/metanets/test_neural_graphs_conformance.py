"""Neural Graphs, with probes and without, under the contract of all metanets."""

import pytest

from weightspace.metanets import (
    NeuralGraphGNN,
    NeuralGraphGNNEditor,
    NeuralGraphTransformer,
    NeuralGraphTransformerEditor,
    input_shapes,
)
from weightspace.testing import MetanetTests
from weightspace.testing._example_networks import example_architectures


def without_lstm():
    """`torch.vmap` cannot run LSTMs of different weights at once."""
    return {name: made for name, made in example_architectures().items() if name != "lstm"}


class TestNeuralGraphGNN(MetanetTests):
    def metanet(self, networks):
        return NeuralGraphGNN(2, channels=6, layers=3)


@pytest.mark.slow
class TestNeuralGraphGNNEditor(MetanetTests):
    edits = True

    def metanet(self, networks):
        return NeuralGraphGNNEditor(channels=6, layers=5)


@pytest.mark.slow
class TestNeuralGraphTransformer(MetanetTests):
    def metanet(self, networks):
        return NeuralGraphTransformer(2, channels=6, edge_channels=5, layers=3, heads=2)


class TestNeuralGraphTransformerEditor(MetanetTests):
    edits = True

    def metanet(self, networks):
        return NeuralGraphTransformerEditor(channels=6, edge_channels=5, layers=5, heads=2)


@pytest.mark.slow
class TestProbes(MetanetTests):
    def architectures(self):
        return without_lstm()

    def metanet(self, networks):
        shapes = input_shapes(networks)
        model = NeuralGraphGNN(2, channels=6, layers=3, probes=[[3, *shape] for shape in shapes])
        model.attach(networks)
        return model


@pytest.mark.slow
class TestProbesOfAnEditor(MetanetTests):
    edits = True

    def architectures(self):
        return without_lstm()

    def metanet(self, networks):
        shapes = input_shapes(networks)
        model = NeuralGraphTransformerEditor(channels=4, layers=5, heads=2, probes=[[2, *shape] for shape in shapes])
        model.attach(networks)
        return model
