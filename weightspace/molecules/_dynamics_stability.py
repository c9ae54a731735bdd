"""Does a model that predicts forces well also move a molecule well?"""

import math
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from weightspace.errors import ConfigurationError
from weightspace.geometric import AbstractAtomisticModel
from weightspace.molecules._dynamics_bonds import equilibrium_bonds, same_molecule
from weightspace.molecules._dynamics_simulate import simulate
from weightspace.molecules._dynamics_simulation import Dynamics, Simulation
from weightspace.molecules._molecules import Molecules
from weightspace.molecules._pair_distribution import jensen_shannon, pair_distribution, wright_factor

BIN = 0.05  # Å, as the published evaluation of EGraFFBench
BEYOND = 1.0  # Å of bins beyond the largest distance of the reference


@dataclass(frozen=True)
class StabilityReport:
    """What `md_stability` found, in numbers that JSON holds.

    Args:
        replicas: trajectories of each kind.
        temperature: in K.
        timestep: in fs.
        length: how long a trajectory with thermostat lasts where nothing fails, in ps.
        failed: how many of them failed.
        failures: how often for which reason.
        time_to_failure_median, time_to_failure_min: in ps; a trajectory that did not fail counts as its length.
        simulated: what they lasted together, in ps.
        jensen_shannon: divergence of the distribution of pair distances from the reference's, in bits; None where no
            trajectory lasted to the second sample.
        wright: Wright's factor of the two in percent, or None.
        jensen_shannon_floor, wright_floor: the same between the two halves of the reference: what can be resolved.
        mean_temperature: of the trajectories, in K, or None.
        nve_length: of the trajectories without thermostat, in ps.
        nve_failed: how many of them failed.
        drift: median over replicas of the absolute drift of the total energy without thermostat, in meV per atom and
            ps, or None where all failed at once.
        fluctuation: median root mean square distance of the total energy from its drift, in meV per atom, or None.
        seconds_per_step: wall time of a step of all replicas.
    """

    replicas: int
    temperature: float
    timestep: float
    length: float
    failed: int
    failures: Mapping[str, int]
    time_to_failure_median: float
    time_to_failure_min: float
    simulated: float
    jensen_shannon: float | None
    wright: float | None
    jensen_shannon_floor: float
    wright_floor: float
    mean_temperature: float | None
    nve_length: float
    nve_failed: int
    drift: float | None
    fluctuation: float | None
    seconds_per_step: float


def md_stability(
    model: AbstractAtomisticModel,
    reference: Molecules,
    *,
    steps: int,
    replicas: int,
    temperature: float,
    timestep: float = 0.5,
    seed: int = 0,
    friction: float = 0.01,
) -> StabilityReport:
    """Short molecular dynamics from held-out frames: time to failure, energy drift, distribution of pair distances.

    Langevin dynamics over `steps` gives the time to failure and the distances; the first tenth of the samples is left
    out of these. A fifth as many steps without thermostat, from the same frames, give the energy drift. A low
    force error does not promise that either is good.

    Source: Bihani et al. 2023 (EGraFFBench), arXiv 2310.02428, and Fu et al. 2022, arXiv 2210.07237. What deviates:
    runs are shorter and batched, and the thermostat is Langevin's by BAOAB.

    Args:
        model: as trained, on its device and in its dtype.
        reference: held-out frames of one molecule, whose mean bond lengths are the equilibrium ones.
        steps: of the runs with thermostat.
        replicas: how many frames to start from, evenly spaced in the reference.
        temperature: in K, best that of the reference.
        timestep: in fs.
        seed: of velocities and noise.
        friction: of the thermostat in 1/fs.

    Raises:
        ConfigurationError: fewer than 10 steps, fewer frames than replicas or than two, or ase is missing.
        GeometryError: what the model does not take.
        MoleculeError: frames of different molecules, or an element that the model was not trained on.
    """
    frames = same_molecule(reference)
    if not 1 <= replicas <= len(reference) or len(reference) < 2 or steps < 10:
        raise ConfigurationError(
            f"md_stability: found steps={steps} and replicas={replicas} for {len(reference)} frames, wanted at least "
            "10 steps, at least two frames, and 1 to as many replicas as frames"
        )
    start = reference[torch.linspace(0, len(reference) - 1, replicas).long()]
    generator = torch.Generator().manual_seed(seed)
    bonds = equilibrium_bonds(reference).repeat(replicas, frames.shape[1])
    every = max(1, min(10, steps // 10))

    asked = Dynamics(steps, temperature, timestep, friction, every)
    began = time.perf_counter()
    thermal = simulate(model, start, asked, generator=generator, bonds=bonds)
    seconds = time.perf_counter() - began
    free = replace(asked, steps=max(10, steps // 5), friction=None)
    nve = simulate(model, start, free, generator=generator, bonds=bonds)
    return _report(thermal, nve, reference, asked, seconds)


def _report(
    thermal: Simulation, nve: Simulation, reference: Molecules, asked: Dynamics, seconds: float
) -> StabilityReport:
    lasted = thermal.failure_time.clamp(max=asked.length)
    first = max(1, len(thermal.time) // 10)
    sampled = thermal.frames(first)
    bins = _bins(reference)
    wanted = pair_distribution(reference, bins)
    halves = [pair_distribution(reference[part::2], bins) for part in (0, 1)]
    found = pair_distribution(sampled, bins) if len(sampled) else None
    warmth = thermal.temperature[first:]
    return StabilityReport(
        replicas=len(lasted),
        temperature=asked.temperature,
        timestep=asked.timestep,
        length=asked.length,
        failed=sum(reason is not None for reason in thermal.failure),
        failures=dict(Counter(reason for reason in thermal.failure if reason is not None)),
        time_to_failure_median=float(lasted.quantile(0.5)),
        time_to_failure_min=float(lasted.min()),
        simulated=float(lasted.sum()),
        jensen_shannon=None if found is None else jensen_shannon(found, wanted),
        wright=None if found is None else wright_factor(found, wanted),
        jensen_shannon_floor=jensen_shannon(*halves),
        wright_floor=wright_factor(*halves),
        mean_temperature=_number(warmth.nanmean()),
        nve_length=float(nve.time[-1]),
        nve_failed=sum(reason is not None for reason in nve.failure),
        drift=_number(nve.drift().abs().nanmedian()),
        fluctuation=_number(nve.fluctuation().nanmedian()),
        seconds_per_step=seconds / max(1, round(1000 * float(lasted.max()) / asked.timestep)),
    )


def _bins(reference: Molecules) -> Tensor:
    """Edges of bins that hold every distance of the reference, and some."""
    frames = same_molecule(reference)
    first, second = torch.triu_indices(frames.shape[1], frames.shape[1], 1)
    longest = float((frames[:, first] - frames[:, second]).square().sum(-1).max().sqrt())
    return torch.arange(math.ceil((longest + BEYOND) / BIN) + 1, dtype=torch.float64) * BIN


def _number(value: Tensor) -> float | None:
    return float(value) if bool(value.isfinite()) else None
