"""What tracing costs: first and further traces, conversion of a large network, reading one that is larger still.

Times of a trace are of one thread. Networks of published sizes are built and traced on the meta device, so their time
is that of `torch.export` and of the tracer alone; ResNet-20 and a 12-layer encoder have weights, and `verified` is the
trace with its check on random weights in float64. `export` is the share of `torch.export` and of the run before it.
`cached` is a trace of a second construction of the same class. Memory is the highest resident size of a fresh process
that does only this, less what the process takes with the module and its weights loaded; `floor` is what the weights of
the copy, the addresses and the edge indices take as plain tensors.

Run: python experiments/benchmarks/tracing.py
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from _large_networks import GPT2, Case, ResNet50, ViT, gpt2_small, resnet50, vit_b16
from _measure import interleaved, medians, write
from torch import nn

import weightspace as ws
from weightspace.block_stream import edge_count
from weightspace.tracing._cache import SPACES
from weightspace.tracing._export import export


class BasicBlock(nn.Module):
    """Residual block with a 1x1 convolution where the shape changes (option B)."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        down = nn.Sequential(nn.Conv2d(width_in, width, 1, stride, bias=False), nn.BatchNorm2d(width))
        self.skip = nn.Identity() if stride == 1 and width_in == width else down

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(h + self.skip(x))


def resnet20() -> Case:
    """ResNet-20 on CIFAR-10."""
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    before = 16
    for width in (16, 32, 64):
        for number in range(3):
            layers.append(BasicBlock(before, width, 2 if width > 16 and not number else 1))
            before = width
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)]
    return nn.Sequential(*layers, *head), (torch.zeros(1, 3, 32, 32),)


def encoder() -> Case:
    """A 12-layer transformer of width 64."""
    net = GPT2(64, 4, 12, words=100, places=64)
    return net, (torch.zeros(1, 16, dtype=torch.long),)


def seconds(function: Callable[[], Any]) -> float:
    """Time of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def trace_times(make: Callable[[], Case], *, device: str, repeats: int) -> dict[str, Any]:
    """Seconds of export, first trace and cached trace of a network."""
    with torch.device(device):
        module, inputs = make()

    def first(**options: Any) -> Any:
        SPACES.clear()
        return ws.trace(module, *inputs, **options)

    runs: dict[str, Callable[[], Any]] = {
        "export": lambda: export(module, inputs, None),
        "trace": lambda: first(verify=False),
    }
    if device != "meta":
        runs["trace, verified"] = first
    found = medians(interleaved(runs, repeats=repeats, warmup=1))
    space = first(verify=False)
    with torch.device(device):
        copies = [make()[0] for _ in range(2)]
    cached = [seconds(lambda copy=copy: ws.trace(copy, *inputs, verify=False)) for copy in copies * repeats]
    return {
        "parameters": sum(p.numel() for p in module.parameters()),
        "edges": edge_count(space),
        "groups": len(space.groups),
        "frozen axes": len(space.frozen),
        "seconds": {**found, "cached": sorted(cached)[len(cached) // 2]},
        "export share": found["export"] / found["trace"],
    }


# --- conversion, each in a process of its own


def resident() -> int:
    """Bytes that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def reset_peak() -> None:
    """Let the highest resident size count from now on."""
    Path("/proc/self/clear_refs").write_text("5")


