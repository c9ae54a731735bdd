"""Fixtures made once by published code: weights, inputs, energies and forces (how, says each file's metadata)."""

from pathlib import Path

import torch
from safetensors import safe_open

from weightspace.geometric import ForceField

FIXTURES = Path(__file__).parent / "fixtures"


def published(name):
    """Weights, and everything else by name."""
    with safe_open(FIXTURES / f"{name}_published.safetensors", "pt") as file:
        assert {"repository", "commit", "command"} <= set(file.metadata())
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    weights = {key.removeprefix("weights."): value for key, value in tensors.items() if key.startswith("weights.")}
    return weights, {key: value for key, value in tensors.items() if not key.startswith("weights.")}


def assert_same_energies_and_forces(model, found, tolerance=1e-5):
    """Evaluated in float64, against what the published code gave."""
    out = ForceField(model.double()).eval()(found["z"], found["pos"].double(), found["batch"])
    for key in ("energy", "forces", "vectors"):
        if key in found:
            scale = found[key].abs().max().item()
            torch.testing.assert_close(out[key], found[key].double(), rtol=0, atol=tolerance * scale)
            assert scale > 1e-3
