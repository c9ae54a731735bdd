"""Molecular dynamics with a trained model, as a column of the benchmark."""

from dataclasses import asdict
from typing import Any

from weightspace.errors import ConfigurationError, MoleculeError
from weightspace.molecules import MolecularSplits, md_stability
from weightspace.molecules._dynamics_bonds import same_molecule
from weightspace.tasks.molecular._objectives import AbstractObjective, EnergyObjective

STEPS, REPLICAS, TIMESTEP, ROOM_TEMPERATURE = 4000, 4, 0.5, 300.0


def check_dynamics(splits: MolecularSplits) -> None:
    """Whether the first test part can start molecular dynamics: frames of one molecule, with energies to learn.

    Raises:
        ConfigurationError: other data.
    """
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


def stability_of(objective: AbstractObjective, splits: MolecularSplits) -> dict[str, Any]:
    """`md_stability` from frames of the first test part, at its temperature; `STEPS` of `TIMESTEP` fs.

    Raises:
        ConfigurationError: the model was not trained on energies of molecules.
    """
    if not isinstance(objective, EnergyObjective) or objective.target != "energy":
        raise ConfigurationError(f"{splits.name}: molecular dynamics asks for a model of energies; leave out --md")
    label, frames = next(iter(splits.tests.items()))
    temperature = splits.temperatures.get(label, ROOM_TEMPERATURE)
    report = md_stability(
        objective.model,
        frames,
        steps=STEPS,
        replicas=min(REPLICAS, len(frames)),
        temperature=temperature,
        timestep=TIMESTEP,
    )
    return {"temperature": temperature, "timestep": TIMESTEP, "steps": STEPS, **asdict(report)}
