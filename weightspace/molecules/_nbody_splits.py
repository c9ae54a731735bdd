"""The charged five-body system as a data set: from frame 30 to the positions of frame 40."""

import numpy as np
import torch
from torch import Tensor

from weightspace.errors import MoleculeError
from weightspace.molecules._draws import TEST_SEED
from weightspace.molecules._molecules import MolecularSplits, Molecules
from weightspace.molecules._nbody import draw_charged_particles, simulate_charged_particles
from weightspace.molecules._nbody_exact import simulate_exactly

INPUT_FRAME, TARGET_FRAME = 30, 40
CHARGES, VELOCITIES, FUTURE_POS = "charges", "velocities", "future_pos"


def nbody_splits(
    *,
    seed: int = 0,
    train: int = 3000,
    validation: int = 2000,
    test: int = 2000,
    exact: bool = False,
    progress: bool = False,
) -> MolecularSplits:
    """Charged particles at frame 30 (time 3.1), to learn where they are at frame 40 (time 4.1); 7,000 in 10 seconds.

    Source: Satorras et al. 2021 (arXiv 2102.09844), section 5.1, with the frames of the published code ("nbody_small"),
    as in Brandstetter et al. 2022 (arXiv 2110.02905) and Bekkers et al. 2024 (arXiv 2310.02970).

    Here z is 1 for every particle: none is an atom, and z is no element. "pos", "charges" (N, 1), "velocities" (N, 3)
    and "future_pos" (N, 3) among the atom values have no unit, nor has what is reported, the mean squared error over
    particles and components.

    What deviates: the draw. The published files are of one run of numpy's old generator, which nobody needs to repeat;
    with `exact=True` also the physics, see Args.

    Args:
        seed: of training and validation systems; test systems are the same for every seed. Each part has a stream of
            its own, and its first k systems do not depend on its size.
        train: systems to fit.
        validation: systems to choose by.
        test: systems to report.
        exact: False simulates as the published generator does (`simulate_charged_particles`), for numbers that stand
            beside published ones: half of its systems meet a force that it cuts, and their energy is not conserved.
            True conserves it in all (`simulate_exactly`, two minutes).
        progress: taken for the sake of one signature for all data sets; there is nothing to load.

    Raises:
        MoleculeError: a part without systems.

    Example:
        >>> splits = nbody_splits(train=3, validation=2, test=2)
        >>> splits.train.pos.shape, splits.train.atom_values["future_pos"].shape
        (torch.Size([15, 3]), torch.Size([15, 3]))
    """
    sizes = {"train": train, "validation": validation, "test": test}
    if min(sizes.values()) < 1:
        raise MoleculeError(f"nbody_splits: found {sizes}, wanted at least one system in each part")
    draws = [
        draw_charged_particles(size, generator=np.random.default_rng([TEST_SEED if name == "test" else seed, number]))
        for number, (name, size) in enumerate(sizes.items())
    ]
    parts = [_part(*draw, exact=exact) for draw in draws]
    how = "energy conserved" if exact else "as published: forces cut, so energy is not conserved in half of the systems"
    return MolecularSplits(
        name="nbody-exact" if exact else "nbody",
        train=parts[0],
        validation=parts[1],
        tests={"test": parts[2]},
        target=FUTURE_POS,
        unit="",
        notes=(f"simulated here, seed {seed}; {how}",),
    )


def _part(pos: Tensor, velocities: Tensor, charges: Tensor, *, exact: bool) -> Molecules:
    simulate = simulate_exactly if exact else simulate_charged_particles
    found = simulate(pos, velocities, charges, frames=TARGET_FRAME + 1)
    systems, particles = pos.shape[:2]
    return Molecules(
        z=torch.ones(systems * particles, dtype=torch.long),
        pos=found.pos[:, INPUT_FRAME].flatten(0, 1).contiguous(),
        ptr=torch.arange(systems + 1) * particles,
        atom_values={
            CHARGES: charges.flatten(0, 1).contiguous(),
            VELOCITIES: found.velocities[:, INPUT_FRAME].flatten(0, 1).contiguous(),
            FUTURE_POS: found.pos[:, TARGET_FRAME].flatten(0, 1).contiguous(),
        },
    )
