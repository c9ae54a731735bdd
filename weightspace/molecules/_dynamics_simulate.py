"""Molecular dynamics of many replicas at once: one evaluation of the model moves all of them."""

import math

import torch
from torch import Tensor

from weightspace.errors import MoleculeError
from weightspace.geometric import AbstractAtomisticModel, ForceField
from weightspace.molecules._ase import ase_module
from weightspace.molecules._calculator_checks import known_elements
from weightspace.molecules._dynamics_bonds import Bonds, bonds_of
from weightspace.molecules._dynamics_momenta import Particles
from weightspace.molecules._dynamics_simulation import FAILURES, Dynamics, Simulation
from weightspace.molecules._molecules import Molecules


def simulate(
    model: AbstractAtomisticModel,
    molecules: Molecules,
    dynamics: Dynamics,
    *,
    generator: torch.Generator,
    bonds: Bonds | None = None,
) -> Simulation:
    """Molecular dynamics of all molecules at once, each a replica of its own, by one evaluation of the model a step.

    Without friction velocity Verlet (constant energy); with friction Langevin dynamics. Velocities start from the
    Maxwell-Boltzmann distribution, less the momentum and, outside cells, the angular momentum of each molecule.
    Positions are integrated in float64; energies and forces have the model's dtype.

    A replica fails, and rests where it started from then on, when a bond is more than 0.5 Å from its equilibrium
    length, when its kinetic temperature passes 20 times the one asked for (and 10,000 K), or when something is not
    finite.

    Source: Swope et al. 1982, Journal of Chemical Physics 76 (velocity Verlet); Leimkuhler and Matthews 2013, Applied
    Mathematics Research eXpress (BAOAB); the bond criterion of Fu et al. 2022, "Forces are not Enough", arXiv
    2210.07237, with their 0.5 Å for molecules, as in Bihani et al. 2023 (EGraFFBench), arXiv 2310.02428. What
    deviates: the temperature criterion is ours.

    Args:
        model: gives energies and forces; evaluated in evaluation mode.
        molecules: where the replicas start.
        dynamics: steps, temperature, thermostat.
        generator: draws velocities and the thermostat's noise.
        bonds: with equilibrium lengths; None takes the lengths that the molecules start with.

    Raises:
        ConfigurationError: ase is missing.
        GeometryError: what the model does not take.
        MoleculeError: no molecules, an element that the model was not trained on, or a molecule whose bonds are broken
            from the start.

    Example:
        >>> from weightspace.geometric import SchNet
        >>> water = torch.tensor([[0, 0, 0.12], [0, 0.76, -0.48], [0, -0.76, -0.48]]).double()
        >>> start = Molecules(torch.tensor([8, 1, 1]), water, torch.tensor([0, 3]))[[0, 0]]
        >>> model = SchNet(channels=8, layers=1)
        >>> found = simulate(model, start, Dynamics(20, 300), generator=torch.Generator().manual_seed(0))
        >>> found.pos.shape, found.failure
        (torch.Size([3, 6, 3]), (None, None))
    """
    if not len(molecules) or bool((molecules.num_atoms == 0).any()):
        raise MoleculeError(f"simulate: found {len(molecules)} molecules, wanted at least one, each with atoms")
    known_elements(model, molecules.z.tolist())
    was_training = model.training
    try:
        motion = _Motion(model, molecules, bonds, dynamics, generator)
        motion.sample(0)
        for step in range(1, dynamics.steps + 1):
            motion.step(step)
            if step % dynamics.every == 0:
                motion.sample(step)
            if not bool(motion.alive.any()):
                break
        return motion.result()
    finally:
        model.train(was_training)


