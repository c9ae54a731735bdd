"""Molecular dynamics: units, integrators, failures."""

import dataclasses
import json
import math

import ase
import numpy as np
import pytest
import torch
from ase import units
from ase.calculators.calculator import CalculationFailed, Calculator, all_changes

from weightspace.errors import ConfigurationError, MoleculeError
from weightspace.molecules import (
    Bonds,
    Dynamics,
    Molecules,
    bonds_of,
    equilibrium_bonds,
    md_stability,
    run_dynamics,
    simulate,
)
from weightspace.molecules._dynamics_momenta import Particles
from weightspace.molecules._dynamics_simulate import _Motion

from ._springs import WATER, Springs, diatomic, waters

MODEL = Springs(k=20.0, length=1.1)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_spring_swings_as_it_must():
    reduced = float(Particles.of(diatomic(1.0)).mass[0]) / 2
    k = 20.0
    found = simulate(Springs(k=k, length=1.0), diatomic(1.1), Dynamics(200, 0, 0.05, every=1), generator=seeded())
    frequency = math.sqrt(k / reduced) * units.fs * 1000  # in 1/ps
    length = (found.pos[:, 1] - found.pos[:, 0]).norm(dim=-1)
    wanted = 1 + 0.1 * torch.cos(frequency * found.time)
    assert torch.allclose(length, wanted, atol=1e-4)
    assert float(found.time[-1]) == pytest.approx(0.01) and float(found.potential[0, 0]) == pytest.approx(k / 2 * 0.01)


def test_it_is_the_velocity_verlet_of_ase():
    dynamics = Dynamics(100, temperature=400, timestep=0.5, every=5)
    ours = simulate(MODEL, waters(), dynamics, generator=seeded(3))
    theirs = run_dynamics(ase.Atoms("OH2", WATER.numpy()), MODEL, dynamics, seed=3)
    assert torch.allclose(ours.pos, theirs.pos, rtol=0, atol=1e-10)
    assert torch.allclose(ours.potential[:, 0], theirs.potential, rtol=1e-10, atol=1e-10)
    assert torch.allclose(ours.kinetic[:, 0], theirs.kinetic, rtol=1e-10, atol=1e-10)
    assert torch.allclose(ours.time, theirs.time) and theirs.failure is None and ours.failure == (None,)
    assert float(ours.drift()[0]) == pytest.approx(theirs.drift(), rel=1e-6)


def test_the_error_of_the_energy_falls_with_the_square_of_the_timestep():
    found = [
        simulate(MODEL, waters(), Dynamics(steps, 300, timestep, every=1), generator=seeded())
        for timestep, steps in ((0.4, 100), (0.2, 200), (0.1, 400))
    ]
    errors = [float(each.fluctuation()[0]) for each in found]
    assert 3.8 < errors[0] / errors[1] < 4.2 and 3.9 < errors[1] / errors[2] < 4.1


def test_replicas_do_not_see_each_other():
    other = waters().pos * 1.05
    both = Molecules(waters(2).z, torch.cat([WATER, other]), waters(2).ptr)
    dynamics = Dynamics(50, temperature=0)
    together = simulate(MODEL, both, dynamics, generator=seeded())
    for g in (0, 1):
        alone = simulate(MODEL, both[g], dynamics, generator=seeded())
        assert torch.allclose(together.pos[:, 3 * g : 3 * g + 3], alone.pos, rtol=0, atol=1e-10)


def test_velocities_have_no_momentum_and_the_right_temperature():
    start = waters(3000)
    particles = Particles.of(start)
    velocity, freedom = particles.at_rest(start.pos, particles.velocities(500.0, seeded()))
    assert freedom.tolist() == [3] * 3000
    momentum = particles.sum(particles.mass * velocity)
    spin = particles.sum(particles.mass * torch.linalg.cross(start.pos, velocity)) - torch.linalg.cross(
        particles.sum(particles.mass * start.pos) / particles.sum(particles.mass), momentum
    )
    assert momentum.abs().max() < 1e-12 and spin.abs().max() < 1e-12
    assert float(particles.temperature(velocity, freedom).mean()) == pytest.approx(500, rel=0.05)


@pytest.mark.parametrize(("z", "pos", "freedom"), [([1], [[0.0, 0, 0]], 0), ([1, 8], [[0.0, 0, 0], [1, 1, 0]], 1)])
def test_degrees_of_freedom_of_small_molecules(z, pos, freedom):
    start = Molecules(torch.tensor(z), torch.tensor(pos).double(), torch.tensor([0, len(z)]))
    particles = Particles.of(start)
    velocity, found = particles.at_rest(start.pos, particles.velocities(300.0, seeded()))
    assert found.tolist() == [freedom] and bool(velocity.isfinite().all())
    periodic = dataclasses.replace(start, cell=5 * torch.eye(3).double()[None])
    assert Particles.of(periodic).at_rest(start.pos, velocity)[1].tolist() == [3 * len(z) - 3]


