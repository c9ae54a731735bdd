"""How well predicted numbers follow the true ones: Kendall's tau, Spearman's rho, R2 and mean absolute error, with
bootstrap intervals.

Legend of shape comments: n networks, R resamples.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats
from torch import Tensor

from weightspace.errors import WeightspaceError

RESAMPLES = 1000
_PAIRS_AT_ONCE = 2**22


@dataclass(frozen=True)
class Estimate:
    """A number with its bootstrap interval.

    Args:
        value: on the data as they are.
        low: lower end of the interval.
        high: upper end.

    Example:
        >>> str(Estimate(0.912, 0.881, 0.934))
        '0.912 [0.881, 0.934]'
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"

    @property
    def excludes_zero(self) -> bool:
        """Whether zero lies outside the interval."""
        return self.low > 0 or self.high < 0


def kendall_tau(prediction: Tensor, target: Tensor) -> float:
    """Kendall's tau-b (ties corrected), by scipy; NaN where either side is constant.

    Example:
        >>> import torch
        >>> round(kendall_tau(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.1, 0.3, 0.2])), 3)
        0.333
    """
    return float(stats.kendalltau(*_pair(prediction, target)).statistic)


def spearman(prediction: Tensor, target: Tensor) -> float:
    """Spearman's rank correlation; NaN where either side is constant.

    Example:
        >>> import torch
        >>> spearman(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 4.0, 9.0]))
        1.0
    """
    return float(_spearman(*(side[None] for side in _pair(prediction, target)))[0])


def r2(prediction: Tensor, target: Tensor) -> float:
    """Coefficient of determination, 1 - (sum of squared errors) / (sum of squared deviations of the target from its
    mean).

    Example:
        >>> import torch
        >>> r2(torch.tensor([2.0, 2.0, 2.0]), torch.tensor([1.0, 2.0, 3.0]))
        0.0
    """
    return float(_r2(*(side[None] for side in _pair(prediction, target)))[0])


def mae(prediction: Tensor, target: Tensor) -> float:
    """Mean absolute error, in the target's unit.

    Example:
        >>> import torch
        >>> mae(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0]))
        1.0
    """
    return float(_mae(*(side[None] for side in _pair(prediction, target)))[0])


def bootstrap(
    metric: str, prediction: Tensor, target: Tensor, *, seed: int = 0, resamples: int = RESAMPLES, level: float = 0.95
) -> Estimate:
    """A metric with its percentile bootstrap interval over networks.

    Args:
        metric: "kendall_tau", "spearman", "r2" or "mae".
        prediction: one number per network.
        target: likewise.
        seed: of the resampling; the same seed draws the same networks for every metric and predictor.
        resamples: how many times the networks are drawn anew, with replacement.
        level: probability that the interval covers.

    Shapes:
        prediction, target (n,).

    Raises:
        WeightspaceError: an unknown metric, shapes that differ, fewer than two networks, or values that are not finite.

    Example:
        >>> import torch
        >>> x = torch.arange(20.0)
        >>> str(bootstrap("kendall_tau", x, x**2))
        '1.000 [1.000, 1.000]'
    """
    sides = _pair(prediction, target)
    value = METRICS[_known(metric)](prediction, target)
    samples = _resampled(metric, *sides, _draws(len(sides[0]), seed, resamples))
    return _interval(value, samples, level)


def paired_bootstrap(
    metric: str,
    first: Tensor,
    second: Tensor,
    target: Tensor,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = 0.95,
) -> Estimate:
    """By how much the metric of one predictor exceeds that of another, on the same networks, with its interval.

    Args:
        metric: as in `bootstrap`.
        first: predictions of one predictor.
        second: predictions of the other.
        target: the truth.
        seed: of the resampling.
        resamples: how many times the networks are drawn anew; both predictors see the same ones.
        level: probability that the interval covers.

    Shapes:
        first, second, target (n,).

    Raises:
        WeightspaceError: as `bootstrap`.

    Example:
        >>> import torch
        >>> target = torch.arange(20.0)
        >>> paired_bootstrap("mae", target + 1, target + 3, target).value
        -2.0
    """
    one, other = _pair(first, target), _pair(second, target)
    draws = _draws(len(one[0]), seed, resamples)
    value = METRICS[_known(metric)](first, target) - METRICS[metric](second, target)
    return _interval(value, _resampled(metric, *one, draws) - _resampled(metric, *other, draws), level)


