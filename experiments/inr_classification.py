"""Which digit an INR shows: classification of 5,000 SIRENs fitted to MNIST images, from their weights.

The zoo:  weightspace zoo train inr ZOO --data mnist --networks 5000             (needs WEIGHTSPACE_DATA)
Run:      python -m experiments.inr_classification --zoo ZOO
          python -m experiments.inr_classification --smoke                       (in seconds)
"""

from collections.abc import Sequence
from pathlib import Path

from experiments._prediction_runs import ALL_MODELS, PredictionRuns, about
from experiments._table_command import Table, run_command
from experiments._table_runs import TableResult
from experiments._zoo_problems import label_problem
from weightspace.zoo import InrConfig, Zoo, fit_inrs

SECONDS = 120.0


def tiny_zoo(folder: Path) -> Zoo:
    """Some INRs of digits, hardly fitted."""
    fit_inrs(InrConfig(data="digits", networks=40, steps=4), folder, progress=False)
    return Zoo(folder)


TABLE = Table(
    name="inr_classification",
    models=ALL_MODELS,
    seconds=SECONDS,
    work=lambda zoo: PredictionRuns(zoo, label_problem),
    metric="accuracy",
    tiny_zoo=tiny_zoo,
    about=about(label_problem),
)


def main(argv: Sequence[str] | None = None) -> TableResult:
    return run_command(TABLE, __doc__, argv)


if __name__ == "__main__":
    main()
