"""Parameter graphs built by hand: the tracer is not needed to test a metanet."""

from collections.abc import Sequence

import torch
from torch import Tensor

from weightspace.graph import EdgeBlock, ParameterGraph, Site


class Builder:
    """Grows a parameter graph block by block, with random values."""

    def __init__(self, models: int | None, seed: int = 0, dtype: torch.dtype = torch.float64):
        self.shape = () if models is None else (models,)
        self.generator = torch.Generator().manual_seed(seed)
        self.dtype, self.address = dtype, 0
        self.sites: list[Site] = []
        self.blocks: list[EdgeBlock] = []

    def values(self, rows: int, taps: int) -> tuple[Tensor, Tensor]:
        address = torch.arange(self.address, self.address + rows * taps).view(rows, taps)
        self.address += rows * taps
        return torch.randn(*self.shape, rows, taps, generator=self.generator, dtype=self.dtype), address

    def site(
        self, n: int, node_type: str, roles: Sequence[str] = (), *, fixed: bool = False, index: Tensor | None = None
    ) -> int:
        x, address = self.values(n, len(roles))
        if index is None:
            index = torch.arange(n) if fixed else torch.full((n,), -1)
        self.sites.append(
            Site(x, address, node_type, index, tuple(roles), torch.zeros(len(roles), 4), f"site{len(self.sites)}")
        )
        return len(self.sites) - 1

    def edges(
        self, edge_index: Tensor, edge_type: str, role: str = "", taps: Tensor | None = None, **attributes: object
    ) -> None:
        taps = torch.zeros(1 if role else 0, 4) if taps is None else taps
        values, address = self.values(edge_index.shape[1], len(taps))
        self.blocks.append(
            EdgeBlock(edge_index, values, address, edge_type, attributes, role, taps, f"block{len(self.blocks)}")
        )

    def offset(self, site: int) -> int:
        return sum(s.num_nodes for s in self.sites[:site])

    def dense(self, source: int, target: int, edge_type: str, taps: Tensor | None = None, **attributes: object) -> None:
        m, n = self.sites[source].num_nodes, self.sites[target].num_nodes
        ends = torch.stack(
            [
                torch.arange(m).repeat(n) + self.offset(source),
                torch.arange(n).repeat_interleave(m) + self.offset(target),
            ]
        )
        self.edges(ends, edge_type, "weight", taps, **attributes)

    def parallel(self, source: int, target: int, edge_type: str, **attributes: object) -> None:
        numbers = torch.arange(self.sites[source].num_nodes)
        self.edges(torch.stack([numbers + self.offset(source), numbers + self.offset(target)]), edge_type, **attributes)

    def build(self, signature: str) -> ParameterGraph:
        return ParameterGraph(tuple(self.sites), tuple(self.blocks), {}, signature)


def kernel_taps(size: int) -> Tensor:
    offsets = torch.arange(size) - (size - 1) / 2
    grid = torch.cartesian_prod(offsets, offsets)
    return torch.cat([grid, torch.zeros(size * size, 1), torch.ones(size * size, 1)], dim=1)


def mlp(
    widths: Sequence[int] = (3, 5, 4, 2),
    models: int | None = None,
    *,
    activation: str = "relu",
    seed: int = 0,
    **options: object,
) -> ParameterGraph:
    g = Builder(models, seed, **options)
    last = g.site(widths[0], "input", fixed=True)
    for i, width in enumerate(widths[1:]):
        final = i == len(widths) - 2
        site = g.site(width, "linear>output" if final else f"linear>{activation}", ["bias"], fixed=final)
        g.dense(last, site, "linear")
        last = site
    return g.build(f"mlp{tuple(widths)}{activation}")


def cnn(
    channels: Sequence[int] = (1, 4, 4),
    models: int | None = None,
    *,
    kernel: int = 3,
    classes: int = 3,
    seed: int = 0,
    **options: object,
) -> ParameterGraph:
    """Convolutions with BatchNorm on all but the first, a residual add, a flatten of 2x2 pixels, a dense head."""
    g = Builder(models, seed, **options)
    first = last = g.site(channels[0], "input", fixed=True)
    for i, width in enumerate(channels[1:]):
        site = g.site(width, "conv>relu" if i == 0 else "conv", ["bias"])
        g.dense(last, site, "conv", kernel_taps(kernel), stride=[2, 2] if i == 0 else [1, 1])
        if i:
            norm = g.site(width, "batch_norm(eps=1e-05)", ["norm_weight", "norm_bias", "running_mean", "running_var"])
            g.parallel(site, norm, "norm")
            site = norm
            if g.sites[last].num_nodes == width:
                total = g.site(width, "add>relu")
                g.parallel(norm, total, "add", argument=0)
                g.parallel(last, total, "add", argument=1)
                site = total
        last = site
    pixels = torch.cat(
        [
            torch.cartesian_prod(torch.tensor([-1.0, 1.0]), torch.tensor([-1.0, 1.0])),
            torch.zeros(4, 1),
            torch.full((4, 1), 2.0),
        ],
        1,
    )
    head = g.site(classes, "linear>output", ["bias"], fixed=True)
    g.dense(last, head, "linear", pixels)
    assert first == 0
    return g.build(f"cnn{tuple(channels)}{kernel}")


def residual_cnn(models: int | None = None, *, seed: int = 0, **options: object) -> ParameterGraph:
    """`cnn` with a residual add between equal widths."""
    return cnn((1, 4, 4), models, seed=seed, **options)


def attention(models: int | None = None, *, seed: int = 0, **options: object) -> ParameterGraph:
    """Two heads of two channels: query, key and value edges into product nodes, which meet at an output map."""
    g = Builder(models, seed, **options)
    tokens = g.site(4, "embedding", fixed=True)
    products = g.site(4, "attention", ["bias"])
    for relation in ("query", "key", "value"):
        g.dense(tokens, products, relation)
    heads = g.site(2, "attention")
    numbers = torch.arange(4)
    g.edges(torch.stack([numbers // 2 + g.offset(heads), numbers + g.offset(products)]), "scope")
    out = g.site(3, "linear>output", ["bias"], fixed=True)
    g.dense(products, out, "linear")
    return g.build("attention")


def zoo_of_graphs(**options: object) -> list[ParameterGraph]:
    """Different architectures, some batched, some alone."""
    return [
        mlp(models=3, **options),
        residual_cnn(2, **options),
        mlp((3, 6, 2), **options),
        attention(2, **options),
        cnn((2, 3, 5, 5), 1, kernel=5, **options),
    ]


def num_models(graph: ParameterGraph) -> int:
    return graph.batch_shape[0] if graph.batch_shape else 1


def singles(graphs: Sequence[ParameterGraph]) -> list[ParameterGraph]:
    """Every network as a graph of its own."""
    return [one for graph in graphs for one in (graph.unbatch() if graph.batch_shape else [graph])]
