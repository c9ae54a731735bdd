"""The task "predict attributes of networks from their weights": accuracy, loss, generalisation gap, hyperparameters,
the class of an INR.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from typing import Any

import torch
from torch import Tensor, nn

from weightspace.errors import ConfigurationError
from weightspace.graph import ParameterGraph
from weightspace.measures import METRICS, Estimate, accuracy, bootstrap, bootstrap_accuracy
from weightspace.tasks._augmentation import Augmentation, Augmenter
from weightspace.tasks._data import AbstractNetworkData, GraphBatch
from weightspace.tasks._optimisation import Optimisation
from weightspace.tasks._targets import FittedTarget, Target, fit_target
from weightspace.tasks._task import AbstractMetanetTask, Monitor


def predicted_accuracy(metanet: nn.Module, graphs: ParameterGraph | Sequence[ParameterGraph]) -> Tensor:
    """Accuracy in (0, 1) that a metanet with one output predicts: the sigmoid of the output.

    Shapes:
        result (B,), in the order of graphs, then networks.
    """
    return torch.sigmoid(metanet(graphs)[:, 0])


class AttributePrediction(AbstractMetanetTask):
    """Trains any metanet to predict the targets of its data: numbers, fractions and classes, several at once.

    Targets are stated by the data (`ZooData.targets`); the loss is the mean of their losses (`FittedTarget`).
    Classifying networks, such as INRs by the class of their image, is the prediction of one target of kind "class". The
    best epoch has the largest mean over targets of Kendall's tau or, for a class, of the accuracy.

    Args:
        metanet: takes a sequence of parameter graphs and returns (B, outputs): one per number, and one per class of
            each target that is a class, in the order of the targets.
        optimisation: AdamW and its schedule.
        augmentation: of the training networks; none by default.
    """

    def __init__(
        self,
        metanet: nn.Module,
        optimisation: Optimisation | None = None,
        *,
        augmentation: Augmentation | None = None,
    ):
        super().__init__(metanet, optimisation)
        self.augmenter = Augmenter(Augmentation() if augmentation is None else augmentation, self._network)
        self.targets: tuple[FittedTarget, ...] = ()
        self._places: dict[str, Tensor] = {}  # of the data's classes among ours

    @property
    def monitor(self) -> Monitor:
        """Mean over the targets of tau, or accuracy."""
        kinds = {target.kind == "class" for target in self.targets}
        label = {frozenset({True}): "accuracy", frozenset({False}): "tau"}.get(frozenset(kinds), "tau and accuracy")
        return Monitor("score", "max", label)

    def forward(self, graphs: ParameterGraph | Sequence[ParameterGraph]) -> dict[str, Tensor]:
        """Name of each target -> predictions (B,); of a class, the position of the likeliest one."""
        outputs = self._outputs(graphs)
        return {target.name: target.prediction(outputs[target.name]) for target in self.targets}

    def fit_to(self, data: AbstractNetworkData) -> None:
        """Statistics and classes of the targets."""
        if not self.targets:
            batches = list(data.whole("train"))
            self.targets = tuple(_fitted(target, data, batches) for target in data.targets)
        self._places = _places(self.targets, data)

    def state(self) -> dict[str, Any]:
        """The fitted targets."""
        return {"targets": [target.to_dict() for target in self.targets]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Back from `state`."""
        self.targets = tuple(FittedTarget.from_dict(values) for values in state["targets"])

    def loss(self, batch: GraphBatch) -> Tensor:
        """Mean over targets of their losses."""
        outputs = self._outputs(self.augmenter(batch.graphs, self.global_step))
        losses = [target.loss(outputs[target.name], self._true(batch, target)) for target in self.targets]
        return torch.stack(losses).mean()

    def evaluate(self, batch: GraphBatch) -> dict[str, Tensor]:
        """Outputs of the metanet, and the true values."""
        outputs = {f"output {name}": value.float() for name, value in self._outputs(batch.graphs).items()}
        return outputs | {f"target {target.name}": self._true(batch, target) for target in self.targets}

    def scores(self, kept: Mapping[str, Tensor]) -> dict[str, float]:
        """Loss, metrics of each target, and the score that tells the best epoch."""
        values: dict[str, float] = {}
        of_targets, losses = [], []
        for target, output, true in self._each(kept):
            found = _metrics(target, output, true)
            best = found["accuracy" if target.kind == "class" else "kendall_tau"]
            of_targets.append(0.0 if math.isnan(best) else best)  # one number for all networks has no order
            losses.append(target.loss(output, true))
            values |= {self._key(target, name): value for name, value in found.items()}
        return {"loss": float(torch.stack(losses).mean()), "score": sum(of_targets) / len(of_targets)} | values

    def summary(self, kept: Mapping[str, Tensor]) -> dict[str, Any]:
        """Scores with intervals, and predictions beside the truth of each target."""
        scores: dict[str, tuple[float, float, float]] = {}
        targets = []
        for target, output, true in self._each(kept):
            found = _intervals(target, output, true)
            scores |= {self._key(target, name): value for name, value in found.items()}
            rows = {"target": true.tolist(), "prediction": target.prediction(output).tolist()}
            targets.append(rows | {"name": target.name, "kind": target.kind, "classes": list(target.classes)})
        return {"scores": scores, "targets": targets}

    def columns(self, kept: Mapping[str, Tensor]) -> dict[str, Sequence[Any]]:
        """Truth and prediction of each target; classes by name."""
        table: dict[str, Sequence[Any]] = {}
        for target, output, true in self._each(kept):
            sides = {"target": true.tolist(), "prediction": target.prediction(output).tolist()}
            for side, values in sides.items():
                name = side if len(self.targets) == 1 else f"{side} {target.name}"
                table[name] = [target.classes[value] for value in values] if target.classes else values
        return table

    def _outputs(self, graphs: ParameterGraph | Sequence[ParameterGraph]) -> dict[str, Tensor]:
        outputs = self.metanet(graphs)
        widths = [target.width for target in self.targets]
        if outputs.shape[1] != sum(widths):
            parts = ", ".join(f"{target.name} {target.width}" for target in self.targets)
            raise ConfigurationError(
                f"{type(self.metanet).__name__}: found {outputs.shape[1]} outputs per network, wanted {sum(widths)} "
                f"({parts}); set model.metanet.init_args.out_features to {sum(widths)}"
            )
        return dict(zip([target.name for target in self.targets], outputs.split(widths, 1), strict=True))

    def _true(self, batch: GraphBatch, target: FittedTarget) -> Tensor:
        values = batch.target[target.name]
        return self._places[target.name].to(values.device)[values] if target.kind == "class" else values

    def _each(self, kept: Mapping[str, Tensor]) -> list[tuple[FittedTarget, Tensor, Tensor]]:
        return [(target, kept[f"output {target.name}"], kept[f"target {target.name}"]) for target in self.targets]

    def _key(self, target: FittedTarget, metric: str) -> str:
        return metric if len(self.targets) == 1 else f"{target.name}_{metric}"


