"""Small parameter graphs built by hand: an MLP, a CNN with kernels and a flatten, a residual block."""

import torch

from weightspace.graph import EdgeBlock, ParameterGraph, Site


class Builder:
    """Collects sites and blocks and counts addresses."""

    def __init__(self, seed: int = 0):
        self.generator = torch.Generator().manual_seed(seed)
        self.sites: list[Site] = []
        self.blocks: list[EdgeBlock] = []
        self.entries = 0

    def site(self, n: int, node_type: str, *, numbers: int = 0, fixed: bool = False) -> int:
        index = torch.arange(n) if fixed else torch.full((n,), -1)
        x, address = self._values(n, numbers)
        site = Site(
            x, address, node_type, index, ("bias",) * numbers, torch.zeros(numbers, 4), f"site{len(self.sites)}"
        )
        self.sites.append(site)
        return len(self.sites) - 1

    def dense(self, source: int, target: int, *, taps: int = 1, edge_type: str = "linear") -> None:
        a, b = torch.meshgrid(self._nodes(source), self._nodes(target), indexing="ij")
        self._block(torch.stack([a.flatten(), b.flatten()]), taps, edge_type)

    def tie(self, source: int, target: int, edge_type: str = "add") -> None:
        self._block(torch.stack([self._nodes(source), self._nodes(target)]), 0, edge_type)

    def graph(self) -> ParameterGraph:
        return ParameterGraph(tuple(self.sites), tuple(self.blocks), {}, "by-hand")

    def _nodes(self, site: int) -> torch.Tensor:
        start = sum(s.num_nodes for s in self.sites[:site])
        return torch.arange(start, start + self.sites[site].num_nodes)

    def _block(self, edge_index: torch.Tensor, taps: int, edge_type: str) -> None:
        values, address = self._values(edge_index.shape[1], taps)
        role = "weight" if taps else ""
        name = f"block{len(self.blocks)}"
        self.blocks.append(EdgeBlock(edge_index, values, address, edge_type, {}, role, torch.zeros(taps, 4), name))

    def _values(self, n: int, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        address = self.entries + torch.arange(n * k).reshape(n, k)
        self.entries += n * k
        return torch.randn(n, k, generator=self.generator), address


def mlp() -> ParameterGraph:
    b = Builder()
    sites = [
        b.site(3, "input", fixed=True),
        b.site(6, "linear>relu", numbers=1),
        b.site(2, "linear>output", numbers=1, fixed=True),
    ]
    b.dense(sites[0], sites[1])
    b.dense(sites[1], sites[2])
    return b.graph()


def cnn() -> ParameterGraph:
    b = Builder(1)
    sites = [b.site(1, "input", fixed=True), b.site(24, "conv>relu>max_pool(kernel=2,2)", numbers=1)]
    sites += [b.site(40, "conv>relu", numbers=1), b.site(10, "linear>output", numbers=1, fixed=True)]
    for source, target, taps in ((0, 1, 9), (1, 2, 9), (2, 3, 16)):
        b.dense(sites[source], sites[target], taps=taps, edge_type="conv")
    return b.graph()


def residual() -> ParameterGraph:
    b = Builder(2)
    start = b.site(3, "input", fixed=True)
    stem = b.site(8, "conv>relu")
    b.dense(start, stem, taps=9, edge_type="conv")
    first, second = b.site(8, "batch_norm(eps=1e-05)>relu", numbers=4), b.site(8, "batch_norm(eps=1e-05)", numbers=4)
    b.dense(stem, first, taps=9, edge_type="conv")
    b.dense(first, second, taps=9, edge_type="conv")
    total = b.site(8, "add>relu")
    b.tie(stem, total)
    b.tie(second, total)
    end = b.site(10, "linear>output", numbers=1, fixed=True)
    b.dense(total, end)
    return b.graph()
