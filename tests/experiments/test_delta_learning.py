"""Delta learning: the difference and GFN2-xTB are the reference again, and the page says what the file says."""

import json
from dataclasses import replace

import pytest
import torch

from experiments import delta_learning
from experiments._table_runs import ROOT
from experiments.delta_learning import RESULT, compare, differences, main
from weightspace.errors import ConfigurationError, MoleculeError
from weightspace.molecules import load_molecules
from weightspace.tasks.molecular import Budget


@pytest.fixture
def few():
    splits = load_molecules("sample:ethanol")
    tests = {label: part[:2] for label, part in splits.tests.items()}
    return replace(splits, train=splits.train[:3], validation=splits.validation[:1], tests=tests)


def test_differences_and_labels_of_xtb_are_the_reference(few):
    pytest.importorskip("tblite")
    found = differences(few, progress=False)
    energy, forces = delta_learning.xtb_labels(few.train, where="few", progress=False)
    torch.testing.assert_close(found.train.energy + energy, few.train.energy, rtol=1e-9, atol=1e-6)
    torch.testing.assert_close(found.train.forces + forces, few.train.forces, rtol=0, atol=1e-5)
    assert found.train.forces.square().mean() < 0.3 * few.train.forces.square().mean()
    assert torch.equal(found.train.pos, few.train.pos) and found.name != few.name
    assert [len(part) for part in found.tests.values()] == [2]


def test_labels_must_be_there(few):
    pytest.importorskip("tblite")
    bare = replace(few, train=replace(few.train, atom_values={}))
    with pytest.raises(MoleculeError, match="sample:ethanol: found no energies or no forces"):
        differences(bare, progress=False)


@pytest.mark.parametrize("count", [0, 4])
def test_more_frames_than_there_are_are_an_error(few, tmp_path, count):
    with pytest.raises(ConfigurationError, match=f"sample:ethanol: found {count} training frames .*, wanted 1 to 3"):
        compare(few, [2, count], "schnet", Budget(samples=5), tmp_path, progress=False)
    assert not list(tmp_path.iterdir())


def test_smoke():
    pytest.importorskip("tblite")
    report = main(["--smoke"])
    assert [row["labels"] for row in report.runs] == ["direct", "difference"]
    assert report.spread["difference"]["forces_mev"] < report.spread["direct"]["forces_mev"]


def test_the_page_says_what_the_file_says():
    text = (ROOT / "docs" / "delta-learning.md").read_text(encoding="utf-8")
    found = json.loads(RESULT.read_text())
    for row in found["runs"]:
        assert f"{row['energy_mae_mev']:.1f} / {row['forces_mae_mev']:.1f}" in text
    for kind in found["spread"].values():
        assert f"{kind['forces_mev']:,.0f} meV/Å" in text
