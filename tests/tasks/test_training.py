"""Training: learns, saves the best model, resumes to the same weights, refuses checkpoints that do not fit."""

import json

import lightning
import pytest
import torch

from weightspace.errors import CheckpointError
from weightspace.measures import kendall_tau
from weightspace.metanets import GMN, DeepSets, from_pretrained
from weightspace.tasks import (
    AttributePrediction,
    Optimisation,
    SplitRule,
    last_checkpoint,
    load_into,
    predicted_accuracy,
    train_in,
    write_json,
)
from weightspace.tasks._folder import read_training_checkpoint


def predictions(metanet, data) -> tuple[torch.Tensor, torch.Tensor]:
    batches = list(data.whole("test"))
    graphs = [graph for batch in batches for graph in batch.graphs]
    with torch.no_grad():
        return predicted_accuracy(metanet, graphs), torch.cat([batch.target["test_accuracy"] for batch in batches])


def without_seconds(history):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in history]


def test_it_learns_and_saves_the_best_model(tmp_path, data, task):
    path = train_in(tmp_path, task, data, epochs=16, progress=False)
    assert [row["epoch"] for row in task.history] == list(range(16))
    assert task.history[-1]["train_loss"] < task.history[0]["train_loss"] - 0.1
    found, target = predictions(from_pretrained(path), data)
    assert torch.equal(found, predictions(task.metanet.eval(), data)[0])
    assert kendall_tau(found, target) > 0.6
    best = max(task.history, key=lambda row: row["val_kendall_tau"])
    assert read_training_checkpoint(tmp_path / "checkpoints" / "best.ckpt")["epoch"] == best["epoch"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoints", "logs", "model"]
    assert "val_kendall_tau" in (tmp_path / "logs" / "version_0" / "metrics.csv").read_text()


def test_input_scales_come_from_the_training_networks_only(tmp_path, data, task):
    train_in(tmp_path, task, data, epochs=1, progress=False)
    space = next(iter(data.zoo.spaces.values()))
    [name] = [n for n, s in space.parameters.items() if s.role == "weight"][:1]
    signature = space.signature
    index = [i for i in data.split.train.tolist() if data.zoo[i].signature == signature]
    wanted = data.zoo.stacked(index)[name].square().mean().sqrt().item()
    found = list(task.metanet.input_scales.per_layer[signature].values())
    assert min(abs(value - wanted) for value in found) < 1e-5


class _Interrupt(lightning.Callback):
    def on_train_epoch_start(self, trainer, module):
        if trainer.current_epoch == 2:
            raise KeyboardInterrupt


def test_an_interrupted_run_resumes_to_the_same_weights(tmp_path, data, zoo_path, task, monkeypatch):
    import signal

    from weightspace.tasks import ZooData, _folder

    train_in(tmp_path / "whole", task, data, epochs=4, progress=False)

    def fresh():
        torch.manual_seed(0)
        data = ZooData(zoo_path, batch_size=16, split=SplitRule(fractions=(0.6, 0.2, 0.2)))
        return AttributePrediction(GMN(1, channels=8, layers=1), Optimisation(learning_rate=0.02)), data

    handler = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patched:
        patched.setattr(_folder, "logger_in", lambda folder: False)
        checkpoints = _folder.checkpoints_in
        patched.setattr(
            _folder, "checkpoints_in", lambda folder, monitor: _with_interrupt(patched, checkpoints(folder, monitor))
        )
        with pytest.raises(KeyboardInterrupt):
            train_in(tmp_path / "parts", *fresh(), epochs=4, progress=False)
    signal.signal(signal.SIGINT, handler)  # Lightning leaves it ignored, because the process is about to end
    assert read_training_checkpoint(last_checkpoint(tmp_path / "parts"))["epoch"] == 1
    resumed, data_again = fresh()
    train_in(tmp_path / "parts", resumed, data_again, epochs=4, progress=False)
    assert [row["epoch"] for row in resumed.history] == [0, 1, 2, 3]
    assert without_seconds(resumed.history) == without_seconds(task.history)
    for key, value in task.state_dict().items():
        assert torch.equal(resumed.state_dict()[key], value), key


def _with_interrupt(patched, checkpoints):
    checkpoints.last.on_train_epoch_start = _Interrupt().on_train_epoch_start
    return checkpoints


def test_the_same_seed_gives_the_same_numbers(tmp_path, data, zoo_path):
    histories = []
    for name in "ab":
        torch.manual_seed(3)
        task = AttributePrediction(DeepSets(1, channels=8))
        train_in(tmp_path / name, task, data, epochs=2, progress=False)
        histories.append(without_seconds(task.history))
    assert histories[0] == histories[1]


def test_scores_of_the_test_networks(tmp_path, data, task):
    trainer = lightning.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False)
    trainer.test(task, datamodule=data, verbose=False)
    scores = task.results["scores"]
    assert list(scores) == ["kendall_tau", "spearman", "r2", "mae"]
    assert all(low <= value <= high for value, low, high in scores.values())
    [target] = task.results["targets"]
    assert len(target["prediction"]) == len(data.split.test) == len(task.results["index"])
    index = torch.tensor(task.results["index"])
    assert torch.equal(torch.tensor(target["target"]), data.target["test_accuracy"][index])


def test_checkpoints_that_do_not_fit(tmp_path, data, task):
    train_in(tmp_path, task, data, epochs=1, progress=False)
    path = tmp_path / "checkpoints" / "best.ckpt"
    with pytest.raises(CheckpointError, match="no such checkpoint; `weightspace fit` writes"):
        load_into(task, tmp_path / "nothing.ckpt")
    with pytest.raises(CheckpointError, match="best.ckpt: does not fit a DeepSets of this configuration"):
        load_into(AttributePrediction(DeepSets(1)), path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="best.ckpt: cannot be read as a checkpoint of tensors and plain values"):
        load_into(task, path)


def test_json_has_no_nan(tmp_path):
    path = write_json(tmp_path / "a" / "b.json", {"x": float("nan"), "y": [1.0, (float("inf"), 2)]})
    assert json.loads(path.read_text()) == {"x": None, "y": [1.0, [None, 2]]}
    assert [p.name for p in path.parent.iterdir()] == ["b.json"]
