"""Splits by run: nothing on two sides, everything on one, the same for the same seed."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from weightspace.errors import ConfigurationError
from weightspace.tasks import split_by_run


@given(st.lists(st.integers(0, 12), min_size=60, max_size=80), st.integers(0, 5))
def test_a_run_never_stands_on_two_sides(runs, seed):
    runs = [*runs, *range(13)]
    split = split_by_run(runs, fractions=(0.5, 0.25, 0.25), seed=seed)
    sides = [{runs[i] for i in part.tolist()} for part in (split.train, split.validation, split.test)]
    assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])
    assert torch.cat([split.train, split.validation, split.test]).sort().values.tolist() == list(range(len(runs)))


def test_the_seed_decides():
    runs = list(range(100))
    a, b, c = (split_by_run(runs, seed=seed).test.tolist() for seed in (0, 0, 1))
    assert a == b != c
    assert len(a) == 20


def test_an_empty_part_may_be_asked_for():
    split = split_by_run(range(10), fractions=(0.8, 0.2, 0.0))
    assert len(split.test) == 0 and len(split.train) == 8


@pytest.mark.parametrize("fractions", [(0.5, 0.5), (0.5, 0.6, -0.1), (0.5, 0.2, 0.2)])
def test_fractions_without_sense(fractions):
    with pytest.raises(ConfigurationError, match="wanted three numbers, none negative, with sum 1"):
        split_by_run(range(10), fractions=fractions)


def test_a_zoo_that_is_too_small():
    with pytest.raises(ConfigurationError, match="0.1 of 3 runs leaves no network for validation; use a larger zoo"):
        split_by_run(range(3))
