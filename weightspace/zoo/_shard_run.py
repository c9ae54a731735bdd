"""What every kind of training into a zoo shares: its configuration on disk, workers side by side, a progress bar.

Every worker runs on one thread, so that the numbers do not depend on how many cores there are.
"""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from weightspace.errors import ConfigurationError, ZooError
from weightspace.zoo._shards import write_atomically
from weightspace.zoo._store import Zoo

CONFIGURATION = "training.json"

Job = TypeVar("Job")
Done = TypeVar("Done")
OnStep = Callable[[int], None]


@dataclass(frozen=True)
class ZooSummary:
    """What training into a zoo did.

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


def open_for_training(config: Any, folder: Path, *, whole: int = 1) -> Zoo:
    """The zoo, after its configuration was compared with this one or written down.

    Args:
        config: a dataclass with a field `networks`, the one that may change.
        folder: of the zoo.
        whole: a zoo can grow only from a multiple of so many networks, because its last shard is full then.

    Raises:
        ConfigurationError: the folder holds a zoo of another configuration, or something else.
        ZooError: a damaged configuration.
    """
    path = folder / CONFIGURATION
    wanted = json.loads(json.dumps(asdict(config)))
    if path.exists():
        found = _read(path)
        different = {key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key)} - {"networks"}
        if different:
            listed = "; ".join(f"{k}: found {found.get(k)!r}, wanted {wanted.get(k)!r}" for k in sorted(different))
            raise ConfigurationError(
                f"{folder} holds a zoo of another configuration ({listed}); "
                "train into another folder, or ask for the same one"
            )
        before = found.get("networks")
        if whole > 1 and before != wanted["networks"] and (not isinstance(before, int) or before % whole):
            raise ConfigurationError(
                f"{folder} holds a zoo of {before} networks, wanted {wanted['networks']}; a zoo grows from a multiple "
                f"of {whole} only: ask for {before}, or train into another folder"
            )
    elif folder.is_dir() and any(folder.iterdir()):
        raise ConfigurationError(f"{folder} is not empty and holds no trained zoo; train into a folder of its own")
    zoo = Zoo.create(folder)
    write_atomically(path, lambda temporary: temporary.write_text(json.dumps(wanted, indent=1), encoding="utf-8"))
    return zoo


def run_side_by_side(
    jobs: Sequence[Job], work: Callable[[Job, OnStep], Done], *, workers: int | None, advance: OnStep
) -> Iterator[Done]:
    """Results of jobs as they are finished, each on a thread of its own; when the caller stops, the workers stop.

    Args:
        jobs: in the order in which they are begun.
        work: does one job, and calls what it is given after every step with the number of networks that made it.
        workers: jobs at the same time; torch's number of threads by default.
        advance: called after every step of any job.
    """
    stop = threading.Event()
    threads = torch.get_num_threads()

    def on_step(members: int) -> None:
        if stop.is_set():
            raise _InterruptedError
        advance(members)

    def one(job: Job) -> Done:
        torch.set_num_threads(1)
        return work(job, on_step)

    executor = ThreadPoolExecutor(max_workers=workers or threads, thread_name_prefix="zoo")
    try:
        futures: list[Future[Done]] = [executor.submit(one, job) for job in jobs]
        for future in as_completed(futures):
            yield future.result()
    finally:
        stop.set()
        executor.shutdown(wait=True, cancel_futures=True)
        torch.set_num_threads(threads)


@contextmanager
def progress_bar(text: str, steps: int, *, shown: bool) -> Iterator[OnStep]:
    """A bar that is told of every step; silent where it is not shown or there is nothing to do."""
    if not shown or not steps:
        yield lambda members: None
        return
    from tqdm import tqdm

    with tqdm(total=steps, unit=" steps", desc=text, mininterval=0.5) as bar:
        yield lambda members: bar.update(members) and None


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        found.keys()
    except (ValueError, AttributeError) as error:
        raise ZooError(f"{path}: not a configuration ({error}); restore it, or train into another folder") from error
    return found
