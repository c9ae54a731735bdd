"""What a simulation is asked to do, and what it leaves behind."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from weightspace.errors import ConfigurationError
from weightspace.molecules._molecules import Molecules

FAILURES = ("bond", "temperature", "not finite")
HOT_TIMES, HOT = 20, 10_000.0  # a temperature that no stable molecule reaches: times the start's, and in K


@dataclass(frozen=True)
class Dynamics:
    """How a molecule is to move.

    Args:
        steps: of the integrator.
        temperature: of the velocities at the start, and of the thermostat, in K.
        timestep: in fs.
        friction: of Langevin's thermostat in 1/fs, such as 0.01; None for constant energy.
        every: steps from one sample to the next.

    Raises:
        ConfigurationError: a number that is not positive.
    """

    steps: int
    temperature: float
    timestep: float = 0.5
    friction: float | None = None
    every: int = 10

    def __post_init__(self) -> None:
        for name in ("steps", "timestep", "every", "friction"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ConfigurationError(f"Dynamics: found {name}={value}, wanted a positive number")
        if not 0 <= self.temperature < math.inf:
            raise ConfigurationError(f"Dynamics: found temperature={self.temperature}, wanted zero or more, in K")

    @property
    def length(self) -> float:
        """In ps."""
        return self.time(self.steps)

    @property
    def hottest(self) -> float:
        """Where a temperature counts as an explosion, in K."""
        return max(HOT_TIMES * self.temperature, HOT)

    def time(self, step: int) -> float:
        """Of a step, in ps."""
        return step * self.timestep / 1000


@dataclass(frozen=True)
class Simulation:
    """Trajectories of replicas, sampled every few steps; nan from a replica's failure on.

    Args:
        start: the molecules as they started.
        time: of the samples in ps (T,).
        pos: positions in Å (T, N, 3).
        potential, kinetic: energies in eV, potential ones without references (T, G).
        heat: what the thermostat has given so far, in eV (T, G); zero without friction.
        temperature: of the kinetic energy, in K (T, G).
        failure_time: when a replica failed, in ps (G,); infinite where it did not.
        failure: why: an entry of `FAILURES` or None, for each replica.
    """

    start: Molecules
    time: Tensor
    pos: Tensor
    potential: Tensor
    kinetic: Tensor
    heat: Tensor
    temperature: Tensor
    failure_time: Tensor
    failure: tuple[str | None, ...]

    @property
    def conserved(self) -> Tensor:
        """Total energy less the thermostat's heat, in eV (T, G); constant for an exact integrator."""
        return self.potential + self.kinetic - self.heat

    def drift(self) -> Tensor:
        """Slope of a line through the conserved energy of each replica, in meV per atom and ps (G,); nan where there
        are fewer than two samples.
        """
        slope, _ = self._lines()
        return 1000 * slope / self.start.num_atoms

    def fluctuation(self) -> Tensor:
        """Root mean square distance of the conserved energy from that line, in meV per atom (G,)."""
        _, rest = self._lines()
        return 1000 * rest / self.start.num_atoms

    def frames(self, first: int = 0) -> Molecules:
        """The sampled geometries from the sample `first` on, those of failed replicas left out."""
        size = self.start.num_atoms
        alive = self.conserved[first:].isfinite()  # (T, G)
        kept = alive[:, self.start.batch]
        sizes = size.expand(len(alive), -1)[alive]
        return Molecules(
            z=self.start.z.expand(len(alive), -1)[kept],
            pos=self.pos[first:][kept],
            ptr=torch.cat([sizes.new_zeros(1), sizes.cumsum(0)]),
            cell=None if self.start.cell is None else self.start.cell.expand(len(alive), -1, 3, 3)[alive],
        )

    def _lines(self) -> tuple[Tensor, Tensor]:
        energy = self.conserved
        alive = energy.isfinite()
        count = alive.sum(0)
        time = self.time[:, None].expand_as(energy)
        time, energy = (value.masked_fill(~alive, 0) for value in (time, energy))
        time = (time - time.sum(0) / count) * alive
        energy = (energy - energy.sum(0) / count) * alive
        slope = (time * energy).sum(0) / time.square().sum(0)
        return slope, ((energy - slope * time).square().sum(0) / count).sqrt()
