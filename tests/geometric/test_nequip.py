"""NequIP: the published model's energies and forces, its products against e3nn's, and what is left out of it."""

import math

import pytest
import torch
from e3nn import o3
from e3nn.math import normalize2mom
from torch.nn.functional import silu

from weightspace.errors import CheckpointError, ConfigurationError
from weightspace.geometric import NequIP, nequip_from_published
from weightspace.geometric._equivariant_layers import (
    SILU_GAIN,
    TANH_GAIN,
    ElementLinear,
    PathMessages,
    RadialNetwork,
    message_paths,
)
from weightspace.geometric._paths import clebsch_gordan
from weightspace.testing import AtomisticModelTests
from weightspace.testing._geometric_samples import cluster

from ._published import assert_same_energies_and_forces, published

ARGUMENTS = {"elements": (1, 6, 8), "cutoff": 4.0, "average_neighbours": 7.3}


class TestNequIP(AtomisticModelTests):
    def model(self):
        return NequIP(channels=2, layers=2, lmax=1, radial=(4, 4), cutoff=2.5)


@pytest.mark.slow
class TestNequIPWithBothParities(AtomisticModelTests):
    """Six layers are the fewest in which pseudoscalars reach the energy."""

    def model(self):
        return NequIP(channels=2, layers=6, lmax=2, radial=(4, 4), cutoff=2.5)


def test_published_energies_and_forces():
    weights, found = published("nequip")
    assert_same_energies_and_forces(nequip_from_published(weights, **ARGUMENTS), found)


def test_every_irrep_counts():
    model = NequIP(channels=2, layers=6, lmax=2, radial=(4, 4), cutoff=2.5).double()
    used = {ir for layer in model.layers for ir in layer.after.weights}
    assert used == {"0e", "0o", "1e", "1o", "2e", "2o"}
    atoms = cluster(model, 5, 0)
    model(atoms.z, atoms.pos)["energy"].sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and bool((parameter.grad != 0).any()), name


def test_messages_are_e3nns(generator):
    """With weights per path, channel and edge, summed at the targets."""
    channels, irreps = 3, ["0e", "1e", "1o", "2e"]
    model = NequIP(channels=1, layers=1, lmax=1, cutoff=3.0).double()
    atoms = cluster(model, 5, 1)
    cloud = model.cloud(atoms.z, atoms.pos)
    paths = message_paths(irreps, 2, ("0e", "0o", "1o", "2o"))
    messages = PathMessages(paths, channels, 2)
    x = {ir: torch.randn(5, o3.Irrep(ir).dim, channels, dtype=torch.float64, generator=generator) for ir in irreps}
    edges = cloud.edge_index.shape[1]
    weight = torch.randn(edges, len(paths), channels, dtype=torch.float64, generator=generator)
    sh = o3.spherical_harmonics([0, 1, 2], cloud.edge_vec, True, "component")
    found = messages(x, sh, weight, cloud)
    for ir_out in found:
        wanted = []
        for place, (ir_in, l, end) in enumerate(messages.paths):
            if end != ir_out:
                continue
            product = torch.einsum(
                "eic,ej,ijk->ekc",
                x[ir_in][cloud.source],
                sh[:, l**2 : (l + 1) ** 2],
                clebsch_gordan(o3.Irrep(ir_in).l, l, o3.Irrep(end).l),
            )
            wanted.append(cloud.sum_edges(math.sqrt(o3.Irrep(end).dim) * product * weight[:, place, None]))
        torch.testing.assert_close(found[ir_out], torch.cat(wanted, dim=-1), rtol=1e-10, atol=1e-10)


def test_layers_have_e3nns_constants(generator):
    assert abs(normalize2mom(silu).cst - SILU_GAIN) < 1e-12
    assert abs(normalize2mom(torch.tanh).cst - TANH_GAIN) < 1e-12
    network = RadialNetwork((4, 5, 3)).double()
    rbf = torch.randn(6, 4, dtype=torch.float64, generator=generator)
    first, last = network.weights
    torch.testing.assert_close(network(rbf), SILU_GAIN * silu(rbf @ first / 2) @ last / math.sqrt(5))
    assert not network(torch.zeros(1, 4).double()).any()


@pytest.mark.parametrize("elements", [3, 20])
def test_matrices_for_each_element(elements, generator):
    linear = ElementLinear(elements, {"0e": 4, "1o": 4}, {"0e": 5, "1o": 2, "2e": 3}).double()
    species = torch.randint(elements, (6,), generator=generator)
    x = {ir: torch.randn(6, d, 4, dtype=torch.float64, generator=generator) for ir, d in (("0e", 1), ("1o", 3))}
    found = linear(x, species)
    assert set(found) == {"0e", "1o"}
    for ir, value in found.items():
        wanted = [row @ linear.weights[ir][z] / math.sqrt(elements * 4) for row, z in zip(x[ir], species, strict=True)]
        torch.testing.assert_close(value, torch.stack(wanted), rtol=1e-12, atol=1e-12)


def test_messages_of_errors():
    with pytest.raises(
        ConfigurationError, match="found layers=0, lmax=1, radial=.8, 64, 64., wanted at least one layer"
    ):
        NequIP(layers=0, lmax=1)
    weights, _ = published("nequip")
    for key, words in (
        ("model.model.func.layer1_convnet.conv.linear_2.weight", "'layer1_convnet.conv.linear_2.weight' is missing"),
        ("model.model.func.layer0_convnet.conv.fc.layer0.weight", "'layer0_convnet.conv.fc.layer0.weight' is missing"),
    ):
        with pytest.raises(CheckpointError, match=words):
            nequip_from_published({k: v for k, v in weights.items() if k != key}, **ARGUMENTS)
    key = "model.model.func.layer1_convnet.conv.linear_2.weight"
    with pytest.raises(CheckpointError, match="'layer1_convnet.conv.linear_2.weight' has .* weights, wanted"):
        nequip_from_published({**weights, key: weights[key][1:]}, **ARGUMENTS)
    with pytest.raises(CheckpointError, match="'surplus' .1 in all. has no place in the model"):
        nequip_from_published({**weights, "surplus": torch.ones(1)}, **ARGUMENTS)
    with pytest.raises(CheckpointError, match="scales differ by element"):
        nequip_from_published(
            {**weights, "model.model.func.per_species_rescale.scales": torch.tensor([1.0, 2.0, 1.0])}, **ARGUMENTS
        )
    with pytest.raises(CheckpointError, match="the total energy is shifted by"):
        nequip_from_published({**weights, "model.shift_by": torch.tensor(2.0)}, **ARGUMENTS)
