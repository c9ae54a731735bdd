import pytest
import torch

import weightspace as ws
from weightspace.errors import ConfigurationError
from weightspace.zoo import ARCHITECTURES, build

SPECS = [
    {"factory": "cnn", "channels": [3, 4, 5], "activation": "leaky_relu"},
    {"factory": "cnn", "channels": [3, 4], "strides": [1, 2], "padding": 0, "head": "flatten", "image": [2, 9, 7]},
    {"factory": "resnet", "channels": [4, 6], "activation": "silu"},
    {"factory": "mlp", "widths": [6, 5], "activation": "tanh"},
    {"factory": "small_cnn_zoo", "in_channels": 3},
    {
        "factory": "varied_cnn",
        "channels": [4, 8, 8],
        "kernels": [5, 1, 3],
        "norm": "group",
        "residual": True,
        "head": "max",
    },
    {"factory": "varied_cnn", "channels": [4, 6], "norm": "layer", "head": "flatten", "image": [2, 9, 7]},
    {"factory": "siren", "widths": [5, 6], "out_features": 10},
    {"factory": "sdf", "widths": [5, 6], "out_features": 10},
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec["factory"])
def test_every_architecture_is_traced_without_a_frozen_axis(spec):
    shapes = {"small_cnn_zoo": [spec.get("in_channels", 1), 28, 28], "siren": [2], "sdf": [3]}
    shape = spec.get("image", shapes.get(spec["factory"], [1, 8, 8]))
    module = build(spec)
    space = ws.trace(module, torch.zeros(2, *shape))
    assert module(torch.zeros(2, *shape)).shape == (2, 10)
    assert space.frozen == {} and space.log10_order > 0


def test_every_factory_is_tried():
    assert {spec["factory"] for spec in SPECS} == set(ARCHITECTURES)


def test_bad_specifications_are_refused():
    for spec, words in [
        ({}, "found factory None, wanted one of cnn, resnet, mlp"),
        ({"factory": ["cnn"]}, "wanted one of cnn"),
        ({"factory": "mlp", "depth": 3}, "'mlp' has no argument depth; it takes widths"),
        ({"factory": "mlp", "widths": "wide"}, "'mlp' cannot be built from"),
        ({"factory": "mlp", "widths": [-1]}, "'mlp' cannot be built from"),
        ({"factory": "cnn", "activation": "step"}, "activation: found 'step', wanted one of relu"),
        (
            {"factory": "varied_cnn", "kernels": [3, 4]},
            "varied_cnn: found norm='none', head='gap', 2 channels, kernels [3, 4]",
        ),
        ({"factory": "cnn", "head": "none"}, "cnn: found head='none', 2 strides"),
    ]:
        with pytest.raises(ConfigurationError) as error:
            build(spec)
        assert words in str(error.value)
