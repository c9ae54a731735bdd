"""Every metanet beside the peers' own code: forward and backward on one batch of INRs.

One thread, float32, the SIREN 2-32-32-1 with random weights, repetitions interleaved, so that all models meet the same
machine. Times are CPU seconds of the process, in which other work on the machine counts less than in wall time. Ours
have their default sizes, which are the papers'; NG-GNN also the published configuration's 32 channels. The peers are
run with their published configurations where checkouts of their repositories are given.

Run: python experiments/benchmarks/metanets.py [--peers FOLDER]
"""

import argparse
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from _measure import write
from _peers import CLASSES, Peer, peers
from message_passing import inr
from torch import Tensor, nn

import weightspace as ws
from weightspace import metanets

WIDTHS = (2, 32, 32, 1)
RATIOS = (
    ("NG-GNN", "NeuralGraphGNN, 32 channels"),
    ("NG-GNN", "NeuralGraphGNN"),
    ("NG-T", "NeuralGraphTransformer"),
    ("DWSNets", "UNF"),
    ("DWSNets", "NeuralGraphGNN"),
    ("DWSNets", "GMN"),
    ("NFN-NP", "UNF"),
    ("NFN-NP", "GMN"),
    ("NFN-NP", "GMN, 16 channels on edges"),
    ("NFN-HNP", "UNF"),
    ("NFN-HNP", "GMN, 16 channels on edges"),
    ("NFN-HNP", "ProbeGen"),
)


def ours(module: nn.Module, example: Tensor, models: int) -> dict[str, tuple[nn.Module, ws.ParameterGraph]]:
    """The metanets with one row per network, at their default sizes, and the batch that each reads."""
    network = traced(module, example, {"permutation"})
    entries = sum(spec.numel for spec in network.space.parameters.values())
    made = {
        "GMN": metanets.GMN(CLASSES),
        "GMN, 16 channels on edges": metanets.GMN(CLASSES, edge_channels=16),
        "NeuralGraphGNN": metanets.NeuralGraphGNN(CLASSES),
        "NeuralGraphGNN, 32 channels": metanets.NeuralGraphGNN(CLASSES, channels=32),
        "NeuralGraphGNN, 16 probes": metanets.NeuralGraphGNN(CLASSES, probes=[[16, *example.shape]]),
        "NeuralGraphTransformer": metanets.NeuralGraphTransformer(CLASSES),
        "UNF": metanets.UNF(CLASSES, spaces=[network.space]),
        "MatrixProductGMN": metanets.MatrixProductGMN(CLASSES),
        "ProbeGen": metanets.ProbeGen(CLASSES, input_shape=example.shape, outputs=1),
        "DeepSets": metanets.DeepSets(CLASSES),
        "FlattenedMLP": metanets.FlattenedMLP(CLASSES, entries=entries),
    }
    scaling = traced(module, example, {"permutation", "scale", "sign"})
    networks = dict.fromkeys(made, network) | {"ScaleGMN": scaling}
    made["ScaleGMN"] = metanets.ScaleGMN(CLASSES)
    for name, model in made.items():
        if isinstance(model, metanets.NetworkReader):
            model.attach([networks[name]])
    stacked = {key: torch.randn(models, *value.shape) for key, value in module.state_dict().items()}
    return {name: (model, networks[name].space.to_graphs(stacked)) for name, model in made.items()}


def traced(module: nn.Module, example: Tensor, symmetries: set[str]) -> metanets.TracedNetwork:
    """The network's architecture."""
    return metanets.TracedNetwork(ws.trace(module, example, symmetries=symmetries), module, (example,))


def step(model: nn.Module, forward: Callable[[], Tensor]) -> Callable[[], None]:
    """Forward and backward."""

    def run() -> None:
        model.zero_grad(set_to_none=True)
        forward().square().mean().backward()

    return run


def main(*, models: int, repeats: int, folder: Path | None) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    mine = ours(inr(), torch.zeros(1, WIDTHS[0]), models)
    theirs = peers(folder, WIDTHS, models) if folder else []
    runs = {name: step(model, lambda model=model, graph=graph: model(graph)) for name, (model, graph) in mine.items()}
    runs |= {peer.name: step(peer.model, peer.forward) for peer in theirs}
    sizes = {name: parameters(model) for name, (model, _) in mine.items()}
    sizes |= {peer.name: parameters(peer.model) for peer in theirs}
    seconds = interleaved_cpu(runs, repeats=repeats)
    figures = {
        "batch": f"{models} INRs {'-'.join(map(str, WIDTHS))}, forward and backward",
        "metanets": {name: figure(values, models, sizes[name]) for name, values in seconds.items()},
        "times as fast as the peer": {
            f"{slow} / {fast}": min(seconds[slow]) / min(seconds[fast])
            for slow, fast in RATIOS
            if slow in seconds and fast in seconds
        },
        "peers": {peer.name: source(peer) for peer in theirs},
        "repeats": repeats,
    }
    write("metanets", figures)


def interleaved_cpu(functions: Mapping[str, Callable[[], None]], *, repeats: int) -> dict[str, list[float]]:
    """CPU seconds of each function, run in turn A B A B ..., after one turn that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for number in range(repeats + 1):
        for name, function in functions.items():
            start = time.process_time()
            function()
            if number:
                seconds[name].append(time.process_time() - start)
    return seconds


def parameters(model: nn.Module) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def figure(seconds: list[float], models: int, size: int) -> dict[str, Any]:
    """CPU milliseconds per network, the fastest and the median repetition."""
    ms = sorted(1000 * value / models for value in seconds)
    return {"cpu_ms_per_network": {"minimum": ms[0], "median": ms[len(ms) // 2]}, "parameters": size}


def source(peer: Peer) -> dict[str, str]:
    """Where a peer's code is from."""
    return {"repository": peer.repository, "commit": peer.commit}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="two networks, two repetitions")
    parser.add_argument("--peers", type=Path, help="folder with checkouts of neural-graphs, DWSNets and nfn")
    parser.add_argument("--networks", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    networks, repeats = (2, 2) if options.smoke else (options.networks, options.repeats)
    main(models=networks, repeats=repeats, folder=options.peers)
