"""Networks of a batch as rows of entries in the order of their addresses, and edits of such rows as graphs again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from weightspace.graph import EdgeBlock, ParameterGraph, Site
from weightspace.metanets._input_scales import InputScales, edit_sizes
from weightspace.metanets._union import as_graphs


@dataclass(frozen=True)
class EntryRows:
    """The networks of one architecture in a batch.

    Args:
        signature: of the architecture.
        graphs: numbers of the graphs of the batch that hold them.
        sizes: networks of each of these graphs.
        entries: their scaled entries.
        place: position of each network in the batch, in the order graphs, then models.

    Shapes:
        entries (B, all entries); place (B,).
    """

    signature: str
    graphs: tuple[int, ...]
    sizes: tuple[int, ...]
    entries: Tensor
    place: Tensor


def entry_rows(
    graphs: ParameterGraph | Sequence[ParameterGraph],
    scales: InputScales,
    *,
    width: Callable[[str], int],
    dtype: torch.dtype,
) -> list[EntryRows]:
    """Networks of a batch, those of one architecture together, however nodes and edges are ordered.

    Args:
        graphs: a graph, or several.
        scales: what values are divided by.
        width: number of entries of an architecture.
        dtype: of the rows.
    """
    graphs = as_graphs(graphs)
    sizes = [graph.batch_shape[0] if graph.batch_shape else 1 for graph in graphs]
    places = torch.arange(sum(sizes)).split(sizes)
    found = []
    for signature in dict.fromkeys(graph.signature for graph in graphs):
        mine = [g for g, graph in enumerate(graphs) if graph.signature == signature]
        count = width(signature)
        rows = torch.cat([scaled_entries(graphs[g], scales, count, dtype) for g in mine])
        place = torch.cat([places[g] for g in mine])
        found.append(EntryRows(signature, tuple(mine), tuple(sizes[g] for g in mine), rows, place))
    return found


def scaled_entries(graph: ParameterGraph, scales: InputScales, count: int, dtype: torch.dtype) -> Tensor:
    """Scaled entries of the networks of one graph, in the order of their addresses.

    Shapes:
        result (B, count).
    """
    models = graph.batch_shape[0] if graph.batch_shape else 1
    everything: tuple[Site | EdgeBlock, ...] = (*graph.sites, *graph.blocks)
    parts = [(part, _values(part)) for part in everything if part.address.numel()]
    values = [
        (value / scales.divisors(graph, part)).to(dtype).reshape(models, part.address.numel()) for part, value in parts
    ]
    address = torch.cat([part.address.flatten() for part, _ in parts])
    one_of = torch.empty(count, dtype=torch.long, device=address.device)
    one_of[address] = torch.arange(len(address), device=address.device)  # tied entries stand in several places
    return torch.cat(values, dim=1).index_select(1, one_of)


def edited_graphs(
    graphs: ParameterGraph | Sequence[ParameterGraph],
    edits: Sequence[tuple[EntryRows, Tensor]],
    scales: InputScales,
    *,
    buffers: bool,
) -> ParameterGraph | list[ParameterGraph]:
    """The batch with edits, in units of the input scales, added to its entries; in the form of the input.

    Args:
        graphs: the batch.
        edits: of the networks of each architecture, (B, all entries).
        scales: what an edit is multiplied with.
        buffers: whether running statistics change, too.
    """
    listed = as_graphs(graphs)
    result = list(listed)
    for rows, change in edits:
        for g, part in zip(rows.graphs, change.split(rows.sizes), strict=True):
            result[g] = _edited(listed[g], part, scales, buffers=buffers)
    return result[0] if isinstance(graphs, ParameterGraph) else result


def _edited(graph: ParameterGraph, change: Tensor, scales: InputScales, *, buffers: bool) -> ParameterGraph:
    def new(part: Site | EdgeBlock) -> Tensor:
        old = _values(part)
        mine = change.index_select(1, part.address.flatten()).view(old.shape)
        return old + (mine * edit_sizes(scales, graph, part, buffers=buffers)).to(old.dtype)

    return graph.replace(x=[new(site) for site in graph.sites], edge_attr=[new(block) for block in graph.blocks])


def _values(part: Site | EdgeBlock) -> Tensor:
    return part.x if isinstance(part, Site) else part.edge_attr
