"""The factorised kernel of GMN against its slow twin and the bare matrix products, and mixed against equal batches.

One thread, float32, forward and backward through encoders and layers at 64 channels and 4 layers, repetitions
interleaved. The twin gathers, concatenates and scatters with the same weights (tests/metanets/_twins.py, where the two
are equal to 1e-10 in float64); once more on graphs with an edge for every tap of a kernel, as published graph
metanetworks have them. The bare products are every matrix product of the factorised layers and nothing else. With
`--compile`, the layers run through `torch.compile`, too.

Run: python experiments/benchmarks/message_passing.py
"""

import argparse
import copy
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from _measure import interleaved, medians, ratio, write
from torch import Tensor, nn

import weightspace as ws
from weightspace.metanets import GMN, fit_input_scales, set_execution
from weightspace.metanets._union import unite
from weightspace.zoo import build

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.metanets._twins import trunk_twin  # noqa: E402

CHANNELS, LAYERS = 64, 4
MIXED = [
    {"factory": "cnn", "channels": [8, 16], "activation": "relu"},
    {"factory": "cnn", "channels": [16, 16, 8], "activation": "tanh"},
    {"factory": "cnn", "channels": [8, 8, 16], "head": "flatten"},
    {"factory": "resnet", "channels": [8, 12]},
    {"factory": "resnet", "channels": [16], "activation": "gelu"},
    {"factory": "mlp", "widths": [32]},
    {"factory": "mlp", "widths": [24, 24], "activation": "tanh"},
    {"factory": "mlp", "widths": [48, 24, 16]},
]


class Sine(nn.Module):
    """sin(30 x), as in SIREN."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(30 * x)


def inr() -> nn.Module:
    """The SIREN 2-32-32-1 of the INR benchmarks."""
    return nn.Sequential(nn.Linear(2, 32), Sine(), nn.Linear(32, 32), Sine(), nn.Linear(32, 1))


def batch(module: nn.Module, example: Tensor, models: int) -> ws.ParameterGraph:
    """Networks of one architecture with random weights."""
    space = ws.trace(module, example)
    return space.to_graphs({key: torch.randn(models, *value.shape) for key, value in module.state_dict().items()})


def small_gmn(graphs: Sequence[ws.ParameterGraph]) -> GMN:
    """The model that is timed."""
    torch.manual_seed(0)
    return GMN(1, channels=CHANNELS, layers=LAYERS, input_scales=fit_input_scales(graphs))


def bare_products(model: GMN, graph: ws.ParameterGraph) -> Callable[[], None]:
    """The matrix products of one forward and backward pass of the layers: one forward, two backward, for each map."""
    union = unite(graph)
    rows = {module: 0 for layer in model.trunk.layers for module in layer.modules() if isinstance(module, nn.Linear)}
    hooks = [module.register_forward_hook(lambda m, x, _: rows.update({m: len(x[0])})) for module in rows]
    model.trunk(union, model.input_scales)
    for hook in hooks:
        hook.remove()
    edges = len(union.adjacency.ends)
    shapes = [(count or edges, *reversed(module.weight.shape)) for module, count in rows.items()]
    operands = {shape: [torch.randn(shape[0], shape[1]), torch.randn(shape[0], shape[2])] for shape in shapes}
    weights = {shape: torch.randn(shape[1], shape[2]) for shape in shapes}

    def run() -> None:
        for shape in shapes:
            (x, y), weight = operands[shape], weights[shape]
            x @ weight, y @ weight.t(), x.t() @ y

    return run


def step(model: GMN, forward: Callable[[], Sequence[Tensor]]) -> Callable[[], None]:
    """Forward and backward."""

    def run() -> None:
        model.zero_grad(set_to_none=True)
        sum(output.square().mean() for output in forward()).backward()  # type: ignore[union-attr]

    return run


def per_tap(graph: ws.ParameterGraph) -> ws.ParameterGraph:
    """The same networks with an edge for every tap of a kernel instead of one with all of them."""
    blocks = []
    for block in graph.blocks:
        for k in range(max(1, block.address.shape[1])):
            taps = slice(k, k + 1)
            blocks.append(
                replace(
                    block,
                    edge_attr=block.edge_attr[..., taps],
                    address=block.address[:, taps],
                    tap_position=block.tap_position[taps],
                )
            )
    return replace(graph, blocks=tuple(blocks))


def kernel(graph: ws.ParameterGraph, repeats: int, *, compiled: bool) -> dict[str, Any]:
    """Factorised, twins and bare products on one batch."""
    model = small_gmn([graph])
    models = graph.batch_shape[0]
    taps = per_tap(graph)
    runs = {
        "factorised": step(model, lambda: model.trunk(unite(graph), model.input_scales)),
        "twin": step(model, lambda: trunk_twin(model.trunk, unite(graph), model.input_scales)),
        "twin, one edge per tap": step(model, lambda: trunk_twin(model.trunk, unite(taps), model.input_scales)),
        "bare products": bare_products(model, graph),
    }
    if compiled:
        fast = set_execution(copy.deepcopy(model), compiled=True)
        runs["compiled"] = step(fast, lambda: fast.trunk(unite(graph), fast.input_scales))
    seconds = interleaved(runs, repeats=repeats)
    return {
        "networks": models,
        "edges of a network": graph.num_edges,
        "edges of a network, one per tap": taps.num_edges,
        "parameters of the layers": sum(p.numel() for p in model.trunk.layers.parameters()),
        "ms_per_network": {name: 1000 * value / models for name, value in medians(seconds).items()},
        "twin over factorised": ratio(seconds, "twin", "factorised"),
        "twin, one edge per tap, over factorised": ratio(seconds, "twin, one edge per tap", "factorised"),
        "factorised over bare products": ratio(seconds, "factorised", "bare products"),
    } | ({"compiled over bare products": ratio(seconds, "compiled", "bare products")} if compiled else {})


def mixed(models: int, repeats: int) -> dict[str, Any]:
    """One batch of eight architectures against its eight homogeneous parts."""
    graphs = [batch(build(spec), torch.zeros(1, 1, 8, 8), models) for spec in MIXED]
    model = small_gmn(graphs)

    def parts() -> None:
        for graph in graphs:
            step(model, lambda graph=graph: [model(graph)])()

    seconds = interleaved({"mixed": step(model, lambda: [model(graphs)]), "parts": parts}, repeats=repeats)
    return {
        "architectures": len(graphs),
        "networks of each": models,
        "ms": {name: 1000 * value for name, value in medians(seconds).items()},
        "mixed over sum of parts": ratio(seconds, "mixed", "parts"),
    }


def main(*, models: int, repeats: int, compiled: bool) -> None:
    torch.set_num_threads(1)
    small_cnn = build({"factory": "small_cnn_zoo"})
    figures = {
        "channels": CHANNELS,
        "layers": LAYERS,
        "inr 2-32-32-1": kernel(batch(inr(), torch.zeros(1, 2), models), repeats, compiled=compiled),
        "small cnn (4,970 weights)": kernel(
            batch(small_cnn, torch.zeros(1, 1, 28, 28), models), repeats, compiled=compiled
        ),
        "mixed batches": {str(size): mixed(size, repeats) for size in (1, 8)},
        "repeats": repeats,
    }
    write("message_passing", figures)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="two networks, a few repetitions")
    parser.add_argument("--compile", action="store_true", help="also through torch.compile, which takes a minute")
    arguments = parser.parse_args()
    smoke = arguments.smoke
    main(models=2 if smoke else 32, repeats=2 if smoke else 15, compiled=arguments.compile)
