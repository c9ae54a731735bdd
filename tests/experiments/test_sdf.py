"""The experiments on signed-distance networks run, and their labels move as they should."""

import pytest
import torch

from experiments import sdf_properties, sdf_zoo
from experiments._sdf_problem import Labels, Networks, Properties, errors, random_motions
from weightspace.zoo import SdfConfig, Zoo, _sdf_fit, fit_sdfs


@pytest.mark.slow
def test_the_table_has_a_row_for_every_model_and_pose(capsys):
    result = sdf_properties.main(["--smoke"])
    assert len(result.rows) == len(sdf_properties.KINDS) * len(sdf_properties.POSES)
    names = {f"{name}{suffix}" for name in ("volume", "centroid", "inertia") for suffix in ("", "_moved")}
    assert all(set(row["scores"]) == names for row in result.rows)
    assert "| own frames | CoordinateGMN |" in capsys.readouterr().out


@pytest.mark.slow
def test_the_zoo_experiment(capsys):
    result = sdf_zoo.main(["--smoke"])
    assert result.networks == 4 and result.error > 0
    assert "discretisation" in capsys.readouterr().out


def test_labels_of_moved_networks_are_those_that_are_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(_sdf_fit, "STACK", 2)
    fit_sdfs(SdfConfig(networks=2, steps=200, widths=(16, 16), resolution=40), tmp_path, progress=False)
    networks = Networks.of_zoo(Zoo(tmp_path))
    torch.testing.assert_close(networks.labels.inertia, networks.labels.inertia.mT)
    own = networks.in_own_frames()
    found = sdf_zoo.measured(own, 40)
    for f, w in zip(found.parts, own.labels.parts, strict=True):
        torch.testing.assert_close(f, w, rtol=0.03, atol=0.006)
    back = own.moved(networks.poses)
    for f, w in zip(back.labels.parts, networks.labels.parts, strict=True):
        torch.testing.assert_close(f, w, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(back.states["0.weight"], networks.states["0.weight"], rtol=1e-4, atol=1e-5)


def test_errors_are_shares_of_the_spread(generator):
    labels = Labels(
        torch.rand(50, generator=generator),
        torch.randn(50, 3, generator=generator),
        torch.randn(50, 3, 3, generator=generator),
    )
    assert all(value == 0 for value in errors(labels, labels).values())
    middle = labels.inertia.mean(0).diagonal().mean() * torch.eye(3)
    mean = Labels(labels.volume.mean().expand(50), labels.centroid.mean(0).expand(50, 3), middle.expand(50, 3, 3))
    assert all(value == pytest.approx(1.0, rel=1e-5) for value in errors(mean, labels).values())
    motions = random_motions(50, generator)
    turned = errors(mean.moved(motions), labels.moved(motions))
    assert turned["inertia"] == pytest.approx(1.0, rel=1e-4)


def test_six_numbers_make_a_symmetric_tensor(tmp_path):
    fit_sdfs(SdfConfig(networks=3, steps=1, widths=(4,), resolution=6), tmp_path, progress=False)
    properties = Properties(Networks.of_zoo(Zoo(tmp_path)))
    tensor = properties.labels(torch.arange(20.0).view(2, 10)).inertia
    assert torch.equal(tensor, tensor.mT)
