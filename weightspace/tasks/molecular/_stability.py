"""Molecular dynamics with a trained model, as a column of the benchmark."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from weightspace.errors import ConfigurationError, MoleculeError
from weightspace.molecules import MolecularSplits, md_stability
from weightspace.molecules._ase import ase_module
from weightspace.molecules._dynamics_bonds import same_molecule
from weightspace.tasks.molecular._objectives import AbstractObjective, EnergyObjective

STEPS, REPLICAS, TIMESTEP, ROOM_TEMPERATURE = 4000, 4, 0.5, 300.0


def md_temperature_of(splits: MolecularSplits, asked: float | None = None) -> float:
    """The one asked for in K, or that of the first test part, or 300 K where the data state none."""
    return splits.temperatures.get(next(iter(splits.tests)), ROOM_TEMPERATURE) if asked is None else float(asked)


def has_dynamics(result: Mapping[str, Any], splits: MolecularSplits, asked: float | None = None) -> bool:
    """Whether a run's result holds molecular dynamics at that temperature."""
    return "md" in result and result["md"]["temperature"] == md_temperature_of(splits, asked)


def check_dynamics(splits: MolecularSplits, asked: float | None = None) -> None:
    """Whether the first test part can start molecular dynamics: frames of one molecule, with energies to learn.

    Raises:
        ConfigurationError: other data, a temperature that is not positive, or ASE is missing.
    """
    ase_module("ase.data", "molecular dynamics")
    if asked is not None and not 0 < asked < math.inf:
        raise ConfigurationError(f"molecular dynamics: found a temperature of {asked}, wanted a positive number of K")
    label, frames = next(iter(splits.tests.items()))
    words = (
        f"{splits.name}, {label}: molecular dynamics asks for energies, and for two or more test frames of one "
        f"molecule without periodic boundaries; found {len(frames)} frames of {splits.target}; leave out --md"
    )
    if len(frames) < 2 or splits.target != "energy":
        raise ConfigurationError(words)
    try:
        same_molecule(frames)
    except MoleculeError as error:
        raise ConfigurationError(words) from error


def stability_of(objective: AbstractObjective, splits: MolecularSplits, asked: float | None = None) -> dict[str, Any]:
    """`md_stability` from frames of the first test part, at `md_temperature_of`; `STEPS` of `TIMESTEP` fs.

    Raises:
        ConfigurationError: the model was not trained on energies of molecules.
    """
    if not isinstance(objective, EnergyObjective) or objective.target != "energy":
        raise ConfigurationError(f"{splits.name}: molecular dynamics asks for a model of energies; leave out --md")
    frames, temperature = next(iter(splits.tests.values())), md_temperature_of(splits, asked)
    report = md_stability(
        objective.model,
        frames,
        steps=STEPS,
        replicas=min(REPLICAS, len(frames)),
        temperature=temperature,
        timestep=TIMESTEP,
    )
    return {"temperature": temperature, "timestep": TIMESTEP, "steps": STEPS, **asdict(report)}
