"""Memory of a training step of GMN per edge, and the largest graph that fits: ResNet-18 and residual networks below it.

Each measurement runs in a process of its own, which reports its peak resident memory before and after one step
(forward, backward, AdamW) of a small GMN on one network. The line through the measured points gives bytes per edge,
and with it the number of edges that fits into 20 GiB.

Run: python experiments/benchmarks/large_graphs.py
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from _measure import write
from torch import Tensor, nn

import weightspace as ws
from weightspace.metanets import GMN, fit_input_scales, set_execution

GIBIBYTE = 2**30
CHANNELS, EDGE_CHANNELS, LAYERS = 32, 16, 3


class BasicBlock(nn.Module):
    """Basic block of He et al. 2015 (arXiv 1512.03385), projection where the shape changes."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        down = nn.Sequential(nn.Conv2d(width_in, width, 1, stride, bias=False), nn.BatchNorm2d(width))
        self.skip = nn.Identity() if stride == 1 and width_in == width else down

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(h)) + self.skip(x))


class ResNet18(nn.Module):
    """ResNet-18 on ImageNet: 11,689,512 parameters at width 64."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        widths = [width << stage for stage in (0, 0, 1, 1, 2, 2, 3, 3)]
        pairs = zip([width, *widths], widths, strict=False)
        self.blocks = nn.Sequential(*(BasicBlock(a, b, 1 if a == b else 2) for a, b in pairs))
        self.head = nn.Linear(widths[-1], 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.bn(self.conv(x))), 3, 2, 1)
        return self.head(F.adaptive_avg_pool2d(self.blocks(x), 1).flatten(1))


def peak() -> int:
    """Largest resident memory of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def one(width: int, *, checkpointed: bool, autocast: bool) -> dict[str, Any]:
    """One training step on a ResNet-18 of a width; its graph, seconds and memory."""
    torch.manual_seed(0)
    module = ResNet18(width)
    start = time.perf_counter()
    space = ws.trace(module, torch.zeros(1, 3, 64, 64), verify=False)
    graph = space.to_graph(module.state_dict())
    traced = time.perf_counter() - start
    scales = fit_input_scales([graph])
    model = GMN(1, channels=CHANNELS, edge_channels=EDGE_CHANNELS, layers=LAYERS, input_scales=scales)
    set_execution(model, checkpointed=checkpointed)
    optimiser = torch.optim.AdamW(model.parameters())
    before, start = peak(), time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = model(graph).square().sum()
    loss.backward()
    optimiser.step()
    gradients = all(bool(p.grad is None or p.grad.isfinite().all()) for p in model.parameters())
    return {
        "width": width,
        "parameters": sum(p.numel() for p in module.parameters()),
        "edges": graph.num_edges,
        "seconds of trace and graph": traced,
        "seconds of the step": time.perf_counter() - start,
        "bytes before the step": before,
        "peak bytes": peak(),
        "finite": gradients and bool(loss.isfinite()),
    }


def measured(width: int, *options: str) -> dict[str, Any]:
    """`one` in a process of its own."""
    command = [sys.executable, str(Path(__file__).resolve()), "--one", str(width), *options]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(result.stdout.splitlines()[-1])


def series(widths: list[int], *options: str) -> dict[str, Any]:
    """Points, and the line through their peak memory."""
    points = [measured(width, *options) for width in widths]
    edges = np.array([point["edges"] for point in points], dtype=float)
    slope, rest = np.polyfit(edges, np.array([point["peak bytes"] for point in points], dtype=float), 1)
    return {
        "points": points,
        "bytes per edge": slope,
        "bytes besides": rest,
        "edges in 20 GiB": (20 * GIBIBYTE - rest) / slope,
    }


def main(widths: list[int]) -> None:
    torch.set_num_threads(1)
    settings = {"channels": CHANNELS, "edge_channels": EDGE_CHANNELS, "layers": LAYERS, "network": "ResNet-18"}
    figures = {
        "plain": series(widths),
        "checkpointed": series(widths, "--checkpointed"),
        "checkpointed, bfloat16 autocast": series(widths, "--checkpointed", "--autocast"),
    }
    write("large_graphs", settings | figures)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="narrow networks, in seconds")
    parser.add_argument("--one", type=int, help="only this width, as a line of JSON")
    parser.add_argument("--checkpointed", action="store_true")
    parser.add_argument("--autocast", action="store_true")
    arguments = parser.parse_args()
    if arguments.one:
        torch.set_num_threads(1)
        print(json.dumps(one(arguments.one, checkpointed=arguments.checkpointed, autocast=arguments.autocast)))
    else:
        main([4, 8] if arguments.smoke else [16, 32, 64])
