"""Fitting the shards that a zoo of stacked networks lacks, whatever is fitted."""

from collections.abc import Callable, Sequence

from weightspace.space import WeightSpace
from weightspace.zoo._shard_run import OnStep, progress_bar, run_side_by_side
from weightspace.zoo._store import Zoo
from weightspace.zoo._subpopulation import TrainedStack


def fit_missing_shards(
    zoo: Zoo,
    space: WeightSpace,
    *,
    sizes: Sequence[int],
    fit: Callable[[int, OnStep], TrainedStack],
    steps: int,
    text: str,
    progress: bool,
    workers: int | None,
) -> tuple[int, int]:
    """Fit them side by side and store each as it is done.

    Args:
        zoo: open for training.
        space: of the networks.
        sizes: how many networks each shard holds.
        fit: makes the shard of a number.
        steps: of one network.
        text: what is fitted, for the progress bar.
        progress: show one.
        workers: shards at the same time.

    Returns:
        Networks fitted, and networks that diverged.
    """
    missing = [number for number in range(len(sizes)) if number not in zoo.numbers]
    networks = sum(sizes[number] for number in missing)
    fitted = diverged = 0
    with progress_bar(f"fitting {networks} {text}", networks * steps, shown=progress) as advance:
        for stack in run_side_by_side(missing, fit, workers=workers, advance=advance):
            diverged += stack.diverged
            if stack.attributes:
                fitted += len(stack.attributes)
                zoo.append(space, stack.stacked, stack.attributes, number=stack.number)
    return fitted, diverged
