"""Targets: what is read from attributes, what is fitted to the training networks, and predictions in their units."""

import pytest
import torch

from weightspace.errors import ConfigurationError
from weightspace.metanets import GMN
from weightspace.tasks import AttributePrediction, FittedTarget, Optimisation, SplitRule, Target, ZooData, train_in
from weightspace.tasks._targets import fit_target, read_target


def test_numbers_are_standardised_and_come_back():
    values = torch.randn(50, generator=torch.Generator().manual_seed(0)) * 3 + 7
    fitted = fit_target(Target("x", "number"), values)
    output = ((values - values.mean()) / values.std(correction=0))[:, None]
    assert torch.allclose(fitted.prediction(output), values, atol=1e-5)
    assert fitted.loss(output, values) < 1e-10 and fitted.loss(output + 2, values).item() == pytest.approx(4, rel=1e-5)
    assert fit_target(Target("x"), torch.ones(4)).spread == 1, "a constant divides nothing"


def test_logarithms_take_zeros():
    values = torch.tensor([0.0, 0.0, 1e-4, 1e-2])
    fitted = fit_target(Target("weight_decay", "log"), values)
    assert fitted.floor == pytest.approx(1e-5) and fitted.mean == pytest.approx((-5 - 5 - 4 - 2) / 4, rel=1e-5)
    output = ((fitted.scale(values) - fitted.mean) / fitted.spread)[:, None]
    assert fitted.loss(output, values) < 1e-10
    assert torch.allclose(fitted.prediction(output), torch.tensor([1e-5, 1e-5, 1e-4, 1e-2]), rtol=1e-4)
    with pytest.raises(ConfigurationError, match="no training network has a positive value"):
        fit_target(Target("weight_decay", "log"), torch.zeros(3))


def test_classes_are_sorted_numbers_before_texts():
    rows = [{"c": value} for value in (10, "b", 2, "a", 10)]
    positions, classes = read_target(Target("c", "class"), rows)
    assert classes == ("2", "10", "a", "b") and positions.tolist() == [1, 3, 0, 2, 1]
    fitted = fit_target(Target("c", "class"), positions, classes)
    output = torch.eye(4)[positions] * 50
    assert fitted.width == 4 and fitted.loss(output, positions) < 1e-10
    assert fitted.prediction(output).tolist() == positions.tolist()


def test_a_fitted_target_survives_json():
    fitted = FittedTarget("c", "class", classes=("a", "b"))
    assert FittedTarget.from_dict(fitted.to_dict()) == fitted


def test_an_unknown_kind():
    with pytest.raises(ConfigurationError, match="target 'x': found kind 'numbr', wanted fraction, number, log, class"):
        Target("x", "numbr")


def several(zoo_path, **options):
    targets = [Target("test_accuracy", "fraction"), Target("spread", "log"), Target("family", "class")]
    return ZooData(zoo_path, targets=targets, batch_size=16, split=SplitRule(fractions=(0.6, 0.2, 0.2)), **options)


def test_several_targets_at_once(tmp_path, zoo_path):
    torch.manual_seed(0)
    data = several(zoo_path)
    task = AttributePrediction(GMN(4, channels=8, layers=1), Optimisation(learning_rate=0.02))
    train_in(tmp_path, task, data, epochs=10, progress=False)
    row = task.history[-1]
    parts = row["val_test_accuracy_kendall_tau"], row["val_spread_kendall_tau"], row["val_family_accuracy"]
    assert row["val_score"] == pytest.approx(sum(parts) / 3) and parts[2] > 0.8
    assert task.monitor.label == "tau and accuracy"
    graphs = next(data.whole("test")).graphs
    found = task.eval()(graphs)
    assert list(found) == ["test_accuracy", "spread", "family"] and found["family"].dtype == torch.long
    assert bool((found["spread"] > 0).all())


def test_outputs_that_do_not_fit(data):
    task = AttributePrediction(GMN(3, channels=8, layers=1))
    task.fit_inputs(data)
    words = (
        r"GMN: found 3 outputs per network, wanted 1 \(test_accuracy 1\); set model.metanet.init_args.out_features to 1"
    )
    with pytest.raises(ConfigurationError, match=words):
        task(next(data.whole("test")).graphs)


def test_data_for_another_training(zoo_path, data):
    task = AttributePrediction(GMN(4, channels=8, layers=1))
    task.fit_to(several(zoo_path))
    with pytest.raises(ConfigurationError, match=r"found test_accuracy \(fraction\) in the data, wanted test_accuracy"):
        task.fit_to(data)
    task.fit_to(several(zoo_path, where={"family": "cnn"}))
    batch = next(several(zoo_path, where={"family": ["mlp"]}).whole("train"))
    task.fit_to(several(zoo_path, where={"family": ["mlp"]}))
    assert set(task._true(batch, task.targets[2]).tolist()) == {1}, "mlp is the second class of the training"
    narrow = AttributePrediction(GMN(3, channels=8, layers=1))
    narrow.fit_to(several(zoo_path, where={"family": "cnn"}))
    with pytest.raises(ConfigurationError, match="found the classes mlp in the data, wanted cnn, which the checkpoint"):
        narrow.fit_to(several(zoo_path))


def test_no_training_networks(zoo_path):
    data = ZooData(zoo_path, split=SplitRule(fractions=(0.0, 0.0, 1.0)))
    with pytest.raises(ConfigurationError, match="no training networks to fit it to; give a checkpoint"):
        AttributePrediction(GMN(1, channels=8, layers=1)).fit_to(data)


def test_a_metanet_that_says_the_same_of_all_networks_has_no_score():
    task = AttributePrediction(GMN(1, channels=8, layers=1))
    task.targets = (FittedTarget("x", "number"),)
    scores = task.scores({"output x": torch.zeros(5, 1), "target x": torch.arange(5.0)})
    assert scores["score"] == 0 and scores["kendall_tau"] != scores["kendall_tau"]
