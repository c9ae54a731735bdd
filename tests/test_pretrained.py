"""Models on disk: round trip, and an error for everything that does not fit."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.metanets._graphs import mlp, residual_cnn
from weightspace import metanets
from weightspace.errors import CheckpointError, ConfigurationError
from weightspace.metanets import GMN, DeepSets, GMNEditor, InputScales, fit_input_scales
from weightspace.pretrained import from_pretrained, save_pretrained

GRAPHS = [mlp(models=2, dtype=torch.float32), residual_cnn(2, dtype=torch.float32)]


def saved(directory):
    torch.manual_seed(0)
    model = GMN(2, channels=6, edge_channels=4, layers=1, input_scales=fit_input_scales(GRAPHS))
    save_pretrained(model, directory)
    return model


def edit_config(directory, **changes):
    file = directory / "config.json"
    config = json.loads(file.read_text())
    config = {key: value for key, value in {**config, **changes}.items() if value is not None}
    file.write_text(json.dumps(config))


@pytest.mark.parametrize(
    "make", [lambda s: GMN(2, channels=6, layers=1, input_scales=s), lambda s: DeepSets(1, channels=5, input_scales=s)]
)
def test_a_round_trip_keeps_every_prediction(tmp_path, make):
    model = make(fit_input_scales(GRAPHS))
    loaded = metanets.from_pretrained(save_pretrained(model, tmp_path / "new" / "folder"))
    assert type(loaded) is type(model) and loaded.config == model.config and not loaded.training
    assert loaded(GRAPHS).equal(model(GRAPHS))


def test_an_editor_round_trip_keeps_every_edit(tmp_path):
    model = GMNEditor(channels=6, layers=1, input_scales=fit_input_scales(GRAPHS), gain=0.3)
    loaded = metanets.from_pretrained(save_pretrained(model, tmp_path))
    assert loaded(GRAPHS)[1].blocks[0].edge_attr.equal(model(GRAPHS)[1].blocks[0].edge_attr)


def test_the_configuration_can_be_read_by_people(tmp_path):
    saved(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["model_class"] == "GMN" and config["channels"] == 6
    assert set(config["input_scales"]["per_role"]) == {
        "weight",
        "bias",
        "norm_weight",
        "norm_bias",
        "running_mean",
        "running_var",
    }


def test_an_unknown_key_is_named_with_its_file_and_the_known_ones(tmp_path):
    saved(tmp_path)
    edit_config(tmp_path, chanels=8)
    with pytest.raises(
        ConfigurationError, match=r"config.json: found unknown key 'chanels'; GMN takes out_features, channels, layers"
    ):
        from_pretrained(tmp_path, GMN)


def test_an_unknown_key_of_the_input_scales_is_named():
    with pytest.raises(ConfigurationError, match="unknown key 'per_rule', wanted per_layer and per_role only"):
        InputScales.from_dict({"per_rule": {}})


def test_another_class_is_refused(tmp_path):
    saved(tmp_path)
    with pytest.raises(CheckpointError, match="found model_class 'GMN', wanted DeepSets"):
        from_pretrained(tmp_path, DeepSets)


def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(CheckpointError, match="config.json: not found; wanted a directory that save_pretrained wrote"):
        from_pretrained(tmp_path, GMN)
    saved(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r"model.safetensors: not readable as safetensors \(100 bytes"):
        from_pretrained(tmp_path, GMN)
    weights.unlink()
    with pytest.raises(CheckpointError, match="model.safetensors: not found"):
        from_pretrained(tmp_path, GMN)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="config.json: not readable as JSON"):
        from_pretrained(tmp_path, GMN)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(CheckpointError, match="found a JSON list, wanted an object"):
        from_pretrained(tmp_path, GMN)


def test_tensors_that_do_not_fit_are_named(tmp_path):
    saved(tmp_path)
    edit_config(tmp_path, channels=8)
    with pytest.raises(CheckpointError, match=r"has shape \(.*\), wanted \(.*\) from config.json"):
        from_pretrained(tmp_path, GMN)
    edit_config(tmp_path, channels=6, layers=2)
    with pytest.raises(CheckpointError, match=r"lacks 'trunk.layers.1.*' \(\d+ in all\)"):
        from_pretrained(tmp_path, GMN)
    edit_config(tmp_path, layers=1)
    tensors = load_file(tmp_path / "model.safetensors")
    save_file({**tensors, "head.0.bias": tensors["head.0.bias"] * float("nan")}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="'head.0.bias' holds values that are not finite"):
        from_pretrained(tmp_path, GMN)


def test_a_configuration_that_is_not_json_is_refused(tmp_path):
    model = saved(tmp_path)
    model.input_scales = InputScales(per_role={"weight": float("inf")})
    with pytest.raises(ConfigurationError, match="GMN.config: .*wanted JSON values only"):
        save_pretrained(model, tmp_path / "other")
