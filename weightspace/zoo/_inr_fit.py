"""From images to the INRs of one shard: which image and which initialisation each network has, and how it is fitted."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from weightspace.errors import ConfigurationError
from weightspace.images import DATA_SETS, ImageSet
from weightspace.zoo._optimisers import State, adam_step
from weightspace.zoo._shard_run import OnStep
from weightspace.zoo._siren import SPREAD
from weightspace.zoo._siren_stack import SirenStack
from weightspace.zoo._subpopulation import TrainedStack

SHARD = 256  # networks of a full shard
STACK = 16  # networks fitted together; their buffers stay in the cache


@dataclass(frozen=True)
class InrSchedule:
    """Full-batch Adam on the mean squared error of an INR.

    Args:
        steps: unless the configuration says otherwise.
        weight_rates: largest learning rate of the weights of each layer.
        bias_rates: of the biases.
        beta2: of Adam; beta1 is 0.9.
        warmup: share of the steps in which the learning rates rise.
        cosine: whether they fall to zero along a cosine afterwards, or stay.
    """

    steps: int
    weight_rates: tuple[float, float, float]
    bias_rates: tuple[float, float, float]
    beta2: float = 0.999
    warmup: float = 0.0
    cosine: bool = False

    def factor(self, step: int, steps: int) -> float:
        """Share of the largest learning rates in step 0, 1, ... of `steps`."""
        rise = max(1, round(self.warmup * steps)) if self.warmup else 0
        if step < rise:
            return (step + 1) / rise
        return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise))) if self.cosine else 1.0


SCHEDULES = {
    # Learning rates that keep the spread of the weights near that of published INRs, in the fewest steps.
    "fast": InrSchedule(
        300, weight_rates=(1e-2, 4.5e-3, 1e-3), bias_rates=(4.5e-3, 2e-3, 1e-3), beta2=0.95, warmup=0.05, cosine=True
    ),
    "plain": InrSchedule(1000, weight_rates=(5e-4,) * 3, bias_rates=(5e-4,) * 3),
}


@dataclass(frozen=True)
class InrConfig:
    """What `fit_inrs` fits; the same configuration gives the same zoo.

    Args:
        data: images, one of `weightspace.images.DATA_SETS`; training and test part together, in random order.
        networks: how many; at most `inits` per image.
        seed: of the order of the images and of all initial weights.
        inits: networks per image, with initial weights of their own.
        schedule: one of `SCHEDULES`: "fast" (the default), or "plain" for Adam with one constant learning rate.
        steps: of Adam; those of the schedule by default.
        width: neurons of both hidden layers.
        w0: frequency of the sines.
    """

    data: str = "digits"
    networks: int = 1024
    seed: int = 0
    inits: int = 1
    schedule: str = "fast"
    steps: int | None = None
    width: int = 32
    w0: float = 30.0

    def __post_init__(self):
        for field, choices in {"data": DATA_SETS, "schedule": SCHEDULES}.items():
            if getattr(self, field) not in choices:
                raise ConfigurationError(f"{field}: found {getattr(self, field)!r}, wanted one of {', '.join(choices)}")
        numbers = {"networks": self.networks, "inits": self.inits, "steps": self.number_of_steps, "width": self.width}
        for field, value in numbers.items():
            if not isinstance(value, int) or value < 1:
                raise ConfigurationError(f"{field}: found {value!r}, wanted a whole number of at least 1")
        if not 0 < self.w0 < math.inf:
            raise ConfigurationError(f"w0: found {self.w0!r}, wanted a positive number")

    @property
    def number_of_steps(self) -> int:
        """Steps of every network."""
        return SCHEDULES[self.schedule].steps if self.steps is None else self.steps

    @property
    def architecture(self) -> dict[str, Any]:
        """Specification for `build`."""
        return {"factory": "siren", "widths": [self.width, self.width], "w0": self.w0}

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-self.networks // SHARD)

    def networks_of(self, shard: int) -> range:
        """Numbers of a shard's networks in the zoo."""
        return range(shard * SHARD, min(self.networks, (shard + 1) * SHARD))


def check_number(config: InrConfig, data: ImageSet) -> None:
    """Refuse more networks than there are images.

    Raises:
        ConfigurationError: as it says.
    """
    images = len(data.train_y) + len(data.test_y)
    if config.networks > images * config.inits:
        raise ConfigurationError(
            f"networks: found {config.networks} for {images} images of {config.data} with inits={config.inits}, wanted "
            f"at most {images * config.inits}; ask for more initialisations of each image (inits, --inits)"
        )