def _fitted(target: Target, data: AbstractNetworkData, batches: Sequence[GraphBatch]) -> FittedTarget:
    if not batches:
        raise ConfigurationError(
            f"target {target.name!r}: no training networks to fit it to; give a checkpoint with --ckpt_path, or a "
            "split with training networks"
        )
    values = torch.cat([batch.target[target.name] for batch in batches])
    return fit_target(target, values, data.classes.get(target.name, ()))


def _places(targets: Sequence[FittedTarget], data: AbstractNetworkData) -> dict[str, Tensor]:
    """Place of each of the data's classes among those that the task was trained for."""
    ours, theirs = [(t.name, t.kind) for t in targets], [(t.name, t.kind) for t in data.targets]
    if ours != theirs:
        raise ConfigurationError(
            f"targets: found {_listed(theirs)} in the data, wanted {_listed(ours)}, which the checkpoint was trained "
            "for; set data.targets"
        )
    places = {}
    for target in targets:
        found = data.classes.get(target.name, ())
        unknown = [name for name in found if name not in target.classes]
        if unknown:
            raise ConfigurationError(
                f"target {target.name!r}: found the classes {', '.join(unknown)} in the data, wanted "
                f"{', '.join(target.classes)}, which the checkpoint was trained for; choose networks with data.where"
            )
        places[target.name] = torch.tensor([target.classes.index(name) for name in found], dtype=torch.long)
    return places


def _listed(targets: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in targets) or "none"


def _metrics(target: FittedTarget, output: Tensor, true: Tensor) -> dict[str, float]:
    prediction = target.prediction(output)
    if target.kind == "class":
        return {"accuracy": accuracy(prediction, true)}
    sides = target.scale(prediction), target.scale(true)
    return {name: metric(*sides) for name, metric in METRICS.items()}


def _intervals(target: FittedTarget, output: Tensor, true: Tensor) -> dict[str, tuple[float, float, float]]:
    prediction = target.prediction(output)
    if target.kind == "class":
        return {"accuracy": three(bootstrap_accuracy(prediction, true))}
    sides = target.scale(prediction), target.scale(true)
    return {name: three(bootstrap(name, *sides)) for name in METRICS}


def three(estimate: Estimate) -> tuple[float, float, float]:
    """Value and ends of an estimate."""
    value, low, high = astuple(estimate)
    return value, low, high
