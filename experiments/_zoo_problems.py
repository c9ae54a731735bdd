"""What is predicted for the networks of a zoo, as a training problem: their accuracy, or the class of their image."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from torch import Tensor, nn
from torch.nn import functional as F

from experiments._budgeted_training import Problem
from experiments._stacked_networks import StackedNetworks
from weightspace.graph import ParameterGraph
from weightspace.measures import METRICS, accuracy, kendall_tau
from weightspace.metanets import InputScales, MeanBaseline, WeightStatistics, fit_input_scales, weight_statistics
from weightspace.tasks import Split, SplitRule, split_by_run, split_zoo
from weightspace.zoo import Zoo

NOISE = 0.1  # in training on accuracies: without, networks are learned by heart
LESS_NOISE = 0.05


@dataclass(frozen=True)
class ZooProblem:
    """Networks, what is to be predicted of them, and their split.

    Args:
        networks: of the zoo.
        target: accuracies, or classes as integers; (N,).
        split: into train, validation and test.
        noise: added to every number of a network in training, relative to the root mean square of its tensor.
        scales_per_layer: whether inputs are divided by the spread of their layer, or of all parameters of their role.
    """

    networks: StackedNetworks
    target: Tensor
    split: Split
    noise: float = 0.0
    scales_per_layer: bool = True

    @property
    def classes(self) -> bool:
        """Whether classes are predicted."""
        return not self.target.is_floating_point()

    @property
    def outputs(self) -> int:
        """Of a metanet: the logit of an accuracy, or one logit per class."""
        return int(self.target.max()) + 1 if self.classes else 1

    def training(self) -> Problem:
        """Cross-entropy; Kendall's tau or the accuracy on validation networks as score."""
        return Problem(
            train=self.split.train,
            validation=self.split.validation,
            outputs=self.run,
            loss=self.loss,
            score=self.score,
        )

    def input_scales(self) -> InputScales:
        """Of the training networks."""
        scales = fit_input_scales(self.networks.take(self.split.train)[0])
        return scales if self.scales_per_layer else InputScales(per_role=scales.per_role)

    def run(self, metanet: nn.Module, index: Tensor) -> Tensor:
        """Outputs for networks at these positions, in their order."""
        graphs, rows = self.networks.take(index)
        if self.noise and metanet.training:
            graphs = [_with_noise(graph, self.noise) for graph in graphs]
        return metanet(graphs)[rows]

    def loss(self, outputs: Tensor, index: Tensor) -> Tensor:
        """Cross-entropy with the true accuracies or classes."""
        if self.classes:
            return F.cross_entropy(outputs, self.target[index])
        return F.binary_cross_entropy_with_logits(outputs[:, 0], self.target[index])

    def score(self, outputs: Tensor, index: Tensor) -> float:
        """By which weights are chosen."""
        measure = accuracy if self.classes else kendall_tau
        return measure(self.read(outputs), self.target[index])

    def read(self, outputs: Tensor) -> Tensor:
        """Predicted accuracies, or classes."""
        return outputs.argmax(1) if self.classes else outputs[:, 0].sigmoid()

    def scores(self, prediction: Tensor, index: Tensor) -> dict[str, float]:
        """All metrics of predictions."""
        target = self.target[index]
        measures = {"accuracy": accuracy} if self.classes else METRICS
        return {name: measure(prediction, target) for name, measure in measures.items()}

    def baseline(self, name: str, seed: int) -> Tensor:
        """Predictions of a baseline for the test networks: "mean", or "statistics" (with gradient boosting)."""
        if name == "mean":
            wanted = self.target[self.split.train]
            value = wanted.mode().values if self.classes else MeanBaseline().fit([], wanted).mean
            return torch.full((len(self.split.test),), float(value))
        train, train_rows = self.networks.take(self.split.train)
        test, test_rows = self.networks.take(self.split.test)
        target = self.target[self.split.train][train_rows.argsort()]  # in the order of the graphs
        if self.classes:
            return _boosted_classes(train, target, test, seed)[test_rows]
        return WeightStatistics(seed=seed).fit(train, target).predict(test)[test_rows]


def _with_noise(graph: ParameterGraph, size: float) -> ParameterGraph:
    """Networks with normal noise on their parameters; running statistics stay, because a variance is not negative."""

    def blurred(values: Tensor, roles: Sequence[str]) -> Tensor:  # (B, n, K)
        if not values.numel():
            return values
        spread = values.square().mean((1, 2), keepdim=True).sqrt()
        learned = values.new_tensor([float(not role.startswith("running")) for role in roles])
        return values + size * spread * learned * torch.randn_like(values)

    x = [blurred(site.x, site.roles) for site in graph.sites]
    return graph.replace(x=x, edge_attr=[blurred(block.edge_attr, [block.role]) for block in graph.blocks])


def _boosted_classes(train: list[ParameterGraph], target: Tensor, test: list[ParameterGraph], seed: int) -> Tensor:
    """Classes by gradient boosting on the same statistics."""
    columns = weight_statistics(train)
    model = HistGradientBoostingClassifier(max_iter=200, learning_rate=0.05, random_state=seed)
    model.fit(np.stack(list(columns.values()), 1), target.numpy())
    tested = weight_statistics(test)
    return torch.from_numpy(model.predict(np.stack([tested[name] for name in columns], 1)))


def accuracy_problem(zoo: Zoo) -> ZooProblem:
    """Test accuracies of the classifiers of a zoo; 70 % of the runs to train on, 10 % to choose by, 20 % to test."""
    rows: list[dict[str, Any]] = zoo.attributes
    target = torch.tensor([float(row["test_accuracy"]) for row in rows])
    return ZooProblem(StackedNetworks.of_zoo(zoo), target, split_by_run([row["run"] for row in rows]), NOISE)


def varied_accuracy_problem(zoo: Zoo) -> ZooProblem:
    """The same for many architectures, of each of which there are too few networks to know the spread of a layer."""
    return replace(accuracy_problem(zoo), noise=LESS_NOISE, scales_per_layer=False)


def label_problem(zoo: Zoo) -> ZooProblem:
    """Classes of the images that INRs show."""
    target = torch.tensor([int(row["label"]) for row in zoo.attributes])
    return ZooProblem(StackedNetworks.of_zoo(zoo), target, image_split(zoo))


def image_split(zoo: Zoo) -> Split:
    """INRs of training images to train on, a tenth of them to choose by; INRs of test images to test on."""
    return split_zoo(zoo.attributes, SplitRule(attribute="split", fractions=(0.8, 0.1, 0.1)))
