"""The parameter graph: a network's weights on the nodes and edges of its computation.

A node is a neuron (channel) at a site of the computation, an edge joins the element that an entry is contracted with
to the element that
it produces, and fixed axes (kernel positions, pixels behind a flatten) are the ordered taps of an edge or node.
Blocks keep their own
number of taps, so nothing is padded. Every value carries its address: the offset in the concatenation of the
floating entries in
`space.parameters` order; the way back is one scatter through the addresses.

Legend of shape comments: B models, n nodes of a site, E edges of a block, K taps.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from weightspace.errors import WeightspaceError
from weightspace.vocabulary import edge_type_id, node_kind_id

if TYPE_CHECKING:
    import networkx
    from torch_geometric.data import Data

TAP_FEATURES = 4


@dataclass(frozen=True)
class Site:
    """A block of nodes: the neurons of one axis of one activation.

    Args:
        x: numbers on the nodes (biases, norm vectors, depthwise kernels).
        address: offset of each number among the floating entries.
        node_type: kind and functions from the shared vocabulary, e.g. `"conv>relu"`; never a parameter's name.
        index: position on nodes of fixed axes, -1 on nodes that may be permuted.
        roles: role of each of the K numbers.
        tap_position: where each number sits in its kernel or window, see `EdgeBlock`.
        name: unique in the graph; for people and for input scales, never a feature.

    Shapes:
        x (..., n, K); address (n, K); index (n,); tap_position (K, 4).
    """

    x: Tensor
    address: Tensor
    node_type: str
    index: Tensor
    roles: tuple[str, ...]
    tap_position: Tensor
    name: str

    @property
    def num_nodes(self) -> int:
        """Number of nodes n."""
        return self.address.shape[0]


@dataclass(frozen=True)
class EdgeBlock:
    """A block of edges: one parameter piece (K >= 1 ordered taps per edge), or one structural relation (K = 0).

    Args:
        edge_index: global node numbers, row 0 source, row 1 target.
        edge_attr: the parameter's entries.
        address: offset of each entry among the floating entries.
        edge_type: from the shared vocabulary.
        attributes: of the operation (stride, groups, argument position, meaning of the taps); JSON values.
        role: role of the parameter, `""` on structural edges.
        tap_position: (d0, d1, d2, kind) of each tap: kind 1, offsets from the kernel's centre; kind 2, position in
            [-1, 1] of a pixel
            behind a flatten; kind 0, a single number.
        name: unique in the graph; for people and for input scales, never a feature.

    Shapes:
        edge_index (2, E); edge_attr (..., E, K); address (E, K); tap_position (K, 4).
    """

    edge_index: Tensor
    edge_attr: Tensor
    address: Tensor
    edge_type: str
    attributes: Mapping[str, Any]
    role: str
    tap_position: Tensor
    name: str

    @property
    def num_edges(self) -> int:
        """Number of edges E."""
        return self.edge_index.shape[1]


@dataclass(frozen=True)
class ParameterGraph:
    """A network (or a batch of networks of one architecture) as a graph; made by `WeightSpace.to_graph` and
    `to_graphs`.

    Args:
        sites: node blocks; node numbers run through them in order.
        blocks: edge blocks.
        constants: what is not floating point (counters, masks), carried unchanged.
        signature: of the space that made the graph.
        dtypes: dtype of each floating entry's parameter, restored on the way back.
    """

    sites: tuple[Site, ...]
    blocks: tuple[EdgeBlock, ...]
    constants: Mapping[str, Tensor]
    signature: str
    dtypes: Mapping[str, torch.dtype] = field(default_factory=dict)

    @property
    def batch_shape(self) -> torch.Size:
        """`()` for one network, `(B,)` for a batch that shares this topology."""
        return self.sites[0].x.shape[:-2]

    @property
    def num_nodes(self) -> int:
        """Number of nodes of one network."""
        return sum(site.num_nodes for site in self.sites)

    @property
    def num_edges(self) -> int:
        """Number of edges of one network, structural ones included."""
        return sum(block.num_edges for block in self.blocks)

    @property
    def site_offsets(self) -> tuple[int, ...]:
        """Number of the first node of each site."""
        offsets, total = [], 0
        for site in self.sites:
            offsets.append(total)
            total += site.num_nodes
        return tuple(offsets)

    def replace(
        self, *, x: Sequence[Tensor] | None = None, edge_attr: Sequence[Tensor] | None = None
    ) -> "ParameterGraph":
        """The same topology with other numbers, one tensor per site and one per block.

        Raises:
            WeightspaceError: a tensor's node, edge or tap count is not the topology's.
        """
        x = [site.x for site in self.sites] if x is None else x
        edge_attr = [block.edge_attr for block in self.blocks] if edge_attr is None else edge_attr
        _check_sizes("x", x, [site.address.shape for site in self.sites])
        _check_sizes("edge_attr", edge_attr, [block.address.shape for block in self.blocks])
        sites = tuple(replace(site, x=value) for site, value in zip(self.sites, x, strict=True))
        blocks = tuple(replace(block, edge_attr=value) for block, value in zip(self.blocks, edge_attr, strict=True))
        return replace(self, sites=sites, blocks=blocks)

    def unbatch(self, i: int | None = None) -> Any:
        """Network `i` of a batch, or all of them as a list; topology tensors are shared."""
        if not self.batch_shape:
            raise WeightspaceError(
                "unbatch: this graph holds one network (batch_shape is ()); only graphs of `to_graphs` can be unbatched"
            )
        if i is None:
            return [self.unbatch(j) for j in range(self.batch_shape[0])]
        graph = self.replace(
            x=[site.x[i] for site in self.sites], edge_attr=[block.edge_attr[i] for block in self.blocks]
        )
        return replace(graph, constants={name: value[i] for name, value in self.constants.items()})

    def to(self, *args: Any, **options: Any) -> "ParameterGraph":
        """Numbers moved or converted as by `Tensor.to`; index tensors follow to the device only."""
        probe = torch.empty(0).to(*args, **options)
        device = probe.device if (args or options) else None

        def follow(tensor: Tensor) -> Tensor:
            return tensor.to(device)

        sites = tuple(
            replace(
                s,
                x=s.x.to(*args, **options),
                address=follow(s.address),
                index=follow(s.index),
                tap_position=follow(s.tap_position),
            )
            for s in self.sites
        )
        blocks = tuple(
            replace(
                b,
                edge_attr=b.edge_attr.to(*args, **options),
                edge_index=follow(b.edge_index),
                address=follow(b.address),
                tap_position=follow(b.tap_position),
            )
            for b in self.blocks
        )
        return replace(self, sites=sites, blocks=blocks, constants={k: follow(v) for k, v in self.constants.items()})

    def relabel(self, generator: torch.Generator | None = None) -> "ParameterGraph":
        """The same graph with the nodes of every site and the edges of every block in another, random order."""
        sites, new_numbers = [], []
        for offset, site in zip(self.site_offsets, self.sites, strict=True):
            order = torch.randperm(site.num_nodes, generator=generator)
            new_numbers.append(offset + torch.argsort(order))
            order = order.to(site.address.device)
            sites.append(replace(site, x=site.x[..., order, :], address=site.address[order], index=site.index[order]))
        numbers = torch.cat(new_numbers)
        blocks = []
        for block in self.blocks:
            order = torch.randperm(block.num_edges, generator=generator).to(block.address.device)
            edge_index = numbers.to(order.device)[block.edge_index][:, order]
            blocks.append(
                replace(
                    block, edge_index=edge_index, edge_attr=block.edge_attr[..., order, :], address=block.address[order]
                )
            )
        return replace(self, sites=tuple(sites), blocks=tuple(blocks))

    def to_pyg(self, max_padding: float | None = 2.0) -> "Data":
        """One `torch_geometric.data.Data`, taps padded with zeros to the widest block, for any PyG model.

        Args:
            max_padding: refuse where padded numbers exceed the entries by more than this factor; `None` never refuses.

        Shapes:
            x, x_address (N, K_x); edge_attr, edge_address (E, K_e), address -1 where padded; node_type, index (N,);
            edge_type (E,);
            edge_index (2, E). Types are numbers in `weightspace.vocabulary`.

        Raises:
            WeightspaceError: a batch (call `unbatch` first), or too much padding.
        """
        from torch_geometric.data import Data

        if self.batch_shape:
            raise WeightspaceError(
                f"to_pyg: found a batch of {self.batch_shape[0]} networks, wanted one: [g.to_pyg() for g in "
                f"graph.unbatch()]"
            )
        x, x_address = _pad([(site.x, site.address) for site in self.sites])
        edge_attr, edge_address = _pad([(block.edge_attr, block.address) for block in self.blocks])
        entries = max(1, sum(s.address.numel() for s in self.sites) + sum(b.address.numel() for b in self.blocks))
        padding = (x.numel() + edge_attr.numel()) / entries
        if max_padding is not None and padding > max_padding:
            raise WeightspaceError(
                f"to_pyg: padding to one width takes {padding:.1f}x the {entries} entries (allowed {max_padding:g}x); "
                "use the ragged blocks (graph.blocks), or to_pyg(max_padding=None) if the memory is there"
            )
        return Data(
            x=x,
            x_address=x_address,
            node_type=torch.cat([torch.full((s.num_nodes,), node_kind_id(s.node_type)) for s in self.sites]),
            index=torch.cat([site.index for site in self.sites]),
            edge_index=torch.cat([block.edge_index for block in self.blocks], dim=1)
            if self.blocks
            else torch.zeros(2, 0, dtype=torch.long),
            edge_attr=edge_attr,
            edge_address=edge_address,
            edge_type=torch.cat(
                [torch.full((b.num_edges,), edge_type_id(b.edge_type)) for b in self.blocks]
                or [torch.zeros(0, dtype=torch.long)]
            ),
            num_nodes=self.num_nodes,
        )

    def to_networkx(self) -> "networkx.MultiDiGraph":
        """A `networkx.MultiDiGraph` with plain Python values.

        Node attributes are x, node_type, x_address, and index on nodes of fixed axes; edge attributes are edge_attr,
        edge_type, attributes
        and edge_address.
        """
        import networkx

        if self.batch_shape:
            raise WeightspaceError(
                f"to_networkx: found a batch of {self.batch_shape[0]} networks, wanted one: "
                f"graph.unbatch(i).to_networkx()"
            )
        result = networkx.MultiDiGraph()
        for number, attributes in enumerate(self._nodes()):
            result.add_node(number, **attributes)
        for block in self.blocks:
            rows = zip(block.edge_index.t().tolist(), block.edge_attr.tolist(), block.address.tolist(), strict=True)
            attributes = dict(block.attributes)
            for (source, target), values, address in rows:
                edge = {
                    "edge_attr": tuple(values),
                    "edge_type": block.edge_type,
                    "attributes": attributes,
                    "edge_address": tuple(address),
                }
                result.add_edge(source, target, **edge)
        return result

    def _nodes(self) -> Iterator[dict[str, Any]]:
        for site in self.sites:
            rows = zip(site.x.tolist(), site.address.tolist(), site.index.tolist(), strict=True)
            for values, address, index in rows:
                node = {"x": tuple(values), "node_type": site.node_type, "x_address": tuple(address)}
                yield node if index < 0 else node | {"index": index}

    def __repr__(self) -> str:
        models = f"{self.batch_shape[0]} networks, each " if self.batch_shape else ""
        nodes = f"{self.num_nodes} nodes at {len(self.sites)} sites"
        return f"ParameterGraph({models}{nodes}, {self.num_edges} edges in {len(self.blocks)} blocks)"


def _check_sizes(what: str, values: Sequence[Tensor], wanted: Sequence[torch.Size]) -> None:
    if len(values) != len(wanted):
        raise WeightspaceError(f"replace: found {len(values)} tensors for {what}, wanted {len(wanted)}, one per block")
    for i, (value, shape) in enumerate(zip(values, wanted, strict=True)):
        if value.shape[-2:] != shape:
            raise WeightspaceError(
                f"replace: {what}[{i}] has shape {tuple(value.shape)}, wanted (..., {shape[0]}, {shape[1]})"
            )


def _pad(rows: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    widest = max((address.shape[1] for _, address in rows), default=0)
    if not rows:
        return torch.zeros(0, 0), torch.zeros(0, 0, dtype=torch.long)
    pad = torch.nn.functional.pad
    values = torch.cat([pad(value, (0, widest - value.shape[1])) for value, _ in rows])
    addresses = torch.cat([pad(address, (0, widest - address.shape[1]), value=-1) for _, address in rows])
    return values, addresses
