"""Splits of a zoo by group: checkpoints of one training run, or fits of one image, never stand on both sides."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from weightspace.errors import ConfigurationError

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Split:
    """Positions in a zoo, ascending, one tensor per part."""

    train: Tensor
    validation: Tensor
    test: Tensor


@dataclass(frozen=True)
class SplitRule:
    """How a zoo is split.

    Args:
        group: attribute that networks which must not be separated share: the training run, or the image of an INR;
            networks without it are groups of their own.
        fractions: of the groups for train, validation and test.
        attribute: attribute that says "train", "validation" or "test" of each network, in place of `fractions`; where
            no network says "validation", the second fraction of the groups of the training networks becomes it.

    Raises:
        ConfigurationError: fractions that are not three numbers with sum 1.
    """

    group: str = "run"
    fractions: tuple[float, float, float] = (0.7, 0.1, 0.2)
    attribute: str | None = None

    def __post_init__(self) -> None:
        _check_fractions(self.fractions)


def split_zoo(rows: Sequence[Mapping[str, Any]], rule: SplitRule | None = None, *, seed: int = 0) -> Split:
    """The parts of a zoo.

    Args:
        rows: attributes of each network.
        rule: how to split; by training run by default.
        seed: of what is drawn.

    Raises:
        ConfigurationError: a part that would be empty; an attribute that names no part.

    Example:
        >>> rows = [{"split": "train"}] * 4 + [{"split": "test"}]
        >>> split_zoo(rows, SplitRule(attribute="split", fractions=(0.5, 0.25, 0.25))).test
        tensor([4])
    """
    rule = SplitRule() if rule is None else rule
    groups = [_group(row, rule.group, i) for i, row in enumerate(rows)]
    if rule.attribute is None:
        return split_by_run(groups, fractions=rule.fractions, seed=seed)
    parts = [_part(row, rule.attribute, i) for i, row in enumerate(rows)]
    found = {part: torch.tensor([i for i, p in enumerate(parts) if p == part], dtype=torch.long) for part in PARTS}
    if len(found["validation"]) or not rule.fractions[1] or not len(found["train"]):
        return Split(**found)
    share = rule.fractions[1]
    inner = split_by_run([groups[i] for i in found["train"]], fractions=(1 - share, share, 0.0), seed=seed)
    return Split(found["train"][inner.train], found["train"][inner.validation], found["test"])


def split_by_run(runs: Sequence[Hashable], *, fractions: Sequence[float] = (0.7, 0.1, 0.2), seed: int = 0) -> Split:
    """Draw train, validation and test runs, and give all networks of a run to its part.

    Args:
        runs: the run (or other group) of each network.
        fractions: of the runs, in the order train, validation, test; they sum to 1.
        seed: of the draw.

    Raises:
        ConfigurationError: fractions that are not three numbers with sum 1, or a part that would be empty.

    Example:
        >>> split = split_by_run(["a", "a", "b", "c", "d"], fractions=(0.5, 0.25, 0.25), seed=0)
        >>> sorted(len(part) for part in (split.train, split.validation, split.test))
        [1, 1, 3]
    """
    _check_fractions(fractions)
    names = list(dict.fromkeys(runs))
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed)).tolist()
    ends = [round(len(names) * fractions[0]), round(len(names) * (fractions[0] + fractions[1])), len(names)]
    parts = []
    for part, start, end, fraction in zip(PARTS, [0, *ends], ends, fractions, strict=False):
        if fraction > 0 and end <= start:
            raise ConfigurationError(
                f"split: {fraction:g} of {len(names)} runs leaves no network for {part}; "
                "use a larger zoo or other fractions"
            )
        chosen = {names[i] for i in order[start:end]}
        parts.append(torch.tensor([i for i, run in enumerate(runs) if run in chosen], dtype=torch.long))
    return Split(*parts)


def _check_fractions(fractions: Sequence[float]) -> None:
    if len(fractions) != 3 or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise ConfigurationError(
            f"fractions: found {list(fractions)}, wanted three numbers, none negative, with sum 1 "
            "(train, validation, test)"
        )


def _group(row: Mapping[str, Any], name: str, position: int) -> Hashable:
    value = row.get(name)
    return ("alone", position) if value is None else ("together", repr(value))


def _part(row: Mapping[str, Any], name: str, position: int) -> str:
    value = row.get(name)
    if value not in PARTS:
        raise ConfigurationError(
            f"network {position} of the zoo: attribute {name!r} is {value!r}, wanted {', '.join(PARTS)}; "
            "give another data.split.attribute, or none to draw the parts"
        )
    return str(value)
