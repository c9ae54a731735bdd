"""The charged particles: the published generator's numbers, conservation laws, and a plain loop."""

from pathlib import Path

import numpy as np
import pytest
import torch

from weightspace.errors import ConfigurationError, MoleculeError
from weightspace.molecules import (
    charged_energy,
    draw_charged_particles,
    load_molecules,
    nbody_splits,
    simulate_charged_particles,
    simulate_exactly,
)

PUBLISHED = Path(__file__).parent / "fixtures" / "nbody_published.npz"
# n_body_system/dataset/synthetic_sim.py of github.com/vgsatorras/egnn @e9ca6c0: for three seeds,
# numpy.random.seed(seed); ChargedParticlesSim().sample_trajectory(T=5000, sample_freq=100), and the initial states,
# drawn again in its order; two of the three meet forces that are cut, and none is so chaotic that rounding shows


def drawn(count, seed=0, **sizes):
    return draw_charged_particles(count, generator=np.random.default_rng(seed), **sizes)


def slow_steps(pos, velocities, charges, steps):
    """One system, particle by particle."""
    x, v, q = pos.clone(), velocities.clone(), charges[:, 0]
    for _ in range(steps):
        force = torch.zeros_like(x)
        for i in range(len(x)):
            for j in range(len(x)):
                if i != j:
                    force[i] += q[i] * q[j] * (x[i] - x[j]) / (x[i] - x[j]).norm() ** 3
        v += 0.001 * force.clamp(-100, 100)
        x += 0.001 * v
    return x, v


def test_the_published_generator_gives_the_same_trajectories():
    with np.load(PUBLISHED) as file:
        published = {name: torch.from_numpy(file[name]) for name in file.files}
    found = simulate_charged_particles(published["pos"], published["velocities"], published["charges"])
    frames = published["frames"]
    torch.testing.assert_close(found.pos[:, frames], published["found_pos"], rtol=0, atol=1e-9)
    torch.testing.assert_close(found.velocities[:, frames], published["found_velocities"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("particles", [2, 5, 6])
def test_a_loop_over_particles_gives_the_same_steps(particles):
    state = drawn(2, particles=particles)
    state = state[0] * 0.1, state[1], state[2]  # close together: forces are cut
    found = simulate_charged_particles(*state, frames=2, frame_steps=7)
    for system in range(2):
        x, v = slow_steps(*(part[system] for part in state), 14)
        torch.testing.assert_close(found.pos[system, 1], x, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(found.velocities[system, 1], v, rtol=1e-10, atol=1e-12)


def test_energy_is_conserved_where_no_force_is_cut():
    state = drawn(100)
    found, uncut = (simulate_charged_particles(*state, frames=10, max_force=limit) for limit in (100.0, None))
    free = (found.pos == uncut.pos).all(-1).all(-1).all(-1)
    energy = charged_energy(found.pos, found.velocities, state[2])
    drift = (energy - charged_energy(*state)[:, None]).abs().amax(1)
    assert 50 < int(free.sum()) < 100, "some meet a force that is cut"
    assert drift[free].median() < 1e-4 and drift[free].max() < 1e-2
    assert drift[~free].median() > 0.1


def test_exact_trajectories_conserve_energy_momentum_and_angular_momentum():
    pos, velocities, charges = drawn(15)
    found = simulate_exactly(pos, velocities, charges, frames=20)
    energy = charged_energy(found.pos, found.velocities, charges, late_by=0)
    drift = (energy - charged_energy(pos, velocities, charges, late_by=0)[:, None]).abs()
    assert drift.max() < 1e-5 and drift.median() < 1e-7
    momentum = found.velocities.sum(2) - velocities.sum(1)[:, None]
    spin = torch.linalg.cross(found.pos, found.velocities).sum(2) - torch.linalg.cross(pos, velocities).sum(1)[:, None]
    assert momentum.abs().max() < 1e-9 and spin.abs().max() < 1e-6


def test_exact_trajectories_are_the_limit_of_small_steps():
    state = drawn(8, seed=3)
    found = simulate_exactly(*state, frames=3)
    coarse, tight = simulate_charged_particles(*state, frames=3), simulate_exactly(*state, frames=3, tolerance=1e-13)
    torch.testing.assert_close(found.pos, tight.pos, rtol=0, atol=1e-7)
    assert (coarse.pos - found.pos).abs().amax((1, 2, 3)).median() < 1e-3


def test_a_circular_orbit_closes():
    pos = torch.tensor([[[0.5, 0, 0], [-0.5, 0, 0]]], dtype=torch.float64)
    speed = 0.5**0.5  # of each: 2 v^2 / d = 1 / d^2
    velocities = torch.tensor([[[0, speed, 0], [0, -speed, 0]]], dtype=torch.float64)
    charges = torch.tensor([[[1.0], [-1]]]).double()
    period = 2 * torch.pi * 0.5 / speed
    found = simulate_exactly(pos, velocities, charges, frames=2, frame_time=period / 2, tolerance=1e-12)
    torch.testing.assert_close(found.pos[0, 0], -pos[0], rtol=0, atol=1e-8)
    torch.testing.assert_close(found.pos[0, 1], pos[0], rtol=0, atol=1e-8)


def test_exact_trajectories_turn_with_the_system_and_cut_forces_do_not():
    pos, velocities, charges = drawn(8)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0)).double())[0]
    for simulate, turns in ((simulate_exactly, True), (simulate_charged_particles, False)):
        here = simulate(pos * 0.2, velocities, charges, frames=1).pos @ turn.T
        there = simulate(pos * 0.2 @ turn.T, velocities @ turn.T, charges, frames=1).pos
        error = (here - there).abs().amax()
        assert error < 1e-6 if turns else error > 1e-3