def fit_shard(config: InrConfig, data: ImageSet, shard: int, *, on_step: OnStep | None = None) -> TrainedStack:
    """Fit the networks of one shard; they depend on the configuration and the shard's number alone.

    Args:
        config: what to fit.
        data: `load_images(config.data)`.
        shard: number, from 0.
        on_step: called after every step with the number of networks that made it.
    """
    numbers = config.networks_of(shard)
    generator = torch.Generator().manual_seed(1_000_003 * config.seed + 7919 * shard + 1)
    seeds = torch.randint(2**62, (SHARD,), generator=generator).tolist()[: len(numbers)]
    total = len(data.train_y) + len(data.test_y)
    order = torch.randperm(total, generator=torch.Generator().manual_seed(config.seed))
    chosen = order[torch.tensor(list(numbers)) // config.inits]  # places in training part, then test part
    parts: list[dict[str, Tensor]] = []
    values: list[Tensor] = []
    for start in range(0, len(numbers), STACK):
        images = _pixels(data, chosen[start : start + STACK])
        stack = SirenStack(images, width=config.width, w0=config.w0)
        weights = initial_weights(stack, config, seeds[start : start + STACK])
        values.append(fit_stack(stack, weights, config, on_step=on_step))
        parts.append(stack.state_dicts(weights))
    psnr = torch.cat(values)
    stacked = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
    finite = torch.stack([value.flatten(1).isfinite().all(1) for value in stacked.values()]).all(0) & psnr.isfinite()
    rows = [
        _attributes(config, data, number, int(chosen[i])) | {"seed": seeds[i], "psnr": float(psnr[i])}
        for i, number in enumerate(numbers)
        if finite[i]
    ]
    kept = {key: value[finite].contiguous() for key, value in stacked.items()}
    return TrainedStack(shard, config.architecture, kept, rows, int((~finite).sum()))


def initial_weights(stack: SirenStack, config: InrConfig, seeds: list[int]) -> Tensor:
    """Rows of weights that are distributed as in a new `siren`: sine layers as in `SineLayer`, then PyTorch's linear.

    Shapes:
        result (B, P).
    """
    weights = torch.zeros(len(seeds), stack.size)
    width = config.width
    bounds = [math.sqrt(SPREAD / 2) / config.w0, math.sqrt(SPREAD / width) / config.w0, 1 / math.sqrt(width)]
    for row, seed in zip(weights, seeds, strict=True):
        generator = torch.Generator().manual_seed(seed)
        for i, (layer, bound) in enumerate(zip(stack.layers(row[None]), bounds, strict=True)):
            drawn = layer if i == 2 else layer[..., :-1]
            drawn.copy_(bound * (2 * torch.rand(drawn.shape, generator=generator) - 1))
    return weights


def fit_stack(stack: SirenStack, weights: Tensor, config: InrConfig, *, on_step: OnStep | None = None) -> Tensor:
    """Fit in place; the peak signal-to-noise ratio of each network in dB, for grey values in [0, 1], unclamped.

    Shapes:
        weights (B, P); result (B,).
    """
    schedule, steps = SCHEDULES[config.schedule], config.number_of_steps
    rates = torch.empty_like(weights[:1])
    for layer, weight_rate, bias_rate in zip(
        stack.layers(rates), schedule.weight_rates, schedule.bias_rates, strict=True
    ):
        layer[..., :-1], layer[..., -1] = weight_rate, bias_rate
    gradient, state = torch.empty_like(weights), State()
    for step in range(steps):
        stack.loss_and_gradient(weights, gradient)
        factor = schedule.factor(step, steps)
        adam_step(weights, gradient, state, step + 1, factor * rates, beta2=schedule.beta2)
        if on_step is not None:
            on_step(len(weights))
    return -10 * torch.log10(stack.loss_and_gradient(weights, gradient))


def _pixels(data: ImageSet, places: Tensor) -> Tensor:
    """Grey values in [0, 1] (B, H, W) of images of both parts."""
    in_train = places < len(data.train_y)
    images = torch.empty(len(places), *data.train_x.shape[1:])
    images[in_train] = data.train_x[places[in_train]]
    images[~in_train] = data.test_x[places[~in_train] - len(data.train_y)]
    return data.pixels(images)


def _attributes(config: InrConfig, data: ImageSet, number: int, place: int) -> dict[str, Any]:
    split = "train" if place < len(data.train_y) else "test"
    image = place if split == "train" else place - len(data.train_y)
    labels = data.train_y if split == "train" else data.test_y
    return {
        "run": f"{config.data}-{split}-{image}",
        "data": config.data,
        "label": int(labels[image]),
        "image": image,
        "split": split,
        "init": number % config.inits,
        "family": "siren",
        "architecture": config.architecture,
        "schedule": config.schedule,
        "steps": config.number_of_steps,
    }
