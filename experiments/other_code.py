"""Other people's models in the tables of the molecular benchmark, with this library's loop, split and measurements.

Their repositories and packages are not installed with this library: WEIGHTSPACE_OTHERS names a folder that holds
`torchmd-net/`, `egnn/`, `ponita/` and `lib/`, at the versions that `experiments._other_sources` lists. Importing them
runs their code.

Run: WEIGHTSPACE_OTHERS=... WEIGHTSPACE_DATA=... python -m experiments.other_code [--tables ethanol] [--models mace]
"""

import argparse
import inspect
import json
import multiprocessing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from experiments._command import run as run_command
from experiments._molecular_tables import TABLES
from experiments._table_runs import RESULTS
from experiments.molecular_benchmark import FOLDER, compact, lost_runs
from weightspace.errors import ConfigurationError
from weightspace.factory import factory_from
from weightspace.geometric import neighbours
from weightspace.molecules import MolecularSplits, load_molecules
from weightspace.molecules._units import KCAL_MOL
from weightspace.tasks.molecular import BenchmarkModel, Budget, MolecularTraining, RunOptions, run_model

RUNS, RATES = Path("runs/other_code"), RESULTS / "energy_rates.json"
ON_MOLECULES, ALONE, ON_PARTICLES = ("ethanol", "aspirin", "acac", "3bpa"), ("qm7",), ("nbody",)
TRIED = "of the rates tried for 60 s each on ethanol, with their force errors on validation molecules in meV/Å"
TRIED_ALONE = "of what was tried for 60 s each on QM7, with errors on validation molecules in kcal/mol"
LOSSES = {"mae": "absolute", "mse": "squared"}
SQUARES = "with absolute ones, as for the other models, it had hardly left the mean predictor after 60 s"
SAME = "loop, batch size and schedule are those of this library's own models; one other run beside it on the two cores"


@dataclass(frozen=True)
class OtherModel:
    """A model of other people's code.

    Args:
        name: on the command line.
        label: in tables.
        factory: of the adapter.
        training: as chosen, for forces or particles.
        what: repository, version, and what of it.
        choice: why this training.
        alone: training for energies alone, chosen by `experiments.energy_rates`; None for particles.
        arguments: other than the adapter's own.
        counted: name of the argument that takes the mean number of neighbours, and the cutoff they are counted in.
    """

    name: str
    label: str
    factory: str
    training: MolecularTraining
    what: str
    choice: str
    alone: MolecularTraining | None = None
    arguments: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    counted: tuple[str, float] | None = None

    def training_for(self, table: str) -> MolecularTraining:
        """Of a table's data."""
        return self.alone if self.alone is not None and table in ALONE else self.training

    def entry(self, table: str, splits: MolecularSplits) -> BenchmarkModel:
        """The row of the benchmark."""
        given = dict(self.arguments)
        if self.counted is not None:
            name, cutoff = self.counted
            part = splits.train[: min(200, len(splits.train))]
            edges = neighbours(part.pos, cutoff=cutoff, batch=part.batch)[0]
            given[name] = round(edges.shape[1] / len(part.z), 3)
        return BenchmarkModel(self.name, self.factory, given, self.training_for(table), self.what)

    def row(self, table: str, result: Mapping[str, Any]) -> dict[str, Any]:
        """A result as the table's file holds it."""
        takes = inspect.signature(factory_from(self.factory)).parameters.items()
        sizes = {name: of.default for name, of in takes if name != "elements" and of.default is not of.empty}
        sizes |= result["model"].get("arguments", {})
        model = {**result["model"], "arguments": sizes, "name": self.label, "factory": self.factory}
        model["source"] = self.what
        same = f"loss, {SAME}" if self.training_for(table).loss == "mae" and self not in DYNAMICS else SAME
        words = ", ".join(f"{name}={value}" for name, value in sizes.items())
        choice = self.choice_alone() if table in ALONE else self.choice
        return compact({**result, "model": model, "remark": f"{self.what}; {words}. {choice}; {same}."})

    def choice_alone(self) -> str:
        """Why this training for energies alone, from the file of what was tried."""
        runs = json.loads(RATES.read_text())["runs"]
        rows = [row for row in runs if row["model"] == self.label and row["budget"]["seconds"] == 60]
        parts = []
        for loss in sorted({row["loss"] for row in rows}):
            tried = [(row["learning_rate"], row["validation_mae_ev"] / KCAL_MOL) for row in rows if row["loss"] == loss]
            errors = ", ".join(f"{rate:g} ({error:.2f})" for rate, error in sorted(tried))
            parts.append(f"{LOSSES[loss]} errors, {errors}")
        chosen = self.training_for(ALONE[0])
        words = f"{LOSSES[chosen.loss].capitalize()} errors in the loss and AdamW at {chosen.learning_rate:g}"
        return f"{words}, {TRIED_ALONE}: {'; '.join(parts)}"


