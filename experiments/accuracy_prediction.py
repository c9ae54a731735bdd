"""Accuracy prediction on 4,000 networks of the Small CNN Zoo architecture, trained on MNIST.

The zoo:  weightspace zoo train ZOO --data mnist --networks 4000 --families small_cnn_zoo --activations relu tanh
              --steps 20 40 80 160 320 480                                       (needs WEIGHTSPACE_DATA)
Run:      python -m experiments.accuracy_prediction --zoo ZOO --seeds 0 1 2
          python -m experiments.accuracy_prediction --smoke                       (in seconds)
"""

from collections.abc import Sequence
from pathlib import Path

from experiments._prediction_runs import ALL_MODELS, PredictionRuns, about
from experiments._table_command import Table, run_command
from experiments._table_runs import TableResult
from experiments._zoo_problems import accuracy_problem
from weightspace.zoo import Zoo, ZooConfig, train_zoo

SECONDS = 100.0


def tiny_zoo(folder: Path) -> Zoo:
    """Some networks of convolutions on digits."""
    train_zoo(ZooConfig(networks=24, members=24, families=("cnn",), steps=(4, 20)), folder, progress=False)
    return Zoo(folder)


TABLE = Table(
    name="accuracy_prediction",
    models=ALL_MODELS,
    seconds=SECONDS,
    work=lambda zoo: PredictionRuns(zoo, accuracy_problem),
    metric="kendall_tau",
    tiny_zoo=tiny_zoo,
    about=about(accuracy_problem),
)


def main(argv: Sequence[str] | None = None) -> TableResult:
    return run_command(TABLE, __doc__, argv)


if __name__ == "__main__":
    main()
