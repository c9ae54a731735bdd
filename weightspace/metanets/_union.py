"""Where every node and edge of a batch lies in one disjoint union, and how its encoder groups them.

A batch is a sequence of `ParameterGraph`s, each with its own topology and number of models. The union's rows are
ordered by *family* (blocks that share type, roles and taps, and so an encoder matrix), then by block, then by model;
so a whole family, over all architectures of the batch, is encoded by one matrix product. What depends on the
architecture alone is computed once per topology and kept as long as the topology's tensors live; what depends on the
batch is index arithmetic. There is no loop over models.

Legend of shape comments: B models of one graph, G models of the batch, N nodes, E edges, K taps.
"""

import weakref
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from weightspace.errors import WeightspaceError
from weightspace.graph import EdgeBlock, ParameterGraph, Site
from weightspace.metanets._message_passing import Adjacency

Part = TypeVar("Part", Site, EdgeBlock)


@dataclass(frozen=True)
class Family(Generic[Part]):
    """Blocks of a batch that are encoded by the same matrices.

    Args:
        example: a site or block that shows the family's type, roles and taps.
        members: (graph of the batch, site or block of the graph), in the order of the union's rows.
        start: first row of the union.
        stop: row after the last one.
    """

    example: Part
    members: tuple[tuple[int, int], ...]
    start: int
    stop: int


@dataclass(frozen=True)
class Segments:
    """Runs of rows that belong to one site (or block) of one model.

    Args:
        sizes: rows of each run, in the order of the union.
        graph: the model that each run belongs to.

    Shapes:
        sizes, graph (S,).
    """

    sizes: Tensor
    graph: Tensor


@dataclass(frozen=True)
class Union:
    """The disjoint union of a batch of parameter graphs.

    Args:
        graphs: the batch.
        sizes: number of models of each graph.
        node_families: encoder families of the nodes.
        edge_families: encoder families of the edges.
        node_segments: sites of the models.
        edge_segments: blocks of the models.
        node_graph: the model of each node.
        index: position of nodes on fixed axes, -1 on all others.
        adjacency: who is joined to whom.

    Shapes:
        node_graph, index (N,).
    """

    graphs: tuple[ParameterGraph, ...]
    sizes: tuple[int, ...]
    node_families: tuple[Family[Site], ...]
    edge_families: tuple[Family[EdgeBlock], ...]
    node_segments: Segments
    edge_segments: Segments
    node_graph: Tensor
    index: Tensor
    adjacency: Adjacency

    @property
    def num_models(self) -> int:
        """Number of models G of the batch."""
        return sum(self.sizes)


@dataclass(frozen=True)
class _Topology:
    """What depends on one architecture alone."""

    node_keys: tuple[Hashable, ...]
    edge_keys: tuple[Hashable, ...]
    site_of: Tensor  # (N,) site of each node
    edge_index: Tensor  # (2, E)
    block_of: Tensor  # (E,) block of each edge
    rank: Tensor  # (2, E) number of each edge among those with its source, with its target
    degree: Tensor  # (2, N) edges out of and into each node
    index: Tensor  # (N,) index of each node


def unite(graphs: ParameterGraph | Sequence[ParameterGraph]) -> Union:
    """The disjoint union of one graph, a batch that shares a topology, or a sequence of either.

    Args:
        graphs: a graph without model dimension counts as one model.

    Raises:
        WeightspaceError: an empty sequence, or a graph with two leading dimensions.
    """
    graphs = as_graphs(graphs)
    sizes = tuple(graph.batch_shape[0] if graph.batch_shape else 1 for graph in graphs)
    topologies = [_topology(graph) for graph in graphs]
    device = graphs[0].sites[0].address.device
    nodes = _Rows([t.node_keys for t in topologies], [[s.num_nodes for s in g.sites] for g in graphs], sizes, device)
    edges = _Rows([t.edge_keys for t in topologies], [[b.num_edges for b in g.blocks] for g in graphs], sizes, device)
    node_segments, edge_segments = nodes.segments(), edges.segments()
    adjacency, index = _adjacency(topologies, nodes, edges)
    return Union(
        graphs=graphs,
        sizes=sizes,
        node_families=nodes.families([g.sites for g in graphs]),
        edge_families=edges.families([g.blocks for g in graphs]),
        node_segments=node_segments,
        edge_segments=edge_segments,
        node_graph=node_segments.graph.repeat_interleave(node_segments.sizes, output_size=nodes.total),
        index=index,
        adjacency=adjacency,
    )


