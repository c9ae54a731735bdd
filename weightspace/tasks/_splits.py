"""Splits of a zoo by run: checkpoints of one training run never stand on both sides."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from weightspace.errors import ConfigurationError


@dataclass(frozen=True)
class Split:
    """Positions in a zoo, ascending, one tensor per part."""

    train: Tensor
    validation: Tensor
    test: Tensor


def split_by_run(runs: Sequence[Hashable], *, fractions: Sequence[float] = (0.7, 0.1, 0.2), seed: int = 0) -> Split:
    """Draw train, validation and test runs, and give all networks of a run to its part.

    Args:
        runs: the run of each network.
        fractions: of the runs, in the order train, validation, test; they sum to 1.
        seed: of the draw.

    Raises:
        ConfigurationError: fractions that are not three numbers with sum 1, or a part that would be empty.

    Example:
        >>> split = split_by_run(["a", "a", "b", "c", "d"], fractions=(0.5, 0.25, 0.25), seed=0)
        >>> sorted(len(part) for part in (split.train, split.validation, split.test))
        [1, 1, 3]
    """
    if len(fractions) != 3 or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise ConfigurationError(
            f"fractions: found {list(fractions)}, wanted three numbers, none negative, with sum 1 "
            "(train, validation, test)"
        )
    names = list(dict.fromkeys(runs))
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed)).tolist()
    ends = [round(len(names) * fractions[0]), round(len(names) * (fractions[0] + fractions[1])), len(names)]
    parts = []
    for part, start, end, fraction in zip(("train", "validation", "test"), [0, *ends], ends, fractions, strict=False):
        if fraction > 0 and end <= start:
            raise ConfigurationError(
                f"split: {fraction:g} of {len(names)} runs leaves no network for {part}; "
                "use a larger zoo or other fractions"
            )
        chosen = {names[i] for i in order[start:end]}
        parts.append(torch.tensor([i for i, run in enumerate(runs) if run in chosen], dtype=torch.long))
    return Split(*parts)
