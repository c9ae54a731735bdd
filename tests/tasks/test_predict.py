"""Predictions for one network of the user's, for whatever a saved metanet was trained."""

import json

import pytest
import torch

from weightspace.errors import CheckpointError
from weightspace.metanets import GMN, save_pretrained
from weightspace.tasks import FittedTarget, predict_network, write_json

TARGETS = (
    FittedTarget("test_loss", "log", mean=-1.0, spread=0.5, floor=1e-4),
    FittedTarget("optimiser", "class", classes=("adam", "sgd")),
)


@pytest.fixture
def saved(tmp_path, monkeypatch):
    (tmp_path / "nets_for_task.py").write_text("import torch\n\ndef net():\n    return torch.nn.Linear(3, 2)\n")
    monkeypatch.syspath_prepend(tmp_path)
    torch.manual_seed(0)
    save_pretrained(GMN(3, channels=8, layers=1), tmp_path / "model")
    torch.save(torch.nn.Linear(3, 2).state_dict(), tmp_path / "mine.pt")
    return tmp_path


def predict(folder):
    return predict_network(folder / "mine.pt", "nets_for_task:net", model=folder / "model", inputs=["1,3"])


def describe(folder, task="AttributePrediction", targets=TARGETS):
    state = {"targets": [target.to_dict() for target in targets]}
    write_json(folder / "model" / "task.json", {"task": task, "state": state})


def test_each_target_has_a_line(saved):
    describe(saved)
    first, second = predict(saved).splitlines()
    assert first.startswith("predicted test loss 0.") and second in (
        "predicted optimiser adam",
        "predicted optimiser sgd",
    )


def test_a_metanet_of_another_task(saved):
    describe(saved, task="NetworkEmbedding", targets=())
    with pytest.raises(CheckpointError, match="trained for NetworkEmbedding, wanted AttributePrediction"):
        predict(saved)


@pytest.mark.parametrize("text", ["{", "[]", json.dumps({"task": "AttributePrediction", "state": {"targets": [{}]}})])
def test_a_damaged_description(saved, text):
    (saved / "model" / "task.json").write_text(text)
    with pytest.raises(CheckpointError, match="task.json: not a task's description"):
        predict(saved)
