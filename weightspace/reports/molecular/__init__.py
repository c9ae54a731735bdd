"""Tables and figures of the molecular benchmark."""

from weightspace.reports.molecular._benchmark import (
    build_benchmark_page,
    parity_points,
    predictions_under,
    write_figures,
)
from weightspace.reports.molecular._rows import BenchmarkRow, by_conditions, read_runs, rows_of
from weightspace.reports.molecular._tables import data_section, markdown_table

__all__ = [
    "BenchmarkRow",
    "build_benchmark_page",
    "by_conditions",
    "data_section",
    "markdown_table",
    "parity_points",
    "predictions_under",
    "read_runs",
    "rows_of",
    "write_figures",
]
