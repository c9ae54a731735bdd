"""Published checkpoints: the four ResNets and the ANI networks, and the experiments that import them."""

import sys

import numpy as np
import pytest
import torch

from experiments import akamaster_resnet, ani_mlps
from weightspace.zoo import Zoo


@pytest.mark.parametrize("experiment", [akamaster_resnet, ani_mlps], ids=lambda module: module.__name__)
def test_the_experiments_pass_in_seconds(experiment, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["experiment", "--smoke"])
    exact = experiment.main().exact_way_back
    assert exact == [True] or exact == 4
    assert "exact_way_back" in capsys.readouterr().out


@pytest.mark.slow
def test_the_published_resnets_are_imported(data_root, tmp_path):
    source = data_root / akamaster_resnet.FOLDER
    result = akamaster_resnet.run(source, tmp_path)
    assert result.depth == [20, 32, 44, 56] and all(result.exact_way_back)
    assert result.best_prec1 == pytest.approx([91.78, 92.78, 93.14, 93.62])
    zoo = Zoo(tmp_path / "zoo")
    for entry in zoo:
        published = torch.load(source / entry.attributes["file"], map_location="cpu", weights_only=True)["state_dict"]
        assert all(torch.equal(entry.state_dict[k.removeprefix("module.")], v) for k, v in published.items())
        module = akamaster_resnet.resnet(**entry.attributes["factory_args"])
        module.load_state_dict(entry.state_dict)


def test_the_ani_networks_are_imported(data_root, tmp_path):
    with np.load(data_root / ani_mlps.FOLDER / "ani1x_ani1ccx.npz") as arrays:
        result = ani_mlps.run(arrays, tmp_path)
        assert (result.networks, result.architectures, result.exact_way_back) == (64, 3, 64)
        entry = Zoo(tmp_path / "zoo").select(element="H", family="ani-1x_8x", member=3)[0]
        name = "ani-1x_8x/3/H"
        x = np.random.default_rng(0).normal(size=(5, 384))
        h = x
        for layer in range(1, 5):
            h = h @ arrays[f"{name}/w{layer}"].astype(np.float64).T + arrays[f"{name}/b{layer}"]
            h = h if layer == 4 else np.maximum(h, 0) + np.minimum(0, 0.1 * np.expm1(h / 0.1))
    module = ani_mlps.ani_mlp(**entry.attributes["factory_args"])
    module.load_state_dict(entry.state_dict)
    with torch.no_grad():
        np.testing.assert_allclose(module.double()(torch.from_numpy(x)).numpy(), h, rtol=1e-10, atol=1e-12)
