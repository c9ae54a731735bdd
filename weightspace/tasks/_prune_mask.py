"""The task "prune networks by a mask that is predicted from their weights"."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from weightspace.errors import ConfigurationError
from weightspace.graph import ParameterGraph
from weightspace.space import WeightSpace
from weightspace.tasks._data import AbstractNetworkData, GraphBatch
from weightspace.tasks._edited_networks import (
    LabelledImages,
    accuracy_of,
    edited_states,
    image_parts,
    images_of,
    original_states,
    outputs_of,
    step_generator,
    with_interval,
)
from weightspace.tasks._optimisation import Optimisation
from weightspace.tasks._task import AbstractMetanetTask, Monitor

WISHES = ("labels", "outputs")
TINY = 1e-12  # what the logarithm of a weight that is zero is taken of
MEASURES = {
    "accuracy": "predicted mask",
    "magnitude_accuracy": "largest weights of the network",
    "layerwise_accuracy": "largest weights of each layer",
    "unpruned_accuracy": "not pruned",
}


class PruneMask(AbstractMetanetTask):
    """Trains any editing metanet to say which weights of a network to keep, at a fixed share of zeros.

    What the metanet adds to a weight w becomes the logarithm of a factor: an entry's score is |w| exp(edit / s), with s
    the root mean square of its parameter in this network, so that a metanet that adds nothing prunes by magnitude. The
    entries with the largest scores of a network are kept, as they are; gradients pass the choice as if it were a
    sigmoid of the logarithm of score over threshold (straight through).

    Source: straight-through gradients: Bengio et al. 2013, arXiv 1308.3432; magnitude pruning: Han et al. 2015, arXiv
    1506.02626. The score is this library's own.

    Args:
        metanet: takes a sequence of parameter graphs and returns edited ones.
        sparsity: share of the entries of weight matrices and kernels that become zero; biases, norms and buffers stay.
        optimisation: AdamW and its schedule.
        keep: what the loss asks of a pruned network: its "labels" (cross-entropy), or the "outputs" of the network as
            it was (cross-entropy with its probabilities).
        temperature: of the sigmoid.
        images_per_step: images that the loss of a step is taken on.
        seed: of the images of each step.
        data_root: folder of full data sets; `WEIGHTSPACE_DATA` by default.

    Scores are accuracies on images that no step has seen, of networks pruned by the predicted mask (`accuracy`), by
    magnitude over the whole network or layer by layer, and not pruned.
    """

    images_per_score = 500

    def __init__(
        self,
        metanet: nn.Module,
        sparsity: float = 0.8,
        *,
        optimisation: Optimisation | None = None,
        keep: str = "labels",
        temperature: float = 0.5,
        images_per_step: int = 64,
        seed: int = 0,
        data_root: str | None = None,
    ):
        super().__init__(metanet, optimisation)
        if not 0 < sparsity < 1 or keep not in WISHES or not temperature > 0:
            raise ConfigurationError(
                f"PruneMask: found sparsity {sparsity:g}, keep {keep!r} and temperature {temperature:g}, wanted a "
                f"share between 0 and 1, one of {', '.join(WISHES)}, and a positive number"
            )
        self.sparsity, self.keep, self.temperature = sparsity, keep, temperature
        self.images_per_step, self.seed, self.data_root = images_per_step, seed, data_root
        self._images: dict[str, LabelledImages] = {}

    @property
    def monitor(self) -> Monitor:
        """Accuracy of pruned networks."""
        return Monitor("accuracy", "max", "accuracy")

    def forward(self, graphs: Sequence[ParameterGraph]) -> list[dict[str, Tensor]]:
        """Stacked state_dicts of the pruned networks, one stack per graph."""
        before, edited = original_states(self, graphs), edited_states(self, graphs)
        return [
            self._pruned(self.space(graph), old, new) for graph, old, new in zip(graphs, before, edited, strict=True)
        ]

    def fit_to(self, data: AbstractNetworkData) -> None:
        """Load the images of the zoo."""
        self._images = image_parts(images_of(data.attributes, self.data_root), most=self.images_per_score)

    def loss(self, batch: GraphBatch) -> Tensor:
        """Cross-entropy of the pruned networks with labels, or with the probabilities of the networks as they were."""
        images, generator = self._images["train"], step_generator(self.seed, self.global_step)
        chosen = torch.randint(len(images.labels), (self.images_per_step,), generator=generator)
        x = images.x[chosen]
        outputs = outputs_of(self, batch.graphs, self(batch.graphs), x).flatten(0, 1)  # (B n, C)
        if self.keep == "labels":
            labels = images.labels[chosen].to(outputs.device)
            return F.cross_entropy(outputs, labels.repeat(len(outputs) // len(labels)))
        with torch.no_grad():
            wanted = outputs_of(self, batch.graphs, original_states(self, batch.graphs), x).flatten(0, 1).softmax(1)
        return F.cross_entropy(outputs, wanted)

    def evaluate(self, batch: GraphBatch) -> dict[str, Tensor]:
        """Accuracies of each network, pruned in three ways and not pruned."""
        images = self._images["test" if self.trainer.testing or self.trainer.predicting else "validation"]
        before = original_states(self, batch.graphs)
        spaces = [self.space(graph) for graph in batch.graphs]
        ways = (
            self(batch.graphs),
            [self._pruned(space, old, old) for space, old in zip(spaces, before, strict=True)],
            [pruned_by_layer(space, old, self.sparsity) for space, old in zip(spaces, before, strict=True)],
            before,
        )
        return {
            name: accuracy_of(outputs_of(self, batch.graphs, states, images.x), images.labels)
            for name, states in zip(MEASURES, ways, strict=True)
        }

    def scores(self, kept: Mapping[str, Tensor]) -> dict[str, float]:
        """Means over networks."""
        return {name: float(kept[name].mean()) for name in MEASURES}

    def summary(self, kept: Mapping[str, Tensor]) -> dict[str, Any]:
        """Scores with intervals."""
        scores = {name: with_interval(kept[name]) for name in MEASURES}
        methods = [(text, scores[name]) for name, text in MEASURES.items()]
        edit = f"prune {100 * self.sparsity:g} % of the weights"
        return {"edit": edit, "scores": scores, "methods": methods, "quantity": "accuracy"}

    def columns(self, kept: Mapping[str, Tensor]) -> dict[str, Sequence[Any]]:
        """Accuracies of each network."""
        return {name: kept[name].tolist() for name in MEASURES}

    def _pruned(self, space: WeightSpace, old: Mapping[str, Tensor], new: Mapping[str, Tensor]) -> dict[str, Tensor]:
        keys = prunable(space)
        scores = [_log_score(old[key], new[key]) for key in keys]
        scores = [score.flatten(1) for score in scores]
        whole = torch.cat(scores, 1)
        mask = straight_through_mask(whole, self.sparsity, self.temperature)
        masks = mask.split([score.shape[1] for score in scores], 1)
        return {**old, **{key: old[key] * part.view_as(old[key]) for key, part in zip(keys, masks, strict=True)}}


def prunable(space: WeightSpace) -> list[str]:
    """Names of the parameters that pruning takes entries of: weights with two dimensions or more."""
    return [name for name, spec in space.parameters.items() if spec.role == "weight" and len(spec.shape) > 1]


def straight_through_mask(log_scores: Tensor, sparsity: float, temperature: float) -> Tensor:
    """Ones for the entries with the largest scores of each row, zeros for a share `sparsity` of them; differentiable.

    Shapes:
        log_scores (B, P); result (B, P).

    Example:
        >>> straight_through_mask(torch.tensor([[3.0, 1.0, 2.0, 0.0]]), 0.5, 1.0)
        tensor([[1., 0., 1., 0.]])
    """
    total = log_scores.shape[1]
    kept = total - round(sparsity * total)
    values, places = log_scores.detach().topk(max(1, kept), 1)
    hard = torch.zeros_like(log_scores).scatter_(1, places, 1.0)
    soft = torch.sigmoid((log_scores - values[:, -1:]) / temperature)
    return hard + (soft - soft.detach())


def pruned_by_layer(space: WeightSpace, states: Mapping[str, Tensor], sparsity: float) -> dict[str, Tensor]:
    """The largest weights of each parameter kept, the others zero."""
    pruned = dict(states)
    for key in prunable(space):
        mask = straight_through_mask(states[key].flatten(1).abs(), sparsity, 1.0)
        pruned[key] = states[key] * mask.view_as(states[key])
    return pruned


def _log_score(old: Tensor, new: Tensor) -> Tensor:
    size = old.flatten(1).square().mean(1).sqrt().clamp(min=TINY).view(-1, *[1] * (old.dim() - 1))
    return old.abs().clamp(min=TINY).log() + (new - old) / size