def test_the_thermostat_keeps_the_temperature():
    temperature = 300.0
    start = diatomic(1.0, copies=150)
    dynamics = Dynamics(500, temperature, 0.5, friction=0.1, every=10)
    found = simulate(Springs(k=20.0, length=1.0), start, dynamics, generator=seeded())
    late = found.temperature[10:]
    assert float(late.mean()) == pytest.approx(temperature, rel=0.03)
    assert float(found.potential[10:].mean()) == pytest.approx(units.kB * temperature / 2, rel=0.12)
    total = found.potential + found.kinetic
    assert float(found.conserved.std(0).mean()) < 0.1 * float(total.std(0).mean())


def test_broken_bonds_end_a_replica_and_no_other():
    start = diatomic(1.0, copies=2, z=(6, 1))
    start.pos[3, 2] = 1.2  # the second swings between 0.8 and 1.2
    bonds = Bonds(torch.tensor([[0, 2], [1, 3]]), None, torch.tensor([1.0, 0.75]).double())
    found = simulate(Springs(k=20.0, length=1.0), start, Dynamics(100, 0, 0.1), generator=seeded(), bonds=bonds)
    assert found.failure == (None, None)
    with pytest.raises(MoleculeError, match="molecule 1 starts with a bond more than 0.5 Å"):
        bonds = Bonds(bonds.index, None, torch.tensor([1.0, 0.65]).double())
        simulate(Springs(), start, Dynamics(100, 0, 0.1), generator=seeded(), bonds=bonds)
    start.pos[1, 2] = 0.99
    found = simulate(Springs(k=-1.0, length=1.0), start, Dynamics(500, 0, 0.2), generator=seeded())
    assert found.failure == ("bond", "bond")
    assert 0 < float(found.failure_time[1]) < float(found.failure_time[0]) <= 0.1  # it started further away
    last = int((found.time < found.failure_time[1]).sum())
    assert found.pos[:last].isfinite().all() and found.pos[last:, 2:].isnan().all()
    assert len(found.frames()) == int(found.conserved.isfinite().sum()) < 2 * len(found.time)


class Diverging(Springs):
    """Not finite beyond 1.15 Å."""

    def evaluate(self, cloud):
        found = super().evaluate(cloud)
        return {"node_energy": found["node_energy"] / (cloud.edge_len.max() < 1.15)}


def test_what_is_not_finite_ends_a_replica():
    found = simulate(Diverging(k=-1.0), diatomic(1.1), Dynamics(1000, 0), generator=seeded())
    assert found.failure == ("not finite",) and 0 < float(found.failure_time[0]) < 0.5


def test_an_explosion_of_the_temperature_ends_a_replica():
    found = simulate(Springs(k=5000.0, length=0.9), diatomic(1.3), Dynamics(50, 10, 0.05), generator=seeded())
    assert found.failure == ("temperature",)


def test_periodic_replicas():
    pos = torch.tensor([[0.0, 0, 0], [2.0, 2, 2]]).double()
    cell = (4 * torch.eye(3).double()).expand(2, 3, 3)
    start = Molecules(torch.tensor([11, 17, 11, 17]), torch.cat([pos, pos + 1.9]), torch.tensor([0, 2, 4]), cell=cell)
    model = Springs(k=2.0, length=3.4, cutoff=3.6)
    found = simulate(model, start, Dynamics(40, 50, 1.0), generator=seeded())
    assert found.failure == (None, None) and float(found.fluctuation().max()) < 1
    atoms = ase.Atoms("NaCl", pos.numpy(), cell=4 * np.eye(3), pbc=True)
    theirs = run_dynamics(atoms, model, Dynamics(40, 50, 1.0), seed=0)
    one = simulate(model, start[0], Dynamics(40, 50, 1.0), generator=seeded())
    assert torch.allclose(one.pos, theirs.pos, rtol=0, atol=1e-10)


def test_bonds_of_molecules_and_of_frames():
    start = waters(2)
    found = bonds_of(start)
    assert found.index.tolist() == [[0, 0, 3, 3], [1, 2, 4, 5]]
    assert torch.allclose(found.length, (WATER[0] - WATER[1]).norm().expand(4))
    moved = dataclasses.replace(start, pos=start.pos.clone())
    moved.pos[4] += torch.tensor([0.0, 0.2, 0.0])
    mean = equilibrium_bonds(moved)
    wanted = [(moved.pos[3 * g] - moved.pos[3 * g + 1]).norm() for g in (0, 1)]
    assert mean.index.tolist() == [[0, 0], [1, 2]] and float(mean.length[0]) == pytest.approx(float(sum(wanted)) / 2)
    assert torch.equal(mean.repeat(2, 3).index, found.index)
    moved.pos[4] += torch.tensor([0.0, 2.0, 0.0])
    assert equilibrium_bonds(moved).index.tolist() == [[0], [2]]


class Refusing(Calculator):
    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        if atoms.positions[0, 2] > 0.2:
            raise MoleculeError("atoms 0 and 1 overlap")
        self.results = {"energy": 0.0, "forces": 0.1 * np.array([[0, 0, 16.0], [0, 0, 1.0], [0, 0, 1.0]])}


