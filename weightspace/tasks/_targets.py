"""What a task predicts of a network: attributes that are fractions, numbers, logarithms of numbers, or classes."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from weightspace.errors import ConfigurationError

KINDS = ("fraction", "number", "log", "class")


@dataclass(frozen=True)
class Target:
    """An attribute to predict.

    Args:
        name: of the attribute.
        kind: "fraction", a number from 0 to 1, such as an accuracy; "number"; "log", a number of which orders of
            magnitude count, zero allowed; or "class", any value, of which the networks of the zoo have a few.

    Raises:
        ConfigurationError: another kind.
    """

    name: str
    kind: str = "number"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigurationError(f"target {self.name!r}: found kind {self.kind!r}, wanted {', '.join(KINDS)}")


@dataclass(frozen=True)
class FittedTarget:
    """A target with what the training networks say of it: how outputs of a metanet become predictions and losses.

    A fraction is the sigmoid of one output, its loss the cross-entropy. A number is mean + spread * output with the
    squared error; so is the decimal logarithm of a "log", where a zero counts as a tenth of the smallest positive value
    of the training networks. A class has one output per class and their cross-entropy.

    Args:
        name: of the attribute.
        kind: as in `Target`.
        mean: of the training networks.
        spread: their standard deviation; 1 where they are all equal.
        floor: smallest value that a "log" tells from zero.
        classes: in the order of the outputs.
    """

    name: str
    kind: str
    mean: float = 0.0
    spread: float = 1.0
    floor: float = 0.0
    classes: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """Outputs of the metanet for this target."""
        return len(self.classes) if self.kind == "class" else 1

    def scale(self, values: Tensor) -> Tensor:
        """Values on the scale that errors are measured on: decades for a "log", the values themselves otherwise."""
        return values.clamp(min=self.floor).log10() if self.kind == "log" else values

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Mean loss of outputs (B, width) for values (B,)."""
        if self.kind == "class":
            return F.cross_entropy(output, target)
        if self.kind == "fraction":
            return F.binary_cross_entropy_with_logits(output[:, 0], target)
        return F.mse_loss(output[:, 0], (self.scale(target) - self.mean) / self.spread)

    def prediction(self, output: Tensor) -> Tensor:
        """Predicted values (B,) in the attribute's unit, or the number of the likeliest class."""
        if self.kind == "class":
            return output.argmax(1)
        if self.kind == "fraction":
            return output[:, 0].sigmoid()
        value = self.mean + self.spread * output[:, 0]
        return 10**value if self.kind == "log" else value

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self) | {"classes": list(self.classes)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "FittedTarget":
        """Back from JSON values."""
        return cls(**{**values, "classes": tuple(values["classes"])})


def fit_target(target: Target, values: Tensor, classes: Sequence[str] = ()) -> FittedTarget:
    """The statistics that a target needs, from the training networks.

    Args:
        target: which.
        values: of the training networks, as `read_target` gives them.
        classes: of a "class".

    Shapes:
        values (N,).

    Example:
        >>> fitted = fit_target(Target("weight_decay", "log"), torch.tensor([0.0, 0.01, 0.1]))
        >>> round(fitted.floor, 4), round(fitted.mean, 4)
        (0.001, -2.0)
    """
    if target.kind == "class":
        return FittedTarget(target.name, "class", classes=tuple(classes))
    if target.kind == "fraction":
        return FittedTarget(target.name, "fraction")
    positive = values[values > 0]
    floor = positive.min().item() / 10 if target.kind == "log" and len(positive) else 0.0
    if target.kind == "log" and not floor:
        raise ConfigurationError(
            f"target {target.name!r}: no training network has a positive value, so there are no orders of magnitude; "
            'use kind "number", or another target'
        )
    scaled = FittedTarget(target.name, target.kind, floor=floor).scale(values).double()
    spread = scaled.std(correction=0).item()
    return FittedTarget(target.name, target.kind, scaled.mean().item(), spread if spread > 0 else 1.0, floor)


def read_target(target: Target, rows: Sequence[Mapping[str, Any]]) -> tuple[Tensor, tuple[str, ...]]:
    """Values of a target of networks, and for a class the names of the classes.

    Args:
        target: which.
        rows: attributes of each network.

    Returns:
        Numbers (N,), or positions in the sorted classes; and these classes, empty for numbers.

    Raises:
        ConfigurationError: a network lacks the attribute, or its value is not of the target's kind.

    Example:
        >>> read_target(Target("optimiser", "class"), [{"optimiser": "sgd"}, {"optimiser": "adam"}])
        (tensor([1, 0]), ('adam', 'sgd'))
    """
    if target.kind != "class":
        return torch.tensor([_number(target, row, i) for i, row in enumerate(rows)]), ()
    values = [_class(target, row, i) for i, row in enumerate(rows)]
    classes = sorted(set(values), key=lambda value: (not isinstance(value, int | float), value))
    place = {value: k for k, value in enumerate(classes)}
    return torch.tensor([place[value] for value in values], dtype=torch.long), tuple(str(value) for value in classes)


def _number(target: Target, row: Mapping[str, Any], position: int) -> float:
    value = row.get(target.name)
    wrong = (
        isinstance(value, bool) or not isinstance(value, int | float) or value != value or abs(value) == float("inf")
    )
    if wrong:
        raise _refused(target, row, position, "a number")
    number = float(value)  # type: ignore[arg-type]
    if target.kind == "fraction" and not 0 <= number <= 1:
        raise _refused(target, row, position, "a fraction from 0 to 1")
    if target.kind == "log" and number < 0:
        raise _refused(target, row, position, "a number that is not negative")
    return number


def _class(target: Target, row: Mapping[str, Any], position: int) -> str | int | float:
    value = row.get(target.name)
    if not isinstance(value, str | int | float):
        raise _refused(target, row, position, "a text or a number")
    return value


def _refused(target: Target, row: Mapping[str, Any], position: int, wanted: str) -> ConfigurationError:
    return ConfigurationError(
        f"network {position} of the zoo: attribute {target.name!r} is {row.get(target.name)!r}, wanted {wanted}; "
        f"its attributes are {', '.join(sorted(row))}: choose others with data.targets, or leave the network out with "
        "data.where"
    )
