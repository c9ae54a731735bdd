"""The tables of the molecular benchmark: which models on which data, with which seeds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from weightspace.tasks.molecular import BenchmarkModel, MolecularTraining, preset

GAUNT = "experiments._gaunt_network:GauntNetwork"
GAUNT_TRAINING = MolecularTraining(learning_rate=1e-2, batch_size=5, energy_weight=3.0)


@dataclass(frozen=True)
class MolecularTable:
    """One table.

    Args:
        name: of its file and its heading.
        data: as `load_molecules` takes it.
        models: presets by name, or entries of one's own.
        seeds: how many.
        about: what it shows, one or two sentences.
        sizes: of the splits, where not the data set's own.
        md: whether models run molecular dynamics.
        baseline: whether the energies by composition alone stand in the table, too.
        budget: CPU time of each run.
    """

    name: str
    data: str
    models: tuple[str | BenchmarkModel, ...] = ("all",)
    seeds: int = 1
    about: str = ""
    sizes: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    md: bool = False
    baseline: bool = False
    budget: str = "300s"


def varied(name: str, label: str, **arguments: Any) -> BenchmarkModel:
    """A preset with some arguments changed, under another name."""
    entry = preset(name)
    return BenchmarkModel(label, entry.factory, {**entry.arguments, **arguments}, entry.training, entry.source)


def gaunt(label: str, **arguments: Any) -> BenchmarkModel:
    """The network of Gaunt products."""
    return BenchmarkModel(label, GAUNT, arguments, GAUNT_TRAINING)


TABLES: tuple[MolecularTable, ...] = (
    MolecularTable(
        "ethanol",
        "rmd17:ethanol",
        baseline=True,
        seeds=3,
        md=True,
        about="Every model on the smallest molecule of revised MD17 with a rotor and a hydrogen bond, three seeds.",
    ),
    MolecularTable(
        "aspirin",
        "rmd17:aspirin",
        baseline=True,
        about="The molecule of revised MD17 with the largest errors; one seed.",
    ),
    MolecularTable(
        "acac",
        "acac",
        baseline=True,
        about="Trained at 300 K, tested at 300 K and, beyond what was seen, at 600 K; one seed.",
    ),
    MolecularTable(
        "nbody",
        "nbody",
        about="Five charged particles: where they will be, from positions, velocities and charges; one seed.",
    ),
    MolecularTable(
        "qm7",
        "qm7",
        baseline=True,
        about="Atomisation energies of 7,101 molecules, without forces; one seed.",
    ),
    MolecularTable(
        "3bpa",
        "3bpa",
        baseline=True,
        about="A substitute for 3BPA: trained at 300 K, tested on frames of the mixed-temperature training set; one "
        "seed.",
    ),
    MolecularTable(
        "grids",
        "rmd17:ethanol",
        models=tuple(
            varied("ponita-explicit", f"ponita-explicit, {grid}", grid=grid)
            for grid in ("fibonacci-16", "antipodal-16", "lebedev-26", "icosahedron-dodecahedron-32")
        ),
        about="Orientation grids: more orientations turn more exactly and cost more time; one seed.",
    ),
    MolecularTable(
        "gaunt",
        "rmd17:ethanol",
        models=(
            gaunt("Gaunt products", antisymmetric=False),
            gaunt("Gaunt products and brackets", antisymmetric=True),
        ),
        about="A network of Gaunt products with and without the antisymmetric paths of the Poisson bracket; one seed.",
    ),
    MolecularTable(
        "degrees",
        "rmd17:ethanol",
        models=tuple(varied("nequip", f"nequip, L = {lmax}", lmax=lmax) for lmax in (1, 2, 3)),
        about="The same network with features up to degree 1, 2 and 3 at the same time; one seed.",
    ),
    MolecularTable(
        "cutoff",
        "rmd17:aspirin",
        models=tuple(varied(name, f"{name}, 5 Å", cutoff=5.0) for name in ("tensornet", "nequip", "mfn")),
        about="The three models that have another cutoff in the tables above (4.5, 4 and 3 Å), at the others' 5 Å; one "
        "seed.",
    ),
)
