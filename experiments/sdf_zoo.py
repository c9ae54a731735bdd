"""The zoo of signed-distance networks: how fast it is fitted, how well, and how exact its labels are.

Labels are measured again on finer lines, and on the networks of turned shapes, for which a measure that depends on the
pose gives other numbers.

Run:   python -m experiments.sdf_zoo --zoo ZOO            (a zoo of `weightspace zoo train sdf`, and a minute)
       python -m experiments.sdf_zoo --smoke              (in seconds, no result file)
"""

import argparse
import json
import tempfile
import textwrap
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from experiments._coordinate_page import write_part
from experiments._sdf_problem import Labels, Networks, random_motions
from experiments._table_runs import RESULTS, environment
from weightspace.zoo import SdfConfig, SdfStack, Zoo, fit_sdfs, measure_solids

CHUNK = 1024
MEASURED_AGAIN = 128  # networks
FACTOR = 2  # lines of the finer measure per line of the labels


@dataclass(frozen=True)
class Result:
    """What was found.

    Args:
        networks: of the zoo.
        seconds_per_network: CPU time of one network, fitted and measured, on one thread.
        error: mean absolute error of the distance at the training points, mean over networks.
        leaking: networks whose solid is cut off by the unit ball.
        volume: smallest, mean and largest volume.
        discretisation: relative root mean squared difference of labels to those on finer lines.
        pose: of labels that were turned to those of the turned networks.
        centroid_spread: root mean squared distance of the centroids from the origin.
        environment: where it ran.
    """

    networks: int
    seconds_per_network: float
    error: float
    leaking: int
    volume: tuple[float, float, float]
    discretisation: dict[str, float]
    pose: dict[str, float]
    centroid_spread: float
    environment: dict[str, str]


def measured(networks: Networks, resolution: int) -> Labels:
    """Labels of networks."""
    biases = sorted(name for name in networks.states if name.endswith("bias"))
    stack = SdfStack(tuple(networks.states[name].shape[1] for name in biases[:-1]))
    weights = torch.cat([networks.states[name].flatten(1) for name in stack.names], 1)

    def function(points: Tensor) -> Tensor:
        return torch.cat([stack(weights, part) for part in points.split(CHUNK)], 1)

    with torch.no_grad():
        found = measure_solids(function, resolution=resolution)
    return Labels(found.volume, found.centroid, found.inertia)


def differences(found: Labels, wanted: Labels) -> dict[str, float]:
    """Root mean squares: of volumes and inertia relative to each shape's own, of centroids as they are."""
    pairs = zip(("volume", "centroid", "inertia"), found.parts, wanted.parts, strict=True)
    result = {}
    for name, f, w in pairs:
        off = (f - w).norm(dim=1)
        result[name] = (off if name == "centroid" else off / w.norm(dim=1)).square().mean().sqrt().item()
    return result


def measure(zoo: Zoo, *, some: int, resolution: int) -> Result:
    """Facts of a zoo.

    Args:
        zoo: of signed-distance networks.
        some: networks that are measured again.
        resolution: of the labels.
    """
    rows, networks = zoo.attributes, Networks.of_zoo(zoo)
    few = networks.at(torch.arange(min(some, len(zoo))))
    motions = random_motions(len(few.labels.volume), torch.Generator().manual_seed(0))
    moved = few.moved(replace(motions, translation=0 * motions.translation))  # within the unit ball
    volume = networks.labels.volume
    return Result(
        len(zoo),
        round(_seconds_per_network(rows[0]["steps"], resolution), 3),
        sum(row["error"] for row in rows) / len(rows),
        sum(row["leak"] > 0 for row in rows),
        (volume.min().item(), volume.mean().item(), volume.max().item()),
        differences(few.labels, measured(few, FACTOR * resolution)),
        differences(moved.labels, measured(moved, resolution)),
        networks.labels.centroid.square().sum(1).mean().sqrt().item(),
        environment(),
    )


def _seconds_per_network(steps: int, resolution: int, count: int = 32) -> float:
    """CPU time of a stack of 32 networks, divided by 32."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        fit_sdfs(SdfConfig(networks=count, steps=steps, resolution=resolution), folder, progress=False, workers=1)
        return (time.process_time() - start) / count


def text(result: Result) -> str:
    """What the page says of the zoo."""
    low, mean, high = result.volume
    finer, turned = (
        f"{100 * by['volume']:.2f} % (volume), {by['centroid']:.4f} (centroid), {100 * by['inertia']:.2f} % (inertia)"
        for by in (result.discretisation, result.pose)
    )
    sentences = [
        f"{result.networks:,} networks took {result.seconds_per_network:.2f} s of one core each, labels included.",
        f"The mean absolute error of the distance is {result.error:.4f}, volumes go from {low:.3f} to {high:.2f} (mean",
        f"{mean:.3f}), centroids lie {result.centroid_spread:.3f} from the origin (root mean square), and",
        f"{result.leaking or 'no'} solids are cut off by the unit ball. Lines {FACTOR} times as fine move labels by",
        f"{finer}; turning the networks moves them by {turned}, root mean squares over {MEASURED_AGAIN} networks.",
        f"{result.environment['hardware']}; `experiments/results/sdf_zoo.json`",
    ]
    return textwrap.fill(" ".join(sentences), 118) + "\n"


def main(arguments: Sequence[str] | None = None) -> Result:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="in seconds, no result file")
    parser.add_argument("--zoo", type=Path, default=Path("runs/sdf"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if options.smoke:
        with tempfile.TemporaryDirectory() as folder:
            fit_sdfs(SdfConfig(networks=4, steps=2, resolution=8), folder, progress=False)
            result = measure(Zoo(folder), some=2, resolution=8)
    else:
        result = measure(Zoo(options.zoo), some=MEASURED_AGAIN, resolution=SdfConfig().resolution)
        (RESULTS / "sdf_zoo.json").write_text(json.dumps(asdict(result), indent=1) + "\n")
        write_part("sdf_zoo", text(result))
    print(json.dumps(asdict(result), indent=1))
    return result


if __name__ == "__main__":
    main()
