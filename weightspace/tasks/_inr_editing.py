"""The task "edit the image of an implicit neural representation by editing its weights"."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from weightspace.errors import ConfigurationError
from weightspace.graph import ParameterGraph
from weightspace.images import ImageEdit
from weightspace.tasks._data import AbstractNetworkData, GraphBatch
from weightspace.tasks._edited_networks import edited_states, images_of, original_states, with_interval
from weightspace.tasks._optimisation import Optimisation
from weightspace.tasks._task import AbstractMetanetTask, Monitor
from weightspace.zoo import image_coordinates

TRUTHS = ("image", "rendering")
PERCENT = 100.0
SHOWN = 10  # networks whose images the report shows


class InrEditing(AbstractMetanetTask):
    """Trains any editing metanet to dilate, erode, rotate or invert the image that an INR represents.

    The edited network is rendered, and compared with the edited image: the mean squared error over pixels, grey values
    in [0, 1], not clamped.

    Source: the dilation of Zhou et al. 2023, arXiv 2302.14040, in the form of Kofinas et al. 2024, arXiv 2403.12143:
    images in [0, 1], a window of 3x3, once; the mean squared error times 100, for which they and later papers give 2.55
    to 1.89 on MNIST. The truth is the edited original image, as there, or with `truth="rendering"` the edited rendering
    of the INR itself, for networks whose images are not at hand.

    Args:
        metanet: takes a sequence of parameter graphs and returns edited ones.
        edit: what happens to the image.
        optimisation: AdamW and its schedule.
        truth: "image" or "rendering".
        image_size: (height, width) of renderings; that of the images by default.
        data_root: folder of full data sets; `WEIGHTSPACE_DATA` by default.

    Scores are means over networks, of the mean squared error times 100 (`mse_x100`), of the same for networks that are
    not edited (`unedited_mse_x100`), and of the peak signal-to-noise ratio in dB (`psnr`).
    """

    def __init__(
        self,
        metanet: nn.Module,
        edit: ImageEdit,
        *,
        optimisation: Optimisation | None = None,
        truth: str = "image",
        image_size: tuple[int, int] | None = None,
        data_root: str | None = None,
    ):
        super().__init__(metanet, optimisation)
        if truth not in TRUTHS or (truth == "rendering" and image_size is None):
            raise ConfigurationError(
                f"InrEditing: found truth {truth!r} and image_size {image_size}, wanted 'image', or 'rendering' with "
                "the size of the images"
            )
        if edit.operation == "noise":
            raise ConfigurationError("InrEditing: found the edit 'noise', wanted one that an image determines")
        self.edit, self.truth, self.image_size, self.data_root = edit, truth, image_size, data_root
        self._wanted: Tensor | None = None  # of every network of the data

    @property
    def monitor(self) -> Monitor:
        """Mean squared error times 100."""
        return Monitor("mse_x100", "min", "MSE x 100")

    def forward(self, graphs: Sequence[ParameterGraph]) -> list[dict[str, Tensor]]:
        """Stacked state_dicts of the edited networks, one stack per graph."""
        return edited_states(self, graphs)

    def fit_to(self, data: AbstractNetworkData) -> None:
        """Edit the images of all networks, where they are the truth."""
        if self.truth == "image":
            images = _original_images(data.attributes, self.data_root)
            self.image_size = (images.shape[1], images.shape[2])
            self._wanted = self.edit(images)

    def render(self, graphs: Sequence[ParameterGraph], states: Sequence[Mapping[str, Tensor]]) -> Tensor:
        """Images of networks, all of a graph at once.

        Args:
            graphs: name the architectures.
            states: one stack per graph.

        Shapes:
            result (B, H, W), in the order of graphs, then networks.
        """
        assert self.image_size is not None
        rendered = []
        for graph, stacked in zip(graphs, states, strict=True):
            points = image_coordinates(*self.image_size).to(graph.sites[0].x)
            rendered.append(self.runner(graph)(stacked, points)[..., 0].unflatten(1, self.image_size))
        return torch.cat(rendered)

    def loss(self, batch: GraphBatch) -> Tensor:
        """Mean squared error of the edited networks' images."""
        found = self.render(batch.graphs, self(batch.graphs))
        return (found - self._truth(batch, found)).square().mean()

    def evaluate(self, batch: GraphBatch) -> dict[str, Tensor]:
        """Errors with and without the edit, and the three images as bytes."""
        before = self.render(batch.graphs, original_states(self, batch.graphs))
        after = self.render(batch.graphs, self(batch.graphs))
        wanted = self._truth(batch, after)
        shown = torch.stack([before, wanted, after], 1)
        return {
            "error": (after - wanted).square().mean((1, 2)).float(),
            "unedited": (before - wanted).square().mean((1, 2)).float(),
            "images": (shown.clamp(0, 1) * 255).round().to(torch.uint8),
        }

    def scores(self, kept: Mapping[str, Tensor]) -> dict[str, float]:
        """Means over networks."""
        return {"loss": float(kept["error"].mean())} | {name: float(v.mean()) for name, v in _measured(kept).items()}

    def summary(self, kept: Mapping[str, Tensor]) -> dict[str, Any]:
        """Scores with intervals, and the images of the first networks."""
        first = kept["images"][:SHOWN]
        return {
            "edit": str(self.edit),
            "scores": {name: with_interval(value) for name, value in _measured(kept).items()},
            "images": dict(zip(("before", "wanted", "after"), first.movedim(1, 0).tolist(), strict=True)),
        }

    def columns(self, kept: Mapping[str, Tensor]) -> dict[str, Sequence[Any]]:
        """Measures of each network."""
        return {name: value.tolist() for name, value in _measured(kept).items()}

    def _truth(self, batch: GraphBatch, like: Tensor) -> Tensor:
        if self.truth == "image":
            assert self._wanted is not None
            return self._wanted[batch.index].to(like)
        with torch.no_grad():
            return self.edit(self.render(batch.graphs, original_states(self, batch.graphs)))


def _measured(kept: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        "mse_x100": PERCENT * kept["error"],
        "unedited_mse_x100": PERCENT * kept["unedited"],
        "psnr": -10 * torch.log10(kept["error"]),
    }


def _original_images(rows: Sequence[Mapping[str, Any]], root: str | Path | None) -> Tensor:
    """Grey values of the image of each network (N, H, W)."""
    for i, row in enumerate(rows):
        if not isinstance(row.get("image"), int) or row.get("split") not in ("train", "test"):
            raise ConfigurationError(
                f"network {i} of the zoo: found image {row.get('image')!r} and split {row.get('split')!r}, wanted the "
                "number of its image in the train or test part of its data; use truth: rendering where it is not known"
            )
    data = images_of(rows, root)
    everything = torch.cat([data.train_x, data.test_x])
    start = {"train": 0, "test": len(data.train_x)}
    sizes = {"train": len(data.train_x), "test": len(data.test_x)}
    wrong = [i for i, row in enumerate(rows) if not 0 <= row["image"] < sizes[row["split"]]]
    if wrong:
        row = rows[wrong[0]]
        raise ConfigurationError(
            f"network {wrong[0]} of the zoo: found image {row['image']}, wanted one of the {sizes[row['split']]} "
            f"{row['split']} images of {row['data']}; the zoo was fitted to other files"
        )
    return data.pixels(everything[torch.tensor([start[row["split"]] + row["image"] for row in rows])])
