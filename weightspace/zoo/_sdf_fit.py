"""From random solids to the signed-distance networks of one shard: points, training in stacks, labels.

Legend of shape comments: B networks of a stack, N points, P weights.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from weightspace.errors import ConfigurationError
from weightspace.zoo._optimisers import State, adam_step
from weightspace.zoo._sdf_measure import SolidMeasures, measure_solids
from weightspace.zoo._sdf_solids import Solids, random_solids
from weightspace.zoo._shard_run import OnStep
from weightspace.zoo._subpopulation import TrainedStack

SHARD = 256  # networks of a full shard
STACK = 32  # networks fitted together
POOL, CANDIDATES = 4096, 16384  # points of a network, drawn from so many
BATCH = 256  # points of a step
RADIUS = 1.1  # points lie in a ball that is a little larger than the one in which solids are measured
RATE, BETA2, WARMUP = 1e-2, 0.98, 0.05
CHUNK = 1024  # points at which a stack is read at once when it is measured


@dataclass(frozen=True)
class SdfConfig:
    """What `fit_sdfs` fits; the same configuration gives the same zoo.

    Args:
        networks: how many, each of a solid of its own.
        seed: of solids, points and initial weights.
        widths: of the hidden layers.
        steps: of Adam.
        resolution: of the lines along which networks are measured.
    """

    networks: int = 1024
    seed: int = 0
    widths: tuple[int, ...] = (32, 32)
    steps: int = 800
    resolution: int = 48

    def __post_init__(self):
        numbers = {"networks": self.networks, "steps": self.steps, "resolution": self.resolution}
        for field, value in numbers.items():
            if not isinstance(value, int) or value < 1:
                raise ConfigurationError(f"{field}: found {value!r}, wanted a whole number of at least 1")
        if not self.widths or any(not isinstance(width, int) or width < 1 for width in self.widths):
            raise ConfigurationError(f"widths: found {self.widths!r}, wanted whole numbers of at least 1")

    @property
    def architecture(self) -> dict[str, Any]:
        """Specification for `build`."""
        return {"factory": "sdf", "widths": list(self.widths)}

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-self.networks // SHARD)

    def networks_of(self, shard: int) -> range:
        """Numbers of a shard's networks in the zoo."""
        return range(shard * SHARD, min(self.networks, (shard + 1) * SHARD))


class SdfStack:
    """ReLU networks of one form as rows of one matrix; a row holds weight and bias of layer after layer.

    Args:
        widths: of the hidden layers.

    Example:
        >>> stack = SdfStack((4, 5))
        >>> stack(torch.zeros(2, stack.size), torch.zeros(7, 3)).shape
        torch.Size([2, 7])
    """

    def __init__(self, widths: tuple[int, ...]):
        self.sizes = (3, *widths, 1)
        pairs = list(zip(self.sizes[:-1], self.sizes[1:], strict=True))
        self.shapes = [shape for before, after in pairs for shape in ((after, before), (after,))]
        self.names = [f"{2 * i}.{kind}" for i in range(len(pairs)) for kind in ("weight", "bias")]
        self.size = sum(map(math.prod, self.shapes))

    def state_dicts(self, weights: Tensor) -> dict[str, Tensor]:
        """Rows (B, P) as stacked state_dicts of `sdf`, name -> (B, ...); views."""
        pieces = weights.split([math.prod(shape) for shape in self.shapes], 1)
        return {
            name: piece.unflatten(1, shape) for name, piece, shape in zip(self.names, pieces, self.shapes, strict=True)
        }

    def __call__(self, weights: Tensor, points: Tensor) -> Tensor:
        """Values (B, N) of the networks at points (N, 3), or (B, N, 3) of each its own."""
        values = list(self.state_dicts(weights).values())
        h = points.expand(len(weights), *points.shape[-2:])
        for i in range(0, len(values), 2):
            h = torch.baddbmm(values[i + 1][:, None], h, values[i].mT)
            h = h.relu() if i + 2 < len(values) else h
        return h[..., 0]

    def initial(self, count: int, generator: torch.Generator) -> Tensor:
        """Random weights (B, P); the first layer's directions are isotropic, and its planes cross the unit ball."""
        weights = torch.zeros(count, self.size)
        for name, value in self.state_dicts(weights).items():
            if name.endswith("weight"):
                gain = 1.0 if name == self.names[-2] else 2.0
                value.copy_((gain / value.shape[2]) ** 0.5 * torch.randn(value.shape, generator=generator))
            elif name == "0.bias":
                length = self.state_dicts(weights)["0.weight"].norm(dim=2)
                value.copy_(length * (2 * torch.rand(value.shape, generator=generator) - 1))
        return weights


