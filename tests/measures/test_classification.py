"""Accuracy and its bootstrap interval."""

import pytest
import torch

from weightspace.errors import WeightspaceError
from weightspace.measures import accuracy, bootstrap_accuracy


def test_the_interval_is_that_of_a_proportion():
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(3, (400,), generator=generator)
    prediction = torch.where(torch.rand(400, generator=generator) < 0.8, target, (target + 1) % 3)
    found = bootstrap_accuracy(prediction, target)
    share = (prediction == target).double().mean().item()
    spread = (share * (1 - share) / 400) ** 0.5
    assert found.value == accuracy(prediction, target) == share
    assert found.low == pytest.approx(share - 1.96 * spread, abs=0.01)
    assert found.high == pytest.approx(share + 1.96 * spread, abs=0.01)
    assert found == bootstrap_accuracy(prediction, target), "the seed decides"


def test_vectors_that_do_not_fit():
    with pytest.raises(
        WeightspaceError, match=r"found predictions of shape \(3,\) and targets of shape \(2,\), wanted two"
    ):
        accuracy(torch.zeros(3), torch.zeros(2))
    with pytest.raises(WeightspaceError, match="of the same length, at least 1"):
        accuracy(torch.zeros(0), torch.zeros(0))
