import re
from collections import Counter

import pytest

from weightspace.errors import ConfigurationError
from weightspace.molecules import load_molecules
from weightspace.reports.molecular._published import PUBLISHED, published_for

DATA = sorted({found.data for found in PUBLISHED})
TESTS = {"acac": {"300 K", "600 K"}, "3bpa": {"300 K", "600 K", "1200 K"}}


@pytest.mark.parametrize("data", [data for data in DATA if data != "nbody"])
def test_data_sets_are_those_that_can_be_loaded(data, tmp_path):
    with pytest.raises(ConfigurationError) as error:
        load_molecules(data, data_root=tmp_path)
    assert str(tmp_path) in str(error.value)  # the files are not there, but the name is known


def test_the_particles_can_be_loaded_too():
    assert load_molecules("nbody", train=1, validation=1, test=1).tests.keys() == {"test"}


@pytest.mark.parametrize("data", DATA)
def test_parts_are_those_of_the_splits(data):
    assert {found.test for found in published_for(data)} == TESTS.get(data, {"test"})


def test_no_number_stands_twice_and_all_say_what_they_are_and_where_from():
    assert not [key for key, count in Counter((f.data, f.test, f.model) for f in PUBLISHED).items() if count > 1]
    for found in PUBLISHED:
        assert re.search(r"(arXiv \d{4}\.\d{5}|github\.com/\S+ at [0-9a-f]{7})", found.source), found
        assert re.search(r"(meV|kcal/mol).* (MAE|RMSE)|^MSE \.\d+$", found.text), found


def test_numbers_are_read_from_the_right_cells():
    texts = {(f.data, f.test, f.model): f.text for f in PUBLISHED}
    assert texts["rmd17:ethanol", "test", "MACE"] == "0.4 meV / 2.1 meV/Å MAE, 950 frames"
    assert texts["rmd17:uracil", "test", "NequIP"].startswith("0.4 meV / 3.1 ")
    assert ("rmd17:naphthalene", "test", "NequIP") not in texts
    assert texts["acac", "600 K", "BOTNet"].startswith("6.2 meV / 29.8 meV/Å RMSE")
    assert texts["3bpa", "1200 K", "MACE (L=2)"] == "29.8 meV / 62.0 meV/Å RMSE, official test sets, not ours"
    assert texts["rmd17:aspirin", "test", "SchNet, of kgcnn"].startswith("forces 42.8 meV/Å MAE")
    assert all("official test sets, not ours" in f.text for f in published_for("3bpa"))