def fit_shard(config: SdfConfig, shard: int, *, on_step: OnStep | None = None) -> TrainedStack:
    """Fit the networks of one shard; they depend on the configuration and the shard's number alone.

    Args:
        config: what to fit.
        shard: number, from 0.
        on_step: called after every step with the number of networks that made it.
    """
    numbers = config.networks_of(shard)
    seeds = torch.Generator().manual_seed(1_000_003 * config.seed + 7919 * shard + 1)
    kept: list[dict[str, Tensor]] = []
    rows: list[dict[str, Any]] = []
    for start in range(0, len(numbers), STACK):
        generator = torch.Generator().manual_seed(int(torch.randint(2**62, (), generator=seeds)))
        solids, stack = random_solids(STACK, generator), SdfStack(config.widths)
        weights = stack.initial(STACK, generator)
        points = training_points(solids, generator)
        chosen = numbers[start : start + STACK]
        told = None if on_step is None else partial(_tell, on_step, len(chosen))
        error = fit_stack(stack, weights, points, solids.distance(points), config.steps, on_step=told)
        found = measure_stack(stack, weights, config.resolution)
        finite = [i for i in range(len(chosen)) if bool(weights[i].isfinite().all())]
        rows += [_attributes(config, solids, found, i, chosen[i]) | {"error": float(error[i])} for i in finite]
        kept.append(stack.state_dicts(weights[finite]))
    stacked = {key: torch.cat([part[key] for part in kept]).contiguous() for key in kept[0]}
    return TrainedStack(shard, config.architecture, stacked, rows, len(numbers) - len(rows))


def training_points(solids: Solids, generator: torch.Generator) -> Tensor:
    """Points of each solid in random order: half of them uniform in a ball, half those nearest to the surface of four
    times as many.

    Shapes:
        result (B, N, 3).
    """
    count = len(solids.kind)
    points = torch.nn.functional.normalize(torch.randn(count, CANDIDATES, 3, generator=generator), dim=2)
    points = points * (RADIUS * torch.rand(count, CANDIDATES, 1, generator=generator) ** (1 / 3))
    half = POOL // 2
    rest = points[:, half:]
    near = solids.distance(rest).abs().topk(half, dim=1, largest=False, sorted=False).indices
    chosen = torch.cat([points[:, :half], rest.gather(1, near[..., None].expand(-1, -1, 3))], 1)
    return chosen[:, torch.randperm(POOL, generator=generator)]


def fit_stack(
    stack: SdfStack, weights: Tensor, points: Tensor, wanted: Tensor, steps: int, *, on_step: OnStep | None = None
) -> Tensor:
    """Fit in place, by Adam on the mean absolute error of batches; the mean absolute error (B,) over all points.

    Shapes:
        weights (B, P); points (B, N, 3); wanted (B, N).
    """
    state: State = {}
    batches = max(1, points.shape[1] // BATCH)
    rise = max(1, round(WARMUP * steps))
    for step in range(steps):
        place = slice((step % batches) * BATCH, (step % batches + 1) * BATCH)
        leaf = weights.detach().requires_grad_()
        loss = (stack(leaf, points[:, place]) - wanted[:, place]).abs().mean(1).sum()
        [gradient] = torch.autograd.grad(loss, leaf)
        factor = min((step + 1) / rise, 0.5 * (1 + math.cos(math.pi * max(0, step - rise) / max(1, steps - rise))))
        adam_step(weights, gradient, state, step + 1, torch.tensor(RATE * factor), beta2=BETA2)
        if on_step is not None:
            on_step(len(weights))
    with torch.no_grad():
        return (stack(weights, points) - wanted).abs().mean(1)


@torch.no_grad()
def measure_stack(stack: SdfStack, weights: Tensor, resolution: int) -> SolidMeasures:
    """Volume, centroid and inertia of the networks of a stack; weights (B, P)."""

    def function(points: Tensor) -> Tensor:
        return torch.cat([stack(weights, part) for part in points.split(CHUNK)], 1)

    return measure_solids(function, resolution=resolution)


def _tell(on_step: OnStep, members: int, _: int) -> None:
    """The last stack of a shard may be fitted for fewer networks than it holds."""
    on_step(members)


def _attributes(config: SdfConfig, solids: Solids, found: SolidMeasures, i: int, number: int) -> dict[str, Any]:
    centroid = {f"centroid_{axis}": float(found.centroid[i, a]) for a, axis in enumerate("xyz")}
    inertia = {f"inertia_{'xyz'[a]}{'xyz'[b]}": float(found.inertia[i, a, b]) for a in range(3) for b in range(a, 3)}
    return {
        "run": f"solid-{config.seed}-{number:05d}",
        "family": "sdf",
        "architecture": config.architecture,
        "solid": solids.describe(i),
        "rotation": solids.pose_rotation[i].flatten().tolist(),
        "translation": solids.pose_translation[i].tolist(),
        "steps": config.steps,
        "volume": float(found.volume[i]),
        **centroid,
        **inertia,
        "leak": float(found.leak[i]),
    }
