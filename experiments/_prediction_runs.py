"""Runs of the tables in which something is predicted of a zoo's networks: two baselines and the metanets."""

from collections.abc import Callable
from dataclasses import asdict
from functools import cached_property
from typing import Any

from torch import nn

from experiments._budgeted_training import Training, predict, train_within
from experiments._metanet_presets import PRESETS, Preset, Setting, build
from experiments._table_command import Job
from experiments._zoo_problems import ZooProblem
from weightspace.metanets import save_pretrained
from weightspace.tasks import traced_networks
from weightspace.zoo import Zoo

BASELINES = {
    "mean": "Mean (or most frequent class) of the training networks",
    "statistics": "Weight statistics, gradient boosting",
}
ALL_MODELS = (*BASELINES, *PRESETS)
MIXED_MODELS = (*BASELINES, *(name for name, preset in PRESETS.items() if not preset.one_architecture))


class PredictionRuns:
    """Does the jobs of a table on a zoo.

    Args:
        zoo: of the networks.
        problem: what is predicted of them.
    """

    def __init__(self, zoo: Zoo, problem: Callable[[Zoo], ZooProblem]):
        self.zoo, self.problem = zoo, problem(zoo)

    def __call__(self, job: Job) -> dict[str, Any]:
        """Train where there is something to train, predict the test networks."""
        test = self.problem.split.test
        content: dict[str, Any] = {}
        if job.model in BASELINES:
            content["label"] = BASELINES[job.model]
            prediction = self.problem.baseline(job.model, job.seed)
        else:
            preset, metanet = PRESETS[job.model], build(PRESETS[job.model], self.setting)
            training = train_within(metanet, self.problem.training(), preset.recipe, seconds=job.seconds, seed=job.seed)
            prediction = self.problem.read(predict(metanet, self.problem.training(), test))
            if not preset.one_architecture:
                save_pretrained(metanet, job.folder)
            content |= facts_of(preset, metanet, training)
        content["scores"] = self.problem.scores(prediction, test)
        return content | {"prediction": prediction.tolist(), "target": self.problem.target[test].tolist()}

    @cached_property
    def setting(self) -> Setting:
        """What models are built for."""
        networks = list(traced_networks(self.zoo).values())
        return Setting(self.problem.outputs, self.problem.input_scales(), networks)


def facts_of(preset: Preset, metanet: nn.Module, training: Training) -> dict[str, Any]:
    """What a run's file says of a training."""
    return {
        "label": preset.label,
        "parameters": sum(p.numel() for p in metanet.parameters()),
        "recipe": asdict(preset.recipe),
        "validation": training.best,
        "curve": training.curve,
        "cpu_seconds": training.cpu_seconds,
        "wall_seconds": training.wall_seconds,
        "steps": training.steps,
        "networks_seen": training.networks,
    }


def about(problem: Callable[[Zoo], ZooProblem]) -> Callable[[Zoo], dict[str, Any]]:
    """Sizes of a zoo's split."""

    def sizes(zoo: Zoo) -> dict[str, Any]:
        split = problem(zoo).split
        parts = {part: len(getattr(split, part)) for part in ("train", "validation", "test")}
        return {"networks": parts, "architectures": len(zoo.spaces)}

    return sizes
