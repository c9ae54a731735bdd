"""Metrics against scipy and scikit-learn; intervals against a loop over the same resamples."""

import time

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import mean_absolute_error, r2_score

from weightspace.errors import WeightspaceError
from weightspace.measures import METRICS, Estimate, bootstrap, kendall_tau, mae, paired_bootstrap, r2, spearman

REFERENCES = {
    "kendall_tau": lambda p, t: stats.kendalltau(p, t).statistic,
    "spearman": lambda p, t: stats.spearmanr(p, t).statistic,
    "r2": lambda p, t: r2_score(t, p),
    "mae": lambda p, t: mean_absolute_error(t, p),
}


def example(n=40, *, seed=0, ties=True):
    generator = torch.Generator().manual_seed(seed)
    target = torch.rand(n, generator=generator, dtype=torch.float64)
    prediction = target + 0.3 * torch.randn(n, generator=generator, dtype=torch.float64)
    return (prediction.mul(8).round() / 8, target.mul(20).round() / 20) if ties else (prediction, target)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("ties", [False, True])
def test_values_equal_the_references(name, ties):
    prediction, target = example(ties=ties)
    assert METRICS[name](prediction, target) == pytest.approx(
        REFERENCES[name](prediction.numpy(), target.numpy()), rel=1e-10
    )


@pytest.mark.parametrize("name", METRICS)
def test_intervals_equal_a_loop_over_the_resamples(name):
    prediction, target = example()
    found = bootstrap(name, prediction, target, seed=3, resamples=50)
    draws = np.random.default_rng(3).integers(0, 40, size=(50, 40))
    samples = [REFERENCES[name](prediction.numpy()[d], target.numpy()[d]) for d in draws]
    assert [found.low, found.high] == pytest.approx(np.quantile(samples, [0.025, 0.975]), rel=1e-10)
    assert found.value == METRICS[name](prediction, target)


def test_the_interval_covers_as_often_as_it_says():
    generator = torch.Generator().manual_seed(0)
    hits = 0
    for seed in range(100):
        target, noise = torch.randn(2, 100, generator=generator)
        found = bootstrap("spearman", target + noise, target, seed=seed, resamples=200)
        hits += found.low < 0.690 < found.high  # 6 / pi * asin(rho / 2) at correlation 1 / sqrt(2)
    assert 88 <= hits <= 99


def test_a_paired_difference_is_narrower_than_its_parts():
    prediction, target = example(150, ties=False)
    other = prediction + 0.02 * torch.randn(150, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    difference = paired_bootstrap("kendall_tau", prediction, other, target)
    alone = bootstrap("kendall_tau", prediction, target)
    assert difference.high - difference.low < 0.3 * (alone.high - alone.low)
    assert difference.value == kendall_tau(prediction, target) - kendall_tau(other, target)
    assert paired_bootstrap("mae", prediction, prediction, target) == Estimate(0.0, 0.0, 0.0)


def test_excludes_zero():
    assert Estimate(0.1, 0.05, 0.2).excludes_zero and not Estimate(0.1, -0.05, 0.2).excludes_zero


def test_the_pair_table_may_be_cut_into_pieces(monkeypatch):
    prediction, target = example()
    whole = bootstrap("kendall_tau", prediction, target, resamples=20)
    monkeypatch.setattr("weightspace.measures._regression._PAIRS_AT_ONCE", 300)
    cut = bootstrap("kendall_tau", prediction, target, resamples=20)
    assert [cut.low, cut.high] == pytest.approx([whole.low, whole.high], rel=1e-12)


def test_a_thousand_resamples_of_tau_take_less_than_two_seconds():
    prediction, target = example(150)
    start = time.perf_counter()
    bootstrap("kendall_tau", prediction, target)
    assert time.perf_counter() - start < 2


def test_constant_predictions_have_no_rank_correlation_but_an_error():
    constant, target = torch.ones(10), torch.rand(10, generator=torch.Generator().manual_seed(0))
    assert np.isnan(spearman(constant, target)) and np.isnan(bootstrap("spearman", constant, target).low)
    assert r2(constant * target.mean(), target) == pytest.approx(0.0, abs=1e-12)
    assert mae(target, target) == 0


def test_errors_say_what_was_found_and_wanted():
    with pytest.raises(
        WeightspaceError, match=r"predictions of shape \(3,\) and targets of shape \(4,\), wanted two vectors"
    ):
        mae(torch.zeros(3), torch.zeros(4))
    with pytest.raises(WeightspaceError, match="1 of 3 predictions are not finite"):
        mae(torch.tensor([0.0, float("nan"), 1.0]), torch.zeros(3))
    with pytest.raises(WeightspaceError, match="found 'rmse', wanted one of kendall_tau, spearman, r2, mae"):
        bootstrap("rmse", torch.zeros(3), torch.zeros(3))
