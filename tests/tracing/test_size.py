"""Large networks: the meta device, graphs past `max_edges`, edge blocks one after the other."""

import json
import subprocess
import sys
from dataclasses import replace
from itertools import groupby
from math import lgamma, log
from pathlib import Path

import pytest
import torch
from torch import nn

import weightspace as ws
from experiments.benchmarks._large_networks import GPT2, ResNet50, ViT, gpt2_small, resnet50, vit_b16
from weightspace.block_stream import edge_count
from weightspace.topology import Layout

SMALL = {
    "gpt2": lambda: (GPT2(8, 2, 2, words=11, places=6), (torch.zeros(1, 5, dtype=torch.long),)),
    "resnet": lambda: (ResNet50(4, (1, 1)), (torch.zeros(1, 3, 32, 32),)),
    "vit": lambda: (ViT(8, 2, 2, patch=4, image=8), (torch.zeros(1, 3, 8, 8),)),
}


def log_factorial(n: int) -> float:
    return lgamma(n + 1) / log(10)


TRANSFORMER = 12 * (log_factorial(3072) + log_factorial(12) + 2 * 12 * log_factorial(64)) + log_factorial(768)
STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))  # width within the blocks, number of blocks
RESNET = log_factorial(64) + sum(2 * n * log_factorial(w) + log_factorial(4 * w) for w, n in STAGES)


@pytest.fixture(scope="module", params=SMALL.values(), ids=SMALL.keys())
def small(request: pytest.FixtureRequest) -> tuple[ws.WeightSpace, nn.Module]:
    torch.manual_seed(0)
    module, inputs = request.param()
    return ws.trace(module, *inputs), module


@pytest.mark.parametrize("make", SMALL.values(), ids=SMALL.keys())
def test_the_meta_device_gives_the_same_space(make):
    module, inputs = make()
    space = ws.trace(module, *inputs)
    with torch.device("meta"):
        module, inputs = make()
    on_meta = ws.trace(module, *inputs)
    assert on_meta.signature == space.signature and on_meta.log10_order == space.log10_order


def test_a_module_on_the_meta_device_is_not_verified(monkeypatch):
    def refuse(self, *args, **kwargs):
        raise AssertionError("meta tensors cannot run")

    monkeypatch.setattr(ws.WeightSpace, "verify", refuse)
    with torch.device("meta"):
        space = ws.trace(nn.Linear(5, 4), torch.zeros(1, 5))
    assert space.parameters["weight"].shape == (4, 5)


def test_constants_on_the_meta_device_count_as_non_uniform():
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2)
            self.register_buffer("mask", torch.ones(4), persistent=False)

        def forward(self, x):
            return self.b(self.a(x) * self.mask)

    assert ws.trace(Masked(), torch.zeros(1, 3)).log10_order == pytest.approx(log_factorial(4))
    with torch.device("meta"):
        assert ws.trace(Masked(), torch.zeros(1, 3)).log10_order == 0


@pytest.mark.parametrize("numbers", [1, 100, 2**22])
def test_blocks_one_after_the_other_are_those_of_the_graph(small, numbers):
    space, module = small
    state = module.state_dict()
    graph = space.to_graph(state)
    pieces = groupby(space.iter_blocks(state, numbers=numbers), key=lambda block: block.name.split("[")[0])
    found = [(name, list(parts)) for name, parts in pieces]
    assert [name for name, _ in found] == [block.name for block in graph.blocks]
    for whole, (_, parts) in zip(graph.blocks, found, strict=True):
        assert torch.equal(torch.cat([part.edge_index for part in parts], dim=1), whole.edge_index)
        assert torch.equal(torch.cat([part.edge_attr for part in parts]), whole.edge_attr)
        assert torch.equal(torch.cat([part.address for part in parts]), whole.address)
        for part in parts:
            assert (part.edge_type, part.attributes, part.role) == (whole.edge_type, whole.attributes, whole.role)
            assert torch.equal(part.tap_position, whole.tap_position)
    count = sum(len(parts) for _, parts in found)
    assert count > 2 * len(found) if numbers == 1 else numbers == 100 or count == len(found)


