"""From records to the plan of the parameter graph: sites, blocks, labels.

Sites belong to (value, dimension, piece); views share them, functions of a neuron label them (or make a site of
their own where the
unlabelled value is used elsewhere too), everything else makes sites and ties them to those of its
arguments.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from weightspace.axes import UNIT, AtomSpec, Axis, Piece
from weightspace.topology import Activation, BlockPlan, SitePlan, Slot
from weightspace.tracing._records import Record, Use, Value
from weightspace.tracing._sites import SiteBook, State, combination_numbers, combinations, operation_text


class Planner:
    """Walks the records once.

    Args:
        resolve: an axis in its final form and names.
        spec: what is known of an atom of a final axis.
        parameters: parameter name -> final axes.
    """

    def __init__(
        self, resolve: Callable[[Axis], Axis], spec: Callable[[str], AtomSpec], parameters: dict[str, tuple[Axis, ...]]
    ) -> None:
        self._resolve = resolve
        self._spec = spec
        self._parameters = parameters
        self._book = SiteBook(spec)
        self._states: dict[int, State] = {}
        self._consumers: Counter[int] = Counter()
        self._root: dict[int, int] = {}
        self._cells: dict[tuple[Any, ...], int] = {}
        self._placed: set[str] = set()

    def plan(self, records: Sequence[Record], outputs: Sequence[Value], values: Sequence[Value]) -> None:
        """Plan the whole graph."""
        for record in records:
            self._root[record.output.number] = (
                self._root_of(record.inputs[0]) if record.kind == "alias" else record.output.number
            )
            for value in _read(record) if record.kind != "alias" else ():
                self._consumers[self._root_of(value)] += 1
        self._consumers.update(self._root_of(value) for value in outputs)
        for record in records:
            getattr(self, f"_{record.kind}")(record)
        self._label_outputs(outputs)
        for name in self._parameters:
            if name not in self._placed:
                self._unused(name)
        self._note_activations(values, {record.output.number for record in records if record.kind == "alias"})

    def _root_of(self, value: Value) -> int:
        return self._root.get(value.number, value.number)

    # --- states

    def _state(self, value: Value) -> State:
        if value.number not in self._states:
            axes = [self._resolve(axis) for axis in value.axes]
            state = State(axes, [None] * len(axes), is_input=value.origin == "input")
            self._states[value.number] = state
            if value.parameter is not None:
                state.loose = tuple(self._parameter_sites(value))
            elif value.origin == "constant":
                state.loose = (self._book.new_site(f"constant({value.label})", ()),)
        return self._states[value.number]

    @property
    def sites(self) -> list[SitePlan]:
        """The planned sites."""
        return self._book.sites

    @property
    def blocks(self) -> list[BlockPlan]:
        """The planned blocks."""
        return self._book.blocks

    def _sites_at(self, value: Value, dim: int) -> tuple[int, ...]:
        """Sites of a value's dimension, made now if nothing has asked for them before."""
        state = self._state(value)
        if state.dims[dim] is None:
            kind = "input" if state.is_input else "view"
            made = tuple(
                self._book.new_site(f"{kind}{state.functions}", atoms) for atoms in self._book.keys(state.axes[dim])
            )
            for loose in state.loose:
                for site in made:
                    self._book.link(loose, site, "view")
            state.dims[dim] = made
            state.owned.update(made)
        found = state.dims[dim]
        assert found is not None
        return found

    def _all_sites(self, value: Value) -> list[tuple[int | None, int, int]]:
        """(dimension, piece, site) of everything that a value consists of."""
        state = self._state(value)
        for dim, axis in enumerate(state.axes):
            if state.dims[dim] is None and self._book.has_neurons(axis) and not state.loose:
                self._sites_at(value, dim)
        placed = [(dim, k, site) for dim, sites in enumerate(state.dims) for k, site in enumerate(sites or ())]
        return [*placed, *((None, 0, site) for site in state.loose)]

    def _parameter_sites(self, value: Value) -> list[int]:
        """A parameter that takes part as a tensor: nodes of its neuron axes, the rest as taps."""
        assert value.parameter is not None
        self._placed.add(value.parameter)
        axes = self._parameters[value.parameter]
        labels = ("tap",) * len(axes)
        made = []
        for number, combination in enumerate(combinations([self._book.pieces_of(axis) for axis in axes])):
            atoms = tuple(
                dict.fromkeys(name for piece in combination for name in piece.atoms if self._spec(name).neuron)
            )
            kind = "parameter" if atoms else "scalar"
            made.append(
                self._book.new_site(
                    kind, atoms, [Slot(value.parameter, number, "scalar" if not atoms else "buffer", labels)]
                )
            )
        return made

    def _unused(self, name: str) -> None:
        self._parameter_sites(Value(-1, [], name))
        last = self._book.sites[-1]
        self._book.sites[-1] = replace(last, node_type="unused")

    # --- records

    def _alias(self, record: Record) -> None:
        before = self._state(record.inputs[0])
        axes = [self._resolve(axis) for axis in record.output.axes]
        state = State(
            axes, [None] * len(axes), functions=before.functions, is_input=before.is_input, owned=before.owned
        )
        left = [site for sites in before.dims for site in sites or ()]
        for dim, axis in enumerate(axes):
            keys = self._book.keys(axis)
            found = [next((s for s in left if self._book.sites[s].atoms == key), None) for key in keys]
            if all(site is not None for site in found) and any(keys):
                state.dims[dim] = tuple(site for site in found if site is not None)
                left = [site for site in left if site not in found]
        state.loose = (*before.loose, *left)
        self._states[record.output.number] = state

    def _function(self, record: Record) -> None:
        source = record.inputs[0]
        before = self._state(source)
        text = ">" + operation_text(record.op, record.attributes)
        axes = [self._resolve(axis) for axis in record.output.axes]
        alone = self._consumers[self._root_of(source)] == 1
        bare = before.is_input and not before.loose and not any(before.dims)
        touched = [] if bare else [site for _, _, site in self._all_sites(source)]
        state = replace(before, axes=axes, dims=list(before.dims), owned=set(before.owned))
        if not touched:
            state.functions += text
        elif alone and all(site in before.owned for site in touched):
            for site in touched:
                self._book.add_function(site, text)
        else:
            renewed = {
                site: self._book.new_site("function" + text, self._book.sites[site].atoms)
                for site in dict.fromkeys(touched)
            }
            for old, new in renewed.items():
                self._book.link(old, new, "function")
            state.dims = [None if sites is None else tuple(renewed[s] for s in sites) for sites in before.dims]
            state.loose, state.owned = tuple(renewed[s] for s in before.loose), set(renewed.values())
        self._states[record.output.number] = state

    def _site(self, record: Record) -> None:
        axes = [self._resolve(axis) for axis in record.output.axes]
        text = operation_text(record.op, {} if _on_edges(record) else record.attributes)
        shared = self._shared_sites(record, axes)
        local = bool(record.source or record.uses or record.scope)
        state, first_new = State(axes, [None] * len(axes)), len(self._book.sites)
        for dim, axis in enumerate(axes):
            if dim == record.dim:
                state.dims[dim] = shared or tuple(self._book.new_site(text, key) for key in self._book.keys(axis))
            elif local:
                state.dims[dim] = self._carried(record, dim, axis)
            elif self._book.has_neurons(axis) or self._given(record, dim, len(axes)):
                state.dims[dim] = tuple(self._book.new_site(text, key) for key in self._book.keys(axis))
        if not any(state.dims):
            state.loose = (self._book.new_site(text, ()),)
        state.owned = set(range(first_new, len(self._book.sites)))
        self._states[record.output.number] = state
        self._tie_inputs(record, state, local=local)
        self._place_uses(record, state, repeated=shared is not None)
        self._tie_scope(record, state)

    def _carried(self, record: Record, dim: int, axis: Axis) -> tuple[int, ...] | None:
        """Sites of a dimension that the operation leaves alone."""
        before = self._state(record.source[0] if record.source else record.inputs[0])
        return before.dims[dim] if dim < len(before.dims) and before.axes[dim] == axis else None

    def _given(self, record: Record, dim: int, rank: int) -> bool:
        """Whether an argument has nodes at this dimension already, though its axis is fixed."""
        for value in record.inputs:
            state = self._state(value)
            mine = dim - rank + len(state.axes)
            if mine >= 0 and state.dims[mine]:
                return True
        return False

    def _shared_sites(self, record: Record, axes: Sequence[Axis]) -> tuple[int, ...] | None:
        """Sites of an earlier use of the same parameters on the same axes (a module that is called twice)."""
        if not record.uses or record.dim is None:
            return None
        names = tuple(use.value.parameter for use in record.uses)
        source = self._book.keys(self._resolve(record.source[0].axes[record.source[1]])) if record.source else ()
        key = (record.op, names, tuple(source), axes[record.dim], tuple(sorted(map(str, record.attributes.items()))))
        if key not in self._cells:
            self._cells[key] = record.output.number
            return None
        return self._states[self._cells[key]].dims[record.dim]

    def _tie_inputs(self, record: Record, state: State, *, local: bool) -> None:
        rank, offset = len(state.axes), 0
        everything = [site for sites in state.dims for site in sites or ()] or list(state.loose)
        for position, value in enumerate(record.inputs):
            before = self._state(value)
            mine_only: Sequence[int] = everything
            for dim in range(rank):
                mine, targets = dim - rank + len(before.axes), state.dims[dim]
                if mine < 0 or targets is None or (local and dim != record.dim):
                    continue
                if record.op == "cat" and dim == record.dim:
                    count = len(self._book.pieces_of(before.axes[mine]))
                    mine_only = targets = targets[offset : offset + count]
                    offset += count
                if before.dims[mine] is not None or not before.loose:
                    self._book.tie(self._sites_at(value, mine), targets, record.edge_type, position)
            loose: list[tuple[int, Sequence[int]]] = [(site, mine_only) for site in before.loose]
            loose += [(site, state.loose) for sites in before.dims for site in sites or () if state.loose]
            for source, candidates in loose:
                for target in self._book.relatives(source, candidates):
                    self._book.link(source, target, record.edge_type, argument=position)

    def _place_uses(self, record: Record, state: State, *, repeated: bool) -> None:
        if record.dim is None:
            return
        targets = state.dims[record.dim]
        assert targets is not None
        sources = self._sites_at(*record.source) if record.source else ()
        for use in record.uses:
            assert use.value.parameter is not None
            self._placed.add(use.value.parameter)
            if repeated:
                self._count_use(use, sources)
            elif "source" in use.dims:
                self._place_edges(record, use, targets=targets, sources=sources)
            else:
                self._place_numbers(use, targets)

    def _place_edges(self, record: Record, use: Use, *, targets: Sequence[int], sources: Sequence[int]) -> None:
        name = use.value.parameter
        assert name is not None
        parts = [self._book.pieces_of(axis) for axis in self._parameters[name]]
        for number, choice in enumerate(combination_numbers(parts)):
            target = targets[choice[use.dims.index("target")]]
            source = sources[choice[use.dims.index("source")]]
            attributes = {
                **record.attributes,
                **self._tap_labels(use, [part[k] for part, k in zip(parts, choice, strict=True)]),
            }
            slot = Slot(name, number, use.role, use.dims)
            label = name if number == 0 else f"{name}#{number}"
            self._book.blocks.append(BlockPlan(label, source, target, record.edge_type, attributes, slot))

    def _tap_labels(self, use: Use, combination: Sequence[Piece]) -> dict[str, Any]:
        named = [(use.dims[d], name) for d, piece in enumerate(combination) for name in piece.atoms]
        taps = [
            f"{self._spec(n).label or 'frozen'}:{self._spec(n).size}"
            for side, n in named
            if side == "source" and not self._spec(n).neuron
        ]
        return {"taps": taps} if taps else {}

    def _place_numbers(self, use: Use, targets: Sequence[int]) -> None:
        name = use.value.parameter
        assert name is not None
        for number, choice in enumerate(
            combination_numbers([self._book.pieces_of(axis) for axis in self._parameters[name]])
        ):
            site = targets[choice[use.dims.index("target")]]
            slot = Slot(name, number, use.role, use.dims)
            self._book.add_slot(site, slot)

    def _count_use(self, use: Use, sources: Sequence[int]) -> None:
        """The edges of the first use serve again: count the use, and tie further sources to the first ones."""
        for number, block in enumerate(self._book.blocks):
            if block.slot is not None and block.slot.parameter == use.value.parameter:
                uses = block.attributes.get("uses", 1) + 1
                self._book.blocks[number] = replace(block, attributes={**block.attributes, "uses": uses})
                for source in sources:
                    if (
                        source != block.source
                        and self._book.sites[source].atoms == self._book.sites[block.source].atoms
                    ):
                        self._book.link(source, block.source, "view", use=uses)

    def _tie_scope(self, record: Record, state: State) -> None:
        if record.scope is None:
            return
        dims, group = record.scope
        axis = self._resolve(group)
        atoms = tuple(name for piece in self._book.pieces_of(axis) for name in piece.atoms)
        members = [site for dim in dims for site in state.dims[dim] or ()]
        if members:
            hub = self._book.new_site("normaliser", atoms if axis != UNIT else ())
            for site in members:
                self._book.link(site, hub, "scope")

    def _reduce(self, record: Record) -> None:
        source = record.inputs[0]
        before = self._state(source)
        axes = [self._resolve(axis) for axis in record.output.axes]
        gone = {d % len(before.axes) for d in record.attributes["dims"]}
        lost = [
            site
            for d in gone
            for site in (
                before.dims[d] or (self._sites_at(source, d) if self._book.has_neurons(before.axes[d]) else ())
            )
        ]
        if not lost:
            self._function(record)
        state = self._states.get(record.output.number, replace(before, owned=set()))
        kept = [sites for d, sites in enumerate(state.dims) if d not in gone]
        keepdim = record.attributes["keepdim"]
        state = replace(
            state, axes=axes, dims=[None if d in gone else s for d, s in enumerate(state.dims)] if keepdim else kept
        )
        if lost:
            hub = self._book.new_site(operation_text(record.op, record.attributes), ())
            for site in lost:
                self._book.link(site, hub, "reduce")
            state.loose, state.owned = (*state.loose, hub), {hub}
        self._states[record.output.number] = state

    def _hub(self, record: Record) -> None:
        axes = [self._resolve(axis) for axis in record.output.axes]
        hub = self._book.new_site(operation_text(record.op, record.attributes), ())
        for position, value in enumerate(record.inputs):
            for dim, _, site in self._all_sites(value):
                where = {} if dim is None else {"dim": dim - len(self._state(value).axes)}
                self._book.link(site, hub, record.edge_type, argument=position, **where)
        self._states[record.output.number] = State(axes, [None] * len(axes), (hub,), owned={hub})

    def _note_activations(self, values: Sequence[Value], aliases: set[int]) -> None:
        """The last value that has a site's neurons is its activation; views of it are not looked at again."""
        found: dict[int, Activation] = {}
        for value in values:
            state = self._states.get(value.number)
            if state is None or value.call is None:
                continue
            for dim, sites in enumerate(state.dims):
                parts = self._book.pieces_of(state.axes[dim]) if sites else ()
                for number, (site, part) in enumerate(zip(sites or (), parts, strict=True)):
                    seen = value.number in aliases and site in found
                    if site in state.owned and not seen and set(self.sites[site].atoms) <= set(part.atoms):
                        found[site] = Activation(value.call, value.operation, dim, state.axes[dim], number)
        for site, activation in found.items():
            self.sites[site] = replace(self.sites[site], activation=activation)

    def _label_outputs(self, outputs: Sequence[Value]) -> None:
        for number, value in enumerate(outputs):
            text = ">output" if len(outputs) == 1 else f">output({number})"
            for site in dict.fromkeys(site for _, _, site in self._all_sites(value)):
                self._book.add_function(site, text)


def _read(record: Record) -> list[Value]:
    return [*record.inputs, *([record.source[0]] if record.source else [])]


def _on_edges(record: Record) -> bool:
    return any("source" in use.dims for use in record.uses)
