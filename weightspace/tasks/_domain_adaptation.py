"""The task "adapt a classifier to a shifted domain by editing its weights"."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from weightspace.graph import ParameterGraph
from weightspace.images import ImageEdit
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

MEASURES = ("accuracy", "unedited_accuracy", "source_accuracy", "unedited_source_accuracy")
NAMES = ("edited, shifted images", "as it was, shifted images", "edited, images as they were", "as it was, both")


class DomainAdaptation(AbstractMetanetTask):
    """Trains any editing metanet to change classifiers so that they work on shifted images.

    The metanet sees weights alone, never images; the loss is the cross-entropy of the edited networks on shifted
    training images. It is scored on networks and images that it has not seen.

    Source: the domain adaptation of Navon et al. 2023, arXiv 2301.12780, section 7. Deviates: there a zoo of CIFAR-10
    classifiers and corruptions of their images, here any zoo whose images `weightspace.images` can load.

    Args:
        metanet: takes a sequence of parameter graphs and returns edited ones.
        shift: what happens to the images.
        optimisation: AdamW and its schedule.
        images_per_step: shifted images that the loss of a step is taken on.
        images_per_score: at most, of the validation and of the test images.
        seed: of the images of each step.
        data_root: folder of full data sets; `WEIGHTSPACE_DATA` by default.

    Scores are accuracies on shifted images, of edited networks (`accuracy`) and as they were (`unedited_accuracy`), and
    both on images as they were (`source_accuracy`, `unedited_source_accuracy`), means over networks.
    """

    def __init__(
        self,
        metanet: nn.Module,
        shift: ImageEdit,
        *,
        optimisation: Optimisation | None = None,
        images_per_step: int = 64,
        images_per_score: int = 500,
        seed: int = 0,
        data_root: str | None = None,
    ):
        super().__init__(metanet, optimisation)
        self.shift, self.seed, self.data_root = shift, seed, data_root
        self.images_per_step, self.images_per_score = images_per_step, images_per_score
        self._images: dict[str, LabelledImages] = {}

    @property
    def monitor(self) -> Monitor:
        """Accuracy of edited networks on shifted images."""
        return Monitor("accuracy", "max", "accuracy")

    def forward(self, graphs: Sequence[ParameterGraph]) -> list[dict[str, Tensor]]:
        """Stacked state_dicts of the edited networks, one stack per graph."""
        return edited_states(self, graphs)

    def fit_to(self, data: AbstractNetworkData) -> None:
        """Load and shift the images of the zoo."""
        images = images_of(data.attributes, self.data_root)
        self._images = image_parts(images, most=self.images_per_score, shift=self.shift)

    def loss(self, batch: GraphBatch) -> Tensor:
        """Cross-entropy of the edited networks on some shifted images."""
        images, generator = self._images["train"], step_generator(self.seed, self.global_step)
        chosen = torch.randint(len(images.labels), (self.images_per_step,), generator=generator)
        outputs = outputs_of(self, batch.graphs, self(batch.graphs), images.shifted[chosen])  # (B, n, C)
        labels = images.labels[chosen].to(outputs.device).expand(len(outputs), -1)
        return F.cross_entropy(outputs.flatten(0, 1), labels.flatten())

    def evaluate(self, batch: GraphBatch) -> dict[str, Tensor]:
        """Accuracies of each network, on images that no step has seen."""
        images = self._images["test" if self.trainer.testing or self.trainer.predicting else "validation"]
        states = self(batch.graphs), original_states(self, batch.graphs)
        return {
            name: accuracy_of(outputs_of(self, batch.graphs, stacked, x), images.labels)
            for name, (x, stacked) in zip(
                MEASURES, [(x, stacked) for x in (images.shifted, images.x) for stacked in states], strict=True
            )
        }

    def scores(self, kept: Mapping[str, Tensor]) -> dict[str, float]:
        """Means over networks."""
        return {name: float(kept[name].mean()) for name in MEASURES}

    def summary(self, kept: Mapping[str, Tensor]) -> dict[str, Any]:
        """Scores with intervals."""
        scores = {name: with_interval(kept[name]) for name in MEASURES}
        methods = [(text, scores[name]) for text, name in zip(NAMES, MEASURES, strict=True)]
        return {"edit": str(self.shift), "scores": scores, "methods": methods, "quantity": "accuracy"}

    def columns(self, kept: Mapping[str, Tensor]) -> dict[str, Sequence[Any]]:
        """Accuracies of each network."""
        return {name: kept[name].tolist() for name in MEASURES}
