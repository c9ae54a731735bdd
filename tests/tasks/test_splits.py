"""Splits by run: nothing on two sides, everything on one, the same for the same seed."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from weightspace.errors import ConfigurationError
from weightspace.tasks import SplitRule, split_by_run, split_zoo


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


def rows(count=30):
    return [{"split": "train" if i < 20 else "test", "image": i // 2} for i in range(count)]


def test_a_split_that_an_attribute_tells():
    split = split_zoo(rows(), SplitRule(group="image", attribute="split", fractions=(0.8, 0.2, 0.0)), seed=1)
    assert split.test.tolist() == list(range(20, 30))
    assert len(split.validation) == 4 and len(split.train) == 16
    images = [{i // 2 for i in part.tolist()} for part in (split.train, split.validation)]
    assert not images[0] & images[1], "networks of one image stay together"
    given = [row | {"split": "validation"} if i < 4 else row for i, row in enumerate(rows())]
    split = split_zoo(given, SplitRule(attribute="split"))
    assert split.validation.tolist() == [0, 1, 2, 3], "a part that is told is taken"


def test_an_attribute_that_names_no_part():
    with pytest.raises(
        ConfigurationError, match="network 0 of the zoo: attribute 'image' is 0, wanted train, validation"
    ):
        split_zoo(rows(), SplitRule(attribute="image"))
