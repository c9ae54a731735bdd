"""In which order a zoo is read: batches of positions of one architecture, or over all of them."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor


def batches_of_one_architecture(
    groups: Sequence[Tensor], batch_size: int, *, shuffle: bool, generator: torch.Generator | None
) -> Iterator[Tensor]:
    """Every position once, each batch out of one group; shuffled, batches of the groups come in random order.

    Example:
        >>> groups = [torch.arange(3), torch.arange(3, 5)]
        >>> [b.tolist() for b in batches_of_one_architecture(groups, 2, shuffle=False, generator=None)]
        [[0, 1], [2], [3, 4]]
    """
    if not shuffle:
        return (batch for group in groups for batch in group.split(batch_size))
    batches = [b for g in groups for b in g[torch.randperm(len(g), generator=generator)].split(batch_size)]
    return (batches[i] for i in torch.randperm(len(batches), generator=generator).tolist())


def mixed_batches(
    groups: Sequence[Tensor], batch_size: int, *, shuffle: bool, generator: torch.Generator | None
) -> Iterator[Tensor]:
    """Every position once, in ascending or random order, whatever its group.

    Example:
        >>> groups = [torch.tensor([0, 2]), torch.tensor([1])]
        >>> [b.tolist() for b in mixed_batches(groups, 2, shuffle=False, generator=None)]
        [[0, 1], [2]]
    """
    everything = torch.cat([*groups, torch.zeros(0, dtype=torch.long)])
    order = torch.randperm(len(everything), generator=generator) if shuffle else everything.argsort()
    return iter(everything[order].split(batch_size) if len(everything) else ())
