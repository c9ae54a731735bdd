"""The conformance class of metanets on the library's own that no other test file covers, and what it says of itself."""

import inspect
import unittest
from itertools import pairwise

import pytest
import torch
from torch import nn

from weightspace.errors import ConfigurationError
from weightspace.graph import ParameterGraph
from weightspace.metanets import GMN, DeepSets, GMNEditor
from weightspace.testing import MetanetTests


class TestGMN(MetanetTests):
    def metanet(self, networks):
        return GMN(2, channels=8, edge_channels=6, layers=4)


class TestGMNEditor(MetanetTests):
    edits = True

    def metanet(self, networks):
        return GMNEditor(channels=6, edge_channels=5, layers=5)


class TestDeepSets(MetanetTests):
    blind_to = frozenset({"wiring", "positions"})

    def metanet(self, networks):
        return DeepSets(2, channels=6)


def sums_over_paths(graph):
    """Sum over the paths of an MLP without biases of the products of squared weights, (B,)."""
    models = graph.batch_shape.numel()
    value = torch.ones(models, graph.num_nodes, dtype=graph.sites[0].x.dtype)
    for block in graph.blocks:
        source, target = block.edge_index
        sent = value[:, source] * block.edge_attr.reshape(models, -1).square()
        value = value.index_fill(1, target, 0).index_add(1, target, sent)
    return value[:, graph.blocks[-1].edge_index[1].unique()].sum(1)


class Paths(nn.Module):
    """Does not change when a neuron's weights are scaled and those behind it divided."""

    def __init__(self):
        super().__init__()
        self.power = nn.Parameter(torch.tensor(0.5))

    def forward(self, graphs):
        graphs = [graphs] if isinstance(graphs, ParameterGraph) else graphs
        return torch.cat([sums_over_paths(graph) for graph in graphs])[:, None] ** self.power


class PathsEditor(Paths):
    """Multiplies every weight by a number of the network."""

    def forward(self, graphs):
        if not isinstance(graphs, ParameterGraph):
            return [self(graph) for graph in graphs]
        factor = 1 + super().forward(graphs).view(*graphs.batch_shape, 1, 1)
        return graphs.replace(
            x=[site.x * factor for site in graphs.sites],
            edge_attr=[block.edge_attr * factor for block in graphs.blocks],
        )


def without_biases(*widths, function=nn.ReLU):
    layers = [nn.Linear(a, b, bias=False) for a, b in pairwise(widths)]
    return nn.Sequential(*[each for layer in layers for each in (layer, function())][:-1]), (torch.zeros(2, widths[0]),)


class TestPaths(MetanetTests):
    """Scales of ReLU and linear networks, and signs of linear ones."""

    symmetries = frozenset({"permutation", "scale", "sign"})
    blind_to = frozenset({"positions"})

    def metanet(self, networks):
        return Paths()

    def architectures(self):
        return {"relu": without_biases(2, 4, 4, 3), "linear": without_biases(3, 5, 2, function=nn.Identity)}


class TestPathsEditor(TestPaths):
    edits = True
    blind_to = frozenset({"positions", "wiring"})

    def metanet(self, networks):
        return PathsEditor()


@pytest.mark.parametrize("symmetry", ["scale", "sign"])
def test_a_metanet_without_the_wanted_symmetry_fails(symmetry):
    class Subject(TestPaths):
        symmetries = frozenset({"permutation", symmetry})

        def metanet(self, networks):
            return GMN(1, channels=4, layers=2)

    with pytest.raises(AssertionError, match="of networks that were scaled by a random scaling is off by"):
        Subject().test_scaled_neurons()


class LineOnly(MetanetTests):
    def metanet(self, networks):
        return GMN(1, channels=4, layers=1)

    def architectures(self):
        return {"line": (nn.Linear(2, 1), (torch.zeros(1, 2),))}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("test_neurons_across_heads", "none of the architectures has what is exchanged here"),
        ("test_scaled_neurons", "the symmetries are permutations alone"),
        ("test_edited_networks_load", "the metanet reads"),
    ],
)
def test_what_does_not_apply_is_skipped_and_says_so(name, words):
    with pytest.raises(unittest.SkipTest, match=words):
        getattr(LineOnly(), name)()


def test_what_a_metanet_is_blind_to_is_skipped():
    with pytest.raises(unittest.SkipTest, match="blind to wiring"):
        TestDeepSets().test_exchanged_parameters()


def test_an_unknown_sense_is_an_error():
    with pytest.raises(ConfigurationError, match="blind_to: found 'wires', wanted some of positions, redundancy, taps"):
        type("Wrong", (MetanetTests,), {"blind_to": frozenset({"wires"})})


def test_the_class_itself_is_abstract():
    assert inspect.isabstract(MetanetTests) and not MetanetTests.__name__.startswith("Test")
