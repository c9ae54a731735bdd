"""The conformance class of metanets on the library's own that no other test file covers, and what it says of itself."""

import inspect
import unittest

import pytest
import torch
from torch import nn

from weightspace.errors import ConfigurationError
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
