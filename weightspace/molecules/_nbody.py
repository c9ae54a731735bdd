"""Charged particles in empty space: the system of EGNN's and SEGNN's experiments, all simulations at once."""

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from weightspace.errors import MoleculeError

TIME_STEP, MAX_FORCE = 0.001, 100.0
FRAME_STEPS = 100  # steps between two frames; frame k is the state after 100 (k + 1) steps
PARTICLES, SPEED, BOX = 5, 0.5, 5.0
AT_ONCE = 2000  # simulations whose arrays stay in a processor's cache


@dataclass(frozen=True)
class ParticleFrames:
    """Frames of simulations.

    Args:
        pos: positions (S, T, N, 3), float64.
        velocities: (S, T, N, 3), as the integrator holds them.
    """

    pos: Tensor
    velocities: Tensor


def draw_charged_particles(
    count: int, *, generator: np.random.Generator, particles: int = PARTICLES
) -> tuple[Tensor, Tensor, Tensor]:
    """Initial states of `count` systems: positions and velocities (S, N, 3), charges (S, N, 1), float64.

    Charges are 1 or -1 with equal chance; positions normal with spread (N / 5)^(1/3), mirrored at the walls of a box
    [-5, 5]^3 (with five particles one coordinate in two million lies outside; one that is mirrored moves inwards);
    velocities have length 0.5 and any direction. The first k of many systems are the k systems of a shorter draw.

    Example:
        >>> pos, velocities, charges = draw_charged_particles(2, generator=np.random.default_rng(0))
        >>> pos.shape, velocities.shape, charges.abs().unique()
        (torch.Size([2, 5, 3]), torch.Size([2, 5, 3]), tensor([1.], dtype=torch.float64))
    """
    drawn = torch.from_numpy(generator.standard_normal((count, particles, 7)))
    pos, velocities, charges = drawn.split([3, 3, 1], dim=-1)
    pos = pos * (particles / PARTICLES) ** (1 / 3)
    velocities = torch.nn.functional.normalize(velocities, dim=-1) * SPEED
    over, under = pos > BOX, pos < -BOX
    velocities = torch.where(over, -velocities.abs(), torch.where(under, velocities.abs(), velocities))
    pos = torch.where(over, 2 * BOX - pos, torch.where(under, -2 * BOX - pos, pos))
    return pos, velocities, torch.where(charges < 0, -1.0, 1.0).double()


@torch.no_grad()
def simulate_charged_particles(
    pos: Tensor,
    velocities: Tensor,
    charges: Tensor,
    *,
    frames: int = 49,
    frame_steps: int = FRAME_STEPS,
    max_force: float | None = MAX_FORCE,
) -> ParticleFrames:
    """Frames of particles of mass one under Coulomb forces q_i q_j r_ij / d_ij^3, every so many steps of 0.001.

    Source: the generator of Satorras et al. 2021 (arXiv 2102.09844), n_body_system/dataset/synthetic_sim.py of
    github.com/vgsatorras/egnn, which follows Fuchs et al. 2020 (arXiv 2006.10503) and Kipf et al. 2018
    (arXiv 1802.04687). Same function of the initial state: a kick with a whole step, v <- v + 0.001 F(x), then a drift
    x <- x + 0.001 v. That is symplectic Euler, or a leapfrog whose velocities are half a step late: those of a frame
    belong to half a step before it (`charged_energy` makes up for that). Each component of the force on a particle is
    cut at `max_force`. Energy then changes by at most 3e-3 in systems that never meet such a force, and arbitrarily in
    those that do (half of them, over 49 frames): see `simulate_exactly`.

    What deviates: the order of sums, so trajectories agree to rounding errors as they grow along them.

    Args:
        pos: (S, N, 3).
        velocities: (S, N, 3).
        charges: (S, N, 1).
        frames: T, how many.
        frame_steps: steps between frames.
        max_force: largest component of a force, or None.

    Raises:
        MoleculeError: shapes that do not fit.

    Example:
        >>> state = draw_charged_particles(3, generator=np.random.default_rng(0))
        >>> simulate_charged_particles(*state, frames=2, frame_steps=10).pos.shape
        torch.Size([3, 2, 5, 3])
    """
    check_state(pos, velocities, charges)
    pieces = [
        _simulated(*piece, frames, frame_steps, max_force)
        for piece in zip(pos.split(AT_ONCE), velocities.split(AT_ONCE), charges.split(AT_ONCE), strict=True)
    ]
    return ParticleFrames(*(torch.cat(part) for part in zip(*pieces, strict=True)))


