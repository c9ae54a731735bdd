"""Planning an operation that makes neurons of its own: its sites, its parameters on edges and nodes, its arguments."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from weightspace.axes import UNIT, Axis, Piece, atoms_of, axis_size
from weightspace.topology import BlockPlan, Slot
from weightspace.tracing._records import Record, Use, Value
from weightspace.tracing._sites import State, combination_numbers, operation_text

if TYPE_CHECKING:
    from weightspace.tracing._planner import Planner


def plan_site(planner: "Planner", record: Record) -> None:
    """Sites and blocks of a record of kind `"site"`."""
    book = planner.book
    axes = [planner.resolve(axis) for axis in record.output.axes]
    text = operation_text(record.op, {} if _on_edges(record) else record.attributes)
    shared = _shared_sites(planner, record, axes)
    local = bool(record.source or record.uses or record.scope)
    state, first_new = State(axes, [None] * len(axes)), len(book.sites)
    for dim, axis in enumerate(axes):
        if dim == record.dim:
            state.dims[dim] = shared or book.new_sites(text, axis)
        elif local:
            state.dims[dim] = _carried(planner, record, dim, axis)
        elif book.has_neurons(axis) or _given(planner, record, dim, len(axes)):
            state.dims[dim] = book.new_sites(text, axis)
    if not any(state.dims):
        state.loose = (book.new_site(text, ()),)
    state.owned = set(range(first_new, len(book.sites)))
    planner.states[record.output.number] = state
    if local:
        _note_beside(planner, record, state)
    _tie_dims(planner, state)
    _tie_inputs(planner, record, state, local=local)
    _tie_source(planner, record, state)
    _place_uses(planner, record, state, repeated=shared is not None)
    _tie_scope(planner, record, state)


def _tie_source(planner: "Planner", record: Record, state: State) -> None:
    """What the value that parameters are contracted with has besides its dimensions."""
    if record.source is None or record.dim is None:
        return
    for site in planner.state(record.source[0]).loose:
        for target in planner.book.relatives(site, state.dims[record.dim] or ()):
            planner.book.link(site, target, "view")


def _tie_dims(planner: "Planner", state: State) -> None:
    """New sites of different dimensions with an atom in common belong together."""
    new = [[s for s in sites or () if s in state.owned] for sites in state.dims]
    for dim, mine in enumerate(new):
        for other in new[dim + 1 :]:
            for a in mine:
                for b in other:
                    if set(planner.sites[a].atoms) & set(planner.sites[b].atoms):
                        planner.book.link(a, b, "view")


def _note_beside(planner: "Planner", record: Record, state: State) -> None:
    """What the argument has in other dimensions than the operation's: a bias or a norm treats it all alike."""
    value, dim = record.source or (record.inputs[0], record.dim)
    before = planner.state(value)
    others = [site for d, sites in enumerate(before.dims) if d != dim for site in sites or ()]
    mine = state.loose if record.dim is None else state.dims[record.dim] or state.loose
    for number in mine:
        site = planner.sites[number]
        beside = dict.fromkeys((*site.beside, *others, *before.loose))
        planner.sites[number] = replace(site, beside=tuple(beside))


def _carried(planner: "Planner", record: Record, dim: int, axis: Axis) -> tuple[int, ...] | None:
    """Sites of a dimension that the operation leaves alone."""
    value = record.source[0] if record.source else record.inputs[0]
    before = planner.state(value)
    if dim >= len(before.dims) or before.axes[dim] != axis:
        return None
    if before.dims[dim] is None and before.loose and planner.book.has_neurons(axis):
        known = [set(planner.sites[s].atoms) for sites in before.dims for s in sites or ()]
        if not all(any(set(key) <= atoms for atoms in known) for key in planner.book.keys(axis)):
            return planner.sites_at(value, dim)
    return before.dims[dim]


def _given(planner: "Planner", record: Record, dim: int, rank: int) -> bool:
    """Whether an argument has nodes at this dimension already, though its axis is fixed."""
    for value in record.inputs:
        state = planner.state(value)
        mine = dim - rank + len(state.axes)
        if mine >= 0 and state.dims[mine]:
            return True
    return False


