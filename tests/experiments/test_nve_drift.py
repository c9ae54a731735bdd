"""The drift of the energy: what a line fit says, from a folder of weights to a file of numbers."""

import json

import numpy as np
import pytest
import torch

from experiments.nve_drift import energy_drift, main
from weightspace.errors import CheckpointError, ConfigurationError
from weightspace.geometric import TensorNet
from weightspace.molecules import Trajectory

pytest.importorskip("ase")


def trajectory(energy: torch.Tensor, atoms: int = 3) -> Trajectory:
    time = torch.arange(len(energy)).double() / 7
    halves = {"potential": 0.25 * energy, "kinetic": 0.75 * energy, "temperature": energy}
    return Trajectory(None, time, torch.zeros(len(energy), atoms, 3), **halves, failure_time=None, failure=None)


def test_drift_rms_and_span_are_those_of_a_line_fit():
    energy = torch.randn(50, generator=torch.Generator().manual_seed(0)).double()
    found = energy_drift(trajectory(energy))
    time, per_atom = np.arange(50) / 7, 1000 * energy.numpy() / 3
    line = np.polyfit(time, per_atom, 1)
    assert found["drift"] == pytest.approx(line[0], rel=1e-10)
    assert found["rms"] == pytest.approx(float(np.sqrt(((per_atom - np.polyval(line, time)) ** 2).mean())), rel=1e-10)
    assert found["span"] == pytest.approx(per_atom.max() - per_atom.min(), rel=1e-10)
    assert energy_drift(trajectory(energy[:1])) == {"drift": None, "rms": None, "span": None}


def test_smoke(tmp_path):
    report = main(["--smoke", "--out", str(tmp_path / "new" / "drift.json")])
    assert report.failure is None and report.atoms == 9 and report.picoseconds == pytest.approx(0.02)
    assert 0 < report.rms < report.span < 1
    assert json.loads((tmp_path / "new" / "drift.json").read_text())["drift"] == report.drift


def test_a_folder_of_a_run_is_measured_as_asked(tmp_path, capsys):
    torch.manual_seed(0)
    TensorNet(channels=8, layers=1, num_rbf=8, elements=[1, 6, 8]).save_pretrained(tmp_path / "model")
    words = ["--model", str(tmp_path), "--temperature", "10", "--picoseconds", "0.008", "--timestep"]
    fine, coarse = (main([*words, step, "--frame", "3"]) for step in ("0.5", "1"))
    assert coarse.frame == 3 and coarse.timestep == 1 and 3 < coarse.rms / fine.rms < 5  # of the second order
    assert json.loads((tmp_path / "nve_drift.json").read_text())["timestep"] == 1
    assert "steps" in capsys.readouterr().err
    with pytest.raises(ConfigurationError, match="--frame: found 10, wanted 0 to 9, a test frame of sample:ethanol"):
        main([*words, "1", "--frame", "10"])
    with pytest.raises(CheckpointError):
        main(["--model", str(tmp_path / "other")])


def test_words_that_are_missing_or_make_no_sense(capsys):
    for words, wanted in (([], "wanted --model FOLDER"), (["--smoke", "--timestep", "0"], "wanted positive numbers")):
        with pytest.raises(SystemExit):
            main(words)
        assert wanted in capsys.readouterr().err