def test_splits_are_what_they_say():
    splits = nbody_splits(train=4, validation=3, test=2)
    assert (len(splits.train), len(splits.validation), len(splits.tests["test"])) == (4, 3, 2)
    assert splits.name == "nbody" and splits.unit == "" and splits.train.elements == (1,)
    values = splits.train.atom_values
    assert {name: tuple(value.shape) for name, value in values.items()} == {
        "charges": (20, 1),
        "velocities": (20, 3),
        "future_pos": (20, 3),
    }
    found = simulate_charged_particles(*drawn(4, seed=[0, 0]), frames=41)
    assert torch.equal(splits.train.pos, found.pos[:, 30].flatten(0, 1))
    assert torch.equal(values["future_pos"], found.pos[:, 40].flatten(0, 1))
    assert torch.equal(values["velocities"], found.velocities[:, 30].flatten(0, 1))
    assert not torch.equal(splits.train.pos[:10], splits.tests["test"].pos)


def test_systems_to_test_are_the_same_for_every_seed():
    first, second = (nbody_splits(train=3, validation=3, test=3, seed=seed) for seed in (0, 5))
    drawn_for_tests = simulate_charged_particles(*drawn(3, seed=[0, 2]), frames=41)
    for splits in (first, second):
        assert torch.equal(splits.tests["test"].pos, drawn_for_tests.pos[:, 30].flatten(0, 1))
    for part in ("train", "validation"):
        assert not torch.equal(getattr(first, part).pos, getattr(second, part).pos)


def test_a_draw_is_the_same_for_a_seed_and_the_start_of_a_longer_one():
    first, again, longer, other = drawn(3), drawn(3), drawn(5), drawn(3, seed=1)
    for a, b, c, d in zip(first, again, longer, other, strict=True):
        assert torch.equal(a, b) and torch.equal(a, c[:3]) and not torch.equal(a, d)


def test_positions_outside_the_box_are_mirrored():
    class Far:
        def standard_normal(self, shape):
            return np.full(shape, 5.5) * np.where(np.arange(shape[-1]) == 1, -1, 1)

    pos, velocities, _ = draw_charged_particles(1, generator=Far())
    assert pos[0, 0].tolist() == [4.5, -4.5, 4.5] and (velocities[0, 0].sign() == torch.tensor([-1, 1, -1])).all()


def test_messages():
    pos, velocities, charges = drawn(2)
    for simulate in (simulate_charged_particles, simulate_exactly):
        with pytest.raises(MoleculeError, match=r"velocities \(1, 5, 3\) .*wanted \(S, N, 3\), \(S, N, 3\)"):
            simulate(pos, velocities[:1], charges)
    with pytest.raises(MoleculeError, match="2 systems were not done after 3 steps.* raise max_steps"):
        simulate_exactly(pos, velocities, charges, max_steps=3)
    with pytest.raises(MoleculeError, match="'validation': 0.* wanted at least one system in each part"):
        nbody_splits(train=1, validation=0, test=1)


def test_both_simulations_have_a_name_for_the_command_line():
    sizes = {"train": 1, "validation": 1, "test": 1}
    assert [load_molecules(name, **sizes).name for name in ("nbody", "nbody:exact")] == ["nbody", "nbody-exact"]
    with pytest.raises(ConfigurationError, match="nbody:exact"):
        load_molecules("nbody:other", **sizes)
