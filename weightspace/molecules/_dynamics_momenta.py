"""Masses, velocities and temperatures of many molecules at once, in ASE's units (Å, eV, amu)."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from weightspace.molecules._ase import ase_module
from weightspace.molecules._molecules import Molecules

FLAT = 1e-8  # moments of inertia below this share of the largest are zero: linear molecules


@dataclass(frozen=True)
class Particles:
    """What moves: masses, and which molecule an atom belongs to.

    Args:
        mass: of each atom in amu (N, 1).
        batch: molecule of each atom (N,).
        size: atoms of each molecule (G,).
        periodic: whether there are cells, in which rotation is no symmetry.
    """

    mass: Tensor
    batch: Tensor
    size: Tensor
    periodic: bool

    @staticmethod
    def of(molecules: Molecules, device: torch.device | None = None) -> "Particles":
        """The particles of some molecules, with the masses that ASE gives the elements."""
        data = ase_module("ase.data", "molecular dynamics")
        mass = torch.as_tensor(np.asarray(data.atomic_masses))[molecules.z.cpu()][:, None].double()
        where = (mass.to(device), molecules.batch.to(device), molecules.num_atoms.to(device))
        return Particles(*where, periodic=molecules.cell is not None)

    def sum(self, values: Tensor) -> Tensor:
        """Of each molecule: values (N, ...) -> (G, ...)."""
        return values.new_zeros(len(self.size), *values.shape[1:]).index_add(0, self.batch, values)

    def kinetic(self, velocity: Tensor) -> Tensor:
        """Kinetic energy of each molecule in eV (G,)."""
        return self.sum((self.mass * velocity.square()).sum(-1)) / 2

    def temperature(self, velocity: Tensor, freedom: Tensor) -> Tensor:
        """2 E / (k f) of each molecule in K (G,), zero where nothing can move."""
        boltzmann = ase_module("ase.units", "molecular dynamics").kB
        return 2 * self.kinetic(velocity) / (boltzmann * freedom.clamp(min=1))

    def velocities(self, temperature: float, generator: torch.Generator) -> Tensor:
        """Velocities (N, 3) of the Maxwell-Boltzmann distribution at a temperature in K."""
        boltzmann = ase_module("ase.units", "molecular dynamics").kB
        noise = torch.randn(len(self.mass), 3, generator=generator, dtype=self.mass.dtype, device=generator.device)
        return noise.to(self.mass.device) * (boltzmann * temperature / self.mass).sqrt()

    def at_rest(self, pos: Tensor, velocity: Tensor) -> tuple[Tensor, Tensor]:
        """Velocities (N, 3) without momentum and, outside a cell, without angular momentum of each molecule, and how
        many degrees of freedom are left (G,): 3 n - 6, or 3 n - 5 of linear molecules, or 3 n - 3 in a cell.
        """
        total = self.sum(self.mass)  # (G, 1)
        velocity = velocity - (self.sum(self.mass * velocity) / total)[self.batch]
        if self.periodic:
            return velocity, 3 * self.size - 3
        arm = pos - (self.sum(self.mass * pos) / total)[self.batch]
        square = arm.square().sum(-1)[:, None, None]
        inertia = self.sum(
            self.mass[..., None] * (square * torch.eye(3).to(arm) - arm[:, :, None] * arm[:, None])
        )  # (G, 3, 3)
        spin = self.sum(self.mass * torch.linalg.cross(arm, velocity))  # (G, 3)
        moments, axes = torch.linalg.eigh(inertia)
        turning = moments > FLAT * moments[:, -1:]
        speed = torch.einsum("gda,gd->ga", axes, spin) / moments.masked_fill(~turning, 1) * turning
        speed = torch.einsum("gda,ga->gd", axes, speed)
        velocity = velocity - torch.linalg.cross(speed[self.batch], arm)
        return velocity, 3 * self.size - 3 - turning.sum(-1)
