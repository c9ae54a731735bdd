"""Minima from test frames: which energies are one, and from a folder of weights to a file of numbers."""

import json

import pytest
import torch

from experiments.relaxation import distinct, main
from tests.molecules._springs import Springs

pytest.importorskip("ase")


def test_energies_that_are_near_each_other_are_one_minimum():
    energies = torch.tensor([0.0, 0.0005, 0.0012, 0.01, 0.0105]).double() - 4000
    assert [count for _, count in distinct(energies.tolist())] == [3, 2]
    assert distinct(energies.tolist())[1][0] == pytest.approx(10.0)
    assert distinct([]) == []


def test_smoke(tmp_path):
    report = main(["--smoke", "--out", str(tmp_path / "new" / "minima.json")])
    assert report.frames == 2 and report.environment["torch"] == torch.__version__
    assert json.loads((tmp_path / "new" / "minima.json").read_text())["relaxed"] == report.relaxed


def test_springs_of_one_length_have_one_minimum_wherever_one_starts(tmp_path, capsys):
    Springs(k=20.0, length=1.1).save_pretrained(tmp_path / "model")
    words = ["--model", str(tmp_path), "--data", "sample:qm9", "--frames", "1", "--fmax", "0.001"]
    report = main([*words, "--model-class", f"{Springs.__module__}:Springs"])
    assert report.relaxed == 1 and report.largest_force < 0.001 and report.lowered > 0
    assert report.minima == [(0.0, 1)]
    assert json.loads((tmp_path / "relaxation.json").read_text())["minima"] == [[0.0, 1]]
    capsys.readouterr()
    for wrong in ([], ["--smoke", "--fmax", "0"]):
        with pytest.raises(SystemExit):
            main(wrong)
        assert "wanted" in capsys.readouterr().err