def test_ase_runs_stop_at_the_first_failure():
    atoms = ase.Atoms("OH2", WATER.numpy())
    found = run_dynamics(atoms, Refusing(), Dynamics(1000, 0), seed=0)
    assert found.failure == "atoms 0 and 1 overlap" and 0 < found.failure_time < 0.5
    found = run_dynamics(atoms, Springs(k=-1.0, length=1.0), Dynamics(1000, 0), seed=0)
    assert "Å from where it started" in found.failure
    thermal = run_dynamics(atoms, MODEL, Dynamics(50, 300, friction=0.02), seed=0)
    assert thermal.failure is None and thermal.atoms.get_temperature() > 0
    again = run_dynamics(atoms, MODEL, Dynamics(50, 300, friction=0.02), seed=0)
    assert torch.equal(thermal.pos, again.pos)


class Unconverged(Refusing):
    """Energies and forces up to a height, and no convergence beyond."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        try:
            super().calculate(atoms, properties, system_changes)
        except MoleculeError as error:
            raise CalculationFailed("SCF not converged in 250 cycles") from error


def test_a_calculation_that_fails_ends_the_trajectory_and_loses_nothing():
    found = run_dynamics(ase.Atoms("OH2", WATER.numpy()), Unconverged(), Dynamics(1000, 0, every=1), seed=0)
    assert found.failure == "SCF not converged in 250 cycles"
    assert 0 < float(found.time[-1]) < found.failure_time < 0.5 and len(found.pos) == len(found.time) > 2
    with pytest.raises(CalculationFailed):  # a start that cannot be
        run_dynamics(ase.Atoms("OH2", WATER.numpy() + 1), Unconverged(), Dynamics(10, 0), seed=0)


def test_failed_replicas_rest_where_they_started_under_a_thermostat():
    start = diatomic(1.1, copies=2, z=(6, 1))
    bonds = Bonds(torch.tensor([[0], [1]]), None, torch.tensor([1.1]).double())  # only the first is watched
    motion = _Motion(Springs(k=-1.0, length=1.0), start, bonds, Dynamics(1, 300, friction=0.1), seeded())
    steps = iter(range(1, 1000))
    while motion.alive[0]:
        motion.step(next(steps))
    for _ in range(20):
        motion.step(next(steps))
    assert motion.alive.tolist() == [False, True]
    assert torch.equal(motion.pos[:2], start.pos[:2]) and not motion.velocity[:2].any()
    assert not motion.velocity[2:].eq(0).any()


def test_elements_that_the_model_does_not_know_are_refused_before_the_first_step():
    model = Springs(elements=[1, 6])
    words = "atom 0 is O, and Springs was trained on H C; train it on data with O"
    with pytest.raises(MoleculeError, match=words):
        simulate(model, waters(), Dynamics(10, 300), generator=seeded())
    with pytest.raises(MoleculeError, match=words):
        md_stability(model, waters(4), steps=10, replicas=2, temperature=300)


def test_stability_of_a_model_on_its_own_frames():
    sampled = simulate(MODEL, waters(8), Dynamics(300, 300, friction=0.05), generator=seeded())
    reference = sampled.frames(10)
    report = md_stability(MODEL, reference, steps=400, replicas=4, temperature=300, friction=0.05)
    assert report.failed == 0 and report.time_to_failure_min == report.length == pytest.approx(0.2)
    assert report.simulated == pytest.approx(0.8) and report.nve_length == pytest.approx(0.04)
    assert report.jensen_shannon < 0.2 and abs(report.drift) < 20 and report.mean_temperature > 100
    json.dumps(dataclasses.asdict(report), allow_nan=False)
    other = md_stability(Springs(k=20.0, length=1.4), reference, steps=400, replicas=4, temperature=300)
    assert other.jensen_shannon > 2 * report.jensen_shannon and other.wright > report.wright
    broken = md_stability(Springs(k=-1.0, length=1.0), reference, steps=400, replicas=4, temperature=300)
    assert broken.failed == 4 and broken.failures == {"bond": 4} and broken.time_to_failure_median < 0.2
    json.dumps(dataclasses.asdict(broken), allow_nan=False)


@pytest.mark.parametrize("name", ["steps", "timestep", "every", "friction"])
def test_numbers_must_be_positive(name):
    with pytest.raises(ConfigurationError, match=f"found {name}=-1, wanted a positive number"):
        Dynamics(**{"steps": 10, "temperature": 300.0, name: -1})


def test_errors():
    with pytest.raises(ConfigurationError, match="found temperature=-1"):
        Dynamics(10, -1)
    with pytest.raises(MoleculeError, match="found 0 molecules, wanted at least one"):
        simulate(MODEL, waters()[0:0], Dynamics(10, 300), generator=seeded())
    with pytest.raises(MoleculeError, match="wanted frames of one molecule"):
        md_stability(MODEL, Molecules(torch.ones(3).long(), WATER, torch.tensor([0, 1, 3])), steps=10, replicas=1,
                     temperature=1)  # fmt: skip
    with pytest.raises(ConfigurationError, match="found steps=10 and replicas=3 for 2 frames"):
        md_stability(MODEL, waters(2), steps=10, replicas=3, temperature=300)