def _molecules(rate: float, loss: str = "mae") -> MolecularTraining:
    return MolecularTraining(learning_rate=rate, batch_size=5, energy_weight=3.0, loss=loss)


def _particles(rate: float) -> MolecularTraining:
    return MolecularTraining(learning_rate=rate, batch_size=100, check_every=3000, clip=1.0)


ATOMS, PARTICLES = "experiments._other_atoms:", "experiments._other_particles:"
EGNN_AT, PONITA_AT = "github.com/vgsatorras/egnn, commit e9ca6c0", "github.com/ebekkers/ponita, commit a584aa2"
TURNED = "16 orientations on its own random grid, training {} turned at random as in its {}"
MOLECULES: tuple[OtherModel, ...] = (
    OtherModel(
        "tensornet",
        "TensorNet (torchmd-net)",
        f"{ATOMS}TorchMDTensorNet",
        _molecules(4e-3),
        "github.com/torchmd/torchmd-net, commit 833c077, its TensorNet with the kernels of warp-lang 1.19.0 on the CPU "
        "and its scalar output; cutoff and basis of its rMD17 example",
        f"AdamW at 0.004, {TRIED}: 0.001 (125), 0.004 (124)",
        _molecules(1e-3),
    ),
    OtherModel(
        "mace",
        "MACE (mace-torch 0.3.16)",
        f"{ATOMS}MACETorch",
        _molecules(1e-2),
        "mace-torch 0.3.16 with e3nn 0.6.0, ScaleShiftMACE run eagerly, without cuEquivariance, which needs a GPU",
        f"AdamW at 0.01, {TRIED}: 0.004 (130), 0.01 (99); its max_ell of 3 in place of 2 had 322 at 0.01",
        _molecules(1e-2),
        {"max_ell": 2},
        ("avg_num_neighbors", 5.0),
    ),
    OtherModel(
        "nequip",
        "NequIP (nequip 0.6.2)",
        f"{ATOMS}NequIP062",
        _molecules(1e-2),
        "nequip 0.6.2 with e3nn 0.6.0, its EnergyModel builder; the whole model as TorchScript was slower (28 against "
        "20 ms a training step and molecule of ethanol) and was not used",
        f"AdamW at 0.01, {TRIED}: 0.004 (204), 0.01 (161)",
        _molecules(1e-2),
        {},
        ("avg_num_neighbors", 4.0),
    ),
    OtherModel(
        "egnn",
        "EGNN (vgsatorras/egnn)",
        f"{ATOMS}QM9EGNN",
        _molecules(1e-3, "mse"),
        f"{EGNN_AT}, its QM9 model: all pairs of atoms, attention, input features of its main_qm9.py",
        f"Squared errors in the loss; {SQUARES} (0.001 (901), 0.004 (902)). AdamW at 0.001, {TRIED}: 0.0005 (370), "
        "0.001 (206)",
        _molecules(1e-3, "mse"),
    ),
    OtherModel(
        "ponita",
        "PONITA (ebekkers/ponita)",
        f"{ATOMS}RepositoryPonita",
        _molecules(4e-3, "mse"),
        f"{PONITA_AT}, all pairs of atoms, {TURNED.format('molecules', 'main_md17.py')}",
        f"Squared errors in the loss, as published; {SQUARES} (0.001 (803), 0.004 (891)). AdamW at 0.004, {TRIED}: "
        "0.001 (497), 0.004 (398)",
        _molecules(4e-3, "mse"),
    ),
)
DYNAMICS: tuple[OtherModel, ...] = (
    OtherModel(
        "egnn",
        "EGNN (vgsatorras/egnn)",
        f"{PARTICLES}RepositoryEGNN",
        _particles(1e-3),
        f"{EGNN_AT}, its EGNN_vel with the inputs of its main_nbody.py",
        "AdamW at 0.001, which did better than 0.0005 in runs of 300 s with another seed",
    ),
    OtherModel(
        "ponita",
        "PONITA (ebekkers/ponita)",
        f"{PARTICLES}RepositoryPonitaDynamics",
        _particles(2e-3),
        f"{PONITA_AT}, the model of its PONITA_NBODY, {TURNED.format('systems', 'main_nbody.py')}",
        "AdamW at 0.002 and 32 channels, which did better than its own 128 channels, scale of layers 1e-6 and rate "
        "0.001 in runs of 300 s with another seed",
        None,
        {"channels": 32, "basis": 32, "layer_scale": 0.0},
    ),
)


