"""eSCN: conformance, the published model's energies and forces, its convolution in loops, and its grids' errors."""

import json
import math

import pytest
import torch

from weightspace.errors import CheckpointError, ConfigurationError
from weightspace.geometric import ESCN, ESCNShape, ForceField, escn_from_published
from weightspace.geometric._escn_grids import edge_grid, kept_components, node_grid, read_grid
from weightspace.testing import AtomisticModelTests
from weightspace.testing import _geometric_checks as checks
from weightspace.testing._geometric_samples import cluster, rotation

from ._published import assert_same_energies_and_forces, published

SMALL = {"channels": 4, "layers": 2, "lmax": 2, "mmax": 1, "hidden_channels": 4, "edge_channels": 4, "num_rbf": 6}
SMALL |= {"rbf_width": 1.0}


class TestGate(AtomisticModelTests):
    """Gates and no imaginary weights: exact under rotations and reflections."""

    outputs = {"vectors": "1o"}

    def model(self):
        return ESCN({**SMALL, "activation": "gate", "mirror": True}, cutoff=2.5, vectors=True)


class TestGrid(AtomisticModelTests):
    outputs = {"vectors": "1o"}
    rotation_tolerance = 1e-3

    def model(self):
        return ESCN({**SMALL, "mirror": True}, cutoff=2.5, vectors=True)


def moved(gain=1.0, **shape):
    """As the paper's, with imaginary weights; the larger the gain of its random parameters, the rougher."""
    model = ESCN({**SMALL, **shape}, cutoff=2.5, vectors=True, elements=(1, 6, 8)).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, dtype=torch.float64, generator=generator))
            parameter.mul_(gain * parameter.shape[-1] ** -0.5)
    return model.requires_grad_(False)


@pytest.fixture
def atoms(generator):
    return {"z": torch.tensor([1, 6, 8, 1, 6]), "pos": torch.randn(5, 3, dtype=torch.float64, generator=generator)}


def test_published_energies_and_forces():
    weights, found = published("escn")
    assert_same_energies_and_forces(escn_from_published(weights, cutoff=6.0), found)


def test_orders_are_multiplied_by_complex_matrices(generator):
    """The convolution of an edge in its frame, matrix by matrix."""
    layer = moved(lmax=3, mmax=2).messages[1]
    x = [torch.randn(1, len(kept_components(3, 2)), 4, dtype=torch.float64, generator=generator) for _ in range(2)]
    radial = torch.randn(1, layer.radial.out_features, dtype=torch.float64, generator=generator)
    layer.activate = lambda found: torch.cat(found, dim=1)
    found = layer.in_frame(x, radial)[0]
    kept = kept_components(3, 2)
    left = radial[0].tolist()
    for m, order in enumerate(layer.orders):
        rows = [[kept.index((l, sign * m)) for l in range(m, 4)] for sign in (1, -1)]
        total = 0
        outs = order.out.weight.split(4, dim=1)  # both ends, real and imaginary parts
        for k, (end, into) in enumerate(zip(x, (order.source.weight, order.target.weight), strict=True)):
            z = torch.complex(end[0, rows[0]].flatten(), end[0, rows[1]].flatten() * (m > 0))
            for part in range(2 if m else 1):
                numbers = torch.tensor([left.pop(0) for _ in range(4)], dtype=torch.float64)
                matrix = outs[(2 if m else 1) * k + part] @ torch.diag(numbers) @ into[4 * part : 4 * part + 4]
                total = total + 1j**part * (matrix.to(z) @ z)
        torch.testing.assert_close(found[rows[0]].flatten(), total.real, rtol=1e-10, atol=1e-10)
        if m:
            torch.testing.assert_close(found[rows[1]].flatten(), total.imag, rtol=1e-10, atol=1e-10)
    assert not left


@pytest.mark.parametrize("activation", ["grid", "published"])
def test_grids_lose_no_component(activation):
    sizes = ESCNShape(lmax=4, mmax=2, activation=activation).grid
    for grid, number in ((edge_grid(4, 2, sizes), 19), (edge_grid(4, 0, sizes), 5), (node_grid(4, sizes), 25)):
        to, back = (grid.like(name, torch.zeros((), dtype=torch.float64)) for name in ("to", "from"))
        torch.testing.assert_close(back @ to, torch.eye(number, dtype=torch.float64), rtol=0, atol=1e-10)
    read = read_grid(4, ESCNShape(lmax=4).grid)
    to, scalar, vector = (read.like(name, torch.zeros((), dtype=torch.float64)) for name in ("to", "scalar", "vector"))
    wanted = torch.zeros(25, dtype=torch.float64)
    wanted[0] = (4 * math.pi) ** -0.5  # a function's mean
    torch.testing.assert_close(scalar @ to, wanted, rtol=0, atol=1e-10)
    wanted = torch.zeros(25, 3, dtype=torch.float64)
    wanted[1:4] = torch.eye(3, dtype=torch.float64) * (12 * math.pi) ** -0.5
    torch.testing.assert_close(to.t() @ vector, wanted, rtol=0, atol=1e-10)


