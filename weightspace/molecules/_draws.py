"""Which molecules train, validate and test: drawn by a seed, the same on every machine."""

import torch
from torch import Tensor

from weightspace.errors import ConfigurationError, MoleculeError

TEST_SEED = 0


def drawn_parts(
    count: int, seed: int, *, sizes: tuple[int, ...], where: str, fix: str = "ask for fewer"
) -> list[Tensor]:
    """Disjoint random parts of `count` rows, of these sizes in that order.

    The parts are cut from the end of one random order, the last part first: with fewer training frames the validation
    frames stay the same, and the training frames are some of those before.

    Raises:
        ConfigurationError: a negative size.
        MoleculeError: more rows wanted than there are.
    """
    if any(size < 0 for size in sizes):
        raise ConfigurationError(f"{where}: found sizes {sizes}, wanted none below zero")
    if sum(sizes) > count:
        parts = " + ".join(str(size) for size in sizes)
        raise MoleculeError(f"{where}: the split names {parts} frames, found {count}; {fix}")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    ends, parts_of_order = count, []
    for size in reversed(sizes):
        parts_of_order.append(order[ends - size : ends])
        ends -= size
    return parts_of_order[::-1]


def fixed_subset(count: int, size: int | None, where: str, *, published: int = 0, fix: str = "ask for fewer") -> Tensor:
    """All rows in their order, or a subset that depends on its size alone: every seed is tested on the same rows.

    Args:
        count: of the rows that there are.
        size: how many are asked for; None for all.
        where: what an error names.
        published: how many there are at least where all are asked for.
        fix: what to do, for the error.

    Raises:
        MoleculeError: more rows wanted than there are.
    """
    if size is None and count >= published:
        return torch.arange(count)
    wanted = published if size is None else size
    return drawn_parts(count, TEST_SEED, sizes=(wanted,), where=where, fix=fix)[0].sort().values


def random_split(
    count: int,
    seed: int,
    *,
    sizes: tuple[int | None, int | None, int | None],
    defaults: tuple[int, int],
    where: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Rows to train on, to validate and to test on; the test rows depend on their number alone, not on the seed.

    Args:
        count: of all rows.
        seed: draws training and validation rows.
        sizes: of training, validation and test part; None for all that is left, and the defaults.
        defaults: sizes of validation and test part.
        where: what an error names.

    Raises:
        MoleculeError: more rows wanted than there are.
    """
    held, tested = (default if size is None else size for size, default in zip(sizes[1:], defaults, strict=True))
    kept = max(count - held - tested, 0) if sizes[0] is None else sizes[0]
    if kept + held + tested > count or not kept:
        raise MoleculeError(
            f"{where}: the split names {kept} + {held} + {tested} molecules, found {count}; ask for fewer, and for at "
            "least one to train on"
        )
    others, test = drawn_parts(count, TEST_SEED, sizes=(count - tested, tested), where=where)
    train, validation = drawn_parts(len(others), seed, sizes=(kept, held), where=where)
    others = others.sort().values
    return others[train], others[validation], test.sort().values
