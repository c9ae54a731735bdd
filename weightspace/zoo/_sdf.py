"""A zoo of signed-distance networks of random solids, with labels measured on the networks."""

import os
import time
from pathlib import Path

import torch

from weightspace.tracing import trace
from weightspace.zoo._architectures import build
from weightspace.zoo._fit_shards import fit_missing_shards
from weightspace.zoo._sdf_fit import SHARD, SdfConfig, fit_shard
from weightspace.zoo._shard_run import OnStep, ZooSummary, open_for_training
from weightspace.zoo._subpopulation import TrainedStack


def fit_sdfs(
    config: SdfConfig,
    destination: str | os.PathLike[str],
    *,
    progress: bool = True,
    workers: int | None = None,
) -> ZooSummary:
    """Fit a zoo of signed-distance networks; called again with the same configuration, it goes on with the shards that
    are missing.

    Each network (`sdf`, ReLU) is fitted to a random solid in a random pose within the unit ball. A row of attributes
    tells `volume`, `centroid_x`, ..., `inertia_xx`, `inertia_xy`, ... (about the centroid, density 1) of {f < 0} within
    the unit ball, measured on the network, not on the solid (`measure_solids`); `leak`, the share of the sphere at
    which the network is negative; `error`, its mean absolute error at the training points; and `solid`, `rotation` and
    `translation` of the solid. `move_coordinates` moves a network with its shape.

    The same configuration gives the same networks, bit for bit, on any number of workers.

    Source: none; in the manner of Park et al. 2019 (DeepSDF, arXiv 1901.05103), without latent codes. Half of the
    points lie near the surface; the loss is the mean absolute error, not clamped.

    Args:
        config: what to fit.
        destination: folder of the zoo, made where needed.
        progress: show a progress bar.
        workers: shards fitted at the same time; torch's number of threads by default.

    Raises:
        ConfigurationError: the folder holds a zoo of another configuration.
        ZooError: a damaged zoo.
    """
    start = time.perf_counter()
    zoo = open_for_training(config, Path(destination), whole=SHARD)
    space = trace(build(config.architecture), torch.zeros(1, 3))

    def fit(number: int, on_step: OnStep) -> TrainedStack:
        return fit_shard(config, number, on_step=on_step)

    fitted, diverged = fit_missing_shards(
        zoo,
        space,
        sizes=[len(config.networks_of(number)) for number in range(config.shards)],
        fit=fit,
        steps=config.steps,
        text="solids",
        progress=progress,
        workers=workers,
    )
    return ZooSummary(len(zoo), fitted, diverged, len(zoo.spaces), time.perf_counter() - start)
