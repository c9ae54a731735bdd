"""Between state_dicts and parameter graphs: block copies on the way there, one scatter through the addresses
on the way back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from weightspace.errors import StateDictError
from weightspace.graph import EdgeBlock, ParameterGraph, Site
from weightspace.topology import BlockPlan, EdgeTensors, Layout, NodeTensors, Slot

if TYPE_CHECKING:
    from weightspace.space import WeightSpace


def check_state_dict(
    space: "WeightSpace", state_dict: Mapping[str, Tensor], *, models: int | None = None, finite: bool = False
) -> int | None:
    """Number of models of a stack, None for a single network.

    Raises:
        StateDictError: names the first key that does not fit, what was found and what was wanted.
    """
    missing = [key for key in space.keys if key not in state_dict]
    extra = [key for key in state_dict if key not in set(space.keys)]
    if missing or extra:
        raise StateDictError(
            f"state_dict does not fit the space: "
            f"{_list('missing', missing)}{'; ' if missing and extra else ''}{_list('unknown', extra)} "
            f"(wanted {len(space.keys)} keys). Strip prefixes such as 'module.', or trace the module that this "
            f"state_dict comes from"
        )
    first = next(iter(space.parameters), None)
    stack = (
        None
        if first is None or state_dict[first].dim() == len(space.parameters[first].shape)
        else len(state_dict[first])
    )
    lead = () if stack is None else (stack,)
    for key in space.keys:
        spec = space.parameters.get(space.tied.get(key, key))
        if spec is None:
            continue
        found = state_dict[key]
        if tuple(found.shape) != (*lead, *spec.shape):
            wanted = f"{spec.shape}" if stack is None else f"({stack}, {', '.join(map(str, spec.shape))})"
            raise StateDictError(
                f"state_dict['{key}'] has shape {tuple(found.shape)}, wanted {wanted}; trace the module that it "
                f"comes from"
            )
        if not found.is_floating_point():
            raise StateDictError(
                f"state_dict['{key}'] has dtype {found.dtype}, wanted a floating dtype as when the module was traced"
            )
        if finite and not _is_finite(found):
            count = int((~torch.isfinite(found)).sum())
            raise StateDictError(
                f"state_dict['{key}'] holds {count} of {found.numel()} values that are not finite (NaN or "
                f"infinity); wanted finite weights: "
                "leave diverged networks out, or repair them before the conversion"
            )
    if models is not None and stack is not None and stack != models:
        raise StateDictError(
            f"found a stack of {stack} networks and {models} group elements; wanted one element per network: "
            f"random_element(n={stack})"
        )
    return stack


def check_tied(space: "WeightSpace", values: Mapping[str, Tensor]) -> None:
    """Keys of one tensor hold one value.

    Raises:
        StateDictError: they do not.
    """
    for key, same in space.tied.items():
        if values[key] is not values[same] and not torch.equal(values[key], values[same]):
            raise StateDictError(
                f"state_dict['{key}'] and state_dict['{same}'] are one tensor in the module, but their "
                f"values differ; untie the module and trace it again"
            )


def _is_finite(tensor: Tensor) -> bool:
    """One pass in the usual case: a finite sum has finite terms; only an overflowing sum asks for a look at each."""
    return bool(
        torch.isfinite(tensor.detach().sum(dtype=torch.float64 if tensor.dtype == torch.float64 else torch.float32))
    ) or bool(torch.isfinite(tensor).all())


def _list(what: str, keys: Sequence[str]) -> str:
    shown = ", ".join(repr(key) for key in keys[:5])
    return f"{what} {shown}{f' and {len(keys) - 5} more' if len(keys) > 5 else ''}" if keys else ""


@dataclass(frozen=True)
class _Source:
    """Where a block's or a site's column group comes from: a whole parameter as it lies, or entries picked by
    local index.
    """

    parameter: str
    pick: Tensor | None


def entry_layout(space: "WeightSpace") -> tuple[dict[str, int], Layout]:
    """Offset of each parameter's first entry, and what makes index tensors."""
    offset, starts = 0, {}
    for name, spec in space.parameters.items():
        starts[name] = offset
        offset += spec.numel
    return starts, Layout(space.atoms, {name: (spec, starts[name]) for name, spec in space.parameters.items()})


