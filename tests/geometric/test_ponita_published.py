"""Weights of the published PONITA: its energies, forces and vectors come out."""

import pytest
import torch

from tests.geometric._published import assert_same_energies_and_forces, published
from weightspace.errors import CheckpointError
from weightspace.geometric import Ponita, PonitaPointCloud, load_published_ponita


def molecule(weights, found, **changes):
    sizes = {"channels": 8, "layers": 2, "basis_channels": 12, "cutoff": 3.0, "elements": [1, 6, 8]} | changes
    return Ponita(grid=found["ori"].tolist() if "ori" in found else None, **sizes)


@pytest.mark.parametrize("name", ["ponita", "ponita_position"])
def test_molecules_with_and_without_orientations(name):
    weights, found = published(name)
    model = molecule(weights, found).double()
    load_published_ponita(model, weights)
    assert_same_energies_and_forces(model, found, tolerance=1e-10)
    with torch.no_grad():
        model.trunk.blocks[1].conv.pair.linear.weight[0, 0] += 0.1
    with pytest.raises(AssertionError):
        assert_same_energies_and_forces(model, found)


def test_a_cloud_with_vectors_in_and_out():
    weights, found = published("ponita_cloud")
    shape = {"channels": 8, "layers": 2, "basis_channels": 12}
    model = PonitaPointCloud(
        3, 1, in_vectors=1, out_vectors=1, grid=found["ori"].tolist(), edges=3.0, shape=shape
    ).double()
    load_published_ponita(model, weights)
    x = (found["z"][:, None] == torch.tensor([1, 6, 8])).double()
    pos = found["pos"].double().requires_grad_()
    scalars, vectors = model.points(pos, x, found["vec"].double(), found["batch"])
    energy = pos.new_zeros(2).index_add(0, found["batch"], scalars[:, 0])
    forces = -torch.autograd.grad(energy.sum(), pos)[0]
    tight = {"rtol": 1e-10, "atol": 1e-10}
    torch.testing.assert_close(energy, found["energy"].double(), **tight)
    torch.testing.assert_close(forces, found["forces"].double(), **tight)
    torch.testing.assert_close(vectors, found["vectors"].double(), **tight)
    assert vectors.abs().max() > 1e-3


def test_a_single_readout_at_the_end_becomes_the_last_of_the_mean():
    weights, found = published("ponita")
    both, last = molecule(weights, found), molecule(weights, found)
    silent = {key: torch.zeros_like(w) if key.startswith("read_out_layers.0.") else w for key, w in weights.items()}
    load_published_ponita(both, silent)
    load_published_ponita(last, {k: w for k, w in weights.items() if not k.startswith("read_out_layers.0.")})
    inputs = found["z"], found["pos"].float(), found["batch"]
    torch.testing.assert_close(last(*inputs)["energy"], 2 * both(*inputs)["energy"])


@pytest.mark.parametrize(
    ("change", "sizes", "words"),
    [
        (lambda w: w.pop("x_embedder.weight"), {}, "'x_embedder.weight' is missing"),
        (lambda w: w.update(other=torch.ones(1)), {}, "found unknown 'other'"),
        (lambda w: None, {"cutoff": 4.0}, "wanted 4.0"),
        (lambda w: None, {"window": "mollifier"}, "window='polynomial'"),
        (lambda w: None, {"channels": 4}, "published sizes"),
        (lambda w: w.update({"basis_fn.1.weight": torch.ones(8, 5)}), {}, "found 5 polynomial features"),
        (lambda w: None, {"layers": 3}, "interaction_layers.2"),
    ],
)
def test_what_does_not_fit_is_refused(change, sizes, words):
    weights, found = published("ponita")
    change(weights)
    with pytest.raises(CheckpointError, match=words):
        load_published_ponita(molecule(weights, found, **sizes), weights)