def _shared_sites(planner: "Planner", record: Record, axes: Sequence[Axis]) -> tuple[int, ...] | None:
    """Sites of an earlier use of the same parameters on the same axes (a module that is called twice)."""
    if not record.uses or record.dim is None:
        return None
    places = tuple(use.value.place for use in record.uses)
    source: list[tuple[str, ...]] = []
    if record.source:
        source = planner.book.keys(planner.resolve(record.source[0].axes[record.source[1]]))
    return shared_cell(planner, record, (record.op, places, tuple(source), axes[record.dim]), record.dim)


def shared_cell(planner: "Planner", record: Record, key: tuple[object, ...], dim: int) -> tuple[int, ...] | None:
    """Sites of an earlier record with this key and these attributes, which is otherwise noted."""
    key = (*key, tuple(sorted(map(str, record.attributes.items()))))
    if key not in planner.cells:
        planner.cells[key] = record.output.number
        return None
    return planner.states[planner.cells[key]].dims[dim if dim >= 0 else -1]


def _tie_inputs(planner: "Planner", record: Record, state: State, *, local: bool) -> None:
    book = planner.book
    rank, offset = len(state.axes), 0
    everything = [site for sites in state.dims for site in sites or ()] or list(state.loose)
    for position, value in enumerate(record.inputs):
        before = planner.state(value)
        mine_only: Sequence[int] = everything
        targets: Sequence[int] | None
        edge_type = record.types[position] if record.types else record.edge_type
        for dim in range(rank):
            mine = dim - rank + len(before.axes)
            targets = state.dims[dim]
            if mine < 0 or targets is None or (local and dim != record.dim):
                continue
            if record.op == "cat" and dim == record.dim:
                size = axis_size(before.axes[mine], lambda name: planner.spec(name).size)
                places = record.places[position] if record.places else range(offset, offset + size)
                offset += size
                found = book.matching(before.axes[mine], places, state.axes[dim])
                mine_only = targets = targets if found is None else [targets[k] for k in found]
            if before.dims[mine] is not None or not before.loose:
                book.tie(planner.sites_at(value, mine), targets, edge_type, position)
        aside = [site for d, sites in enumerate(state.dims) if d != record.dim for site in sites or ()]
        near = mine_only if record.op != "cat" else [*dict.fromkeys((*aside, *mine_only))]
        loose: list[tuple[int, Sequence[int]]] = [
            (site, _allowed(planner, state, before, site, near)) for site in before.loose
        ]
        loose += [(site, state.loose) for sites in before.dims for site in sites or () if state.loose]
        for source, candidates in loose:
            for target in book.relatives(source, candidates):
                dim = next((d for d, sites in enumerate(state.dims) if target in (sites or ())), 0)
                told = book.turn(source, target, before.axes, dim - rank + len(before.axes))
                book.link(source, target, edge_type, argument=position, **told)


def _allowed(planner: "Planner", state: State, before: State, site: int, targets: Sequence[int]) -> list[int]:
    """Of some sites of a result those on which a site of an argument may stand."""
    gone = set()
    for dim, sites in enumerate(state.dims):
        mine = dim - len(state.axes) + len(before.axes)
        if mine >= 0 and len(sites or ()) == len(planner.book.pieces_of(before.axes[mine])):
            gone |= {s for k, s in enumerate(sites or ()) if not before.allows(site, mine, k)}
    return [target for target in targets if target not in gone]


def _place_uses(planner: "Planner", record: Record, state: State, *, repeated: bool) -> None:
    if record.dim is None:
        return
    targets = state.dims[record.dim]
    assert targets is not None
    sources = planner.sites_at(*record.source) if record.source else ()
    for use in record.uses:
        if repeated:
            count_use(planner, use.value, sources)
        elif "source" in use.dims:
            _place_edges(planner, record, use, targets=targets, sources=sources)
        else:
            _place_numbers(planner, use, targets)