def _simulated(
    pos: Tensor, velocities: Tensor, charges: Tensor, frames: int, frame_steps: int, max_force: float | None
) -> tuple[Tensor, Tensor]:
    x, v = (t.permute(2, 1, 0).contiguous() for t in (pos, velocities))  # (3, N, S): systems side by side
    force = PairForces(charges)
    found = x.new_empty(2, len(pos), frames, *pos.shape[1:])
    for frame in range(frames):
        for _ in range(frame_steps):
            kick = force(x)
            v.add_(kick if max_force is None else kick.clamp_(-max_force, max_force), alpha=TIME_STEP)
            x.add_(v, alpha=TIME_STEP)
        found[0, :, frame], found[1, :, frame] = x.permute(2, 1, 0), v.permute(2, 1, 0)
    return found[0], found[1]


class PairForces:
    """Coulomb forces on all particles of many systems.

    Args:
        charges: (S, N, 1).

    Shapes:
        x (3, N, S) -> forces (3, N, S).
    """

    def __init__(self, charges: Tensor) -> None:
        n = charges.shape[1]
        self.first, self.second = torch.triu_indices(n, n, 1, device=charges.device)
        ends = torch.eye(n, dtype=charges.dtype, device=charges.device)
        self.ends = ends[:, self.first] - ends[:, self.second]  # (N, P)
        flat = charges[..., 0].t()
        self.products = (flat[self.first] * flat[self.second]).contiguous()  # (P, S)

    def __call__(self, x: Tensor) -> Tensor:
        """See the class."""
        apart, square = self.apart(x)
        return self.ends @ apart.mul_(self.products / (square * square.sqrt()))

    def rows(self, systems: Tensor) -> "PairForces":
        """Those of some systems (S',)."""
        chosen = copy.copy(self)
        chosen.products = self.products[:, systems]
        return chosen

    def apart(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x_i - x_j of all pairs (3, P, S), and its square (P, S)."""
        apart = x.index_select(1, self.first) - x.index_select(1, self.second)
        return apart, apart.square().sum(0)


@torch.no_grad()
def charged_energy(pos: Tensor, velocities: Tensor, charges: Tensor, *, late_by: float = TIME_STEP / 2) -> Tensor:
    """Kinetic energy and sum over pairs of q_i q_j / d_ij (...), of states (..., N, 3) with charges (S, N, 1).

    Args:
        pos: (S, N, 3) or (S, T, N, 3).
        velocities: of the same shape.
        charges: (S, N, 1).
        late_by: how long before `pos` the velocities are: half a step of `simulate_charged_particles`, 0 for states of
            one time.
    """
    frames = pos[:, None] if pos.ndim == 3 else pos
    systems, length = frames.shape[:2]
    forces = PairForces(charges.repeat_interleave(length, 0))
    x = frames.flatten(0, 1).permute(2, 1, 0)
    apart, square = forces.apart(x)
    potential = (forces.products / square.sqrt()).sum(0)  # (S T,)
    at_pos = velocities.reshape(-1, *pos.shape[-2:]) + late_by * forces(x).permute(2, 1, 0)
    return (at_pos.square().sum((1, 2)) / 2 + potential).view(systems, length).view(pos.shape[:-2])


def check_state(pos: Tensor, velocities: Tensor, charges: Tensor) -> None:
    """Refuse states whose shapes do not fit.

    Raises:
        MoleculeError: found against wanted.
    """
    wanted = (*pos.shape[:2], 3)
    if pos.ndim != 3 or pos.shape != wanted or velocities.shape != wanted or charges.shape != (*wanted[:2], 1):
        raise MoleculeError(
            f"charged particles: found pos {tuple(pos.shape)}, velocities {tuple(velocities.shape)} and charges "
            f"{tuple(charges.shape)}, wanted (S, N, 3), (S, N, 3) and (S, N, 1)"
        )
