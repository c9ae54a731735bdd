"""Planning views: slices, permutations and reshapes keep the sites of what they are views of."""

from collections.abc import Iterator, Sequence
from math import prod
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from weightspace.axes import UNIT, Axis, Sum
from weightspace.tracing._records import Record
from weightspace.tracing._sites import State

if TYPE_CHECKING:
    from weightspace.tracing._planner import Planner


def plan_view(planner: "Planner", record: Record) -> None:
    """Where the neurons of a view are; they are those of what it is a view of."""
    if record.output.parameter is not None:
        return
    before = planner.state(record.inputs[0])
    axes = [planner.resolve(axis) for axis in record.output.axes]
    state = State(axes, [None] * len(axes), functions=before.functions, kind=before.kind, owned=before.owned)
    cut = _cut(planner, record, before)
    dims = _sliced(planner, record, before, cut)
    rest = [site for sites in dims for site in sites or ()]
    for dim, axis in enumerate(axes):
        source = _source_dim(planner, record, before, dim, axis)
        if source is not None and dims[source] is not None:
            total = len(planner.book.pieces_of(before.axes[record.attributes["dim"]])) if cut else 0
            state.dims[dim] = _of_choice(planner, dims[source] or (), axis, cut, total)
            if state.dims[dim] is not None:
                rest = [site for site in rest if site not in (dims[source] or ())]
    choices = [len(axis.terms) for axis in axes if isinstance(axis, Sum) and set(axis.terms) == {UNIT}]
    taken = [site for sites in state.dims for site in sites or ()]
    left = [site for site in rest if site not in taken]
    for dim, axis in enumerate(axes):
        keys = planner.book.keys(axis) if state.dims[dim] is None else []
        found: list[int] = []
        for key in keys:
            same = [s for s in left if planner.sites[s].atoms == key and s not in found]
            found += same if len(keys) == 1 and len(same) in choices else same[:1]
        if any(keys) and len(found) >= len(keys):
            state.dims[dim] = tuple(found)
            left = [site for site in left if site not in found]
    if "start" not in record.attributes and record.carry is None:
        left = _regroup(planner, before, state, left)
    _keep_apart(planner, record, before, state, left, cut)
    planner.states[record.output.number] = state