def as_graphs(graphs: ParameterGraph | Sequence[ParameterGraph]) -> tuple[ParameterGraph, ...]:
    """A metanet's input as a tuple of graphs, each of one network or of a batch.

    Raises:
        WeightspaceError: an empty sequence, something that is no graph, or a graph with two leading dimensions.
    """
    graphs = (graphs,) if isinstance(graphs, ParameterGraph) else tuple(graphs)
    if not graphs:
        raise WeightspaceError("metanet: found an empty sequence of graphs, wanted at least one ParameterGraph")
    for i, graph in enumerate(graphs):
        if not isinstance(graph, ParameterGraph):
            raise WeightspaceError(
                f"metanet: graphs[{i}] is a {type(graph).__name__}, "
                "wanted a ParameterGraph (space.to_graph or space.to_graphs)"
            )
        if len(graph.batch_shape) > 1:
            raise WeightspaceError(
                f"metanet: graphs[{i}] has batch_shape {tuple(graph.batch_shape)}, "
                "wanted () or (B,); flatten the leading dimensions first"
            )
    return graphs


class _Rows:
    """The rows of the union that hold the nodes (or the edges): block after block, family by family."""

    def __init__(
        self,
        keys: Sequence[Sequence[Hashable]],
        sizes: Sequence[Sequence[int]],
        models: Sequence[int],
        device: torch.device,
    ):
        grouped: dict[Hashable, list[tuple[int, int]]] = {}
        for g, graph_keys in enumerate(keys):
            for j, key in enumerate(graph_keys):
                grouped.setdefault(key, []).append((g, j))
        self.grouped = list(grouped.values())
        self.members = [member for members in self.grouped for member in members]
        self.models, self.sizes, self.device = models, sizes, device
        self.starts = [[0] * len(graph_sizes) for graph_sizes in sizes]
        self.bounds, self.total = [], 0
        for members in self.grouped:
            first = self.total
            for g, j in members:
                self.starts[g][j] = self.total
                self.total += models[g] * sizes[g][j]
            self.bounds.append((first, self.total))
        offsets = [0]
        for count in models:
            offsets.append(offsets[-1] + count)
        self.model_offsets = offsets

    def families(self, blocks: Sequence[Sequence[Part]]) -> tuple[Family[Part], ...]:
        """Families with their first and last rows."""
        rows = zip(self.grouped, self.bounds, strict=True)
        return tuple(Family(blocks[m[0][0]][m[0][1]], tuple(m), start, stop) for m, (start, stop) in rows)

    def segments(self) -> Segments:
        """Runs of rows that belong to one site (or block) of one model."""
        sizes = [self.sizes[g][j] for g, j in self.members]
        counts = torch.tensor([self.models[g] for g, _ in self.members], device=self.device)
        numbers = torch.arange(self.model_offsets[-1], device=self.device)
        graph = [numbers[self.model_offsets[g] : self.model_offsets[g + 1]] for g, _ in self.members]
        empty = numbers[:0]
        return Segments(
            torch.tensor(sizes, dtype=torch.long, device=self.device).repeat_interleave(counts.long()),
            torch.cat(graph) if graph else empty,
        )

    def place(self, g: int, block_of: Tensor) -> Tensor:
        """Row of every node (edge) of every model of graph `g`.

        Shapes:
            block_of (n,) in ascending order; result (B, n).
        """
        sizes = torch.tensor(self.sizes[g], dtype=torch.long, device=self.device)
        starts = torch.tensor(self.starts[g], dtype=torch.long, device=self.device) - (sizes.cumsum(0) - sizes)
        first = starts[block_of] + torch.arange(len(block_of), device=self.device)
        return first + torch.arange(self.models[g], device=self.device)[:, None] * sizes[block_of]  # (B, n)


def _adjacency(topologies: Sequence[_Topology], nodes: _Rows, edges: _Rows) -> tuple[Adjacency, Tensor]:
    """Who is joined to whom, and every node's index; a few operations per graph, whatever its blocks and models."""
    node_rows = [nodes.place(g, topology.site_of) for g, topology in enumerate(topologies)]  # each (B, N)
    edge_rows = [edges.place(g, topology.block_of) for g, topology in enumerate(topologies)]  # each (B, E)
    pairs = zip(topologies, node_rows, strict=True)
    ends = torch.cat([rows[:, topology.edge_index].transpose(0, 1).flatten(1) for topology, rows in pairs], dim=1)
    of_edges = [topology.rank for topology in topologies]
    of_nodes = [torch.stack([*topology.degree, topology.index]) for topology in topologies]
    numbers = torch.cat([n.repeat(1, len(rows)) for n, rows in zip(of_nodes, node_rows, strict=True)], dim=1)
    ranks = torch.cat([r.repeat(1, len(rows)) for r, rows in zip(of_edges, edge_rows, strict=True)], dim=1)
    by_row = torch.empty_like(numbers).index_copy_(1, torch.cat([rows.flatten() for rows in node_rows]), numbers)
    at = torch.cat([rows.flatten() for rows in edge_rows])
    out_degree, in_degree, index = by_row
    source, target = torch.empty_like(ends).index_copy_(1, at, ends)
    out_ptr, in_ptr = (torch.nn.functional.pad(degree.cumsum(0), (1, 0)) for degree in (out_degree, in_degree))
    by_source = torch.empty_like(at).index_copy_(0, out_ptr[ends[0]] + ranks[0], at)
    by_target = torch.empty_like(at).index_copy_(0, in_ptr[ends[1]] + ranks[1], at)
    return Adjacency.from_sorted(source, target, (by_source, by_target), (out_degree, in_degree)), index


