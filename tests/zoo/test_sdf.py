"""The zoo of signed-distance networks: solids, measures, training, motions."""

import dataclasses
import math

import pytest
import torch
from torch.func import functional_call

from weightspace.cli import main
from weightspace.errors import ConfigurationError
from weightspace.zoo import (
    SdfConfig,
    SdfStack,
    Zoo,
    build,
    fit_sdfs,
    measure_solids,
    move_coordinates,
    random_rotations,
    random_solids,
    sdf,
)
from weightspace.zoo import _sdf as sdf_zoo
from weightspace.zoo import _sdf_fit as sdf_fit

SMALL = SdfConfig(networks=7, steps=3, widths=(4, 4), resolution=6)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    """Shards of three networks and stacks of two, on few points."""
    for module, name, value in (
        (sdf_fit, "SHARD", 3), (sdf_zoo, "SHARD", 3), (sdf_fit, "STACK", 2), (sdf_fit, "POOL", 64),
        (sdf_fit, "CANDIDATES", 256), (sdf_fit, "BATCH", 32),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)


def contents(zoo):
    return [(entry.attributes, {k: v.tolist() for k, v in entry.state_dict.items()}) for entry in zoo]


def one_part(kind, size):
    """A solid of one part in a random pose."""
    solids = random_solids(1, torch.Generator().manual_seed(1))
    sign = torch.tensor([[1, 0, 0, 0]])
    sizes = torch.tensor(size)[None, None].expand(1, 4, 3)
    shift = torch.tensor([[0.1, -0.05, 0.15]])
    return dataclasses.replace(
        solids, kind=torch.full((1, 4), kind), size=sizes, sign=sign, pose_translation=shift,
    )  # fmt: skip


# --- solids and their measures


@pytest.mark.parametrize(
    ("kind", "size", "volume"),
    [
        (0, (0.3, 0.4, 0.6), 4 / 3 * math.pi * 0.3 * 0.4 * 0.6),
        (1, (0.2, 0.3, 0.5), 8 * 0.2 * 0.3 * 0.5),
        (2, (0.3, 0.0, 0.5), 2 * math.pi * 0.3**2 * 0.5),
        (3, (0.45, 0.0, 0.2), 2 * math.pi**2 * 0.45 * 0.2**2),
    ],
)
def test_volumes_and_centroids_of_parts_in_closed_form(kind, size, volume):
    solids = one_part(kind, size)
    found = measure_solids(lambda x: solids.distance(x[None]), resolution=48)
    assert found.volume.item() == pytest.approx(volume, rel=0.005)
    torch.testing.assert_close(found.centroid, solids.pose_translation, rtol=0, atol=0.002)
    assert found.leak.item() == 0


def test_the_inertia_of_an_ellipsoid_in_closed_form():
    solids = one_part(0, (0.3, 0.4, 0.6))
    found = measure_solids(lambda x: solids.distance(x[None]), resolution=64)
    a, b, c = (s * s * found.volume.item() / 5 for s in (0.3, 0.4, 0.6))
    wanted = solids.pose_rotation @ torch.diag(torch.tensor([b + c, a + c, a + b])) @ solids.pose_rotation.mT
    torch.testing.assert_close(found.inertia, wanted, rtol=0, atol=0.01 * float(wanted.abs().max()))


def test_measures_hardly_change_with_the_resolution_and_the_pose():
    solids = random_solids(4, torch.Generator().manual_seed(2))
    turn = random_rotations(1, torch.Generator().manual_seed(3))[0]
    turned = dataclasses.replace(
        solids, pose_rotation=turn @ solids.pose_rotation, pose_translation=solids.pose_translation @ turn.T
    )
    coarse, fine = (
        measure_solids(lambda x: solids.distance(x.expand(4, -1, -1)), resolution=r) for r in (20, 40)
    )  # fmt: skip
    other = measure_solids(lambda x: turned.distance(x.expand(4, -1, -1)), resolution=20)
    assert ((coarse.volume / fine.volume - 1).square().mean() ** 0.5) < 0.03
    assert ((coarse.volume / other.volume - 1).square().mean() ** 0.5) < 0.03
    torch.testing.assert_close(other.centroid, coarse.centroid @ turn.T, rtol=0, atol=0.01)


