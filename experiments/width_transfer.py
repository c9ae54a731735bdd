"""Width transfer: models trained on networks of width 16 predict the accuracy of the same functions at greater width.

The models are those of `accuracy_prediction` (its runs must be there). Each test network is widened by
`weightspace.symmetry.widen`: every hidden neuron becomes k neurons with its incoming weights and bias, and each of its
outgoing weights is divided among the copies in random shares, so that the network computes what it did before and has
the same accuracy.

Run:   python -m experiments.width_transfer --zoo ZOO        (the zoo and the runs of accuracy_prediction)
       python -m experiments.width_transfer --smoke          (in seconds)
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import weightspace as ws
from experiments._budgeted_training import predict
from experiments._metanet_presets import PRESETS, attach
from experiments._prediction_runs import BASELINES, MIXED_MODELS
from experiments._stacked_networks import StackedNetworks
from experiments._table_command import SMOKE_SECONDS, Job, Table, do_jobs, run_command
from experiments._table_runs import TableResult, run_path
from experiments._zoo_problems import ZooProblem, accuracy_problem
from experiments.accuracy_prediction import TABLE as TRAINED
from experiments.accuracy_prediction import tiny_zoo
from weightspace.measures import r2
from weightspace.metanets import TracedNetwork, WeightStatistics, from_pretrained
from weightspace.symmetry import widen
from weightspace.tasks import Split
from weightspace.zoo import Zoo
from weightspace.zoo import build as build_module

FACTORS = (1, 2, 4, 8)
NETWORKS = 200  # test networks of each width
MODELS = ("statistics", *(name for name in MIXED_MODELS if name not in (*BASELINES, "ng_t")))


def widened_problem(zoo: Zoo, index: Tensor, factor: int) -> tuple[ZooProblem, list[TracedNetwork]]:
    """These networks of a zoo, widened, with their accuracies; for testing only."""
    networks, graphs, spaces, positions = [], {}, {}, {}
    chosen = zoo.select(index)
    for rows in chosen.positions.values():
        spec = dict(chosen[int(rows[0])].attributes["architecture"])
        module = wide_module(spec, factor)
        inputs = (torch.zeros(1, *spec.get("image", (1, 28, 28))),)
        space = ws.trace(module, *inputs)
        narrow = zoo.spaces[chosen[int(rows[0])].signature]
        stacked = widen(narrow, chosen.stacked(rows), space, generator=torch.Generator().manual_seed(0))
        graphs[space.signature], spaces[space.signature] = space.to_graphs(stacked), space
        positions[space.signature] = rows
        networks.append(TracedNetwork(space, module, inputs))
    base = accuracy_problem(zoo)
    nothing = torch.zeros(0, dtype=torch.long)
    split = Split(nothing, nothing, torch.arange(len(index)))
    return ZooProblem(StackedNetworks(spaces, graphs, positions), base.target[index], split), networks


def wide_module(spec: Mapping[str, Any], factor: int) -> nn.Module:
    """The architecture with more channels."""
    if spec["factory"] == "small_cnn_zoo":
        inner = {"activation": spec["activation"], "image": [spec["in_channels"], 28, 28]}
        return build_module({"factory": "cnn", "channels": [16 * factor] * 3, "strides": [2] * 3, "padding": 0} | inner)
    return build_module(dict(spec) | {"channels": [factor * width for width in spec["channels"]]})


class WidthRuns:
    """Does the jobs of the table: no training, predictions at every width."""

    def __init__(self, zoo: Zoo):
        self.base = accuracy_problem(zoo)
        index = self.base.split.test[:NETWORKS]
        self.wide = {factor: widened_problem(zoo, index, factor) for factor in FACTORS}

    def __call__(self, job: Job) -> dict[str, Any]:
        """R2 at every width."""
        scores = {}
        for factor, (problem, networks) in self.wide.items():
            prediction = self._predicted(job, problem, networks)
            scores[f"r2_width_{16 * factor}"] = r2(prediction.double(), problem.target.double())
        label = BASELINES[job.model] if job.model in BASELINES else PRESETS[job.model].label
        return {"label": label, "scores": scores}

    def _predicted(self, job: Job, problem: ZooProblem, networks: list[TracedNetwork]) -> Tensor:
        if job.model in BASELINES:
            graphs, rows = self.base.networks.take(self.base.split.train)
            target = self.base.target[self.base.split.train][rows.argsort()]
            tested, order = problem.networks.take(problem.split.test)
            return WeightStatistics(seed=job.seed).fit(graphs, target).predict(tested)[order]
        metanet = from_pretrained(run_path(job.folder.parents[1], TRAINED.name, job.model, job.seed).with_suffix(""))
        attach(metanet, PRESETS[job.model], networks)
        return problem.read(predict(metanet, problem.training(), problem.split.test, chunk=16))


def tiny_zoo_with_models(folder: Path) -> Zoo:
    """A tiny zoo, and models that were trained on it for a moment."""
    zoo = tiny_zoo(folder)
    models = [model for model in MODELS if model not in BASELINES]
    do_jobs(TRAINED, zoo, folder.parent, seeds=[0], models=models, seconds=SMOKE_SECONDS)
    return zoo


TABLE = Table(
    name="width_transfer",
    models=MODELS,
    seconds=0.0,
    work=WidthRuns,
    metric=None,
    tiny_zoo=tiny_zoo_with_models,
    about=lambda zoo: {"test_networks": NETWORKS, "widths": [16 * factor for factor in FACTORS]},
)


def main(argv: Sequence[str] | None = None) -> TableResult:
    return run_command(TABLE, __doc__, argv)


if __name__ == "__main__":
    main()
