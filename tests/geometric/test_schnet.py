"""SchNet: the published model's energies and forces."""

import pytest
import torch

from weightspace.errors import CheckpointError
from weightspace.geometric import SchNet, schnet_from_published
from weightspace.testing import AtomisticModelTests

from ._published import assert_same_energies_and_forces, published


class TestSchNet(AtomisticModelTests):
    def model(self):
        return SchNet(channels=8, layers=2, filters=6, num_rbf=6, cutoff=2.5)


class TestSchNetWithTheCosine(AtomisticModelTests):
    smoothness = 1

    def model(self):
        return SchNet(channels=8, layers=2, num_rbf=6, cutoff=2.5, cutoff_fn="cosine", elements=[1, 6, 7, 8])


def test_published_energies_and_forces():
    weights, found = published("schnet")
    assert_same_energies_and_forces(schnet_from_published(weights, cutoff=3.0, mean=0.3, std=1.7), found)


def test_messages():
    weights, _ = published("schnet")
    lin = weights.pop("lin1.weight")
    with pytest.raises(CheckpointError, match="SchNet from published weights: 'lin1.weight' is missing, from which"):
        schnet_from_published(weights)
    with pytest.raises(
        CheckpointError, match=r"'lin1.weight' has shape \(12, 6\), wanted \(6, 12\) for 'readout.0.weight'"
    ):
        schnet_from_published({**weights, "lin1.weight": lin.t()})
    with pytest.raises(CheckpointError, match=r"'lin9' \(1 in all\) has no place in the model"):
        schnet_from_published({**weights, "lin1.weight": lin, "lin9": lin})
    with pytest.raises(CheckpointError, match="'embedding.weight' is missing; wanted the state_dict"):
        schnet_from_published({"x": torch.zeros(1)})