def _keep_apart(
    planner: "Planner", record: Record, before: State, state: State, left: Sequence[int], cut: Sequence[int]
) -> None:
    """Sites without a dimension, and to which elements of a fixed axis they belong."""
    dims = [_source_dim(planner, record, before, d, axis) for d, axis in enumerate(state.axes)]
    places: dict[int, dict[int, int]] = {}
    for site in before.loose:
        where = before.at.get(site, {})
        if not cut or where.get(record.attributes["dim"], cut[0]) in cut:
            places[site] = {d: where[source] for d, source in enumerate(dims) if source in where}
            if cut and record.attributes["dim"] in where and not record.attributes["drops"]:
                places[site][record.attributes["dim"]] = cut.index(where[record.attributes["dim"]])
    whole = next((sites for sites in before.dims if sites and set(sites) <= set(left)), ())
    units = [d for d, axis in enumerate(state.axes) if isinstance(axis, Sum) and set(axis.terms) == {UNIT}]
    counts = {d: len(planner.book.pieces_of(state.axes[d])) for d in units}
    fits = [d for d, count in counts.items() if len(whole) > 1 and len(whole) % count == 0]
    for number, site in enumerate(whole if len(fits) == 1 else ()):
        places[site] = {fits[0]: number * counts[fits[0]] // len(whole)}
    state.at = places
    state.loose = tuple(dict.fromkeys((*places, *left)))


def _of_choice(
    planner: "Planner", sites: tuple[int, ...], axis: Axis, cut: Sequence[int], total: int
) -> tuple[int, ...] | None:
    """Those of the sites that an axis has, where a slice has told which of several axes it is.

    Args:
        sites: of the axis before the slice, those of each choice in order.
        axis: behind the slice.
        cut: numbers of the pieces that the slice takes.
        total: of how many.
    """
    keys = planner.book.keys(axis)
    if len(keys) == len(sites) or len(cut) == total:
        return sites
    if len(cut) == 1 and len(sites) == total * len(keys):
        return sites[cut[0] * len(keys) : (cut[0] + 1) * len(keys)]
    found = [next((s for s in sites if planner.sites[s].atoms == key), None) for key in keys]
    return None if any(s is None for s in found) else tuple(s for s in found if s is not None)


def _source_dim(planner: "Planner", record: Record, before: State, dim: int, axis: Axis) -> int | None:
    """The dimension of an alias's source that a dimension of it is."""
    cut = record.attributes
    if "start" in cut:
        return dim + 1 if cut["drops"] and dim >= cut["dim"] else dim
    if record.carry is not None:
        return record.carry[dim]
    same = [d for d, theirs in enumerate(before.axes) if theirs == axis and planner.book.has_neurons(axis)]
    return same[0] if len(same) == 1 else None


def _cut(planner: "Planner", record: Record, before: State) -> list[int]:
    """Numbers of the pieces of a dimension that a slice takes; none where an alias is no slice."""
    cut = record.attributes
    if "start" not in cut:
        return []
    axis = UNIT if cut["drops"] else planner.resolve(record.output.axes[cut["dim"]])
    places = range(cut["start"], cut["start"] + planner.size(axis) * cut["step"], cut["step"])
    return planner.book.matching(axis, places, before.axes[cut["dim"]]) or []


def _sliced(planner: "Planner", record: Record, before: State, cut: Sequence[int]) -> list[tuple[int, ...] | None]:
    """Sites of an alias's source, those of a sliced dimension cut down to what the slice takes."""
    dims = list(before.dims)
    if cut:
        sites = dims[record.attributes["dim"]]
        dims[record.attributes["dim"]] = None if sites is None else tuple(sites[k] for k in cut)
    return dims


def _regroup(planner: "Planner", before: State, state: State, left: Sequence[int]) -> list[int]:
    """Neurons of dimensions that a reshape has taken apart or put together: new sites, each tied to those with which
    it has an element in common. The sites that are left without a dimension.
    """
    rest = list(left)
    sizes = [[planner.size(axis) for axis in axes] for axes in (before.axes, state.axes)]
    for sources, targets in _groups(*sizes):
        known = [d for d in sources if before.dims[d] and set(before.dims[d] or ()) <= set(rest)]
        wanted = [d for d in targets if state.dims[d] is None and planner.book.has_neurons(state.axes[d])]
        fits = all(len(before.dims[d] or ()) == len(planner.book.pieces_of(before.axes[d])) for d in known)
        if not known or not wanted or not fits or not _is_told_apart(planner, [state.axes[d] for d in targets]):
            continue
        mine = {d: _piece_numbers(planner, before.axes, sources, d) for d in known}
        theirs = {d: _piece_numbers(planner, state.axes, targets, d) for d in wanted}
        for d in wanted:
            made = planner.book.new_sites(f"view{state.functions}", state.axes[d])
            state.dims[d] = made
            state.owned = state.owned | set(made)
            for source in known:
                for a, b in torch.stack([mine[source], theirs[d]], 1).unique(dim=0).tolist():
                    one, other = (before.dims[source] or ())[a], made[b]
                    if set(planner.sites[one].atoms) & set(planner.sites[other].atoms):
                        planner.book.link(one, other, "view", **planner.book.which(made, b))
        rest = [site for site in rest if not any(site in (before.dims[d] or ()) for d in known)]
    return rest


def _is_told_apart(planner: "Planner", axes: Sequence[Axis]) -> bool:
    """Whether every element of every axis lies in one piece."""
    return all(
        sum(piece.positions.numel() for piece in planner.book.pieces_of(axis)) == planner.size(axis) for axis in axes
    )


def _groups(before: Sequence[int], after: Sequence[int]) -> Iterator[tuple[list[int], list[int]]]:
    """Runs of dimensions that hold the same elements before and after a reshape."""
    i, j = 0, 0
    while i < len(before) and j < len(after):
        mine, theirs = [i], [j]
        i, j = i + 1, j + 1
        while (a := prod(before[d] for d in mine)) != (b := prod(after[d] for d in theirs)):
            if a < b:
                mine.append(i)
                i += 1
            else:
                theirs.append(j)
                j += 1
        yield mine, theirs


def _piece_numbers(planner: "Planner", axes: Sequence[Axis], dims: Sequence[int], dim: int) -> Tensor:
    """For every element of a run of dimensions the number of the piece of one of them on which it stands."""
    sizes = [planner.size(axes[d]) for d in dims]
    number = torch.zeros(planner.size(axes[dim]), dtype=torch.long)
    for k, piece in enumerate(planner.book.pieces_of(axes[dim])):
        number[piece.positions.reshape(-1)] = k
    shape = [1] * len(dims)
    shape[dims.index(dim)] = len(number)
    return number.reshape(shape).expand(sizes).reshape(-1)