def peak() -> int:
    """Highest resident size since `reset_peak`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def convert(make: Callable[[], Case]) -> dict[str, Any]:
    """Time and memory of the way to the graph and back."""
    torch.set_num_threads(1)
    space, state = _space_and_state(make)
    result: dict[str, Any] = {"entries": sum(p.numel for p in space.parameters.values()), "edges": edge_count(space)}
    result["floor MB"] = (result["entries"] * 12 + result["edges"] * 16) / 1e6
    before = resident()
    reset_peak()
    start = time.perf_counter()
    graph = space.to_graph(state)
    result["to_graph, first, seconds"] = time.perf_counter() - start
    result["to_graph, held MB"], result["to_graph, peak MB"] = (resident() - before) / 1e6, (peak() - before) / 1e6
    result["to_graph, again, seconds"] = seconds(lambda: space.to_graph(state))
    reset_peak()
    start = time.perf_counter()
    back = space.to_state_dict(graph)
    result["to_state_dict, seconds"] = time.perf_counter() - start
    result["to_state_dict, peak MB"] = (peak() - before) / 1e6
    result["exact"] = all(torch.equal(back[key], value) for key, value in state.items())
    return result


def stream(make: Callable[[], Case]) -> dict[str, Any]:
    """Time and memory of reading a graph block by block."""
    torch.set_num_threads(1)
    space, state = _space_and_state(make)
    before = resident()
    reset_peak()
    start = time.perf_counter()
    blocks = edges = entries = 0
    for block in space.iter_blocks(state):
        blocks, edges, entries = blocks + 1, edges + block.num_edges, entries + block.edge_attr.numel()
    return {
        "edges": edges,
        "entries": entries,
        "pieces": blocks,
        "seconds": time.perf_counter() - start,
        "peak MB": (peak() - before) / 1e6,
        "whole graph, floor MB": (entries * 12 + edges * 16) / 1e6,
    }


def _space_and_state(make: Callable[[], Case]) -> tuple[ws.WeightSpace, dict[str, torch.Tensor]]:
    with torch.device("meta"):
        module, inputs = make()
    space = ws.trace(module, *inputs)
    values: dict[str, torch.Tensor] = {}
    for key, value in module.state_dict().items():
        same = space.tied.get(key)
        made = torch.randn(value.shape) if value.is_floating_point() else torch.zeros(value.shape, dtype=value.dtype)
        values[key] = values[same] if same else made
    return space, values


def small_resnet50() -> Case:
    """The layout of ResNet-50 at an eighth of its width."""
    return ResNet50(8), (torch.zeros(1, 3, 64, 64),)


def small_gpt2() -> Case:
    """The layout of GPT-2 at a twelfth of its width."""
    return GPT2(64, 4, 2, words=1000), (torch.zeros(1, 16, dtype=torch.long),)


def small_vit() -> Case:
    """The layout of ViT-B/16 at a twelfth of its width."""
    return ViT(64, 4, 2, image=64), (torch.zeros(1, 3, 64, 64),)


NETWORKS = {f.__name__: f for f in (resnet20, encoder, resnet50, vit_b16, gpt2_small)}
SMALL = {"resnet50": small_resnet50, "gpt2_small": small_gpt2, "vit_b16": small_vit}
IN_PROCESS = {"convert": convert, "stream": stream}


def alone(what: str, network: str, *, smoke: bool) -> dict[str, Any]:
    """The figures of a process that does nothing else."""
    command = [sys.executable, __file__, "--alone", what, network, *(["--smoke"] if smoke else [])]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main(*, smoke: bool) -> None:
    """Measure everything and write it."""
    torch.set_num_threads(1)
    repeats = 1 if smoke else 7
    networks = {**NETWORKS, **SMALL} if smoke else NETWORKS
    traces = {
        name: trace_times(make, device="cpu" if name in ("resnet20", "encoder") else "meta", repeats=repeats)
        for name, make in networks.items()
    }
    figures = {
        "trace": traces,
        "to_graph and back, resnet50": alone("convert", "resnet50", smoke=smoke),
        "iter_blocks, gpt2_small": alone("stream", "gpt2_small", smoke=smoke),
        "repeats": repeats,
    }
    if smoke:
        print(json.dumps(figures))
    else:
        write("tracing", figures | {"load average at the end": os.getloadavg()})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="small networks, one repetition")
    parser.add_argument("--alone", nargs=2, metavar=("WHAT", "NETWORK"), help="print one memory measurement")
    arguments = parser.parse_args()
    if arguments.alone:
        what, network = arguments.alone
        print(json.dumps(IN_PROCESS[what]((SMALL if arguments.smoke else NETWORKS)[network])))
    else:
        main(smoke=arguments.smoke)
