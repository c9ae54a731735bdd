"""Volume, centroid and inertia of shapes, read from the weights of their signed-distance networks.

Networks of random solids; labels are measured on the networks. The same budget for the metanet that is equivariant
under E(3), for the same message passing without E(3), and for the latter with every network moved at random each time
it is learned from. Trained on shapes in random poses, or in frames of their own; tested in the same poses, and moved by
random rotations, reflections and translations, exactly, by the first layers. Errors are shares of the spread of what is
predicted: 1 is the error of its mean.

The zoo:  weightspace zoo train sdf ZOO --networks 2560 --steps 1000           (7 minutes of one core)
Run:      python -m experiments.sdf_properties --zoo ZOO --seeds 0 1 2          (2 minutes for each training)
          python -m experiments.sdf_properties --collect                        (the table of all runs that are there)
          python -m experiments.sdf_properties --smoke                          (in seconds, no result file)
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from experiments._budgeted_training import Recipe, train_within
from experiments._coordinate_page import write_part
from experiments._sdf_problem import (
    OUTPUTS,
    PROPERTIES,
    Labels,
    Networks,
    Properties,
    PropertyProblem,
    errors,
    predicted,
    random_motions,
)
from experiments._table_runs import RESULTS, TableResult, run_path, table_of, write_run
from weightspace.metanets import GMN, CoordinateGMN, InputScales, WeightStatistics
from weightspace.zoo import SdfConfig, Zoo, fit_sdfs

NAME = "sdf_properties"
SIZES = {"channels": 32, "edge_channels": 16, "layers": 3}
COLUMNS = 10  # of a metanet without E(3): volume, centroid, six numbers of a symmetric tensor
TEST, VALIDATION = 384, 256


@dataclass(frozen=True)
class Kind:
    """A way to predict.

    Args:
        label: for the table.
        build: makes the metanet; none for baselines.
        augmented: whether networks are moved while it learns.
        recipe: of the training, chosen on validation networks.
    """

    label: str
    build: Callable[[InputScales], nn.Module] | None
    augmented: bool = False
    recipe: Recipe = Recipe(learning_rate=3e-3, batch_size=16)


def plain(scales: InputScales) -> nn.Module:
    """The same message passing without E(3)."""
    return GMN(COLUMNS, input_scales=scales, **SIZES)


def equivariant(scales: InputScales) -> nn.Module:
    """With E(3)."""
    return CoordinateGMN(OUTPUTS, vector_channels=8, input_scales=scales, **SIZES)


KINDS = {
    "mean": Kind("mean of the training shapes", None),
    "statistics": Kind("weight statistics", None),
    "gmn": Kind("without E(3)", plain),
    "gmn_augmented": Kind("without E(3), augmented", plain, augmented=True),
    "coordinate_gmn": Kind("CoordinateGMN", equivariant, recipe=Recipe(learning_rate=6e-3, batch_size=16)),
}
POSES = {"random": "random poses", "own": "own frames"}


@dataclass(frozen=True)
class Split:
    """Positions of networks."""

    train: Tensor
    validation: Tensor
    test: Tensor

    @classmethod
    def of(cls, count: int, *, test: int, validation: int) -> "Split":
        """The same for all models and seeds."""
        order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
        return cls(order[test + validation :], order[test : test + validation], order[:test])


def run(
    networks: Networks, units: Properties, split: Split, model: str, *, seconds: float, seed: int
) -> dict[str, Any]:
    """Train one model, and its errors on test shapes as they are and moved.

    Args:
        networks: all of them, in the poses of the training.
        units: of the properties in the loss, the same for all poses.
        split: of them.
        model: a key of `KINDS`.
        seconds: of CPU time for the training.
        seed: of initial weights, the order of networks, and augmentation.
    """
    kind = KINDS[model]
    torch.manual_seed(seed)
    problem = PropertyProblem(
        networks, train=split.train, validation=split.validation, augmented=kind.augmented,
        generator=torch.Generator().manual_seed(seed), properties=units,
    )  # fmt: skip
    content: dict[str, Any] = {"label": kind.label}
    if kind.build is None:
        predict = _baseline(model, networks.at(split.train), seed)
    else:
        metanet = kind.build(problem.scales())
        training = train_within(metanet, problem.problem, kind.recipe, seconds=seconds, seed=seed)
        content |= {
            "parameters": sum(p.numel() for p in metanet.parameters()),
            "recipe": asdict(kind.recipe),
            "cpu_seconds": training.cpu_seconds, "steps": training.steps, "networks_seen": training.networks,
            "curve": training.curve,
        }  # fmt: skip

        def predict(some: Networks) -> Labels:
            return predicted(metanet, some, problem.properties)

    test = networks.at(split.test)
    moved = test.moved(random_motions(len(split.test), torch.Generator().manual_seed(9)))
    scores: dict[str, float] = {}
    for suffix, some in (("", test), ("_moved", moved)):
        scores |= {f"{name}{suffix}": value for name, value in errors(predict(some), some.labels).items()}
    return content | {"scores": scores}


def _baseline(model: str, train: Networks, seed: int) -> Callable[[Networks], Labels]:
    """The mean of each number, or gradient boosting on weight statistics for each number."""
    rows = torch.cat(train.labels.parts, 1)
    if model == "mean":
        return lambda some: _labels(rows.mean(0).expand(len(some.labels.volume), -1))
    columns = [0, 1, 2, 3, 4, 5, 6, 8, 9, 12]
    graph = train.graph
    fitted = {c: WeightStatistics(seed=seed, max_iter=100).fit([graph], rows[:, c]) for c in columns}

    def predict(some: Networks) -> Labels:
        found = {c: fitted[c].predict([some.graph]).float() for c in columns}
        found |= {7: found[5], 10: found[6], 11: found[9]}
        return _labels(torch.stack([found[c] for c in range(13)], 1))

    return predict


def _labels(rows: Tensor) -> Labels:
    return Labels(rows[:, 0], rows[:, 1:4], rows[:, 4:].unflatten(1, (3, 3)))


def do(zoo: Zoo, folder: Path, jobs: Sequence[tuple[str, str, int]], *, seconds: float, split: Split) -> None:
    """Every job that has no file yet: model, poses, seed."""
    networks = Networks.of_zoo(zoo)
    units = Properties(networks.at(split.train))
    posed = {"random": networks, "own": networks.in_own_frames()}
    for model, poses, seed in jobs:
        path = run_path(folder, NAME, f"{model}-{poses}", seed)
        if not path.exists():
            start = time.perf_counter()
            content = run(posed[poses], units, split, model, seconds=seconds, seed=seed)
            wall = round(time.perf_counter() - start, 1)
            write_run(path, {**content, "note": poses, "wall_seconds": wall}, model=f"{model}-{poses}", seed=seed)


def collect(folder: Path, configuration: dict[str, Any]) -> TableResult:
    """The table of all runs that are there."""
    order = [f"{model}-{poses}" for poses in POSES for model in KINDS]
    return table_of(NAME, folder, order, configuration, metric=None)


def table(result: TableResult) -> str:
    """The rows as a table of docs/coordinate-networks.md."""
    head = ["trained in", "model", "parameters", "networks read"]
    head += [f"{name}{suffix}" for suffix in ("", ", moved") for name in PROPERTIES]
    lines = [f"| {' | '.join([*head, 'seeds'])} |", "|---|---|" + "--:|" * (len(head) - 1)]
    for row in result.rows:
        seen = row.get("networks_seen")
        cells = [POSES[row["note"]], row["label"], f"{row['parameters']:,}" if "parameters" in row else ""]
        cells.append(f"{sum(seen) / len(seen):,.0f}" if seen else "")
        cells += [_score(row["scores"][f"{name}{s}"]) for s in ("", "_moved") for name in PROPERTIES]
        lines.append(f"| {' | '.join([*cells, str(len(row['seeds']))])} |")
    where = result.environment
    facts = f"{result.configuration['seconds']:g} s of CPU time for each training; {', '.join(where['hardware'])}"
    files = f"torch {', '.join(where['torch'])}; commit {', '.join(where['commit'])}. `experiments/results/{NAME}.json`"
    return "\n".join([*lines, "", f"{facts}; {files}", ""])


def _score(found: dict[str, Any]) -> str:
    deviation = "" if found["deviation"] is None else f" ± {found['deviation']:.2f}"
    return f"{found['mean']:.2f}{deviation}"


def smoke() -> TableResult:
    """Everything once, on a tiny zoo."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        fit_sdfs(SdfConfig(networks=24, steps=2, widths=(4, 4), resolution=8), path / "zoo", progress=False)
        jobs = [(model, poses, 0) for poses in POSES for model in KINDS]
        split = Split.of(24, test=4, validation=4)
        do(Zoo(path / "zoo"), path, jobs, seconds=0.05, split=split)
        return collect(path, {"seconds": 0.05})


def main(arguments: Sequence[str] | None = None) -> TableResult:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="in seconds, no result file")
    parser.add_argument("--collect", action="store_true", help="only make the table")
    parser.add_argument("--zoo", type=Path, default=Path("runs/sdf"))
    parser.add_argument("--folder", type=Path, default=Path("runs"), help="of the runs")
    parser.add_argument("--models", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--poses", nargs="+", choices=list(POSES), default=list(POSES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--seconds", type=float, default=120.0)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if options.smoke:
        result = smoke()
        print(table(result))
        return result
    zoo = Zoo(options.zoo)
    jobs = [(m, p, s) for s in options.seeds for p in options.poses for m in options.models]
    split = Split.of(len(zoo), test=TEST, validation=VALIDATION)
    if not options.collect:
        do(zoo, options.folder, jobs, seconds=options.seconds, split=split)
    sizes = {"train": len(split.train), "validation": VALIDATION, "test": TEST}
    result = collect(options.folder, {"seconds": options.seconds, "networks": sizes, "sizes": SIZES})
    RESULTS.joinpath(f"{NAME}.json").write_text(json.dumps(asdict(result), indent=1) + "\n")
    write_part(NAME, table(result))
    print(table(result))
    return result


if __name__ == "__main__":
    main()
