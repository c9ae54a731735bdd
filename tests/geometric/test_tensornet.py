"""TensorNet: the published model's energies and forces, and its equations written with 3x3 matrices."""

import pytest
import torch

from weightspace.errors import CheckpointError
from weightspace.geometric import TensorNet, tensornet_from_published
from weightspace.testing import AtomisticModelTests

from ._published import assert_same_energies_and_forces, published


def turned(value, matrix):
    """R X R^T; an inversion transposes X."""
    value = value if torch.linalg.det(matrix) > 0 else value.mT
    return matrix @ value @ matrix.t()


class TestTensorNet(AtomisticModelTests):
    outputs = {"tensors": "matrices"}

    def transformed(self, name, value, matrix):
        return turned(value, matrix)

    def model(self):
        return TensorNet(channels=6, layers=2, num_rbf=6, cutoff=2.5, trainable_rbf=True)


class TestTensorNetWithTheCosine(AtomisticModelTests):
    smoothness = 1
    outputs = {"tensors": "matrices"}

    def transformed(self, name, value, matrix):
        return turned(value, matrix)

    def model(self):
        return TensorNet(channels=6, layers=1, num_rbf=6, cutoff=2.5, cutoff_fn="cosine")


def test_a_model_built_in_float32_is_exact_once_it_is_double():
    model = TensorNet(channels=4, layers=1, num_rbf=4).double()
    z, pos = torch.tensor([8, 1, 1, 6]), torch.rand(4, 3, dtype=torch.float64)
    turn = torch.linalg.qr(torch.rand(3, 3, dtype=torch.float64))[0]
    found, wanted = model(z, pos @ turn.t())["energy"], model(z, pos)["energy"]
    torch.testing.assert_close(found, wanted, rtol=1e-13, atol=1e-13)


def test_published_energies_and_forces():
    weights, found = published("tensornet")
    assert_same_energies_and_forces(tensornet_from_published(weights), found)


def test_edges_without_opposites_and_in_any_order(generator):
    """Filters are shared by opposite edges only where there are any."""
    model = TensorNet(channels=4, layers=1, num_rbf=4).double()
    z, pos = torch.tensor([1, 6, 8, 1]), torch.randn(4, 3, dtype=torch.float64, generator=generator)
    edges = model.cloud(z, pos).edge_index
    shuffled = edges[:, torch.randperm(edges.shape[1], generator=generator)]
    torch.testing.assert_close(model(z, pos, None, shuffled)["energy"], model(z, pos)["energy"], rtol=1e-10, atol=1e-10)
    one_way = edges[:, 1:]
    assert len(model.cloud(z, pos, None, one_way).pair_edge) == one_way.shape[1]
    unshared = model.cloud(z, pos, None, torch.cat([edges, edges[:, :1]], dim=1))
    assert len(unshared.pair_edge) == edges.shape[1] + 1
    assert torch.isfinite(model(z, pos, None, one_way)["energy"]).all()


def test_messages():
    weights, _ = published("tensornet")
    with pytest.raises(CheckpointError, match="mean is 2, wanted 0; it is added once per molecule"):
        tensornet_from_published({**weights, "mean": torch.tensor(2.0)})
    weights.pop("representation_model.linear.weight")
    with pytest.raises(
        CheckpointError, match="'representation_model.linear.weight' is missing, from which 'out.weight'"
    ):
        tensornet_from_published(weights)
