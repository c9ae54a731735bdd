"""Every configuration of a task, from fit over test to the report, on a tiny zoo."""

import csv
import json

import pytest
import torch

import weightspace as ws
from tests.house._source import ROOT
from weightspace.reports import build_report
from weightspace.tasks import run_lightning
from weightspace.zoo import Zoo, build

SPECS = (
    {"factory": "mlp", "widths": [4], "image": [1, 4, 4], "activation": "tanh"},
    {"factory": "cnn", "channels": [3, 4], "image": [1, 4, 4], "activation": "relu"},
    {"factory": "mlp", "widths": [3], "image": [1, 4, 4], "activation": "gelu"},
)
NETWORKS = 24


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A zoo that has every attribute of trained zoos, with two networks per run, and a label."""
    zoo = Zoo.create(tmp_path_factory.mktemp("zoos") / "many")
    generator = torch.Generator().manual_seed(0)
    for spec in SPECS:
        module = build(spec)
        values = torch.rand(NETWORKS, 6, generator=generator).tolist()
        rows = [
            {
                "run": f"{spec['activation']}-{i // 2}",
                "split": "test" if i >= 2 * NETWORKS // 3 else "train",
                "label": (i // 2) % 10,
                "family": spec["factory"],
                "activation": spec["activation"],
                "optimiser": ("adam", "adamw", "rmsprop", "sgd")[i % 4],
                "architecture": spec,
                "test_accuracy": a,
                "test_loss": 10 * b,
                "generalisation_gap": a - b,
                "learning_rate": 10 ** (-3 * c),
                "weight_decay": max(0.0, d - 0.3),
                "init_scale": 0.3 + d,
                "train_fraction": 0.05 + e / 2,
                "label_noise": f * (i % 2),
            }
            for i, (a, b, c, d, e, f) in enumerate(values)
        ]
        stacked = {
            name: torch.randn(NETWORKS, *value.shape, generator=generator)
            for name, value in module.state_dict().items()
        }
        zoo.append(ws.trace(module, torch.zeros(1, 1, 4, 4)), stacked, rows)
    return zoo.path


PAGES = {
    "loss": ["Predicted against true test loss", "learning curve"],
    "generalisation_gap": ["Predicted against true generalisation gap"],
    "hyperparameters": ["true learning rate", "true weight decay", "confusion matrix of optimiser"],
    "inr_classification": ["confusion matrix of label"],
    "embedding": ["Nearest neighbours", "embeddings of the test networks in a plane", "Some networks and their neighb"],
}


LONG = ("generalisation_gap", "hyperparameters", "inr_classification", "embedding")  # as "loss", to other pages


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in LONG)) for n in PAGES])
def test_a_configuration_from_fit_to_report(name, many, tmp_path):
    config = str(ROOT / "experiments" / "configs" / f"{name}.yaml")
    words = ["--config", config, "--data.path", str(many), "--trainer.default_root_dir", str(tmp_path)]
    words += ["--model.metanet.channels", "8", "--model.metanet.layers", "1", "--trainer.enable_progress_bar", "false"]
    words += ["--trainer.accelerator", "cpu"]
    if name != "inr_classification":
        words += ["--data.split.fractions", "[0.6, 0.15, 0.25]"]
    summary = run_lightning(["fit", *words, "--trainer.max_epochs", "1"])
    assert summary.startswith("best model (validation ")
    best = ["--ckpt_path", str(tmp_path / "checkpoints" / "best.ckpt")]
    run_lightning(["test", *words, *best])
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["scores"] and all(value[1] is None or value[1] <= value[2] for value in results["scores"].values())
    page = build_report(tmp_path).read_text()
    assert all(text in page for text in ["Scores", "Settings, times, versions", *PAGES[name]])
    with open(run_lightning(["predict", *words, *best])) as file:
        rows = list(csv.DictReader(file))
    assert [int(row["network"]) for row in rows] == results["index"]
