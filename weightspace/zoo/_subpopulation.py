"""One sub-population from its description to trained weights and the attributes of every member."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from weightspace.images import ImageSet
from weightspace.zoo._architectures import build
from weightspace.zoo._population import Schedule, predict_population, train_population
from weightspace.zoo._sampling import SubPopulation, initial_state

MOST_TRAIN_IMAGES = 2000  # looked at for the training accuracy


@dataclass(frozen=True)
class TrainedStack:
    """Trained members of one sub-population; members whose weights are not finite are left out.

    Args:
        number: of the sub-population.
        architecture: specification of the members.
        stacked: state_dicts, stacked.
        attributes: one dictionary per member.
        diverged: how many members were left out.

    Shapes:
        stacked: name -> (B, ...).
    """

    number: int
    architecture: Mapping[str, Any]
    stacked: dict[str, Tensor]
    attributes: list[dict[str, Any]]
    diverged: int


@dataclass(frozen=True)
class _MemberData:
    labels: Tensor  # (B, N), wrong where label noise struck
    seen: Tensor  # (B, N), which images a member trains on
    order: Tensor  # (B, S, b)


def train_subpopulation(
    sub: SubPopulation, data: ImageSet, *, run: str, on_step: Callable[[int], None] | None = None
) -> TrainedStack:
    """Initialise, train and evaluate the members of a sub-population.

    Args:
        sub: what to train.
        data: on which images.
        run: prefix of the members' run names.
        on_step: called after every step with the number of members that made it.
    """
    generators = [torch.Generator().manual_seed(seed) for seed in sub.seeds]
    module = build(sub.architecture)
    state = initial_state(module, sub.init_scale, generators)
    members = _member_data(sub, data, generators)
    schedule = Schedule(
        images=data.train_x,
        labels=members.labels,
        order=members.order,
        steps=torch.tensor(sub.steps),
        optimiser=sub.optimiser,
        learning_rate=torch.tensor(sub.learning_rate),
        weight_decay=torch.tensor(sub.weight_decay),
    )
    trained = train_population(module, state, schedule, on_step=on_step)
    finite = torch.stack([value.reshape(len(value), -1).isfinite().all(1) for value in trained.values()]).all(0)  # (B,)
    measured = _measure(module, trained, data, members)
    attributes = [
        _attributes(sub, j, data.name, run) | {name: float(values[j]) for name, values in measured.items()}
        for j in range(len(sub.seeds))
        if finite[j]
    ]
    stacked = {name: value[finite].contiguous() for name, value in trained.items()}
    return TrainedStack(sub.number, sub.architecture, stacked, attributes, int((~finite).sum()))


def _member_data(sub: SubPopulation, data: ImageSet, generators: list[torch.Generator]) -> _MemberData:
    total, most = len(data.train_y), max(sub.steps)
    labels = data.train_y.repeat(len(generators), 1)
    seen = torch.zeros(len(generators), total, dtype=torch.bool)
    order = torch.empty(len(generators), most, sub.batch_size, dtype=torch.long)
    for j, generator in enumerate(generators):
        count = min(total, max(sub.batch_size, round(sub.train_fraction[j] * total)))
        chosen = torch.randperm(total, generator=generator)[:count]
        seen[j, chosen] = True
        noisy = chosen[: round(sub.label_noise[j] * count)]
        wrong = torch.randint(1, data.classes, (len(noisy),), generator=generator)
        labels[j, noisy] = (labels[j, noisy] + wrong) % data.classes
        epochs = -(-most * sub.batch_size // count)
        rows = torch.cat([chosen[torch.randperm(count, generator=generator)] for _ in range(epochs)])
        order[j] = rows[: most * sub.batch_size].view(most, sub.batch_size)
    return _MemberData(labels, seen, order)


def _measure(module, trained: dict[str, Tensor], data: ImageSet, members: _MemberData) -> dict[str, Tensor]:
    """Accuracy and mean cross-entropy (B,) on the test images, and on what a member trained on."""
    test = _accuracy_and_loss(
        predict_population(module, trained, data.test_x), data.test_y.expand(len(members.seen), -1)
    )
    part = slice(0, MOST_TRAIN_IMAGES)
    seen = members.seen[:, part].float()
    outputs = predict_population(module, trained, data.train_x[part])
    train = _accuracy_and_loss(outputs, members.labels[:, part], seen)
    return {
        "test_accuracy": test[0],
        "test_loss": test[1],
        "train_accuracy": train[0],
        "train_loss": train[1],
        "generalisation_gap": train[0] - test[0],
    }


def _accuracy_and_loss(outputs: Tensor, labels: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
    correct = (outputs.argmax(2) == labels).float()  # (B, N)
    loss = F.cross_entropy(outputs.transpose(1, 2), labels, reduction="none")
    weight = torch.ones_like(correct) if weight is None else weight
    total = weight.sum(1)
    return (correct * weight).sum(1) / total, (loss * weight).sum(1) / total


def _attributes(sub: SubPopulation, j: int, data: str, run: str) -> dict[str, Any]:
    return {
        "run": f"{run}-{sub.number:04d}-{j:02d}",
        "data": data,
        "family": sub.architecture["factory"],
        "activation": sub.architecture["activation"],
        "architecture": dict(sub.architecture),
        "optimiser": sub.optimiser,
        "batch_size": sub.batch_size,
        "seed": sub.seeds[j],
        "learning_rate": sub.learning_rate[j],
        "init_scale": sub.init_scale[j],
        "weight_decay": sub.weight_decay[j],
        "train_fraction": sub.train_fraction[j],
        "label_noise": sub.label_noise[j],
        "steps": sub.steps[j],
    }