def relative_errors(model, atoms):
    """Of energies (against what neighbours contribute), forces and vectors under rotations."""
    field, found = ForceField(model).eval(), []
    before = field(**atoms)
    lone = field(**atoms, edge_index=torch.zeros(2, 0, dtype=torch.long))
    for seed in range(4):
        matrix = rotation(seed)
        after = field(atoms["z"], atoms["pos"] @ matrix.t())
        found.append(
            [
                (after["energy"] - before["energy"]).abs() / (before["energy"] - lone["energy"]).abs(),
                *((after[key] - before[key] @ matrix.t()).norm() / before[key].norm() for key in ("forces", "vectors")),
            ]
        )
    return [max(errors).item() for errors in zip(*found, strict=True)]


def gauge_jump(gain=1.0, **shape):
    """Relative change of the energy where the frame of an edge changes its angle."""
    model = moved(gain, **shape)
    pos = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 1.1], [0.3, 0.9, 0.4]], dtype=torch.float64)
    energies = []
    for height in (0.7 - 1e-12, 0.7 + 1e-12):
        pos[1] = 1.1 * torch.tensor([0.48, height, math.sqrt(1 - 0.48**2 - height**2)], dtype=torch.float64)
        energies.append(model(torch.tensor([8, 1, 6]), pos)["interaction_energy"].item())
    lone = model(torch.tensor([8, 1, 6]), pos, None, torch.zeros(2, 0, dtype=torch.long))["interaction_energy"].item()
    return abs(energies[1] - energies[0]) / abs(energies[0] - lone)


def test_gates_are_exact(atoms):
    assert max(relative_errors(moved(2.0, activation="gate"), atoms)) < 1e-10
    assert gauge_jump(2.0, activation="gate") < 1e-9


def test_errors_of_grids(atoms):
    """Of energies, forces and vectors, bounded, and falling with finer grids."""
    usual = relative_errors(moved(), atoms)
    assert usual[0] < 1e-5 and max(usual) < 1e-4
    rough, finer = (relative_errors(moved(2.0, **grid), atoms) for grid in ({}, {"grid_degree": 15}))
    published_grid = relative_errors(moved(2.0, activation="published"), atoms)
    assert max(finer) < 0.08
    for fine, usual, coarse in zip(finer, rough, published_grid, strict=True):
        assert fine < usual / 3 and usual < coarse


def test_energies_hardly_jump_where_frames_change():
    assert gauge_jump() < 1e-10
    jumps = [gauge_jump(2.0, **grid) for grid in ({"longitudes": 20}, {}, {"activation": "published"})]
    assert jumps[2] < 1e-3 and jumps[1] < jumps[2] / 3 and jumps[0] < jumps[1] / 3


@pytest.mark.parametrize("activation", ["grid", "gate", "published"])
def test_forces_without_mirrors(activation):
    """With imaginary weights, where the conformance class sees models without."""
    model = moved(activation=activation)
    checks.assert_forces(model, cluster(model, 4, 3))


@pytest.mark.slow
def test_compiled_forces(atoms):
    """`ForceField` compares them with eager ones on the first batch."""
    model = moved().requires_grad_(True)
    found, wanted = (ForceField(model, **how)(**atoms) for how in ({"compile": True, "backend": "aot_eager"}, {}))
    torch.testing.assert_close(found["forces"], wanted["forces"], rtol=1e-10, atol=1e-10)


def test_mirror_images(atoms):
    for mirror in (True, False):
        model = moved(2.0, activation="gate", mirror=mirror)
        before, after = (model(atoms["z"], sign * atoms["pos"])["interaction_energy"] for sign in (1, -1))
        assert torch.allclose(before, after, rtol=1e-10, atol=1e-10) == mirror


def test_a_configuration_makes_the_same_model():
    model = ESCN({**SMALL, "grid_degree": 11}, cutoff=2.5, elements=[1, 8])
    again = ESCN(**json.loads(json.dumps(model.config)))
    again.load_state_dict(model.state_dict())
    z, pos = torch.tensor([1, 8]), torch.eye(3)[:2]
    assert torch.equal(again(z, pos)["energy"], model(z, pos)["energy"])


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ({"activation": "relu"}, "found activation='relu', wanted 'grid', 'gate' or 'published'"),
        ({"mmax": 3}, "lmax=2, mmax=3, wanted all at least 1, and mmax from 0 to lmax"),
        ({"longitudes": 2}, "longitudes=2, wanted at least 2 lmax = 4 and 2 mmax \\+ 1 = 3; coarser grids lose"),
    ],
)
def test_messages(shape, words):
    with pytest.raises(ConfigurationError, match=words):
        ESCN({**SMALL, **shape})


def test_messages_of_published_weights():
    weights, _ = published("escn")
    short = {key: value for key, value in weights.items() if key != "layer_blocks.1.fc2_sphere.weight"}
    with pytest.raises(CheckpointError, match=r"'layer_blocks.1.fc2_sphere.weight' is missing, from which"):
        escn_from_published(short, cutoff=6.0)
    short = {key: value for key, value in weights.items() if "block_source.so2_conv.0.fc1_r" not in key}
    with pytest.raises(CheckpointError, match=r"'layer_blocks.1.*so2_conv.0.fc1_r.weight' is missing; hand in"):
        escn_from_published(short, cutoff=6.0)
    with pytest.raises(CheckpointError, match="found 7 samples of the sphere and 1 resolutions, wanted 128 and one"):
        escn_from_published({**weights, "sphharm_weights.0": torch.zeros(7, 9)})
