"""The models that have a name on the command line, and how each is trained."""

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from weightspace.errors import ConfigurationError
from weightspace.factory import object_named
from weightspace.molecules import MolecularSplits
from weightspace.tasks.molecular._entry import BenchmarkModel, MolecularTraining
from weightspace.tasks.molecular._objectives import FUTURE, has_forces
from weightspace.tasks.molecular._paper_presets import PAPERS

GEOMETRIC = "weightspace.geometric:"
SHORT = (
    "sizes and training chosen on validation molecules of ethanol by runs of one minute of one core (the degree of "
    "NequIP by runs of five)"
)
ALONE = (
    "sizes as for forces, learning rate chosen on validation molecules of QM7 by runs of one or five minutes of a core"
)

SMALL_ESCN = {
    "channels": 32,
    "layers": 2,
    "lmax": 3,
    "mmax": 2,
    "hidden_channels": 32,
    "edge_channels": 32,
    "num_rbf": 32,
    "activation": "gate",
}


def _short(name: str, model: str, learning_rate: float, **arguments: Any) -> BenchmarkModel:
    training = MolecularTraining(learning_rate=learning_rate, batch_size=5, energy_weight=3.0)
    return BenchmarkModel(name, f"{GEOMETRIC}{model}", arguments, training, SHORT)


def _particles(learning_rate: float, *, patience: int = 100) -> MolecularTraining:
    return MolecularTraining(learning_rate=learning_rate, batch_size=100, check_every=3000, clip=1.0, patience=patience)


ENERGY_RATES: Mapping[str, float] = {
    "schnet": 4e-3,
    "egnn": 5e-4,
    "tensornet": 1.25e-3,
    "ponita": 1.5e-3,
    "ponita-explicit": 6e-3,
    "nequip": 3e-2,
    "mace": 7.5e-3,
    "mfn": 1e-2,
    "escn": 2e-3,
}
"""Learning rate of each model where there are no forces."""


def _alone(entry: BenchmarkModel) -> BenchmarkModel:
    return replace(entry, training=replace(entry.training, learning_rate=ENERGY_RATES[entry.name]), source=ALONE)


MOLECULES: tuple[BenchmarkModel, ...] = (
    _short("schnet", "SchNet", 4e-3, channels=64, layers=3, num_rbf=32, cutoff=5.0),
    _short("egnn", "EGNN", 2e-3, channels=64, layers=4, cutoff=5.0, update_coordinates=False),
    _short("tensornet", "TensorNet", 5e-3, channels=64),
    _short("ponita", "Ponita", 6e-3, channels=32, layers=3, basis_channels=64),
    _short("ponita-explicit", "PonitaExplicitBasis", 6e-3, channels=64, layers=2),
    _short("nequip", "NequIP", 3e-2, channels=32, layers=3, lmax=2, radial=[8, 32]),
    _short("mace", "MACE", 3e-2, shape={"channels": 32, "lmax": 2, "hidden_lmax": 1, "radial": [8, 64]}),
    _short("mfn", "MatrixFunctionNetwork", 4e-2, channels=16, lmax=1, resolvents=[4, 8], radial=[8, 32]),
    _short("escn", "ESCN", 2e-3, shape=SMALL_ESCN, cutoff=5.0),
)
PARTICLES = (
    "EGNN as large as published, PONITA and the steerable network smaller (32 channels); learning rates chosen on "
    "validation systems at two minutes of one core"
)
ENERGIES: tuple[BenchmarkModel, ...] = tuple(_alone(entry) for entry in MOLECULES)
DYNAMICS: tuple[BenchmarkModel, ...] = (
    BenchmarkModel("linear", f"{GEOMETRIC}LinearDynamics", training=_particles(1e-2, patience=5), source=PARTICLES),
    BenchmarkModel("egnn", f"{GEOMETRIC}EGNNDynamics", training=_particles(2e-3), source=PARTICLES),
    BenchmarkModel("ponita", f"{GEOMETRIC}PonitaDynamics", training=_particles(3e-3), source=PARTICLES),
    BenchmarkModel("steerable", f"{GEOMETRIC}SteerableDynamics", training=_particles(5e-3), source=PARTICLES),
)


def preset(name: str) -> BenchmarkModel:
    """A preset for molecules by its name, "tensornet", or as in the paper, "tensornet-paper".

    Raises:
        ConfigurationError: there is none of that name.

    Example:
        >>> preset("tensornet").factory
        'weightspace.geometric:TensorNet'
    """
    found = {entry.name: entry for entry in (*MOLECULES, *PAPERS)}
    if name not in found:
        raise ConfigurationError(f"preset: found {name!r}, wanted one of {', '.join(found)}")
    return found[name]


def presets_for(splits: MolecularSplits) -> dict[str, BenchmarkModel]:
    """Presets of models that can learn a data set, by name; those of the papers are not among them.

    Energies alone have learning rates of their own: with those that were chosen for forces many models learn nothing.
    """
    entries = DYNAMICS if FUTURE in splits.train.atom_values else MOLECULES if has_forces(splits) else ENERGIES
    return {entry.name: entry for entry in entries}


def models_named(names: Sequence[str], splits: MolecularSplits) -> list[BenchmarkModel]:
    """Presets by name, "all" of them, one's own models by `package.module:name`, or JSON files of `BenchmarkModel`s.

    Presets as in the papers ("mace-paper") have to be named; "all" leaves them out.

    Raises:
        ConfigurationError: a name that nothing answers to, or twice the same.
    """
    presets = presets_for(splits)
    known = presets | ({} if FUTURE in splits.train.atom_values else {entry.name: entry for entry in PAPERS})
    found: list[BenchmarkModel] = []
    for name in names:
        if name == "all":
            found += presets.values()
        elif name in known:
            found.append(known[name])
        elif name.endswith(".json"):
            found += _from_file(Path(name))
        elif ":" in name:
            found.append(_from_path(name))
        else:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigurationError(
                f"models: found {name!r}, wanted one of {', '.join(known)}, a path package.module:name, or a JSON "
                f"file{hint}"
            )
    double = [entry.name for k, entry in enumerate(found) if entry.name in {other.name for other in found[:k]}]
    if double or not found:
        raise ConfigurationError(f"models: found {'none' if not found else f'{double[0]!r} twice'}, wanted each once")
    return found


def _from_path(path: str) -> BenchmarkModel:
    found = object_named(path)
    if isinstance(found, BenchmarkModel):
        return found
    return BenchmarkModel(path.rpartition(":")[2], path, training=MolecularTraining(), source=path)


def _from_file(path: Path) -> list[BenchmarkModel]:
    if not path.is_file():
        raise ConfigurationError(f"models: {path}: no such file; wanted JSON of one or several models")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return [BenchmarkModel.from_json(item) for item in (content if isinstance(content, list) else [content])]
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigurationError(
            f"models: {path}: {error}; wanted name, factory, arguments and training of a BenchmarkModel"
        ) from error