@dataclass(frozen=True)
class _Cached:
    """A topology's tables, and what must still be the same for them to hold."""

    tensors: tuple[weakref.ref[Tensor], ...]
    versions: tuple[int, ...]
    labels: tuple[Any, ...]
    topology: _Topology

    def holds(self, tensors: tuple[Tensor, ...], versions: tuple[int, ...], labels: tuple[Any, ...]) -> bool:
        same = len(tensors) == len(self.tensors) and versions == self.versions and labels == self.labels
        return same and all(ref() is tensor for ref, tensor in zip(self.tensors, tensors, strict=True))


_CACHE: dict[int, _Cached] = {}


def _topology(graph: ParameterGraph) -> _Topology:
    """The topology's tables: from the cache where all index tensors are the same objects and nothing has changed."""
    site_tensors = [tensor for site in graph.sites for tensor in (site.index, site.tap_position)]
    block_tensors = [tensor for block in graph.blocks for tensor in (block.edge_index, block.tap_position)]
    tensors = (*site_tensors, *block_tensors)
    versions = tuple(-1 if tensor.is_inference() else tensor._version for tensor in tensors)
    site_labels = [(site.node_type, site.roles) for site in graph.sites]
    block_labels = [(block.edge_type, block.role, block.attributes) for block in graph.blocks]
    labels = (*site_labels, *block_labels)
    key = hash(tuple(map(id, tensors)))
    found = _CACHE.get(key)
    if found is not None and found.holds(tensors, versions, labels):
        return found.topology
    with torch.inference_mode(False):  # the tables outlive the mode in which they were made
        topology = _tables(graph)
    refs = (weakref.ref(tensors[0], lambda _: _CACHE.pop(key, None)), *map(weakref.ref, tensors[1:]))
    _CACHE[key] = _Cached(refs, versions, labels, topology)
    return topology


def _tables(graph: ParameterGraph) -> _Topology:
    device = graph.sites[0].address.device
    node_sizes = torch.tensor([site.num_nodes for site in graph.sites], device=device)
    edge_sizes = torch.tensor([block.num_edges for block in graph.blocks], dtype=torch.long, device=device)
    site_of = torch.arange(len(graph.sites), device=device).repeat_interleave(node_sizes)
    edge_index = (
        torch.cat([b.edge_index for b in graph.blocks], 1)
        if graph.blocks
        else torch.zeros(2, 0, dtype=torch.long, device=device)
    )
    degree = torch.stack([torch.bincount(ends, minlength=graph.num_nodes) for ends in edge_index])
    rank = torch.stack([_ranks(ends, counts) for ends, counts in zip(edge_index, degree, strict=True)])
    return _Topology(
        node_keys=tuple(_site_key(site) for site in graph.sites),
        edge_keys=tuple(_block_key(block) for block in graph.blocks),
        site_of=site_of,
        edge_index=edge_index,
        block_of=torch.arange(len(graph.blocks), device=device).repeat_interleave(edge_sizes),
        rank=rank,
        degree=degree,
        index=torch.cat([site.index for site in graph.sites]),
    )


def _ranks(ends: Tensor, counts: Tensor) -> Tensor:
    """Number of each edge among those that share its end; (E,), (N,) -> (E,)."""
    order = torch.argsort(ends, stable=True)
    first = (counts.cumsum(0) - counts)[ends[order]]
    return torch.empty_like(ends).index_copy_(0, order, torch.arange(len(ends), device=ends.device) - first)


def _site_key(site: Site) -> Hashable:
    return site.node_type, site.roles, _tap_key(site.tap_position), bool((site.index >= 0).any())


def _block_key(block: EdgeBlock) -> Hashable:
    return block.edge_type, block.role, _tap_key(block.tap_position), freeze(block.attributes)


def _tap_key(tap_position: Tensor) -> Hashable:
    return tap_position.shape[0], tap_position.detach().cpu().double().numpy().tobytes()


def freeze(value: Any) -> Hashable:
    """A JSON value as something that can be compared and hashed."""
    if isinstance(value, Mapping):
        return tuple(sorted((key, freeze(item)) for key, item in value.items()))
    if isinstance(value, (list, tuple)):
        return tuple(freeze(item) for item in value)
    return value
