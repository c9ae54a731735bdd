"""Measures: functions of numbers, or of a module and data."""

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

__all__ = ["METRICS", "Estimate", "bootstrap", "kendall_tau", "mae", "paired_bootstrap", "r2", "spearman"]
