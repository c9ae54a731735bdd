"""Volume, centroid and inertia of signed-distance networks: networks and labels in any pose, loss and errors."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from experiments._budgeted_training import Problem
from weightspace.graph import ParameterGraph
from weightspace.metanets import CoordinateGMN, InputScales, fit_input_scales
from weightspace.zoo import Zoo, move_coordinates, random_rotations

OUTPUTS = ("scalar", "position", "tensor")
PROPERTIES = ("volume", "centroid", "inertia")
FARTHEST = 0.3  # translations of moved networks


@dataclass(frozen=True)
class Motions:
    """Elements of E(3), one per network; (N, 3, 3) and (N, 3)."""

    rotation: Tensor
    translation: Tensor

    def at(self, index: Tensor) -> "Motions":
        """Those of some networks."""
        return Motions(self.rotation[index], self.translation[index])


def random_motions(count: int, generator: torch.Generator) -> Motions:
    """Uniform rotations and reflections, and translations that are uniform in a ball."""
    rotation = random_rotations(count, generator)
    rotation = torch.where(torch.rand(count, 1, 1, generator=generator) < 0.5, -rotation, rotation)
    away = nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=1)
    return Motions(rotation, FARTHEST * away * torch.rand(count, 1, generator=generator) ** (1 / 3))


@dataclass(frozen=True)
class Labels:
    """Volume (N,), centroid (N, 3) and inertia tensor (N, 3, 3)."""

    volume: Tensor
    centroid: Tensor
    inertia: Tensor

    def at(self, index: Tensor) -> "Labels":
        """Those of some networks."""
        return Labels(self.volume[index], self.centroid[index], self.inertia[index])

    def moved(self, motions: Motions) -> "Labels":
        """Those of the moved shapes."""
        r = motions.rotation
        centroid = (r @ self.centroid[..., None])[..., 0] + motions.translation
        return Labels(self.volume, centroid, r @ self.inertia @ r.mT)

    @property
    def parts(self) -> tuple[Tensor, Tensor, Tensor]:
        """Each property as rows, (N, 1), (N, 3), (N, 9)."""
        return self.volume[:, None], self.centroid, self.inertia.flatten(1)


@dataclass(frozen=True)
class Networks:
    """Stacked networks of one architecture with their labels.

    Args:
        zoo: gives the architecture.
        states: stacked state_dicts.
        labels: of these networks.
    """

    zoo: Zoo
    states: dict[str, Tensor]
    labels: Labels

    @classmethod
    def of_zoo(cls, zoo: Zoo) -> "Networks":
        """All networks of a zoo of one architecture."""
        rows = zoo.attributes

        def column(name: str) -> Tensor:
            return torch.tensor([row[name] for row in rows])

        centroid = torch.stack([column(f"centroid_{a}") for a in "xyz"], 1)
        inertia = torch.stack([column(f"inertia_{min(a, b)}{max(a, b)}") for a in "xyz" for b in "xyz"], 1)
        labels = Labels(column("volume"), centroid, inertia.unflatten(1, (3, 3)))
        return cls(zoo, zoo.stacked(range(len(zoo))), labels)

    @property
    def poses(self) -> Motions:
        """From the solids' own frames to where they were placed."""
        rows = self.zoo.attributes
        rotation = torch.tensor([row["rotation"] for row in rows]).unflatten(1, (3, 3))
        return Motions(rotation, torch.tensor([row["translation"] for row in rows]))

    def moved(self, motions: Motions) -> "Networks":
        """The networks of the moved shapes."""
        states = move_coordinates(self.states, motions.rotation, motions.translation)
        return Networks(self.zoo, states, self.labels.moved(motions))

    def in_own_frames(self) -> "Networks":
        """The networks of the solids in their own frames, by the inverse of their poses."""
        poses = self.poses
        back = poses.rotation.mT
        return self.moved(Motions(back, -(back @ poses.translation[..., None])[..., 0]))

    def at(self, index: Tensor) -> "Networks":
        """Some networks."""
        return Networks(self.zoo, {key: value[index] for key, value in self.states.items()}, self.labels.at(index))

    @property
    def graph(self) -> ParameterGraph:
        """All of them as one batch."""
        [space] = self.zoo.spaces.values()
        return space.to_graphs(self.states)


