"""Which networks a zoo is made of: everything that is drawn, for sub-populations and for their members.

Architecture, activation, optimiser and batch size are drawn per sub-population. Learning rate, initialisation scale,
weight decay, fraction of the training data, label noise and number of steps are drawn per member, independently of each
other, so that neither the norm of the weights nor any other single statistic tells the accuracy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from weightspace.errors import ConfigurationError
from weightspace.images import DATA_SETS
from weightspace.zoo._activations import ACTIVATIONS
from weightspace.zoo._optimisers import OPTIMISERS
from weightspace.zoo._varied_cnn import NORMS, POOLED_HEADS

FAMILIES = ("cnn", "resnet", "mlp", "small_cnn_zoo", "varied_cnn")
RATES = {"sgd": (3e-3, 0.2), "adam": (7e-4, 5e-2), "adamw": (7e-4, 5e-2), "rmsprop": (3e-4, 2e-2)}
CNN_CHANNELS = ((8, 8), (8, 16), (16, 16), (8, 8, 8), (8, 16, 16), (8, 8, 16), (16, 8, 8, 8), (8, 8, 8, 16))
FLAT_CHANNELS = ((8, 8), (8, 16), (8, 8, 8), (16, 16, 8))
RESNET_CHANNELS = ((8,), (8, 8), (8, 16))
MLP_WIDTHS = ((16,), (32,), (16, 16), (32, 16), (32, 32), (24, 24, 24), (48, 24), (32, 16, 16))
VARIED_WIDTHS = (8, 12, 16, 20)
VARIED_DEPTHS = (2, 3, 4, 5)
FIRST_KERNELS, LATER_KERNELS = (3, 5, 7), (1, 3, 3, 5)
BATCH_SIZES = (16, 32)


@dataclass(frozen=True)
class ZooConfig:
    """What `train_zoo` trains; the same configuration gives the same zoo.

    Args:
        data: images to train on, one of `weightspace.images.DATA_SETS`.
        networks: how many; rounded up to whole sub-populations.
        members: networks per sub-population, trained together; 16 to 64 is fastest.
        seed: of everything that is drawn.
        families: architecture families, taken in turn: cnn, resnet, mlp, varied_cnn, small_cnn_zoo (the last
            for 28x28 images).
        activations: to draw from.
        optimisers: to draw from.
        steps: numbers of training steps to draw from.
    """

    data: str = "digits"
    networks: int = 600
    members: int = 32
    seed: int = 0
    families: tuple[str, ...] = ("cnn", "resnet", "cnn", "mlp")
    activations: tuple[str, ...] = ("relu", "gelu", "tanh")
    optimisers: tuple[str, ...] = ("sgd", "adam", "adamw", "rmsprop")
    steps: tuple[int, ...] = (20, 40, 80, 140, 220, 320)

    def __post_init__(self):
        known = {"data": DATA_SETS, "families": FAMILIES, "activations": ACTIVATIONS, "optimisers": OPTIMISERS}
        for field, choices in known.items():
            value = getattr(self, field)
            found = (value,) if isinstance(value, str) else tuple(value)
            wrong = [name for name in found if name not in choices]
            if wrong or not found:
                raise ConfigurationError(f"{field}: found {wrong or 'nothing'}, wanted some of {', '.join(choices)}")
        for field, values in {"networks": [self.networks], "members": [self.members], "steps": self.steps}.items():
            if not values or any(not isinstance(value, int) or value < 1 for value in values):
                raise ConfigurationError(f"{field}: found {list(values)}, wanted whole numbers of at least 1")

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "ZooConfig":
        """From a parsed file; lists become tuples.

        Raises:
            ConfigurationError: a key that is not a field.
        """
        known = [field.name for field in fields(cls)]
        unknown = [key for key in values if key not in known]
        if unknown:
            raise ConfigurationError(
                f"zoo configuration: unknown key {', '.join(unknown)}; the keys are {', '.join(known)}"
            )
        arguments: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**arguments)

    @property
    def subpopulations(self) -> int:
        """Number of sub-populations."""
        return -(-self.networks // self.members)


@dataclass(frozen=True)
class SubPopulation:
    """One stack of networks to train: what they share, and one entry per member of what they do not.

    Args:
        number: position in the zoo.
        architecture: specification for `build`.
        optimiser: one of `OPTIMISERS`.
        batch_size: images per step.
        seeds: one per member, of weights, data and labels.
        learning_rate: per member.
        init_scale: factor on He-initialised weights.
        weight_decay: per member; 0 for about a third.
        train_fraction: share of the training images that a member sees.
        label_noise: share of those whose label is replaced by a wrong one.
        steps: training steps.

    Shapes:
        all from `seeds` on: tuples of B entries.
    """

    number: int
    architecture: Mapping[str, Any]
    optimiser: str
    batch_size: int
    seeds: tuple[int, ...]
    learning_rate: tuple[float, ...]
    init_scale: tuple[float, ...]
    weight_decay: tuple[float, ...]
    train_fraction: tuple[float, ...]
    label_noise: tuple[float, ...]
    steps: tuple[int, ...]


def draw_subpopulation(config: ZooConfig, number: int, image: Sequence[int]) -> SubPopulation:
    """Sub-population `number` of a configuration; depends on nothing else.

    Args:
        config: what to draw from.
        number: from 0 to `config.subpopulations - 1`.
        image: (channels, height, width) of the training images.

    Example:
        >>> draw_subpopulation(ZooConfig(members=2), 3, (1, 8, 8)).architecture["factory"]
        'mlp'
    """
    generator = torch.Generator().manual_seed(1_000_003 * config.seed + 7919 * number + 1)
    count = config.members
    family = config.families[number % len(config.families)]
    optimiser = _choice(config.optimisers, generator)
    low, high = RATES[optimiser]
    decayed = torch.rand(count, generator=generator) < 0.65
    noisy = torch.rand(count, generator=generator) < 0.5
    return SubPopulation(
        number=number,
        architecture=_architecture(family, _choice(config.activations, generator), image, generator),
        optimiser=optimiser,
        batch_size=_choice(BATCH_SIZES, generator),
        seeds=tuple(torch.randint(2**62, (count,), generator=generator).tolist()),
        learning_rate=_log_uniform(low, high, count, generator),
        init_scale=_log_uniform(0.3, 2.0, count, generator),
        weight_decay=tuple(
            d * bool(keep) for d, keep in zip(_log_uniform(1e-5, 0.1, count, generator), decayed, strict=True)
        ),
        train_fraction=_log_uniform(0.05, 1.0, count, generator),
        label_noise=tuple((0.75 * torch.rand(count, generator=generator) * noisy).tolist()),
        steps=tuple(_choice(config.steps, generator) for _ in range(count)),
    )


def initial_state(
    module: nn.Module, scales: Sequence[float], generators: Sequence[torch.Generator]
) -> dict[str, Tensor]:
    """Stacked state_dicts, He-normal weights (He et al. 2015, arXiv 1502.01852) times a member's scale, biases zero.

    Vectors named `weight` (of norms) are one, buffers as the module has them.

    Shapes:
        result: name -> (B, ...).
    """
    parameters = dict(module.named_parameters())
    stacked = {}
    for name, value in module.state_dict().items():
        if name not in parameters:
            stacked[name] = torch.stack([value] * len(scales))
        elif value.ndim < 2:
            stacked[name] = torch.full((len(scales), *value.shape), float(name.endswith("weight")))
        else:
            spread = (2 / value[0].numel()) ** 0.5
            rows = [
                scale * spread * torch.randn(value.shape, generator=g)
                for scale, g in zip(scales, generators, strict=True)
            ]
            stacked[name] = torch.stack(rows)
    return stacked


def _architecture(family: str, activation: str, image: Sequence[int], generator: torch.Generator) -> dict[str, Any]:
    shared: dict[str, Any] = {"factory": family, "activation": activation}
    if family == "small_cnn_zoo":
        return shared | {"in_channels": image[0]}
    shared["image"] = list(image)
    if family == "mlp":
        return shared | {"widths": list(_choice(MLP_WIDTHS, generator))}
    if family == "resnet":
        return shared | {"channels": list(_choice(RESNET_CHANNELS, generator))}
    if family == "varied_cnn":
        return shared | _varied(generator)
    head = _choice(("gap", "gap", "flatten"), generator)
    channels = _choice(CNN_CHANNELS if head == "gap" else FLAT_CHANNELS, generator)
    return shared | {"channels": list(channels), "strides": [2] + [1] * (len(channels) - 1), "head": head}


def _varied(generator: torch.Generator) -> dict[str, Any]:
    depth = _choice(VARIED_DEPTHS, generator)
    residual = bool(_choice((False, True), generator))
    width = _choice(VARIED_WIDTHS, generator)
    widths = [width if residual else _choice(VARIED_WIDTHS, generator) for _ in range(depth)]
    return {
        "channels": widths,
        "kernels": [_choice(LATER_KERNELS if i else FIRST_KERNELS, generator) for i in range(depth)],
        "norm": _choice(tuple(NORMS), generator),
        "residual": residual,
        "head": _choice(POOLED_HEADS, generator),
    }


def _choice(values: Sequence[Any], generator: torch.Generator) -> Any:
    return values[int(torch.randint(len(values), (), generator=generator))]


def _log_uniform(low: float, high: float, count: int, generator: torch.Generator) -> tuple[float, ...]:
    exponent = torch.rand(count, generator=generator, dtype=torch.float64)
    return tuple((low * (high / low) ** exponent).tolist())
