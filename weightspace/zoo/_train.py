"""A whole zoo by population training: sub-populations side by side on the cores, each finished one a shard.

Every sub-population runs on one thread, so that the numbers do not depend on how many cores there are.
"""

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from weightspace.images import load_images
from weightspace.space import WeightSpace
from weightspace.tracing import trace
from weightspace.zoo._architectures import build
from weightspace.zoo._sampling import SubPopulation, ZooConfig, draw_subpopulation
from weightspace.zoo._shard_run import OnStep, ZooSummary, open_for_training, progress_bar, run_side_by_side
from weightspace.zoo._subpopulation import TrainedStack, train_subpopulation


def train_zoo(
    config: ZooConfig,
    destination: str | os.PathLike[str],
    *,
    data_root: str | os.PathLike[str] | None = None,
    progress: bool = True,
    workers: int | None = None,
) -> ZooSummary:
    """Train a zoo of networks on images; called again with the same configuration, it goes on with what is missing.

    The same configuration gives the same networks, bit for bit, on any number of workers. A larger `networks` extends a
    zoo.

    Args:
        config: what to train.
        destination: folder of the zoo, made where needed.
        data_root: folder of full data sets, for data that is not built in; `WEIGHTSPACE_DATA` by default.
        progress: show a progress bar.
        workers: sub-populations trained at the same time; torch's number of threads by default.

    Raises:
        ConfigurationError: the folder holds a zoo of another configuration, or images that are not there.
        ZooError: a damaged zoo.
    """
    start = time.perf_counter()
    data = load_images(config.data, None if data_root is None else Path(data_root))
    zoo = open_for_training(config, Path(destination))
    image = tuple(data.train_x.shape[1:])
    missing = [draw_subpopulation(config, k, image) for k in range(config.subpopulations) if k not in zoo.numbers]
    missing.sort(key=lambda sub: -_effort(sub))  # long ones first, so that no core is left waiting at the end
    spaces = _trace_all(missing, image)

    def work(sub: SubPopulation, on_step: OnStep) -> TrainedStack:
        return train_subpopulation(sub, data, run=f"{config.data}-{config.seed}", on_step=on_step)

    trained = diverged = 0
    text = f"training {sum(len(sub.seeds) for sub in missing)} networks"
    with progress_bar(text, sum(sum(sub.steps) for sub in missing), shown=progress) as advance:
        for stack in run_side_by_side(missing, work, workers=workers, advance=advance):
            diverged += stack.diverged
            if stack.attributes:
                trained += len(stack.attributes)
                zoo.append(spaces[_key(stack.architecture)], stack.stacked, stack.attributes, number=stack.number)
    return ZooSummary(len(zoo), trained, diverged, len(zoo.spaces), time.perf_counter() - start)


def _trace_all(subs: Sequence[SubPopulation], image: Sequence[int]) -> dict[str, WeightSpace]:
    # Before any worker starts: torch.export patches nn.Module for the whole process while it runs.
    specs = {_key(sub.architecture): sub.architecture for sub in subs}
    return {key: trace(build(spec), torch.zeros(2, *image)) for key, spec in specs.items()}


def _effort(sub: SubPopulation) -> float:
    weight = {"mlp": 1.0, "cnn": 2.0, "resnet": 6.0}.get(sub.architecture["factory"], 10.0)
    return weight * sub.batch_size * sum(sub.steps)


def _key(architecture: Any) -> str:
    return json.dumps(dict(architecture), sort_keys=True)