class Properties:
    """Predicts the three properties; a metanet's numbers are taken in units of the spread of the training labels.

    Args:
        train: networks to learn from.
    """

    def __init__(self, train: Networks):
        volume, centroid, inertia = train.labels.volume, train.labels.centroid, train.labels.inertia
        isotropic = inertia.diagonal(dim1=1, dim2=2).mean() * torch.eye(3)
        self.middles = (volume.mean(), torch.zeros(3), isotropic.flatten())
        spreads = (volume - volume.mean(), centroid, inertia - isotropic)
        self.units = [values.flatten(1).square().sum(1).mean().sqrt() if values.ndim > 1 else values.std()
                      for values in spreads]  # fmt: skip

    @property
    def scales(self) -> list[Tensor]:
        """Units of the properties."""
        return self.units

    def labels(self, rows: Tensor) -> Labels:
        """From the numbers of a metanet, (N, 13) or (N, 10) with a tensor's six numbers."""
        if rows.shape[1] == 10:
            rows = torch.cat([rows[:, :4], rows[:, torch.tensor([4, 5, 6, 5, 7, 8, 6, 8, 9])]], 1)
        volume, centroid, inertia = (
            middle + unit * part
            for middle, unit, part in zip(self.middles, self.units, rows.split([1, 3, 9], 1), strict=True)
        )
        return Labels(volume[:, 0], centroid, inertia.unflatten(1, (3, 3)))

    def loss(self, found: Labels, wanted: Labels) -> Tensor:
        """Sum of the properties' mean squared errors in their units."""
        pairs = zip(found.parts, wanted.parts, self.units, strict=True)
        return torch.stack([((f - w) / unit).square().sum(1).mean() for f, w, unit in pairs]).sum()


def errors(found: Labels, wanted: Labels) -> dict[str, float]:
    """Root mean squared errors as shares of the spread of what is wanted, about its mean (for the tensor, the isotropic
    one).
    """
    result = {}
    for name, f, w in zip(PROPERTIES, found.parts, wanted.parts, strict=True):
        middle = w.mean(0)
        if name == "inertia":
            middle = middle[[0, 4, 8]].mean() * torch.eye(3).flatten()
        spread = (w - middle).square().sum(1).mean()
        result[name] = ((f - w).square().sum(1).mean() / spread).sqrt().item()
    return result


class PropertyProblem:
    """What is learned, on networks of one set of poses.

    Args:
        networks: train, validation and test networks.
        train: positions of those to learn from.
        validation: positions of those to choose weights by.
        augmented: whether every network is moved at random each time it is learned from.
        generator: of these motions.
        properties: their units.
    """

    def __init__(
        self,
        networks: Networks,
        *,
        train: Tensor,
        validation: Tensor,
        augmented: bool,
        generator: torch.Generator,
        properties: Properties,
    ):
        self.networks, self.train, self.validation = networks, train, validation
        self.augmented, self.generator, self.properties = augmented, generator, properties
        self.wanted = networks.labels

    def scales(self) -> InputScales:
        """Input scales of the training networks."""
        return fit_input_scales([self.networks.at(self.train).graph])

    @property
    def problem(self) -> Problem:
        """For `train_within`."""
        return Problem(
            train=self.train,
            validation=self.validation,
            outputs=self.outputs,
            loss=self.loss,
            score=lambda rows, index: -self.loss(rows, index).item(),
        )

    def outputs(self, metanet: nn.Module, index: Tensor) -> Tensor:
        """Properties of networks, moved ones while an augmented metanet learns; what is wanted stands beside."""
        networks = self.networks.at(index)
        if self.augmented and metanet.training:
            networks = networks.moved(random_motions(len(index), self.generator))
        found = self.properties.labels(readings(metanet, networks, self.properties))
        return torch.cat([*found.parts, *networks.labels.parts], 1)

    def loss(self, rows: Tensor, index: Tensor) -> Tensor:
        """Mean squared errors."""
        found, wanted = (
            Labels(part[:, 0], part[:, 1:4], part[:, 4:].unflatten(1, (3, 3))) for part in rows.split(13, 1)
        )
        return self.properties.loss(found, wanted)


def readings(metanet: nn.Module, networks: Networks, properties: Properties) -> Tensor:
    """Numbers of a metanet in the units of the properties: positions of an equivariant one are positions in space."""
    rows: Tensor = metanet(networks.graph)
    if isinstance(metanet, CoordinateGMN):
        rows = torch.cat([rows[:, :1], rows[:, 1:4] / properties.units[1], rows[:, 4:]], 1)
    return rows


def predicted(metanet: nn.Module, networks: Networks, properties: Properties, chunk: int = 128) -> Labels:
    """Labels of networks in evaluation mode."""
    metanet.eval()
    parts: list[Any] = []
    with torch.no_grad():
        for index in torch.arange(len(networks.labels.volume)).split(chunk):
            some = networks.at(index)
            parts.append(properties.labels(readings(metanet, some, properties)))
    return Labels(*(torch.cat(each) for each in zip(*[(p.volume, p.centroid, p.inertia) for p in parts], strict=True)))