@pytest.mark.parametrize("kind", [1, 2, 3])
def test_distances_are_distances(kind, generator):
    """The gradient of the distance to a box, cylinder or torus has length 1."""
    solids = one_part(kind, (0.3, 0.3, 0.2))
    points = (torch.rand(1, 200, 3, generator=generator) * 2 - 1).requires_grad_()
    [slope] = torch.autograd.grad(solids.distance(points).sum(), points)
    torch.testing.assert_close(slope.norm(dim=-1), torch.ones(1, 200), rtol=0, atol=1e-4)


def test_parts_are_added_and_cut_out(generator):
    solids = random_solids(6, torch.Generator().manual_seed(4))
    points = torch.rand(6, 300, 3, generator=generator) * 2 - 1
    inside = torch.zeros(6, 300, dtype=torch.bool)
    for j in range(4):
        alone = dataclasses.replace(
            solids, **{n: getattr(solids, n)[:, j : j + 1] for n in ("kind", "size", "rotation", "offset")},
            sign=torch.ones(6, 1),
        )  # fmt: skip
        part, sign = alone.distance(points) < 0, solids.sign[:, j, None]
        inside = torch.where(sign > 0, inside | part, torch.where(sign < 0, inside & ~part, inside))
    assert torch.equal(solids.distance(points) < 0, inside) and inside.any()
    assert "-" in solids.describe(0) + solids.describe(1) + solids.describe(2) + solids.describe(3)


def test_solids_stay_in_the_ball_and_rotations_are_rotations():
    solids = random_solids(64, torch.Generator().manual_seed(5))
    sphere = torch.nn.functional.normalize(torch.randn(500, 3), dim=1) * 0.86
    assert (solids.distance(sphere.expand(64, -1, -1)) > 0).all()
    turns = random_rotations(200, torch.Generator().manual_seed(6))
    torch.testing.assert_close(turns @ turns.mT, torch.eye(3).expand(200, 3, 3), rtol=0, atol=1e-5)
    assert turns.mean(0).abs().max() < 0.15


# --- networks


def test_the_stack_is_its_networks(generator):
    stack = SdfStack((4, 5))
    weights = stack.initial(3, generator)
    points = torch.randn(7, 3, generator=generator)
    states = stack.state_dicts(weights)
    net = sdf(widths=(4, 5))
    assert {k: v.shape[1:] for k, v in states.items()} == {k: v.shape for k, v in net.state_dict().items()}
    for i, values in enumerate(stack(weights, points)):
        alone = functional_call(net, {k: v[i] for k, v in states.items()}, points)[:, 0]
        torch.testing.assert_close(values, alone)


def test_training_lowers_the_error_and_members_do_not_mix():
    generator = torch.Generator().manual_seed(7)
    solids, stack = random_solids(2, generator), SdfStack((8, 8))
    start = stack.initial(2, generator).double()
    points = sdf_fit.training_points(solids, generator)
    wanted = solids.distance(points).double()
    before = (stack(start, points.double()) - wanted).abs().mean(1)
    together = start.clone()
    after = sdf_fit.fit_stack(stack, together, points.double(), wanted, 100)
    assert (after < 0.5 * before).all()
    alone = start[1:].clone()
    sdf_fit.fit_stack(stack, alone, points[1:].double(), wanted[1:], 100)
    torch.testing.assert_close(alone, together[1:], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("reflected", [False, True])
def test_moved_networks_are_networks_of_moved_shapes(generator, reflected):
    stack = SdfStack((5, 4))
    states = {k: v.double() for k, v in stack.state_dicts(stack.initial(3, generator)).items()}
    turn = torch.linalg.qr(torch.randn(3, 3, 3, generator=generator).double())[0]
    turn = turn * turn.det().sign()[:, None, None] * (-1 if reflected else 1)
    shift = torch.randn(3, 3, generator=generator).double()
    moved = move_coordinates(states, turn, shift)
    points = torch.randn(3, 20, 3, generator=generator).double()
    there = points @ turn.mT + shift[:, None]
    net = sdf(widths=(5, 4)).double()
    for i in range(3):
        found = functional_call(net, {k: v[i] for k, v in moved.items()}, there[i])
        wanted = functional_call(net, {k: v[i] for k, v in states.items()}, points[i])
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)
    with pytest.raises(
        ConfigurationError, match=r"'2.weight' has shape \(3, 4, 5\), wanted \(..., 3\); name the layer"
    ):
        move_coordinates(states, turn, shift, weight="2.weight", bias="2.bias")


