"""Wider networks of the same function: neurons are copied, and what reads them shares out its weights."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from weightspace.axes import FREE
from weightspace.conversion import check_state_dict
from weightspace.errors import WeightspaceError
from weightspace.topology import BlockPlan

if TYPE_CHECKING:
    from weightspace.space import WeightSpace


def widen(
    space: "WeightSpace",
    state_dict: Mapping[str, Tensor],
    wider: "WeightSpace",
    *,
    generator: torch.Generator | None = None,
    even: bool = True,
) -> dict[str, Tensor]:
    """A network of a wider architecture that computes the same function.

    Every neuron of the wider network is a copy of one of the network: it has the same incoming weights, bias and
    statistics. Whatever reads the neuron shares its weight out among the copies. (Chen, Goodfellow and Shlens 2016,
    "Net2Net", arXiv 1511.05641, section 2.3; there with equal shares.)

    Args:
        space: of the network.
        state_dict: of one network, or stacked tensors of several, which get the same copies and shares.
        wider: of the same architecture with larger layers (the same module made with other widths, traced).
        generator: draws the shares, another one for each reader (of mean 1/k for k copies); without, they are equal.
        even: whether neurons are copied equally often, up to one; else numbers of copies are drawn, too.

    Shapes:
        state_dict and result: tensors of the parameters' shapes, all with the same leading dimension or none.

    Raises:
        WeightspaceError: the architectures differ in more than widths, a layer is narrower, or copies are refused:
            neurons that are summed up without a weight between (the features of attention heads, a sum or a softmax
            over channels), or averaged (layer and group norms), unless all are copied equally often.
        StateDictError: the state_dict does not fit the space.

    Example:
        >>> import weightspace as ws
        >>> def net(width):
        ...     layers = torch.nn.Linear(2, width), torch.nn.ReLU(), torch.nn.Linear(width, 1)
        ...     return torch.nn.Sequential(*layers)
        >>> narrow, wide = net(3), net(6)
        >>> spaces = [ws.trace(each, torch.zeros(1, 2)) for each in (narrow, wide)]
        >>> state = widen(spaces[0], narrow.state_dict(), spaces[1])
        >>> state["0.weight"].shape, torch.equal(state["0.weight"][3:], state["0.weight"][:3])
        (torch.Size([6, 2]), True)
    """
    models = check_state_dict(space, state_dict)
    widening = _Widening(space, wider, generator, even)
    lead = () if models is None else (models,)
    like = state_dict[next(iter(space.parameters))]
    flat = torch.cat([state_dict[name].reshape(*lead, -1) for name in space.parameters], dim=-1)
    origin, share = widening.entries()
    values = flat.index_select(-1, origin.to(flat.device)) * share.to(like)
    pieces = values.split([spec.numel for spec in wider.parameters.values()], dim=-1)
    found = {
        name: piece.reshape(*lead, *spec.shape).to(state_dict[name].dtype)
        for (name, spec), piece in zip(wider.parameters.items(), pieces, strict=True)
    }
    keys = [(key, wider.tied.get(key, key)) for key in wider.keys]
    return {key: found[name] if name in found else state_dict[key] for key, name in keys}


class _Widening:
    """From each entry of the wider space to an entry of the space, and its share of it."""

    def __init__(
        self, space: "WeightSpace", wider: "WeightSpace", generator: torch.Generator | None, even: bool
    ) -> None:
        self.space, self.wider, self.generator, self.even = space, wider, generator, even
        self.copies = self._match()
        self.nodes = [self._node_map(number) for number in range(len(space.sites))]
        self._check_wires()

    def _match(self) -> dict[str, Tensor]:
        """For each atom of the wider space, by its name there, which element of the space each element copies."""
        space, wider = self.space, self.wider
        same = len(space.sites) == len(wider.sites) and len(space.blocks) == len(wider.blocks)
        pairs = [(a.node_type, b.node_type) for a, b in zip(space.sites, wider.sites, strict=False)]
        pairs += [(a.edge_type, b.edge_type) for a, b in zip(space.blocks, wider.blocks, strict=False)]
        same = same and all(a == b for a, b in pairs) and space.keys == wider.keys
        if not same or tuple(space.parameters) != tuple(wider.parameters):
            raise WeightspaceError(
                "widen: the two spaces differ in more than the widths of their layers; trace the same module, made "
                "with larger widths"
            )
        copies: dict[str, Tensor] = {}
        for mine, theirs in zip(space.sites, wider.sites, strict=True):
            for name, other in zip(mine.atoms, theirs.atoms, strict=True):
                if other not in copies:
                    copies[other] = self._copy(name, other)
        return copies

    def _copy(self, name: str, other: str) -> Tensor:
        old, new = self.space.atoms[name].size, self.wider.atoms[other].size
        free = self.space.atoms[name].kind == FREE and self.wider.atoms[other].kind == FREE
        if new < old or (new > old and not free):
            raise WeightspaceError(
                f"widen: axis {name!r} has {old} elements and {new} in the wider space; wanted as many or more, and "
                "more only of neurons that may be permuted"
            )
        if self.even or new == old:
            return torch.arange(new) % old
        drawn = torch.randint(old, (new - old,), generator=self.generator)
        return torch.cat([torch.arange(old), drawn])

    def _node_map(self, site: int) -> Tensor:
        """For each node of the wider site, numbered inside it, the node that it copies."""
        found = torch.zeros(1, dtype=torch.long)
        for name, other in zip(self.space.sites[site].atoms, self.wider.sites[site].atoms, strict=True):
            found = (found[:, None] * self.space.atoms[name].size + self.copies[other]).flatten()
        return found

    def _check_wires(self) -> None:
        """Where no weight stands between, values may only meet one to one, or in means of all copies alike."""
        for number, plan in enumerate(self.wider.blocks):
            source = self.nodes[plan.source]
            if plan.slot is not None or len(source) == len(self.space.layout._sites[plan.source].address):
                continue
            ends = self.wider.layout._blocks[number].edge_index
            before = self.space.layout._blocks[number].edge_index
            if _most(ends[1]) <= _most(before[1]):
                continue
            averaged = self.wider.sites[plan.target].node_type.startswith("normaliser")
            if averaged and len(torch.bincount(source).unique()) == 1:
                continue
            raise WeightspaceError(
                f"widen: {plan.name!r} takes the values of {self.wider.sites[plan.source].name!r} together without "
                "weights between, so that copies would count; keep this layer's width"
                + (", or make it a multiple and copy evenly" if averaged else "")
            )

    def entries(self) -> tuple[Tensor, Tensor]:
        """Origin and share of each entry of the wider space, in the order of addresses."""
        new, old = self.wider.layout, self.space.layout
        origin, share = torch.zeros(new.entries, dtype=torch.long), torch.ones(new.entries, dtype=torch.float64)
        for nodes, mine, theirs in zip(self.nodes, old._sites, new._sites, strict=True):
            origin[theirs.address] = mine.address[nodes]
        for number, plan in enumerate(self.wider.blocks):
            if plan.slot is None:
                continue
            before, after = old._blocks[number], new._blocks[number]
            source, target = after.edge_index - self._first(self.wider, plan)
            ends = torch.stack([self.nodes[plan.source][source], self.nodes[plan.target][target]])
            rows = _lookup(before.edge_index - self._first(self.space, plan), ends)
            origin[after.address] = before.address[rows]
            groups = target * len(self.nodes[plan.source]) + ends[0]  # one reader, copies of one neuron
            share[after.address] = self._shares(groups)[:, None].expand(after.address.shape)
        return origin, share

    @staticmethod
    def _first(space: "WeightSpace", plan: BlockPlan) -> Tensor:
        """Numbers of the first nodes of a block's source and target."""
        starts = torch.tensor([0, *(len(site.address) for site in space.layout._sites)]).cumsum(0)
        return starts[[plan.source, plan.target]][:, None]

    def _shares(self, groups: Tensor) -> Tensor:
        """Shares that add up to 1 in each group."""
        _, group, count = groups.unique(return_inverse=True, return_counts=True)
        equal = 1 / count[group].double()
        if self.generator is None:
            return equal
        noise = torch.randn(len(groups), generator=self.generator, dtype=torch.float64)
        total = torch.zeros(len(count), dtype=torch.float64).index_add(0, group, noise)
        return equal + (noise - total[group] * equal) / count[group].double().sqrt()


def _most(targets: Tensor) -> int:
    """How many edges the node with most has."""
    return int(torch.bincount(targets).max()) if len(targets) else 0


def _lookup(edges: Tensor, wanted: Tensor) -> Tensor:
    """Rows of an edge list where pairs of ends stand.

    Shapes:
        edges (2, E), wanted (2, F), result (F,).
    """
    width = int(max(edges[1].max(), wanted[1].max())) + 1
    keys, order = (edges[0] * width + edges[1]).sort()
    return order[torch.searchsorted(keys, wanted[0] * width + wanted[1])]