def _pair(prediction: Tensor, target: Tensor) -> tuple[np.ndarray, np.ndarray]:
    if prediction.shape != target.shape or prediction.dim() != 1 or len(target) < 2:
        raise WeightspaceError(
            f"metric: found predictions of shape {tuple(prediction.shape)} and targets of shape {tuple(target.shape)}, "
            "wanted two vectors of the same length, at least 2"
        )
    sides = prediction.detach().double().cpu().numpy(), target.detach().double().cpu().numpy()
    for name, side in zip(("predictions", "targets"), sides, strict=True):
        if not np.isfinite(side).all():
            count = int((~np.isfinite(side)).sum())
            raise WeightspaceError(
                f"metric: {count} of {len(side)} {name} are not finite; look at what made them before scoring"
            )
    return sides


def _known(metric: str) -> str:
    if metric not in METRICS:
        raise WeightspaceError(f"metric: found {metric!r}, wanted one of {', '.join(METRICS)}")
    return metric


def _draws(n: int, seed: int, resamples: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, n, size=(resamples, n))


def _interval(value: float, samples: np.ndarray, level: float) -> Estimate:
    samples = samples[np.isfinite(samples)]  # a resample of one network only has no rank correlation
    if not len(samples):
        return Estimate(value, float("nan"), float("nan"))
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, float(low), float(high))


def _resampled(metric: str, prediction: np.ndarray, target: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """The metric of each resample, shape (R,); draws (R, n)."""
    if metric == "kendall_tau":
        return _kendall(prediction, target, draws)
    return _ROWWISE[metric](prediction[draws], target[draws])


def _kendall(prediction: np.ndarray, target: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Tau-b of resamples from one table of pairs: sum_ij c_i c_j sign(p_i - p_j) sign(t_i - t_j), c how often drawn."""
    n = len(target)
    counts = np.zeros((len(draws), n))
    np.add.at(counts, (np.arange(len(draws))[:, None], draws), 1)
    agree, moved_p, moved_t = np.zeros((3, len(draws)))
    rows = max(1, _PAIRS_AT_ONCE // n)
    for start in range(0, n, rows):
        here = slice(start, start + rows)
        sign_p = np.sign(prediction[here, None] - prediction[None])
        sign_t = np.sign(target[here, None] - target[None])
        agree += (counts[:, here] * (counts @ (sign_p * sign_t).T)).sum(1)
        moved_p += (counts[:, here] * (counts @ np.abs(sign_p).T)).sum(1)
        moved_t += (counts[:, here] * (counts @ np.abs(sign_t).T)).sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return agree / np.sqrt(moved_p * moved_t)


def _spearman(prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    x, y = (stats.rankdata(side, axis=1) for side in (prediction, target))
    x, y = x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (x * y).sum(1) / np.sqrt((x * x).sum(1) * (y * y).sum(1))


def _r2(prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return 1 - ((prediction - target) ** 2).sum(1) / ((target - target.mean(1, keepdims=True)) ** 2).sum(1)


def _mae(prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    return np.abs(prediction - target).mean(1)


_ROWWISE: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {"spearman": _spearman, "r2": _r2, "mae": _mae}
METRICS: dict[str, Callable[[Tensor, Tensor], float]] = {
    "kendall_tau": kendall_tau,
    "spearman": spearman,
    "r2": r2,
    "mae": mae,
}
"""The metrics by name, in the order in which tables show them."""
