"""EGNN: the published model's energies, forces and coordinates."""

import pytest

from weightspace.errors import CheckpointError
from weightspace.geometric import EGNN, egnn_from_published
from weightspace.testing import AtomisticModelTests

from ._published import assert_same_energies_and_forces, published


class TestEGNN(AtomisticModelTests):
    outputs = {"vectors": "1o"}

    def model(self):
        return EGNN(channels=8, layers=3, cutoff=2.5)


class TestEGNNWithAllPairs(AtomisticModelTests):
    outputs = {"vectors": "1o"}

    def model(self):
        return EGNN(channels=8, layers=2)


class TestEGNNAtRest(AtomisticModelTests):
    def model(self):
        return EGNN(channels=8, layers=2, cutoff=2.5, attention=False, update_coordinates=False, readout="linear")


@pytest.mark.parametrize("name", ["egnn", "egnn_attention"])
def test_published_energies_forces_and_coordinates(name):
    weights, found = published(name)
    assert_same_energies_and_forces(egnn_from_published(weights, elements=[1, 6, 7, 8]), found)


def test_messages():
    weights, _ = published("egnn")
    with pytest.raises(CheckpointError, match=r"has shape \(4, 12\), wanted \(2, 12\) for 'embedding.weight'"):
        egnn_from_published(weights, elements=[1, 6])
    weights.pop("embedding_out.weight")
    with pytest.raises(CheckpointError, match="EGNN from published weights: 'embedding_out.weight' is missing"):
        egnn_from_published(weights, elements=[1, 6, 7, 8])