def test_pieces_are_as_small_as_asked_for():
    net = nn.Linear(40, 300)
    space = ws.trace(net, torch.zeros(1, 40))
    pieces = list(space.iter_blocks(net.state_dict(), numbers=4000))
    sizes = [piece.edge_index.numel() + piece.address.numel() + piece.edge_attr.numel() for piece in pieces]
    assert len(pieces) == 12 and max(sizes) <= 4000 and sum(sizes) == 4 * 40 * 300
    assert [piece.name for piece in pieces][:2] == ["weight[0:25]", "weight[25:50]"]


def test_blocks_are_made_when_asked_for(monkeypatch):
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    space = ws.trace(net, torch.zeros(1, 4))
    built = []
    block = Layout.block
    monkeypatch.setattr(Layout, "block", lambda *args: built.append(args) or block(*args))
    blocks = space.iter_blocks(net.state_dict())
    assert not built
    next(blocks)
    assert {plan.name for _, plan, *_ in built} == {space.blocks[0].name}


def test_edges_are_counted_without_the_graph(small):
    space, module = small
    assert edge_count(space) == space.to_graph(module.state_dict()).num_edges


def test_edges_within_a_site_are_counted():
    space = ws.specify({"w": (5, 5), "v": (2, 3)}, {"w": ("h", "h"), "v": ("head", "d")})
    assert edge_count(space) == space.to_graph({"w": torch.zeros(5, 5), "v": torch.zeros(2, 3)}).num_edges == 25 + 6


def test_past_max_edges_everything_but_the_graph_works(generator):
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    space = ws.trace(net, torch.zeros(1, 3), max_edges=19)
    state = net.state_dict()
    moved = space.act(space.random_element(generator), state)
    torch.testing.assert_close(torch.func.functional_call(net, moved, torch.ones(1, 3)), net(torch.ones(1, 3)))
    assert sum(block.num_edges for block in space.iter_blocks(state)) == 20
    words = (
        r"to_graph: the parameter graph has 20 edges \(about .* GiB\), allowed 19; .*space\.iter_blocks\(state_dict\)"
    )
    with pytest.raises(ws.WeightspaceError, match=words):
        space.to_graph(state)
    with pytest.raises(ws.WeightspaceError, match=r"trace\(\.\.\., max_edges=\.\.\.\)"):
        space.to_graphs({key: value[None] for key, value in state.items()})
    assert replace(space, max_edges=20).to_graph(state).num_edges == 20


def test_blocks_check_the_state_dict(small):
    space, module = small
    state = module.state_dict()
    with pytest.raises(ws.StateDictError, match="missing"):
        space.iter_blocks(dict(list(state.items())[1:]))
    with pytest.raises(ws.WeightspaceError, match="iter_blocks: found stacked tensors of several networks"):
        space.iter_blocks({key: value[None] for key, value in state.items()})
    for tied, twin in space.tied.items():
        with pytest.raises(ws.StateDictError, match="are one tensor in the module"):
            space.iter_blocks({**state, tied: state[twin] + 1})


@pytest.mark.slow
def test_the_benchmark_runs():
    script = Path(__file__).parents[2] / "experiments" / "benchmarks" / "tracing.py"
    done = subprocess.run([sys.executable, script, "--smoke"], capture_output=True, text=True, check=True)
    figures = json.loads(done.stdout)
    assert figures["to_graph and back, resnet50"]["exact"] and set(figures["trace"]) >= {"resnet20", "gpt2_small"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "parameters", "order"),
    [(gpt2_small, 124_439_808, TRANSFORMER), (resnet50, 25_557_032, RESNET), (vit_b16, 86_567_656, TRANSFORMER)],
    ids=["gpt2_small", "resnet50", "vit_b16"],
)
def test_published_sizes_are_traced_on_the_meta_device(make, parameters, order):
    with torch.device("meta"):
        module, inputs = make()
    assert sum(p.numel() for p in module.parameters()) == parameters
    space = ws.trace(module, *inputs)
    assert not space.frozen and space.log10_order == pytest.approx(order, rel=1e-12)
