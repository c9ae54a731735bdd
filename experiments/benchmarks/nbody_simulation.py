"""Simulations per second of the charged five-body system: all at once, against one at a time with numpy.

The twin is a plain loop over systems and steps, as published generators are; it must give the same trajectories. The
published generator's own speed is stated with its repository and commit. The exact simulator is timed, too.

Run: python experiments/benchmarks/nbody_simulation.py
"""

import argparse
import time
from typing import Any

import numpy as np
import torch
from _measure import interleaved, medians, ratio, write

from weightspace.molecules import (
    charged_energy,
    draw_charged_particles,
    nbody_splits,
    simulate_charged_particles,
    simulate_exactly,
)

FRAMES, FRAME_STEPS = 49, 100
PUBLISHED = {
    "repository": "github.com/vgsatorras/egnn",
    "commit": "e9ca6c0c3e1d30a7598efbd66034121b4af8dccc",
    "command": "ChargedParticlesSim().sample_trajectory(T=5000, sample_freq=100), 20 systems, one thread, nothing else "
    "running",
    "simulations per second": 5.13,
}


def one_at_a_time(pos: np.ndarray, velocities: np.ndarray, charges: np.ndarray, frames: int) -> np.ndarray:
    """Frames of positions (S, T, N, 3) of the same system, one simulation and one step after the other."""
    found = np.empty((len(pos), frames, *pos.shape[1:]))
    for s in range(len(pos)):
        x, v, products = pos[s].copy(), velocities[s].copy(), charges[s] @ charges[s].T
        np.fill_diagonal(products, 0)
        for frame in range(frames):
            for _ in range(FRAME_STEPS):
                apart = x[:, None] - x[None]
                square = (apart**2).sum(-1)
                np.fill_diagonal(square, 1)
                force = ((products / square**1.5)[:, :, None] * apart).sum(1)
                v += 0.001 * np.clip(force, -100, 100)
                x += 0.001 * v
            found[s, frame] = x
    return found


def speed(systems: int, slow_systems: int, repeats: int) -> dict[str, Any]:
    """Both on the same initial states."""
    state = draw_charged_particles(systems, generator=np.random.default_rng(0))
    few = [part[:slow_systems].numpy() for part in state]
    seconds = interleaved(
        {
            "one at a time": lambda: one_at_a_time(*few, frames=FRAMES),
            "all at once": lambda: simulate_charged_particles(*state, frames=FRAMES),
        },
        repeats=repeats,
        warmup=0,
    )
    middle = medians(seconds)
    rate = {"all at once": systems / middle["all at once"], "one at a time": slow_systems / middle["one at a time"]}
    # the first frame, as chaos lets rounding grow later on
    apart = one_at_a_time(*few, frames=1) - simulate_charged_particles(*state, frames=1).pos[:slow_systems].numpy()
    return {
        "systems": {"all at once": systems, "one at a time": slow_systems},
        "simulations per second": {**rate, "published": PUBLISHED["simulations per second"]},
        "all at once over one at a time": ratio(seconds, "one at a time", "all at once") * systems / slow_systems,
        "all at once over published": rate["all at once"] / float(PUBLISHED["simulations per second"]),  # type: ignore[arg-type]
        "median difference after the first frame": float(np.median(np.abs(apart).max((1, 2, 3)))),
    }


def energies(systems: int) -> dict[str, Any]:
    """Largest change of energy over the frames of each system, as quantiles."""
    state = draw_charged_particles(systems, generator=np.random.default_rng(0))
    cut, free = (simulate_charged_particles(*state, max_force=limit) for limit in (100.0, None))
    start = time.process_time()
    exact = simulate_exactly(*state)
    spent = time.process_time() - start
    never = (cut.pos == free.pos).flatten(1).all(1)
    late = charged_energy(*state)[:, None]
    changes = (charged_energy(cut.pos, cut.velocities, state[2]) - late).abs().amax(1)
    start_energy = charged_energy(*state, late_by=0)[:, None]
    exactly = (charged_energy(exact.pos, exact.velocities, state[2], late_by=0) - start_energy).abs().amax(1)
    return {
        "systems": systems,
        "share of systems that meet a cut force": 1 - float(never.double().mean()),
        "spread of energies": float(start_energy.std()),
        "published function, no force cut": quantiles(changes[never]),
        "published function, some force cut": quantiles(changes[~never]),
        "exact": quantiles(exactly),
        "exact simulations per second": systems / spent,
    }


def quantiles(values: torch.Tensor) -> dict[str, float]:
    """Median, 99 % and largest."""
    return {"median": float(values.median()), "99 %": float(values.quantile(0.99)), "largest": float(values.max())}


def main(*, systems: int, slow_systems: int, energy_systems: int, repeats: int, whole: bool) -> None:
    torch.set_num_threads(1)
    figures: dict[str, Any] = {"published generator": PUBLISHED}
    figures |= {"speed": speed(systems, slow_systems, repeats), "energy": energies(energy_systems)}
    if whole:
        start = time.process_time()
        nbody_splits()
        figures["seconds for the data set of 7,000"] = time.process_time() - start
    write("nbody_simulation", {**figures, "repeats": repeats})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a few systems, once")
    smoke = parser.parse_args().smoke
    main(
        systems=20 if smoke else 2000,
        slow_systems=1 if smoke else 10,
        energy_systems=10 if smoke else 1000,
        repeats=1 if smoke else 3,
        whole=not smoke,
    )