class GraphLayout:
    """Index tensors of one architecture's parameter graph and the copies in both directions."""

    def __init__(self, space: "WeightSpace") -> None:
        self._space = space
        self.entries = sum(spec.numel for spec in space.parameters.values())
        self._starts, layout = entry_layout(space)
        self._sites = [layout.site(plan) for plan in space.sites]
        first, total = [], 0
        for site in self._sites:
            first.append(total)
            total += len(site.address)
        self._blocks = [
            replace(edges, edge_index=edges.edge_index + torch.tensor([[first[plan.source]], [first[plan.target]]]))
            for plan in space.blocks
            for edges in [layout.block(plan, space.sites)]
        ]
        self._moved: dict[torch.device, tuple[list[NodeTensors], list[EdgeTensors]]] = {}
        self._site_sources = [
            self._columns(plan.slots, site.address) for plan, site in zip(space.sites, self._sites, strict=True)
        ]
        self._block_sources = [
            None if plan.slot is None else self._source(plan.slot.parameter, block.address)
            for plan, block in zip(space.blocks, self._blocks, strict=True)
        ]
        self._repeated = self._check_covered()

    def tensors_on(self, device: torch.device) -> tuple[list[NodeTensors], list[EdgeTensors]]:
        """Index tensors of sites and blocks on a device, copied once."""
        if device not in self._moved:
            self._moved[device] = (
                [site.to(device) for site in self._sites],
                [block.to(device) for block in self._blocks],
            )
        return self._moved[device]

    def _source(self, parameter: str, address: Tensor) -> _Source:
        local = address - self._starts[parameter]
        whole = local.numel() == self._space.parameters[parameter].numel and bool(
            (local.reshape(-1) == torch.arange(local.numel())).all()
        )
        return _Source(parameter, None if whole else local.reshape(-1))

    def _columns(self, slots: Sequence[Slot], address: Tensor) -> list[tuple[_Source, int]]:
        """The parameters of a site's numbers with their widths, in the order of the columns."""
        found, start = [], 0
        for slot in slots:
            spec = self._space.parameters[slot.parameter]
            low, high = self._starts[slot.parameter], self._starts[slot.parameter] + spec.numel
            width = 0
            while start + width < address.shape[1] and low <= int(address[0, start + width]) < high:
                width += 1
            found.append((self._source(slot.parameter, address[:, start : start + width]), width))
            start += width
        return found

    def _check_covered(self) -> bool:
        """Whether some entry lies in several places; every entry must lie in one."""
        addresses = [tensors.address for group in (self._sites, self._blocks) for tensors in group]
        seen = self._covered(addresses)
        for name, spec in self._space.parameters.items():
            part = seen[self._starts[name] : self._starts[name] + spec.numel]
            if not bool(part.all()):
                raise StateDictError(
                    f"'{name}': {int((~part).sum())} entries lie on no edge and no node; the space is "
                    f"broken, trace the module again"
                )
        return sum(address.numel() for address in addresses) > self.entries

    def _covered(self, addresses: Sequence[Tensor]) -> Tensor:
        """Which entries lie somewhere; block by block, since one list of all addresses is as large as they are."""
        device = addresses[0].device if addresses else None
        seen: Tensor = torch.zeros(self.entries, dtype=torch.bool, device=device)
        for address in addresses:
            seen[address.reshape(-1)] = True
        return seen

    def _take(
        self, source: _Source, values: Mapping[str, Tensor], lead: tuple[int, ...], shape: tuple[int, int]
    ) -> Tensor:
        tensor = values[source.parameter].detach() if not torch.is_grad_enabled() else values[source.parameter]
        if source.pick is None:
            return tensor.reshape((*lead, *shape))
        return tensor.reshape((*lead, -1)).index_select(-1, source.pick.to(tensor.device)).reshape((*lead, *shape))

    def graph(self, values: Mapping[str, Tensor], lead: tuple[int, ...]) -> ParameterGraph:
        """The graph of checked values with a leading shape `lead`."""
        space = self._space
        check_tied(space, values)
        like = values[next(iter(space.parameters))]
        on_sites, on_blocks = self.tensors_on(like.device)
        parts = [
            self._numbers(columns, values, lead, site)
            for columns, site in zip(self._site_sources, on_sites, strict=True)
        ]
        for source, edges in zip(self._block_sources, on_blocks, strict=True):
            shape = (*lead, *edges.address.shape)
            parts.append(like.new_zeros(shape) if source is None else self._take(source, values, lead, shape[-2:]))
        parts = _copy_together(parts)
        sites = tuple(
            Site(x, site.address, plan.node_type, site.index, site.roles, site.tap_position, plan.name)
            for plan, site, x in zip(space.sites, on_sites, parts, strict=False)
        )
        blocks = tuple(
            EdgeBlock(e.edge_index, value, e.address, b.edge_type, b.attributes, _role(b), e.tap_position, b.name)
            for b, e, value in zip(space.blocks, on_blocks, parts[len(sites) :], strict=True)
        )
        constants = {key: values[key].clone() for key in space.keys if space.tied.get(key, key) not in space.parameters}
        dtypes = {name: values[name].dtype for name in space.parameters}
        return ParameterGraph(sites, blocks, constants, space.signature, dtypes)

    def _numbers(
        self,
        columns: Sequence[tuple[_Source, int]],
        values: Mapping[str, Tensor],
        lead: tuple[int, ...],
        site: NodeTensors,
    ) -> Tensor:
        """Numbers on the nodes of a site."""
        count = len(site.address)
        parts = [self._take(source, values, lead, (count, width)) for source, width in columns]
        if not parts:
            return values[next(iter(self._space.parameters))].new_zeros((*lead, count, 0))
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)

    def state_dict(self, graph: ParameterGraph, tied: str) -> dict[str, Tensor]:
        """Every key of the state_dict, from the values at their addresses."""
        if graph.signature != self._space.signature:
            raise StateDictError(
                f"to_state_dict: the graph is of signature {graph.signature[:12]}, this space is "
                f"{self._space.signature[:12]}"
            )
        if tied not in ("check", "mean"):
            raise StateDictError(f"to_state_dict: tied={tied!r} is not known, wanted 'check' or 'mean'")
        if not self._repeated and self._is_unchanged(graph):
            return self._split(graph, self._gather_whole(graph))
        parts = [(site.x, site.address) for site in graph.sites] + [
            (block.edge_attr, block.address) for block in graph.blocks
        ]
        parts = [(value, address) for value, address in parts if address.numel()]
        lead = graph.batch_shape
        values = (
            torch.cat([value.reshape((*lead, -1)) for value, _ in parts], dim=-1) if parts else torch.zeros(*lead, 0)
        )
        address = torch.cat([a.reshape(-1) for _, a in parts]) if parts else torch.zeros(0, dtype=torch.long)
        seen = self._covered([address])
        if not bool(seen.all()):
            raise StateDictError(
                f"to_state_dict: {int((~seen).sum())} of {self.entries} entries lie on no edge and no node "
                f"of the graph; blocks must stay whole"
            )
        return self._split(graph, self._scatter(values, address, tied))

    def _is_unchanged(self, graph: ParameterGraph) -> bool:
        """Whether nodes and edges lie in the order in which they were built."""
        known = [tensors.address for group in self.tensors_on(graph.sites[0].address.device) for tensors in group]
        found = [site.address for site in graph.sites] + [block.address for block in graph.blocks]
        return len(known) == len(found) and all(a is b for a, b in zip(known, found, strict=True))

    def _gather_whole(self, graph: ParameterGraph) -> Tensor:
        """All entries in the order of their addresses, by block copies."""
        lead = graph.batch_shape
        found: dict[str, list[tuple[_Source, Tensor]]] = {}
        for site, columns in zip(graph.sites, self._site_sources, strict=True):
            start = 0
            for source, width in columns:
                values = site.x[..., start : start + width]
                found.setdefault(source.parameter, []).append((source, values.reshape((*lead, -1))))
                start += width
        for block, origin in zip(graph.blocks, self._block_sources, strict=True):
            if origin is not None:
                found.setdefault(origin.parameter, []).append((origin, block.edge_attr.reshape((*lead, -1))))
        return torch.cat([self._join(found[name]) for name in self._space.parameters], dim=-1)

    def _join(self, parts: Sequence[tuple[_Source, Tensor]]) -> Tensor:
        if len(parts) == 1 and parts[0][0].pick is None:
            return parts[0][1]
        values = torch.cat([value for _, value in parts], dim=-1)
        where = [torch.arange(v.shape[-1]) if source.pick is None else source.pick for source, v in parts]
        order = torch.argsort(torch.cat(where))
        return values.index_select(-1, order.to(values.device))

    def _scatter(self, values: Tensor, address: Tensor, tied: str) -> Tensor:
        if tied == "mean" and self._repeated:
            flat = values.new_zeros((*values.shape[:-1], self.entries))
            return flat.index_add(-1, address, values) / torch.bincount(address, minlength=self.entries)
        one_of = torch.empty(self.entries, dtype=torch.long, device=address.device)
        one_of[address] = torch.arange(len(address), device=address.device)
        flat = values.index_select(-1, one_of)  # a copy through `address` would give every repeat the whole gradient
        if self._repeated and not torch.equal(flat.index_select(-1, address), values):
            where = (flat.index_select(-1, address) != values).reshape(-1, len(address)).any(0)
            names = sorted({self._name_of(int(a)) for a in address[where]})
            raise StateDictError(
                f"to_state_dict: entries of {', '.join(names)} lie on several edges with different values; "
                "after an edit use to_state_dict(graph, tied='mean')"
            )
        return flat

    def _name_of(self, address: int) -> str:
        return next(
            n for n, spec in self._space.parameters.items() if self._starts[n] <= address < self._starts[n] + spec.numel
        )

    def _split(self, graph: ParameterGraph, flat: Tensor) -> dict[str, Tensor]:
        lead = graph.batch_shape
        result = {}
        for key in self._space.keys:
            name = self._space.tied.get(key, key)
            spec = self._space.parameters.get(name)
            if spec is None:
                result[key] = graph.constants[key]
                continue
            part = flat[..., self._starts[name] : self._starts[name] + spec.numel]
            result[key] = part.reshape((*lead, *spec.shape)).to(graph.dtypes.get(name, flat.dtype))
        return result


def _role(plan: BlockPlan) -> str:
    return plan.slot.role if plan.slot else ""


def _copy_together(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Copies of tensors, those of one dtype in one piece of memory.

    One allocation instead of one per block: on glibc, freeing many blocks gives their pages back to the system, and the
    next batch spends more time on page faults than on copying (measured: 33k networks/s instead of 360k).
    """
    result: list[Tensor] = list(tensors)
    for dtype in {tensor.dtype for tensor in tensors}:
        mine = [i for i, tensor in enumerate(tensors) if tensor.dtype == dtype]
        flat = torch.cat([tensors[i].reshape(-1) for i in mine])
        start = 0
        for i in mine:
            result[i] = flat.narrow(0, start, tensors[i].numel()).view(tensors[i].shape)
            start += tensors[i].numel()
    return result
