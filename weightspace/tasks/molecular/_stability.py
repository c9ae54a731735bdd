"""Molecular dynamics with a trained model, as a column of the benchmark."""

from dataclasses import asdict
from typing import Any

from weightspace.errors import ConfigurationError
from weightspace.molecules import MolecularSplits, md_stability
from weightspace.tasks.molecular._objectives import AbstractObjective, EnergyObjective

STEPS, REPLICAS, TIMESTEP, ROOM_TEMPERATURE = 4000, 4, 0.5, 300.0


def check_dynamics(splits: MolecularSplits) -> None:
    """Whether the first test part can start molecular dynamics: frames of one molecule, with energies to learn.

    Raises:
        ConfigurationError: other data.
    """
    label, frames = next(iter(splits.tests.items()))
    n = int(frames.num_atoms[0]) if len(frames) else 0
    one = len(frames) > 1 and bool((frames.num_atoms == n).all()) and bool((frames.z.view(-1, n) == frames.z[:n]).all())
    if not one or frames.cell is not None or splits.target != "energy":
        raise ConfigurationError(
            f"{splits.name}, {label}: molecular dynamics asks for energies, and for two or more test frames of one "
            f"molecule without periodic boundaries; found {len(frames)} frames of {splits.target}; leave out --md"
        )


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
