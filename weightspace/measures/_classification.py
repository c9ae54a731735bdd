"""How often predicted classes are the true ones, with a bootstrap interval.

Legend of shape comments: n networks.
"""

import numpy as np
from torch import Tensor

from weightspace.errors import WeightspaceError
from weightspace.measures._regression import RESAMPLES, Estimate


def accuracy(prediction: Tensor, target: Tensor) -> float:
    """Share of the predictions that are right.

    Args:
        prediction: a class per network, as a number.
        target: the true ones.

    Shapes:
        prediction, target (n,).

    Raises:
        WeightspaceError: shapes that differ, or no networks.

    Example:
        >>> import torch
        >>> accuracy(torch.tensor([0, 1, 2, 2]), torch.tensor([0, 1, 2, 1]))
        0.75
    """
    return float(_correct(prediction, target).mean())


def bootstrap_accuracy(
    prediction: Tensor, target: Tensor, *, seed: int = 0, resamples: int = RESAMPLES, level: float = 0.95
) -> Estimate:
    """The accuracy with its percentile bootstrap interval over networks.

    Args:
        prediction: as in `accuracy`.
        target: likewise.
        seed: of the resampling.
        resamples: how many times the networks are drawn anew, with replacement.
        level: probability that the interval covers.

    Shapes:
        prediction, target (n,).

    Raises:
        WeightspaceError: as `accuracy`.

    Example:
        >>> import torch
        >>> str(bootstrap_accuracy(torch.arange(50), torch.arange(50)))
        '1.000 [1.000, 1.000]'
    """
    return bootstrap_mean(_correct(prediction, target), seed=seed, resamples=resamples, level=level)


def bootstrap_mean(values: np.ndarray, *, seed: int = 0, resamples: int = RESAMPLES, level: float = 0.95) -> Estimate:
    """The mean of one number per network, with its percentile bootstrap interval.

    Args:
        values: one per network.
        seed: of the resampling.
        resamples: how many times the networks are drawn anew, with replacement.
        level: probability that the interval covers.

    Shapes:
        values (n,).

    Example:
        >>> bootstrap_mean(np.array([1.0, 1.0, 1.0])).low
        1.0
    """
    generator = np.random.default_rng(seed)
    means = [values[generator.integers(0, len(values), len(values))].mean() for _ in range(resamples)]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(float(values.mean()), float(low), float(high))


def _correct(prediction: Tensor, target: Tensor) -> np.ndarray:
    if prediction.shape != target.shape or prediction.dim() != 1 or not len(target):
        raise WeightspaceError(
            f"accuracy: found predictions of shape {tuple(prediction.shape)} and targets of shape "
            f"{tuple(target.shape)}, wanted two vectors of the same length, at least 1"
        )
    return (prediction == target).double().cpu().numpy()
