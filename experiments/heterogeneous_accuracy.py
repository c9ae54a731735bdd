"""Accuracy prediction on 1,500 CNNs that vary in depth, width, kernels, normalisation, skips and head (MNIST, 14x14).

The zoo:  weightspace zoo train ZOO --data mnist14 --networks 1500 --families varied_cnn --members 10
              --activations relu tanh gelu --steps 20 40 80 160 320 480           (needs WEIGHTSPACE_DATA)
Run:      python -m experiments.heterogeneous_accuracy --zoo ZOO
          python -m experiments.heterogeneous_accuracy --smoke                    (in seconds)
"""

from collections.abc import Sequence
from pathlib import Path

from experiments._prediction_runs import MIXED_MODELS, PredictionRuns, about
from experiments._table_command import Table, run_command
from experiments._table_runs import TableResult
from experiments._zoo_problems import varied_accuracy_problem
from weightspace.zoo import Zoo, ZooConfig, train_zoo

SECONDS = 180.0


def tiny_zoo(folder: Path) -> Zoo:
    """Some networks of three architectures on digits."""
    train_zoo(ZooConfig(networks=24, members=8, families=("varied_cnn",), steps=(2, 6)), folder, progress=False)
    return Zoo(folder)


TABLE = Table(
    name="heterogeneous_accuracy",
    models=MIXED_MODELS,
    seconds=SECONDS,
    work=lambda zoo: PredictionRuns(zoo, varied_accuracy_problem),
    metric="kendall_tau",
    tiny_zoo=tiny_zoo,
    about=about(varied_accuracy_problem),
)


def main(argv: Sequence[str] | None = None) -> TableResult:
    return run_command(TABLE, __doc__, argv)


if __name__ == "__main__":
    main()
