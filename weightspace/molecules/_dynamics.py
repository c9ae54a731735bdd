"""Molecular dynamics of one molecule or crystal by ASE's integrators."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from weightspace.errors import WeightspaceError
from weightspace.geometric import AbstractAtomisticModel
from weightspace.molecules._ase import ase_module
from weightspace.molecules._dynamics_bonds import TOLERANCE, Bonds, bonds_of
from weightspace.molecules._dynamics_momenta import Particles
from weightspace.molecules._dynamics_simulation import Dynamics
from weightspace.molecules._molecules import Molecules

if TYPE_CHECKING:
    from ase import Atoms


@dataclass(frozen=True)
class Trajectory:
    """A molecule over time, sampled every few steps.

    Args:
        atoms: at the end, with velocities and the calculator.
        time: of the samples in ps (T,).
        pos: positions in Å (T, N, 3).
        potential, kinetic: energies in eV (T,).
        temperature: in K (T,).
        failure_time: in ps, or None where nothing failed.
        failure: what was found, in words, or None.
    """

    atoms: "Atoms"
    time: Tensor
    pos: Tensor
    potential: Tensor
    kinetic: Tensor
    temperature: Tensor
    failure_time: float | None
    failure: str | None

    def drift(self) -> float:
        """Slope of a line through the total energy, in meV per atom and ps; nan for fewer than two samples."""
        time = self.time - self.time.mean()
        slope = (time * (self.potential + self.kinetic)).sum() / time.square().sum()
        return 1000 * float(slope) / self.pos.shape[1]


def run_dynamics(
    atoms: "Atoms", calculator: Any, dynamics: Dynamics, *, seed: int, progress: bool = False
) -> Trajectory:
    """Molecular dynamics by ASE's integrators until the end or the first failure: velocity Verlet, or with friction
    Langevin's.

    Velocities are drawn at the temperature, less momentum and, for molecules, rotation. The run fails when a bond is
    more than 0.5 Å from where it started, when the temperature passes 20 times the one asked for (and 10,000 K), when
    something is not finite, or when the calculator refuses the geometry or fails, such as by not converging; see
    `simulate` for the sources, and for many replicas at once.

    Args:
        atoms: where to start; a copy moves.
        calculator: a `WeightspaceCalculator`, another calculator of ASE, or a model, run in float64.
        dynamics: steps, temperature, thermostat.
        seed: of velocities and noise.
        progress: show a bar of the steps.

    Raises:
        ConfigurationError: ase is missing.
        MoleculeError: the calculator refuses the start; other calculators than ours raise their own errors there.

    Example:
        >>> from ase.build import molecule
        >>> from ase.calculators.emt import EMT
        >>> run_dynamics(molecule("H2O"), EMT(), Dynamics(20, temperature=300), seed=0).failure is None
        True
    """
    failed = ase_module("ase.calculators.calculator", "run_dynamics").CalculatorError
    atoms = _started(atoms, calculator, dynamics.temperature, seed)
    watch = _Watch(atoms, dynamics)
    integrator = _integrator(atoms, dynamics, seed)
    watch.sample(0)
    for step in tqdm(range(1, dynamics.steps + 1), unit=" steps", disable=not progress):
        try:
            integrator.run(1)
            watch.failure = watch.found()
        except (WeightspaceError, failed) as error:
            watch.failure = str(error)
        if watch.failure is not None:
            return watch.trajectory(dynamics.time(step))
        if step % dynamics.every == 0:
            watch.sample(step)
    return watch.trajectory(None)


def _started(atoms: "Atoms", calculator: Any, temperature: float, seed: int) -> "Atoms":
    atoms = atoms.copy()
    if isinstance(calculator, AbstractAtomisticModel):
        from weightspace.molecules._calculator import WeightspaceCalculator

        calculator = WeightspaceCalculator(calculator)
    atoms.calc = calculator
    atoms.get_forces()  # refuses a start that cannot be
    particles = replace(Particles.of(_as_molecules(atoms)), mass=torch.tensor(atoms.get_masses())[:, None])
    velocity = particles.velocities(temperature, torch.Generator().manual_seed(seed))
    atoms.set_velocities(particles.at_rest(torch.tensor(atoms.positions), velocity)[0].numpy())
    return atoms


def _integrator(atoms: "Atoms", dynamics: Dynamics, seed: int) -> Any:
    fs = ase_module("ase.units", "run_dynamics").fs
    if dynamics.friction is None:
        return ase_module("ase.md.verlet", "run_dynamics").VelocityVerlet(atoms, dynamics.timestep * fs)
    return ase_module("ase.md.langevin", "run_dynamics").Langevin(
        atoms,
        dynamics.timestep * fs,
        temperature_K=dynamics.temperature,
        friction=dynamics.friction / fs,
        fixcm=False,
        rng=np.random.default_rng(seed),
    )


class _Watch:
    """Looks at the atoms after each step and keeps samples."""

    def __init__(self, atoms: "Atoms", dynamics: Dynamics):
        self.atoms, self.dynamics = atoms, dynamics
        self.bonds: Bonds = bonds_of(_as_molecules(atoms))
        self.cell = _as_molecules(atoms).cell
        self.failure: str | None = None
        self.samples: list[tuple[Any, ...]] = []

    def found(self) -> str | None:
        """What is wrong with the atoms as they stand, or None."""
        pos = torch.tensor(self.atoms.positions)
        if not bool(pos.isfinite().all()) or not np.isfinite(self.atoms.get_total_energy()):
            return "positions or energy are not finite"
        far = self.bonds.deviation(pos, torch.zeros(len(pos), dtype=torch.long), self.cell)
        if len(far) and bool(far.max() > TOLERANCE):
            bond = self.bonds.index[:, int(far.argmax())].tolist()
            return f"the bond of atoms {bond[0]} and {bond[1]} is {float(far.max()):.3g} Å from where it started"
        if self.atoms.get_temperature() > self.dynamics.hottest:
            return f"the temperature is {self.atoms.get_temperature():.0f} K"
        return None

    def sample(self, step: int) -> None:
        """Keep time, positions and energies of a step."""
        atoms, now = self.atoms, self.dynamics.time(step)
        energies = atoms.get_potential_energy(), atoms.get_kinetic_energy(), atoms.get_temperature()
        self.samples.append((now, atoms.get_positions(), *energies))

    def trajectory(self, failure_time: float | None) -> Trajectory:
        """The samples kept so far, as tensors."""
        time, pos, potential, kinetic, temperature = (
            torch.tensor(np.asarray(each), dtype=torch.float64) for each in zip(*self.samples, strict=True)
        )
        return Trajectory(
            atoms=self.atoms,
            time=time,
            pos=pos,
            potential=potential,
            kinetic=kinetic,
            temperature=temperature,
            failure_time=failure_time,
            failure=self.failure,
        )


def _as_molecules(atoms: "Atoms") -> Molecules:
    cell = None
    if atoms.pbc.any():
        from weightspace.molecules._calculator import lattice_of

        cell = lattice_of(atoms)
    z = torch.tensor(atoms.numbers).long()
    return Molecules(z, torch.tensor(atoms.positions), torch.tensor([0, len(atoms)]), cell=cell)
