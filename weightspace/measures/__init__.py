"""Measures: functions of numbers, or of a module and data."""

from weightspace.measures._classification import accuracy, bootstrap_accuracy, bootstrap_mean
from weightspace.measures._regression import (
    METRICS,
    Estimate,
    bootstrap,
    kendall_tau,
    mae,
    paired_bootstrap,
    r2,
    spearman,
)

__all__ = [
    "METRICS",
    "Estimate",
    "accuracy",
    "bootstrap",
    "bootstrap_accuracy",
    "bootstrap_mean",
    "kendall_tau",
    "mae",
    "paired_bootstrap",
    "r2",
    "spearman",
]
