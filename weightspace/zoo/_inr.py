"""A zoo of implicit neural representations: one small SIREN, or several, for each image of a data set."""

import os
import time
from pathlib import Path

from weightspace.images import load_images
from weightspace.tracing import trace
from weightspace.zoo._architectures import build
from weightspace.zoo._fit_shards import fit_missing_shards
from weightspace.zoo._inr_fit import SHARD, InrConfig, check_number, fit_shard
from weightspace.zoo._shard_run import OnStep, ZooSummary, open_for_training
from weightspace.zoo._siren import image_coordinates
from weightspace.zoo._subpopulation import TrainedStack


def fit_inrs(
    config: InrConfig,
    destination: str | os.PathLike[str],
    *,
    data_root: str | os.PathLike[str] | None = None,
    progress: bool = True,
    workers: int | None = None,
) -> ZooSummary:
    """Fit a zoo of INRs; called again with the same configuration, it goes on with the shards that are missing.

    The same configuration gives the same networks, bit for bit, on any number of workers. A row of attributes tells
    `data`, `split` ("train" or "test" part of the data), `image` (number in that part), `label`, `init` (number of the
    initialisation), `psnr` in dB and `run`, which is the same for all networks of an image.

    Source: the zoo of Navon et al. 2023, arXiv 2301.12780, section 7: SIRENs 2-32-32-1, w0 = 30, independent
    initialisations, on the pixels of MNIST. Deviates in the optimisation (see `InrSchedule`), which is not published.

    Args:
        config: what to fit.
        destination: folder of the zoo, made where needed.
        data_root: folder of full data sets, for data that is not built in; `WEIGHTSPACE_DATA` by default.
        progress: show a progress bar.
        workers: shards fitted at the same time; torch's number of threads by default.

    Raises:
        ConfigurationError: the folder holds a zoo of another configuration, images that are not there, or fewer than
            networks.
        ZooError: a damaged zoo.
    """
    start = time.perf_counter()
    data = load_images(config.data, None if data_root is None else Path(data_root))
    check_number(config, data)
    zoo = open_for_training(config, Path(destination), whole=SHARD)
    space = trace(build(config.architecture), image_coordinates(*data.train_x.shape[2:]))

    def fit(number: int, on_step: OnStep) -> TrainedStack:
        return fit_shard(config, data, number, on_step=on_step)

    fitted, diverged = fit_missing_shards(
        zoo,
        space,
        sizes=[len(config.networks_of(number)) for number in range(config.shards)],
        fit=fit,
        steps=config.number_of_steps,
        text="INRs",
        progress=progress,
        workers=workers,
    )
    return ZooSummary(len(zoo), fitted, diverged, len(zoo.spaces), time.perf_counter() - start)