def run_other(table: str, name: str, runs: Path, data_root: Path | None, progress: bool = True) -> None:
    """One run, or a look at its settings where it is finished.

    In a process of its own, since repositories shadow each other's modules.
    """
    data = next(each for each in TABLES if each.name == table)
    splits = load_molecules(data.data, data_root=data_root)
    other = next(each for each in others_of(table) if each.name == name)
    budget, folder = Budget.of(data.budget, "process"), runs / table / name / "seed0"
    run_model(other.entry(table, splits), splits, folder, budget=budget, options=RunOptions(progress=progress))


def others_of(table: str) -> tuple[OtherModel, ...]:
    """The models of a table."""
    return DYNAMICS if table in ON_PARTICLES else MOLECULES


def collected(table: str, runs: Path) -> dict[str, Any]:
    """What a table's file holds of the runs that are finished."""
    paths = [(other, runs / table / other.name / "seed0" / "result.json") for other in others_of(table)]
    found = [other.row(table, json.loads(path.read_text())) for other, path in paths if path.is_file()]
    return {"table": table, "runs": found}


def main(argv: Sequence[str] | None = None) -> None:
    """Do the runs that are missing, and write a JSON file of each table.

    Raises:
        ConfigurationError: a run that failed.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [*ON_MOLECULES, *ALONE, *ON_PARTICLES]
    parser.add_argument("--tables", nargs="+", choices=names, default=names)
    parser.add_argument("--models", nargs="+", help="by name; all by default")
    parser.add_argument("--runs", type=Path, default=RUNS, help="folder of the runs; finished ones are kept")
    parser.add_argument("--data-root", type=Path, help="folder of full data sets (default: WEIGHTSPACE_DATA)")
    parser.add_argument("--collect", action="store_true", help="write files of the runs that are finished, run none")
    given = parser.parse_args(argv)
    for table in given.tables:
        known = [other.name for other in others_of(table)]
        strange = sorted(set(given.models or ()) - set(known))
        if strange:
            raise ConfigurationError(f"{table}: found the model {strange[0]!r}, wanted some of {', '.join(known)}")
        for name in () if given.collect else given.models or known:
            task = (table, name, given.runs, given.data_root)
            process = multiprocessing.get_context("spawn").Process(target=run_other, args=task)
            process.start()
            process.join()
            if process.exitcode:
                raise ConfigurationError(f"{table}, {name}: the run ended with code {process.exitcode}; see above")
        content, path = collected(table, given.runs), FOLDER / "others" / f"{table}.json"
        lost = lost_runs(path, content)
        if lost or not content["runs"]:
            print(f"{path}: kept as it is; the folder of runs has no {', '.join(lost) or 'finished run'}")
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    run_command(main, interrupted="run it again, it goes on")
