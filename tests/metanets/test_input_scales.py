"""Input scales: root mean squares per layer, a fallback per role, nothing subtracted."""

import pytest
import torch

from tests.metanets._graphs import mlp, residual_cnn, singles
from weightspace.metanets import InputScales, fit_input_scales


def test_scales_are_root_mean_squares_per_layer_and_role():
    graph = residual_cnn(4)
    scales = fit_input_scales([graph])
    for block in graph.blocks:
        if block.role:
            assert scales.of(graph.signature, block.name, block.role) == pytest.approx(
                block.edge_attr.square().mean().sqrt().item(), rel=1e-12
            )
    for site in graph.sites:
        for k, role in enumerate(site.roles):
            assert scales.of(graph.signature, site.name, role) == pytest.approx(
                site.x[..., k].square().mean().sqrt().item(), rel=1e-12
            )


def test_batches_count_by_their_size():
    graph = mlp(models=3)
    assert fit_input_scales(singles([graph])).per_role == pytest.approx(fit_input_scales([graph]).per_role, rel=1e-12)


def test_unseen_architectures_get_the_scale_of_the_role():
    scales = fit_input_scales([mlp(models=3)])
    other = mlp((3, 7, 2))
    assert scales.divisors(other, other.blocks[0]) == scales.per_role["weight"]
    assert scales.divisors(residual_cnn(), residual_cnn().sites[3]).tolist() == [1.0] * 4  # norms were never seen


def test_an_all_zero_parameter_has_scale_one():
    graph = mlp()
    zero = graph.replace(x=[torch.zeros_like(s.x) for s in graph.sites])
    assert fit_input_scales([zero]).per_role["bias"] == 1.0


def test_json_round_trip():
    scales = fit_input_scales([mlp(models=2), residual_cnn()])
    assert InputScales.from_dict(scales.to_dict()) == scales
