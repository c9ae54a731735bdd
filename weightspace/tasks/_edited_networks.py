"""From a metanet's edit of graphs to networks, and the images that edited networks are judged on."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from weightspace.errors import ConfigurationError
from weightspace.graph import ParameterGraph
from weightspace.images import DATA_SETS, ImageEdit, ImageSet, load_images
from weightspace.measures import bootstrap_mean
from weightspace.tasks._task import AbstractMetanetTask


def edited_graphs(task: AbstractMetanetTask, graphs: Sequence[ParameterGraph]) -> list[ParameterGraph]:
    """What the metanet makes of graphs, in their order.

    Raises:
        ConfigurationError: the metanet gives numbers, no graphs.
    """
    edited = task.metanet(tuple(graphs))
    if not isinstance(edited, list | tuple) or not all(isinstance(graph, ParameterGraph) for graph in edited):
        raise ConfigurationError(
            f"{type(task).__name__}: {type(task.metanet).__name__} gives {type(edited).__name__}, wanted graphs; "
            "use an editor such as weightspace.metanets.GMNEditor"
        )
    return list(edited)


def edited_states(task: AbstractMetanetTask, graphs: Sequence[ParameterGraph]) -> list[dict[str, Tensor]]:
    """Stacked state_dicts of the edited networks, every key of the original module, one stack per graph.

    Entries that are tied to each other get the mean of their edits. Buffers carry no gradient, because normalisation
    with running statistics has none for them.
    """
    stacks = []
    for graph in edited_graphs(task, graphs):
        buffers = {name for name, _ in task.runner(graph).module.named_buffers()}
        stacked = task.space(graph).to_state_dict(graph, tied="mean")
        stacks.append({key: value.detach() if key in buffers else value for key, value in stacked.items()})
    return stacks


def original_states(task: AbstractMetanetTask, graphs: Sequence[ParameterGraph]) -> list[dict[str, Tensor]]:
    """Stacked state_dicts of the networks as they are, one stack per graph."""
    return [task.space(graph).to_state_dict(graph, tied="mean") for graph in graphs]


def images_of(rows: Sequence[Mapping[str, Any]], root: str | Path | None) -> ImageSet:
    """The images that the networks of a zoo were trained on, named by their attribute `data`.

    Raises:
        ConfigurationError: networks of several sets of images, or of one that is not known.
    """
    names = sorted({str(row.get("data")) for row in rows})
    if len(names) != 1 or names[0] not in DATA_SETS:
        raise ConfigurationError(
            f"attribute 'data' of the networks: found {', '.join(names)}, wanted one of {', '.join(DATA_SETS)} for all "
            "of them; choose networks with data.where"
        )
    return load_images(names[0], root)


def outputs_of(
    task: AbstractMetanetTask, graphs: Sequence[ParameterGraph], states: Sequence[Mapping[str, Tensor]], x: Tensor
) -> Tensor:
    """Outputs of all networks on the same inputs.

    Shapes:
        x (n, ...); result (B, n, C), in the order of graphs, then networks.
    """
    on = [x.to(graph.sites[0].x) for graph in graphs]
    runs = zip(graphs, states, on, strict=True)
    return torch.cat([task.runner(graph)(stacked, inputs) for graph, stacked, inputs in runs])


def accuracy_of(outputs: Tensor, labels: Tensor) -> Tensor:
    """Share of right classes of each network: (B, n, C) and (n,) to (B,)."""
    return (outputs.argmax(2) == labels.to(outputs.device)).float().mean(1)


@dataclass(frozen=True)
class LabelledImages:
    """Standardised images with their classes, some of them edited.

    Shapes:
        x (n, 1, H, W); shifted (n, 1, H, W); labels (n,).
    """

    x: Tensor
    shifted: Tensor
    labels: Tensor


def image_parts(data: ImageSet, *, most: int, shift: ImageEdit | None = None) -> dict[str, LabelledImages]:
    """Images to train an editing metanet on, to choose its best epoch by, and to test it on.

    The last fifth of the training part is for validation; at most `most` images of it and of the test part are used.

    Args:
        data: the images.
        most: images to score on.
        shift: edit of the grey values; noise is drawn once for each image.
    """
    total = len(data.train_y)
    end = total - max(1, total // 5)
    places = {"train": slice(0, end), "validation": slice(end, min(total, end + most)), "test": slice(0, most)}
    generator = torch.Generator().manual_seed(0)
    parts = {}
    for name, rows in places.items():
        x, labels = (data.test_x, data.test_y) if name == "test" else (data.train_x, data.train_y)
        shifted = x[rows]
        if shift is not None:
            shifted = (shift(data.pixels(shifted), generator)[:, None] - data.mean) / data.spread
        parts[name] = LabelledImages(x[rows], shifted, labels[rows])
    return parts


def with_interval(values: Tensor) -> tuple[float, float, float]:
    """Mean over networks, and its bootstrap interval."""
    value, low, high = astuple(bootstrap_mean(values.double().numpy()))
    return value, low, high


def step_generator(seed: int, step: int) -> torch.Generator:
    """A generator of its own for each training step, so that a run that goes on draws what it would have drawn."""
    return torch.Generator().manual_seed(1_000_003 * seed + step)