def _place_edges(
    planner: "Planner", record: Record, use: Use, *, targets: Sequence[int], sources: Sequence[int]
) -> None:
    name = use.value.parameter or ""
    view = planner.view_of(use.value)
    parts = [planner.book.pieces_of(planner.resolve(axis)) for axis in use.value.axes]
    for number, choice in enumerate(combination_numbers(parts)):
        target = targets[choice[use.dims.index("target")]]
        source = sources[choice[use.dims.index("source")]]
        chosen = [part[k] for part, k in zip(parts, choice, strict=True)]
        attributes = {**record.attributes, **tap_labels(planner, use.dims, chosen)}
        slot = Slot(name, number, use.role, use.dims, view)
        place_block(planner, slot, source=source, target=target, edge_type=record.edge_type, attributes=attributes)


def place_block(
    planner: "Planner", slot: Slot, *, source: int, target: int, edge_type: str, attributes: dict[str, Any]
) -> None:
    """Entries of a parameter as edges between two sites."""
    first = slot.view is None and not any(block.name == slot.parameter for block in planner.blocks)
    label = slot.parameter if first else f"{slot.parameter}#{len(planner.blocks)}"
    planner.blocks.append(BlockPlan(label, source, target, edge_type, attributes, slot))


def tap_labels(planner: "Planner", dims: Sequence[str], combination: Sequence[Piece]) -> dict[str, Any]:
    """What the taps of an edge are, where they stand for fixed positions of its source."""
    named = [(dims[d], name) for d, piece in enumerate(combination) for name in piece.atoms]
    taps = [
        f"{planner.spec(n).label or 'frozen'}:{planner.spec(n).size}"
        for side, n in named
        if side == "source" and not planner.spec(n).neuron
    ]
    return {"taps": taps} if taps else {}


def _place_numbers(planner: "Planner", use: Use, targets: Sequence[int]) -> None:
    name, view = use.value.parameter or "", planner.view_of(use.value)
    parts = [planner.book.pieces_of(planner.resolve(axis)) for axis in use.value.axes]
    for number, choice in enumerate(combination_numbers(parts)):
        site = targets[choice[use.dims.index("target")]]
        planner.book.add_slot(site, Slot(name, number, use.role, use.dims, view))


def count_use(planner: "Planner", value: Value, sources: Sequence[int]) -> None:
    """The edges of the first use serve again: count the use, and tie further sources to the first ones."""
    sites = planner.sites
    for number, block in enumerate(planner.blocks):
        if block.slot is None or block.slot.parameter != value.parameter or block.slot.view != planner.view_of(value):
            continue
        uses = block.attributes.get("uses", 1) + 1
        planner.blocks[number] = replace(block, attributes={**block.attributes, "uses": uses})
        for source in sources:
            if source != block.source and sites[source].atoms == sites[block.source].atoms:
                planner.book.link(source, block.source, "view", use=uses)


def _tie_scope(planner: "Planner", record: Record, state: State) -> None:
    """What is normalised together meets in a node: one for each group, and for each base of a fibre."""
    if record.scope is None:
        return
    dims, group = record.scope
    axis = planner.resolve(group)
    if record.runs and not any(True for _ in atoms_of(axis)):
        _tie_runs(planner, record.runs, state, dims[0])
        return
    inside = {name for dim in dims for name in atoms_of(state.axes[dim])}
    hubs: dict[tuple[str, ...], int] = {}
    for site in dict.fromkeys(site for dim in dims for site in state.dims[dim] or ()):
        atoms = tuple(name for piece in planner.book.pieces_of(axis) for name in piece.atoms)
        if axis == UNIT:
            atoms = tuple(name for name in planner.sites[site].atoms if name not in inside)
        if atoms not in hubs:
            hubs[atoms] = planner.book.new_site("normaliser", atoms)
        planner.book.link(site, hubs[atoms], "scope")


def _tie_runs(planner: "Planner", runs: int, state: State, dim: int) -> None:
    """A node for each run of a dimension that is normalised by itself."""
    length = planner.size(state.axes[dim]) // runs
    hubs = [planner.book.new_site("normaliser", ()) for _ in range(runs)]
    for site, piece in zip(state.dims[dim] or (), planner.book.pieces_of(state.axes[dim]), strict=True):
        planner.book.link(site, hubs[int(piece.positions.reshape(-1)[0]) // length], "scope")


def _on_edges(record: Record) -> bool:
    return any("source" in use.dims for use in record.uses)
