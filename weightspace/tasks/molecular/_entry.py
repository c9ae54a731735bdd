"""What is compared: a model, its sizes, and how it is trained."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from weightspace.errors import ConfigurationError
from weightspace.factory import call_factory, factory_from
from weightspace.molecules import MolecularSplits, Molecules

LOSSES = ("mse", "mae", "huber")


@dataclass(frozen=True)
class MolecularTraining:
    """How a model is fitted to molecules; AdamW, warm-up and cosine decay along the share of the budget.

    The loss of energies is taken per atom, that of forces per component:

        L = energy_weight mean_g l((E_g - E_g') / n_g) + force_weight mean_ia l(F_ia - F_ia')

    with l(x) = x^2 for "mse", abs(x) for "mae" (and the length of the difference vector of an atom for forces), and
    Huber's function with its corner at .01 eV, .01 eV/Å for "huber".

    Args:
        learning_rate: after the warm-up.
        batch_size: molecules of a step.
        energy_weight, force_weight: of the loss, in 1/eV and Å/eV to the power of the loss.
        loss: "mse", "mae" or "huber".
        ema_decay: of the exponential moving average of the weights, which validation and test read, at most
            (1 + t) / (10 + t) at step t; None for none.
        weight_decay: of AdamW, on matrices.
        warmup: share of the budget in which the learning rate rises.
        clip: largest norm of the gradient.
        patience: checks on validation molecules without an improvement after which the training ends, where they took
            a fifth of the budget, too.
        check_every: samples between checks; None for the training set's size, but 200 to 1,000.

    Raises:
        ConfigurationError: an unknown loss, or sizes and weights that are not positive.
    """

    learning_rate: float = 2e-3
    batch_size: int = 10
    energy_weight: float = 1.0
    force_weight: float = 1.0
    loss: str = "mae"
    ema_decay: float | None = 0.99
    weight_decay: float = 0.0
    warmup: float = 0.03
    clip: float = 10.0
    patience: int = 100
    check_every: int | None = None

    def __post_init__(self) -> None:
        positive = (self.learning_rate, self.batch_size, self.clip, self.patience, self.check_every or 1)
        if self.loss not in LOSSES or not min(positive) > 0 or min(self.energy_weight, self.force_weight) < 0:
            raise ConfigurationError(
                f"training: found {self}, wanted a loss of {', '.join(LOSSES)}, positive rates and sizes, and weights "
                "of at least zero"
            )


@dataclass(frozen=True)
class BenchmarkModel:
    """A row of the benchmark: which model, of which sizes, trained how.

    Args:
        name: in tables and folders.
        factory: `package.module:name` of a class or function that returns the model; called with `arguments`, and with
            `elements`, the atomic numbers of the data, where it takes them. A model with a method
            `initialise_on(molecules)` is shown the training molecules before any step, to make lazy layers or scales.
        arguments: JSON values.
        training: how it is fitted.
        source: where sizes and training come from.
    """

    name: str
    factory: str
    arguments: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    training: MolecularTraining = MolecularTraining()
    source: str = ""

    def build(self, elements: Sequence[int], *, seed: int = 0) -> nn.Module:
        """The model with weights drawn by a seed, which leaves the global generator as it was.

        Raises:
            ConfigurationError: the factory cannot be imported, or does not take the arguments.
        """
        factory = factory_from(self.factory)
        takes = inspect.signature(factory).parameters
        given = {**self.arguments, **({"elements": tuple(elements)} if "elements" in takes else {})}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return call_factory(factory, self.factory, given)

    def build_for(self, splits: MolecularSplits, *, seed: int = 0) -> nn.Module:
        """The model, which has seen the training molecules where it has a method `initialise_on(molecules)` for that.

        Raises:
            ConfigurationError: as `build`.
        """
        model = self.build(splits.train.elements, seed=seed)
        initialise: Callable[[Molecules], object] | None = getattr(model, "initialise_on", None)
        if initialise is not None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                initialise(splits.train)
        return model

    def with_cutoff(self, cutoff: float) -> "BenchmarkModel":
        """The same model with another cutoff, in Å.

        Raises:
            ConfigurationError: the factory takes no cutoff, or it is not positive.
        """
        if not 0 < cutoff < math.inf:
            raise ConfigurationError(f"cutoff: found {cutoff}, wanted a positive, finite number of Å")
        if "cutoff" not in inspect.signature(factory_from(self.factory)).parameters:
            raise ConfigurationError(
                f"cutoff: {self.name}: {self.factory} takes no argument of that name; leave it out, or leave out "
                f"{self.name}"
            )
        return replace(self, arguments={**self.arguments, "cutoff": float(cutoff)})

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            **vars(self),
            "arguments": dict(self.arguments),
            "training": asdict(self.training),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "BenchmarkModel":
        """Back from `to_json`."""
        return cls(**{**content, "training": MolecularTraining(**content["training"])})
