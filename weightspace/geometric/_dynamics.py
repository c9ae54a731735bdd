"""What models of moving particles share: positions, velocities and charges in, later positions out."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from weightspace import pretrained
from weightspace.errors import GeometryError
from weightspace.geometric._neighbours import neighbours
from weightspace.geometric._take import take


@dataclass(frozen=True)
class ParticleSystem:
    """A batch of systems with all pairs of particles of a system as edges, as a model's `evaluate` reads it.

    Args:
        pos: positions (N, 3).
        velocities: (N, 3).
        charges: (N, 1).
        batch: system of each particle (N,), ascending.
        num_systems: G.
        edge_index: (2, E), sources in row 0, targets in row 1, both directions.
    """

    pos: Tensor
    velocities: Tensor
    charges: Tensor
    batch: Tensor
    num_systems: int
    edge_index: Tensor

    @property
    def source(self) -> Tensor:
        """Where each edge starts (E,)."""
        return self.edge_index[0]

    @property
    def target(self) -> Tensor:
        """Where each edge ends (E,)."""
        return self.edge_index[1]

    def difference(self, x: Tensor) -> Tensor:
        """Values at the target minus those at the source (E, ...)."""
        return take(x, 0, self.target) - take(x, 0, self.source)

    def charge_products(self) -> Tensor:
        """Product of the charges of an edge's ends (E, 1)."""
        return take(self.charges, 0, self.target) * take(self.charges, 0, self.source)

    def sum_edges(self, messages: Tensor) -> Tensor:
        """Sum of messages (E, ...) at their targets (N, ...)."""
        return messages.new_zeros(len(self.pos), *messages.shape[1:]).index_add(0, self.target, messages)

    def per_neighbour(self) -> Tensor:
        """1 / number of neighbours of each particle (N, 1); one where there is none."""
        return 1 / self.sum_edges(self.pos.new_ones(self.edge_index.shape[1], 1)).clamp_min(1)

    def mean_pos(self) -> Tensor:
        """Mean position of each particle's system (N, 3)."""
        sums = self.pos.new_zeros(self.num_systems, 3).index_add(0, self.batch, self.pos)
        count = torch.bincount(self.batch, minlength=self.num_systems).to(self.pos.dtype)
        return take(sums / count.clamp_min(1)[:, None], 0, self.batch)


class AbstractDynamicsModel(nn.Module, ABC):
    """A model that predicts where particles will be after a fixed time.

    Args:
        config: what the constructor of the concrete class was called with, for `save_pretrained`.

    Shapes:
        pos (N, 3), velocities (N, 3), charges (N, 1), batch (N,) ascending or None for one system -> positions (N, 3).
        All pairs of particles of a system that do not coincide are edges.

    Raises:
        GeometryError: shapes or dtypes that do not fit, batch not ascending (looked at on the CPU alone).
    """

    def __init__(self, config: Mapping[str, Any]):
        super().__init__()
        self.config = dict(config)

    @abstractmethod
    def evaluate(self, system: ParticleSystem) -> Tensor:
        """Later positions (N, 3)."""

    def forward(self, pos: Tensor, velocities: Tensor, charges: Tensor, batch: Tensor | None = None) -> Tensor:
        """Later positions (N, 3); see the class."""
        batch = torch.zeros(len(pos), dtype=torch.long, device=pos.device) if batch is None else batch
        self._check(pos, velocities, charges, batch)
        num_systems = int(batch[-1]) + 1 if len(batch) else 0
        edge_index, _ = neighbours(pos.detach(), cutoff=None, batch=batch, num_graphs=num_systems)
        return self.evaluate(ParticleSystem(pos, velocities, charges, batch, num_systems, edge_index))

    def save_pretrained(self, directory: str | Path) -> Path:
        """Write `config.json` and `model.safetensors`."""
        return pretrained.save_pretrained(self, directory)

    @classmethod
    def from_pretrained(cls, directory: str | Path) -> Self:
        """The model that `save_pretrained` wrote, in evaluation mode and the default dtype."""
        return pretrained.from_pretrained(directory, cls)

    def _check(self, pos: Tensor, velocities: Tensor, charges: Tensor, batch: Tensor) -> None:
        name, count = type(self).__name__, len(pos)
        wanted = {"pos": (pos, (count, 3)), "velocities": (velocities, (count, 3)), "charges": (charges, (count, 1))}
        for label, (tensor, shape) in {**wanted, "batch": (batch, (count,))}.items():
            if tuple(tensor.shape) != shape:
                raise GeometryError(f"{name}: {label} has shape {tuple(tensor.shape)}, wanted {shape}")
        if len({pos.dtype, velocities.dtype, charges.dtype}) > 1 or not pos.dtype.is_floating_point:
            raise GeometryError(
                f"{name}: found pos {pos.dtype}, velocities {velocities.dtype} and charges {charges.dtype}, wanted "
                "one floating dtype for all"
            )
        if batch.device.type == "cpu" and bool((batch.diff() < 0).any()):
            raise GeometryError(f"{name}: batch is not ascending; sort particles by system")


class LinearDynamics(AbstractDynamicsModel):
    """Free flight for a learnt time, x + a v: the baseline that every model of the system must beat.

    Source: Satorras et al. 2021, arXiv 2102.09844, table 2, "Linear", and the published code: a starts at 0.7.

    Args:
        time: what a starts at.

    Shapes:
        see `AbstractDynamicsModel`.

    Example:
        >>> model = LinearDynamics()
        >>> model(torch.zeros(2, 3), torch.ones(2, 3), torch.ones(2, 1))[0].tolist()
        [0.699999988079071, 0.699999988079071, 0.699999988079071]
    """

    def __init__(self, *, time: float = 0.7):
        super().__init__({"time": time})
        self.time = nn.Parameter(torch.tensor(time))

    def evaluate(self, system: ParticleSystem) -> Tensor:
        """Later positions (N, 3)."""
        return system.pos + self.time * system.velocities