# --- the zoo


def test_a_zoo_is_the_same_on_any_number_of_workers_and_goes_on(tmp_path):
    summary = fit_sdfs(SMALL, tmp_path / "a", progress=False, workers=1)
    assert (summary.networks, summary.trained, summary.diverged) == (7, 7, 0)
    full = contents(Zoo(tmp_path / "a"))
    fit_sdfs(SMALL, tmp_path / "b", progress=False, workers=2)
    assert contents(Zoo(tmp_path / "b")) == full
    next((tmp_path / "b").glob("00001-*.jsonl")).unlink()
    assert fit_sdfs(SMALL, tmp_path / "b", progress=False).trained == 3
    assert contents(Zoo(tmp_path / "b")) == full
    fit_sdfs(dataclasses.replace(SMALL, networks=6), tmp_path / "c", progress=False)
    assert contents(Zoo(tmp_path / "c")) == full[:6]
    assert fit_sdfs(dataclasses.replace(SMALL, networks=9), tmp_path / "c", progress=False).trained == 3
    with pytest.raises(ConfigurationError, match="seed: found 0, wanted 1"):
        fit_sdfs(dataclasses.replace(SMALL, seed=1), tmp_path / "a", progress=False)


def test_labels_are_those_of_the_networks(tmp_path):
    fit_sdfs(SMALL, tmp_path / "zoo", progress=False)
    zoo = Zoo(tmp_path / "zoo")
    [space] = zoo.spaces.values()
    assert len({row["run"] for row in zoo.attributes}) == 7
    entry = zoo[4]
    net = build(entry.attributes["architecture"])
    net.load_state_dict(entry.state_dict)
    with torch.no_grad():
        found = measure_solids(lambda x: net(x)[:, 0][None], resolution=6)
    assert entry.attributes["volume"] == pytest.approx(found.volume.item(), rel=1e-4)
    assert entry.attributes["centroid_y"] == pytest.approx(found.centroid[0, 1].item(), rel=1e-3, abs=1e-5)
    assert entry.attributes["inertia_xz"] == pytest.approx(found.inertia[0, 0, 2].item(), rel=1e-3, abs=1e-5)
    assert space.log10_order == pytest.approx(2 * math.log10(24))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"networks": 0}, "networks: found 0, wanted a whole number of at least 1"),
        ({"widths": ()}, r"widths: found \(\), wanted whole numbers"),
        ({"steps": 1.5}, "steps: found 1.5, wanted a whole number"),
    ],
)
def test_a_wrong_configuration_is_refused(options, words):
    with pytest.raises(ConfigurationError, match=words):
        SdfConfig(**options)
    with pytest.raises(ConfigurationError, match="sdf: found no widths, wanted at least one hidden layer"):
        sdf(widths=())


def test_the_command(tmp_path, capsys):
    words = ["zoo", "train", "sdf", str(tmp_path / "zoo"), "--networks", "2", "--steps", "1", "--no-progress"]
    assert main([*words, "--widths", "4", "4"]) == 0
    assert "2 networks of 1 architectures" in capsys.readouterr().out