class _Motion:
    """The state of all replicas while they move."""

    def __init__(
        self,
        model: AbstractAtomisticModel,
        start: Molecules,
        bonds: Bonds | None,
        dynamics: Dynamics,
        generator: torch.Generator,
    ):
        self.start, self.dynamics, self.generator = start, dynamics, generator
        self.field, self.like = ForceField(model).eval(), model.references
        device = model.references.device
        self.particles = Particles.of(start, device)
        self.z, self.pos = start.z.to(device), start.pos.double().to(device)
        self.cell = None if start.cell is None else start.cell.double().to(device)
        self.bonds = (bonds_of(start) if bonds is None else bonds).to(device)
        self.origin, self.forces, self.groups = self.pos, torch.zeros_like(self.pos), len(start)
        self.alive = torch.ones(self.groups, dtype=torch.bool, device=device)
        self.reason = torch.full((self.groups,), -1, device=device)
        self.failed_at = torch.full((self.groups,), math.inf, dtype=torch.float64, device=device)
        broken = self._broken()
        if bool(broken.any()):
            raise MoleculeError(
                f"simulate: molecule {int(broken.nonzero()[0])} starts with a bond more than 0.5 Å from its "
                "equilibrium length; wanted frames of the molecule that the bonds were taken from"
            )
        velocity = self.particles.velocities(dynamics.temperature, generator)
        self.velocity, self.freedom = self.particles.at_rest(self.pos, velocity)
        self.units = ase_module("ase.units", "simulate")
        self.heat = self.particles.kinetic(self.velocity) * 0
        self.samples: list[list[Tensor]] = []
        self._evaluate()

    def step(self, step: int) -> None:
        """Half a kick, half a drift, the thermostat, half a drift, half a kick; then who has failed."""
        dt, friction = self.dynamics.timestep * self.units.fs, self.dynamics.friction
        self._kick(dt / 2)
        if friction is None:
            self.pos = self.pos + dt * self.velocity
        else:
            self.pos = self.pos + dt / 2 * self.velocity
            self._thermostat(math.exp(-friction * self.dynamics.timestep))
            self.pos = self.pos + dt / 2 * self.velocity
        self._stop(self.particles.sum((~self.pos.isfinite()).any(1).long()) > 0, "not finite", step)
        self._stop(self._broken(), "bond", step)
        self._evaluate()
        self._kick(dt / 2)
        kinetic = self.particles.kinetic(self.velocity)
        self._stop(~(kinetic + self.potential).isfinite(), "not finite", step)
        self._stop(self._temperature() > self.dynamics.hottest, "temperature", step)

    def sample(self, step: int) -> None:
        """Keep what there is now."""
        kinetic = self.particles.kinetic(self.velocity)
        values = [self.potential, kinetic, self.heat, self._temperature()]
        values = [value.masked_fill(~self.alive, math.nan) for value in values]
        pos = self.pos.masked_fill(~self.alive[self.particles.batch][:, None], math.nan)
        now = torch.tensor(self.dynamics.time(step), dtype=torch.float64)
        self.samples.append([now, pos, *values])

    def result(self) -> Simulation:
        """What was kept."""
        time, pos, potential, kinetic, heat, temperature = (
            torch.stack(each).to("cpu") for each in zip(*self.samples, strict=True)
        )
        reasons = tuple(FAILURES[code] if code >= 0 else None for code in self.reason.tolist())
        return Simulation(
            start=self.start,
            time=time,
            pos=pos,
            potential=potential,
            kinetic=kinetic,
            heat=heat,
            temperature=temperature,
            failure_time=self.failed_at.to("cpu"),
            failure=reasons,
        )

    def _kick(self, dt: float) -> None:
        self.velocity = self.velocity + dt * self.forces / self.particles.mass

    def _thermostat(self, keep: float) -> None:
        before = self.particles.kinetic(self.velocity)
        noise = self.particles.velocities(self.dynamics.temperature, self.generator)  # for all, so that none shifts
        noise = noise.masked_fill(~self.alive[self.particles.batch][:, None], 0)
        self.velocity = keep * self.velocity + math.sqrt(1 - keep**2) * noise
        self.heat = self.heat + self.particles.kinetic(self.velocity) - before
        self.freedom = 3 * self.particles.size  # noise moves and turns the molecule, too

    def _temperature(self) -> Tensor:
        return self.particles.temperature(self.velocity, self.freedom)

    def _broken(self) -> Tensor:
        return self.bonds.broken(self.pos, self.particles.batch, self.cell, num_graphs=self.groups)

    def _stop(self, which: Tensor, why: str, step: int) -> None:
        """Replicas that fail go back to where they started and rest there."""
        which = which & self.alive
        if not bool(which.any()):
            return
        self.alive = self.alive & ~which
        self.reason = self.reason.masked_fill(which, FAILURES.index(why))
        self.failed_at = self.failed_at.masked_fill(which, self.dynamics.time(step))
        dead = ~self.alive[self.particles.batch][:, None]
        self.pos, self.velocity = torch.where(dead, self.origin, self.pos), self.velocity.masked_fill(dead, 0)
        self.forces = self.forces.masked_fill(dead, 0)

    def _evaluate(self) -> None:
        cell = None if self.cell is None else self.cell.to(self.like)
        with torch.no_grad():
            found = self.field(self.z, self.pos.to(self.like), self.particles.batch, cell=cell)
        self.potential = found["interaction_energy"].double()
        self.forces = found["forces"].double().masked_fill(~self.alive[self.particles.batch][:, None], 0)
