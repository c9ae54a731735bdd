"""The commands about molecules."""

import argparse
from pathlib import Path

from weightspace.cli._commands import Commands, add_command

MOLECULES_PAGE = """\
examples:
  weightspace bench molecules --data sample:ethanol --models tensornet,schnet --budget 20s
  weightspace bench molecules --data rmd17:aspirin --models all --budget 10min --seeds 3 --md
  weightspace bench molecules --data mine.extxyz --models tensornet,mypackage.models:MyModel --budget 5min

Run again, it goes on. Tables (Markdown, CSV, JSON) and figures are written into the folder of the runs."""


def _bench_molecules(arguments: argparse.Namespace) -> None:
    from weightspace.errors import TrainingError
    from weightspace.reports.molecular import build_benchmark_page
    from weightspace.tasks.molecular import BenchmarkPlan, Budget, RunOptions, run_benchmark

    sizes = {name: getattr(arguments, name) for name in ("train", "validation", "test")}
    plan = BenchmarkPlan(
        data=arguments.data,
        models=arguments.models.split(","),
        budget=Budget.of(arguments.budget, arguments.clock),
        out=arguments.out,
        seeds=range(arguments.seeds),
        sizes={name: size for name, size in sizes.items() if size is not None},
        data_root=arguments.data_root,
        md=arguments.md,
        md_temperature=arguments.md_temperature,
        forces=arguments.forces,
        cutoff=arguments.cutoff,
    )
    options = RunOptions(
        accelerator=arguments.accelerator,
        precision=arguments.precision,
        compile=arguments.compile,
        threads=arguments.threads,
        progress=not arguments.no_progress,
    )
    failed: list[str] = []
    run_benchmark(
        plan, options=options, jobs=arguments.jobs, download=arguments.download, tell=print, failed=failed.append
    )
    print(build_benchmark_page(arguments.out))
    if failed:
        raise TrainingError(f"{arguments.out}: not done: {'; '.join(failed)}; the reasons stand above")


def add_bench_molecules(commands: Commands) -> None:
    """Compare models on molecules."""
    text = "train equivariant models on molecules at an equal budget, and compare them; run again, it goes on"
    parser = add_command(commands, "bench molecules", text, _bench_molecules)
    parser.add_argument("--data", required=True, help="rmd17:ethanol, acac, 3bpa, qm7, qm9:U0, nbody, or a file")
    parser.add_argument("--models", default="all", help="names, package.module:Class or JSON files, with commas")
    parser.add_argument("--budget", default="5min", help="of each run, e.g. 90s, 10min, 2h or 20000samples")
    parser.add_argument("--clock", default="wall", help="wall, or process for CPU seconds (default: wall)")
    parser.add_argument("--seeds", type=int, default=1, help="how many, from 0 (default: 1)")
    parser.add_argument("--out", type=Path, default=Path("runs/molecules"), help="folder of runs, tables and figures")
    parser.add_argument("--train", type=int, help="training molecules (default: the data set's)")
    parser.add_argument("--validation", type=int, help="validation molecules")
    parser.add_argument("--test", type=int, help="test molecules")
    parser.add_argument(
        "--forces",
        action=argparse.BooleanOptionalAction,
        help="learn forces, or not (default: where the data have them)",
    )
    parser.add_argument("--md", action="store_true", help="run molecular dynamics with the first seed's models, too")
    parser.add_argument("--md-temperature", type=float, help="in K (default: of the test data; 300 for a file)")
    parser.add_argument("--cutoff", type=float, help="of every model, Å (default: each model's own)")
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time (default: 1)")
    parser.add_argument("--threads", type=int, default=1, help="of each run on the CPU (default: 1)")
    parser.add_argument("--accelerator", default="auto", help="cpu, gpu or auto")
    parser.add_argument("--precision", default="32-true", help="32-true, 64-true, bf16-mixed or 16-mixed")
    parser.add_argument("--compile", action="store_true", help="compile energies and forces; counts against the budget")
    parser.add_argument("--data-root", type=Path, help="folder of full data sets (default: WEIGHTSPACE_DATA)")
    parser.add_argument("--download", action="store_true", help="fetch missing data from their official place")
    parser.add_argument("--no-progress", action="store_true", help="no progress bars")
    parser.epilog = MOLECULES_PAGE


PREDICTION_PAGE = """\
examples:
  weightspace predict-molecule mine.xyz --model runs/molecules/rmd17-ethanol/tensornet/seed0
  weightspace predict-molecule mine.xyz:energy=dft:unit=kcal/mol --model MODEL
  weightspace predict-molecule mine.cif --model MODEL --relax --forces relaxed.extxyz"""


def _predict_molecule(arguments: argparse.Namespace) -> None:
    from weightspace.molecules import Relaxation, predict_molecules

    text = predict_molecules(
        arguments.file,
        arguments.model,
        forces=arguments.forces,
        relaxation=Relaxation(arguments.fmax, arguments.steps) if arguments.relax else None,
        model_class=arguments.model_class,
        device=arguments.device,
        allow_isolated=arguments.allow_isolated,
    )
    print(text)


def add_predict_molecule(commands: Commands) -> None:
    """Energies and forces of a user's molecules."""
    text = "energies and forces of the molecules in a file, by a trained model"
    parser = add_command(commands, "predict-molecule", text, _predict_molecule)
    parser.add_argument(
        "file", help="any that ASE reads: .xyz, .extxyz, .cif, .pdb, .traj, .db, ...; labels as FILE:unit=kcal/mol"
    )
    parser.add_argument("--model", type=Path, required=True, help="folder of a run, such as .../seed0, or of a model")
    parser.add_argument("--forces", type=Path, metavar="FILE", help="write energies and forces there, extended XYZ")
    parser.add_argument("--relax", action="store_true", help="relax each geometry first")
    parser.add_argument("--fmax", type=float, default=0.01, help="largest force left by --relax, eV/Å (default: 0.01)")
    parser.add_argument("--steps", type=int, default=500, help="of --relax at most (default: 500)")
    parser.add_argument("--class", dest="model_class", metavar="CLASS", help="package.module:Class of your own model")
    parser.add_argument("--device", help="such as cuda (default: cpu)")
    parser.add_argument("--allow-isolated", action="store_true", help="allow atoms without neighbours in the cutoff")
    parser.epilog = PREDICTION_PAGE
