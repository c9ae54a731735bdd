"""A whole zoo by population training: sub-populations side by side on the cores, each finished one a shard.

Every sub-population runs on one thread, so that the numbers do not depend on how many cores there are.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from weightspace.errors import ConfigurationError, ZooError
from weightspace.images import ImageSet, load_images
from weightspace.space import WeightSpace
from weightspace.tracing import trace
from weightspace.zoo._architectures import build
from weightspace.zoo._sampling import SubPopulation, ZooConfig, draw_subpopulation
from weightspace.zoo._shards import write_atomically
from weightspace.zoo._store import Zoo
from weightspace.zoo._subpopulation import TrainedStack, train_subpopulation

CONFIGURATION = "training.json"


@dataclass(frozen=True)
class ZooSummary:
    """What `train_zoo` did.

    Args:
        networks: in the zoo now.
        trained: by this call; the others were there already.
        diverged: of those trained by this call, left out because their weights were not finite.
        architectures: in the zoo now.
        seconds: wall time of this call.
    """

    networks: int
    trained: int
    diverged: int
    architectures: int
    seconds: float


class _InterruptedError(Exception):
    """Tells a worker to stop."""


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
    zoo = _open(config, Path(destination))
    image = tuple(data.train_x.shape[1:])
    missing = [draw_subpopulation(config, k, image) for k in range(config.subpopulations) if k not in zoo.numbers]
    spaces = _trace_all(missing, image)
    trained = diverged = 0
    with _progress_bar(missing, shown=progress) as advance, _one_thread_each():
        for stack in _train_all(missing, data, config, workers=workers, advance=advance):
            diverged += stack.diverged
            if stack.attributes:
                trained += len(stack.attributes)
                zoo.append(spaces[_key(stack.architecture)], stack.stacked, stack.attributes, number=stack.number)
    return ZooSummary(len(zoo), trained, diverged, len(zoo.spaces), time.perf_counter() - start)


def _open(config: ZooConfig, folder: Path) -> Zoo:
    """The zoo, after its configuration was compared with this one or written down."""
    path = folder / CONFIGURATION
    wanted = json.loads(json.dumps(asdict(config)))
    if path.exists():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            different = {key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key)} - {
                "networks"
            }
        except (ValueError, AttributeError) as error:
            raise ZooError(
                f"{path}: not a configuration ({error}); restore it, or train into another folder"
            ) from error
        if different:
            listed = "; ".join(f"{k}: found {found.get(k)!r}, wanted {wanted.get(k)!r}" for k in different)
            raise ConfigurationError(
                f"{folder} holds a zoo of another configuration ({listed}); "
                "train into another folder, or ask for the same one"
            )
    elif folder.is_dir() and any(folder.iterdir()):
        raise ConfigurationError(f"{folder} is not empty and holds no trained zoo; train into a folder of its own")
    zoo = Zoo.create(folder)
    write_atomically(path, lambda temporary: temporary.write_text(json.dumps(wanted, indent=1), encoding="utf-8"))
    return zoo


def _trace_all(subs: Sequence[SubPopulation], image: Sequence[int]) -> dict[str, WeightSpace]:
    # Before any worker starts: torch.export patches nn.Module for the whole process while it runs.
    specs = {_key(sub.architecture): sub.architecture for sub in subs}
    return {key: trace(build(spec), torch.zeros(2, *image)) for key, spec in specs.items()}


def _train_all(
    subs: Sequence[SubPopulation],
    data: ImageSet,
    config: ZooConfig,
    *,
    workers: int | None,
    advance: Callable[[int], None],
) -> Iterator[TrainedStack]:
    """Trained sub-populations as they are finished."""
    stop = threading.Event()

    def on_step(members: int) -> None:
        if stop.is_set():
            raise _InterruptedError
        advance(members)

    def work(sub: SubPopulation) -> TrainedStack:
        torch.set_num_threads(1)
        return train_subpopulation(sub, data, run=f"{config.data}-{config.seed}", on_step=on_step)

    executor = ThreadPoolExecutor(max_workers=workers or torch.get_num_threads(), thread_name_prefix="zoo")
    try:
        # Long ones first, so that no core is left waiting at the end.
        order = sorted(subs, key=lambda sub: -_effort(sub))
        futures: list[Future[TrainedStack]] = [executor.submit(work, sub) for sub in order]
        for future in as_completed(futures):
            yield future.result()
    finally:
        stop.set()
        executor.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _progress_bar(subs: Sequence[SubPopulation], *, shown: bool) -> Iterator[Callable[[int], None]]:
    if not shown or not subs:
        yield lambda members: None
        return
    from tqdm import tqdm

    total = sum(sum(sub.steps) for sub in subs)
    networks = sum(len(sub.seeds) for sub in subs)
    with tqdm(total=total, unit=" steps", desc=f"training {networks} networks", mininterval=0.5) as bar:
        yield lambda members: bar.update(members) and None


def _effort(sub: SubPopulation) -> float:
    weight = {"mlp": 1.0, "cnn": 2.0, "resnet": 6.0}.get(sub.architecture["factory"], 10.0)
    return weight * sub.batch_size * sum(sub.steps)


def _key(architecture: Any) -> str:
    return json.dumps(dict(architecture), sort_keys=True)
