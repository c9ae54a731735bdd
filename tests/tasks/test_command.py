"""`weightspace fit|validate|test|predict` by Lightning's command line, and its errors."""

import csv
import json

import pytest
import torch

from tests.house._source import ROOT
from weightspace.errors import CheckpointError, ConfigurationError
from weightspace.reports import build_report
from weightspace.tasks import run_lightning

CONFIG = str(ROOT / "experiments" / "configs" / "accuracy.yaml")


@pytest.fixture(scope="module")
def fitted(zoo_path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fit")
    return folder, run_lightning(["fit", *arguments(zoo_path, folder), "--trainer.max_epochs", "2"])


def arguments(zoo_path, folder, *more: str) -> list[str]:
    little = ["--model.metanet.init_args.channels", "8", "--model.metanet.init_args.layers", "1"]
    quiet = ["--trainer.enable_progress_bar", "false"]
    where = ["--data.path", str(zoo_path), "--trainer.default_root_dir", str(folder)]
    return ["--config", CONFIG, *where, *little, *quiet, *more]


def test_fit_saves_logs_checkpoints_and_the_best_model(fitted):
    folder, summary = fitted
    assert summary.startswith("best model (validation tau ") and summary.endswith(str(folder / "model"))
    assert (folder / "model" / "config.json").is_file() and (folder / "model" / "model.safetensors").is_file()
    assert (folder / "checkpoints" / "last.ckpt").is_file()
    with (folder / "logs" / "version_0" / "metrics.csv").open() as file:
        assert len([row for row in csv.DictReader(file) if row["val_kendall_tau"]]) == 2


def test_fit_goes_on_only_when_asked(fitted, zoo_path):
    folder, _ = fitted
    with pytest.raises(ConfigurationError, match="holds an earlier run; go on with --ckpt_path .*last.ckpt"):
        run_lightning(["fit", *arguments(zoo_path, folder)])
    last = str(folder / "checkpoints" / "last.ckpt")
    before = torch.load(last, weights_only=True)["global_step"]
    run_lightning(["fit", *arguments(zoo_path, folder, "--ckpt_path", last, "--trainer.max_epochs", "3")])
    assert torch.load(last, weights_only=True)["global_step"] == before * 3 // 2


def test_validate_and_test_and_predict(fitted, zoo_path):
    folder, _ = fitted
    best = ["--ckpt_path", str(folder / "checkpoints" / "best.ckpt")]
    assert "val_kendall_tau" in run_lightning(["validate", *arguments(zoo_path, folder, *best)])
    summary = run_lightning(["test", *arguments(zoo_path, folder, *best)])
    assert "kendall_tau" in summary and "95 % interval" in summary
    results = json.loads((folder / "results.json").read_text())
    assert results["model"] == "GMN" and len(results["learning_curve"]) >= 1
    assert set(results["families"]) <= {"mlp", "cnn"}
    page = build_report(folder).read_text()
    assert "Predicted against true test accuracy" in page and "learning curve" in page
    path = run_lightning(["predict", *arguments(zoo_path, folder, *best)])
    with open(path) as file:
        rows = {int(row["network"]): float(row["prediction"]) for row in csv.DictReader(file)}
    [target] = results["targets"]
    assert rows == pytest.approx(dict(zip(results["index"], target["prediction"], strict=True)), abs=1e-6)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["--data.batchsize", "3"], r"unknown key 'batchsize': did you mean data.batch_size"),
        (["--trainer.max_epoch", "3"], r"unknown key 'trainer.max_epoch': did you mean trainer.max_epochs"),
        (
            ["--model.optimisation.learning_rat", "3"],
            r"unknown key '.*learning_rat': .* model.optimisation.learning_rate",
        ),
        (["--model.optimisation.warmup", "3"], r"wanted a positive rate and a share from 0 to below 1"),
        (["--model.metanet.init_args.chanels", "8"], r"unknown key 'chanels': did you mean .*channels"),
        (
            ["--data.batch_size", "many"],
            r"configuration: .*\"batch_size\": Expected a <class 'int'>. Got value: many; `--help-all`",
        ),
        (["--trainer.max_epochs", "x"], r"configuration: .*max_epochs\": Expected a <class 'int'>, found x; "),
        (
            ["--model.metanet", "weightspace.metanets.NoSuchNet"],
            "'weightspace.metanets' has no attribute 'NoSuchNet'; `",
        ),
    ],
)
def test_an_unknown_key_or_value(zoo_path, tmp_path, extra, words):
    with pytest.raises(ConfigurationError, match=words):
        run_lightning(["fit", *arguments(zoo_path, tmp_path, *extra)])


def test_an_unknown_key_in_the_file(zoo_path, tmp_path):
    path = tmp_path / "wrong.yaml"
    path.write_text("data:\n  batchsize: 3\n")
    with pytest.raises(ConfigurationError, match="unknown key 'batchsize': did you mean data.batch_size"):
        run_lightning(["fit", "--config", CONFIG, "--config", str(path), "--data.path", str(zoo_path)])


def test_no_configuration():
    with pytest.raises(
        ConfigurationError,
        match="configuration: .*required: fit.data, fit.model; give them, e.g. with --config experiments/configs",
    ):
        run_lightning(["fit"])


def test_no_zoo_in_the_configuration():
    with pytest.raises(
        ConfigurationError, match="arguments are required: path; give them, e.g. with --config .*--data.path ZOO"
    ):
        run_lightning(["fit", "--config", CONFIG])


def test_a_checkpoint_that_is_not_there(zoo_path, tmp_path):
    with pytest.raises(CheckpointError, match="nothing.ckpt: no such checkpoint"):
        run_lightning(["test", *arguments(zoo_path, tmp_path, "--ckpt_path", str(tmp_path / "nothing.ckpt"))])
