"""Zoos: how fast networks are read from the disk, and how much faster a population trains together than one by one.

One thread. Reading: small CNNs (4,970 weights) in shards of 1,000, in batches of 64 as stacked tensors (every tensor is
summed, so that every page is read), one by one in random order, and one safetensors file per network for comparison.
Training: a sub-population on digits, stacked, against the same networks one after the other by `torch.optim`.

Run: python experiments/benchmarks/zoo.py [--smoke]
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from _measure import interleaved, medians, ratio, write
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

import weightspace as ws
from weightspace.images import load_digits
from weightspace.zoo import Schedule, Zoo, build, initial_state, train_population

NETWORKS = {
    "mlp 64-32-32-10": {"factory": "mlp", "widths": [32, 32]},
    "cnn 8-16-16": {"factory": "cnn", "channels": [8, 16, 16]},
    "resnet 8-16, BatchNorm": {"factory": "resnet", "channels": [8, 16]},
}
BATCH, SINGLE = 64, 1000


def reading(models: int, repeats: int, folder: Path) -> dict[str, float]:
    """Networks per second of every way of reading."""
    spec = {"factory": "small_cnn_zoo"}
    shapes = {name: value.shape for name, value in build(spec).state_dict().items()}
    space = ws.trace(build(spec), torch.zeros(1, 1, 28, 28))
    zoo = Zoo.create(folder / "zoo")
    for start in range(0, models, 1000):
        count = min(1000, models - start)
        stacked = {name: torch.randn(count, *shape) for name, shape in shapes.items()}
        zoo.append(space, stacked, [{"test_accuracy": i / models} for i in range(count)])
    zoo = Zoo(folder / "zoo")
    single = min(SINGLE, models)
    for i in range(single):
        save_file(zoo[i].state_dict, folder / f"{i}.safetensors")
    order = torch.randperm(models)[:single].tolist()
    batches = torch.arange(models).split(BATCH)
    runs = {
        "batches of 64": lambda: [_read(zoo.stacked(index)) for index in batches],
        "batches of 64, shuffled": lambda: [_read(zoo.stacked(index)) for index in torch.randperm(models).split(BATCH)],
        "batches of 64 as graphs": lambda: [batch.graphs for batch in zoo.graphs(BATCH)],
        "one by one, random": lambda: [zoo[i].state_dict for i in order],
        "a file per network, random": lambda: [_read(load_file(folder / f"{i % single}.safetensors")) for i in order],
    }
    middle = medians(interleaved(runs, repeats=repeats))
    counts = {name: models if name.startswith("batches") else single for name in runs}
    return {name: counts[name] / seconds for name, seconds in middle.items()} | {
        "opening, s": medians(interleaved({"open": lambda: Zoo(folder / "zoo")}, repeats=repeats))["open"]
    }


def _read(state: dict[str, torch.Tensor]) -> float:
    return sum(float(value.sum()) for value in state.values())


def training(members: int, steps: int, repeats: int) -> dict[str, dict[str, float]]:
    """Milliseconds per network and step, and the gain of training together."""
    digits = load_digits()
    result = {}
    for name, spec in NETWORKS.items():
        generators = [torch.Generator().manual_seed(i) for i in range(members)]
        state = initial_state(build(spec), [1.0] * members, generators)
        schedule = Schedule(
            images=digits.train_x,
            labels=digits.train_y.repeat(members, 1),
            order=torch.randint(0, 1347, (members, steps, 32)),
            steps=torch.full((members,), steps),
            optimiser="adam",
            learning_rate=torch.full((members,), 1e-3),
            weight_decay=torch.zeros(members),
        )
        runs: dict[str, Callable[[], object]] = {
            "one by one": lambda spec=spec, state=state, schedule=schedule: _one_by_one(spec, state, schedule),
            "together": lambda spec=spec, state=state, schedule=schedule: train_population(
                build(spec), state, schedule
            ),
        }
        seconds = interleaved(runs, repeats=repeats, warmup=1)
        each = {f"{way}, ms": 1e3 * value / members / steps for way, value in medians(seconds).items()}
        result[name] = each | {"gain": ratio(seconds, "one by one", "together")}
    return result


def _one_by_one(spec: dict, state: dict[str, torch.Tensor], schedule: Schedule) -> None:
    for i in range(len(schedule.steps)):
        module = build(spec).train()
        module.load_state_dict({name: value[i] for name, value in state.items()})
        optimiser = torch.optim.Adam(module.parameters(), lr=float(schedule.learning_rate[i]))
        for chosen in schedule.order[i]:
            optimiser.zero_grad()
            F.cross_entropy(module(schedule.images[chosen]), schedule.labels[i, chosen]).backward()
            optimiser.step()


def main(smoke: bool) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        speeds = reading(300 if smoke else 5000, 2 if smoke else 7, Path(folder))
    together = training(*((4, 3, 1) if smoke else (32, 20, 5)))
    figures = {"networks_per_second": speeds, "training": together, "members": 4 if smoke else 32}
    write("zoo-smoke" if smoke else "zoo", figures)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, in seconds")
    main(parser.parse_args().smoke)
