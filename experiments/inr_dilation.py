"""Dilation of the images of 5,000 INRs by editing their weights: SIRENs fitted to MNIST images.

The edited network is rendered at the pixels and compared with the dilated original image (a window of 3x3, once, grey
values in [0, 1]): mean squared error times 100, as in Zhou et al. 2023 (arXiv 2302.14040) and Kofinas et al. 2024
(arXiv 2403.12143).

The zoo:  weightspace zoo train inr ZOO --data mnist --networks 5000             (needs WEIGHTSPACE_DATA)
Run:      python -m experiments.inr_dilation --zoo ZOO                           (needs WEIGHTSPACE_DATA, too)
          python -m experiments.inr_dilation --smoke                             (in seconds)
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from experiments._budgeted_training import Problem, predict, train_within
from experiments._metanet_presets import EDITORS, Setting, build
from experiments._prediction_runs import facts_of
from experiments._stacked_networks import StackedNetworks
from experiments._table_command import Job, Table, run_command
from experiments._table_runs import TableResult
from experiments._zoo_problems import image_split, label_problem
from experiments.inr_classification import about, tiny_zoo
from weightspace.graph import ParameterGraph
from weightspace.images import dilate, load_images
from weightspace.metanets import fit_input_scales, save_pretrained
from weightspace.runner import Runner
from weightspace.tasks import traced_networks
from weightspace.zoo import Zoo, image_coordinates

SECONDS = 60.0
UNEDITED = "unedited"


class DilationRuns:
    """Does the jobs of the table on a zoo of one architecture."""

    def __init__(self, zoo: Zoo):
        self.zoo, self.networks, self.split = zoo, StackedNetworks.of_zoo(zoo), image_split(zoo)
        [self.traced] = traced_networks(zoo).values()
        self.runner = Runner(self.traced.space, self.traced.module)
        self.wanted = dilate(original_images(zoo)).flatten(1)  # (N, pixels)
        size = round(self.wanted.shape[1] ** 0.5)
        self.points = image_coordinates(size, size)

    def __call__(self, job: Job) -> dict[str, Any]:
        """Train an editor, and score the edited test networks."""
        test, content = self.split.test, {"label": "INRs as they are"}
        metanet: nn.Module = nn.Identity()
        if job.model != UNEDITED:
            metanet = build(EDITORS[job.model], self.setting)
            recipe = EDITORS[job.model].recipe
            training = train_within(metanet, self.problem, recipe, seconds=job.seconds, seed=job.seed)
            save_pretrained(metanet, job.folder)
            content = facts_of(EDITORS[job.model], metanet, training)
        error = (predict(metanet, self.problem, test) - self.wanted[test]).square().mean(1).double()  # (n,)
        content["scores"] = {"mse_x100": 100 * error.mean().item(), "psnr": -10 * error.log10().mean().item()}
        return content | {"prediction": error.tolist()}

    @cached_property
    def setting(self) -> Setting:
        """What editors are built for."""
        return Setting(0, fit_input_scales(self.networks.take(self.split.train)[0]), [self.traced])

    @property
    def problem(self) -> Problem:
        """The mean squared error of renderings."""
        return Problem(
            train=self.split.train,
            validation=self.split.validation,
            outputs=self.rendered,
            loss=self.error,
            score=lambda images, index: -self.error(images, index).item(),
        )

    def rendered(self, metanet: nn.Module, index: Tensor) -> Tensor:
        """Pixels (B, pixels) of edited networks."""
        [graph], _ = self.networks.take(index)
        edited: ParameterGraph = metanet(graph)
        return self.runner(self.traced.space.to_state_dict(edited), self.points)[..., 0]

    def error(self, images: Tensor, index: Tensor) -> Tensor:
        """Mean squared error."""
        return (images - self.wanted[index]).square().mean()


def original_images(zoo: Zoo) -> Tensor:
    """Grey values of the images that the INRs were fitted to, (N, H, W)."""
    rows = zoo.attributes
    data = load_images(rows[0]["data"])
    parts = {"train": data.train_x, "test": data.test_x}
    return data.pixels(torch.stack([parts[row["split"]][row["image"]] for row in rows]))


TABLE = Table(
    name="inr_dilation",
    models=(UNEDITED, *EDITORS),
    seconds=SECONDS,
    work=DilationRuns,
    metric=None,
    tiny_zoo=tiny_zoo,
    about=about(label_problem),
)


def main(argv: Sequence[str] | None = None) -> TableResult:
    return run_command(TABLE, __doc__, argv)


if __name__ == "__main__":
    main()
