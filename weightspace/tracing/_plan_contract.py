"""Planning sums over products (matmul, einsum, attention): parameters on edges, product nodes for the rest.

A letter that is summed over becomes product nodes, one per coordinate, to which every factor is tied by an edge of
its own type (query, key, value), and which are tied to the result. A parameter whose letters are neurons of the other
factor or of the result lies on edges instead, between product nodes where it has more than two.
"""

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

from weightspace.axes import Axis, atoms_of
from weightspace.topology import Slot
from weightspace.tracing._plan_site import count_use, place_block, shared_cell, tap_labels
from weightspace.tracing._records import Record, Value
from weightspace.tracing._sites import State, combination_numbers, operation_text

if TYPE_CHECKING:
    from weightspace.tracing._planner import Planner


def plan_contract(planner: "Planner", record: Record) -> None:
    """Sites and blocks of a record of kind `"contract"`."""
    if is_weighted(record):
        _Weighted(planner, record, weight_of(record)).plan()
    else:
        _plan_tensors(planner, record)


def weight_of(record: Record) -> int:
    """Number of the first factor that is a parameter."""
    return next(k for k, value in enumerate(record.inputs) if value.parameter is not None)


def is_weighted(record: Record) -> bool:
    """Whether one of two factors is a parameter, which is summed with the other one and has no letter of its own."""
    if len(record.inputs) != 2 or sum(value.parameter is not None for value in record.inputs) != 1:
        return False
    weight = weight_of(record)
    mine, other, out = record.letters[weight], record.letters[1 - weight], record.letters[-1]
    summed = [a for a in mine if a in other and a not in out]
    return bool(summed) and all(a in other or a in out for a in mine if a != "_") and len(set(mine)) == len(mine)


class _Weighted:
    """A parameter times a tensor.

    Args:
        planner: of the graph.
        record: of the operation.
        weight: which of the two inputs the parameter is.
    """

    def __init__(self, planner: "Planner", record: Record, weight: int) -> None:
        self.planner, self.record = planner, record
        self.weight, self.tensor = record.inputs[weight], record.inputs[1 - weight]
        self.mine, self.other, self.out = record.letters[weight], record.letters[1 - weight], record.letters[-1]
        self.edge_type = record.types[weight] if record.types[weight] != "multiply" else "linear"
        self.summed = [a for a in self.mine if a in self.other and a not in self.out]
        self.targets = [a for a in self.out if a in self.mine]
        self.text = operation_text(record.op, {})

    def _axis(self, letter: str) -> Axis:
        return self.planner.resolve(self.weight.axes[self.mine.index(letter)])

    def plan(self) -> None:
        """Source nodes, target nodes, the parameter's edges, the other factor's structural edges."""
        planner, record = self.planner, self.record
        axes = [planner.resolve(axis) for axis in record.output.axes]
        state = State(axes, [None] * len(axes))
        before = planner.state(self.tensor)
        for dim, letter in enumerate(self.out):
            if letter not in self.mine and letter in self.other:
                mine = self.other.index(letter)
                carried = before.axes[mine] == axes[dim]
                if carried and before.dims[mine] is None and planner.book.has_neurons(axes[dim]):
                    planner.sites_at(self.tensor, mine)
                state.dims[dim] = before.dims[mine] if carried else None
        sources = self._sources()
        shared = self._shared(sources)
        targets = shared or self._new_targets()
        self._settle(state, targets, new=shared is None)
        planner.states[record.output.number] = state
        if shared is not None:
            count_use(planner, self.weight, list(sources.values()))
        else:
            self._place(sources, targets)
            self._tie(targets)

    def _pieces(self, letters: Sequence[str]) -> list[tuple[int, ...]]:
        return list(product(*(range(len(self.planner.book.pieces_of(self._axis(a)))) for a in letters)))

    def _atoms(self, letters: Sequence[str], choice: Sequence[int]) -> tuple[str, ...]:
        book = self.planner.book
        parts = [book.pieces_of(self._axis(a))[k] for a, k in zip(letters, choice, strict=True)]
        if len(parts) == 1:
            return book.keys(self._axis(letters[0]))[choice[0]]
        return book.with_bases(name for part in parts for name in part.atoms)

    def _sources(self) -> dict[tuple[int, ...], int]:
        """A site for each choice of pieces of the letters that are summed over."""
        planner = self.planner
        if len(self.summed) == 1:
            found = planner.sites_at(self.tensor, self.other.index(self.summed[0]))
            return {(k,): site for k, site in enumerate(found)}
        sources, before = {}, planner.state(self.tensor)
        known = [s for sites in before.dims for s in sites or ()] + list(before.loose)
        for choice in self._pieces(self.summed):
            atoms = self._atoms(self.summed, choice)
            same = next((s for s in known if planner.sites[s].atoms == atoms), None)
            if same is None:
                same = planner.book.new_site("product", atoms)
                axes = [self._axis(letter) for letter in self.summed]
                for number, (letter, k) in enumerate(zip(self.summed, choice, strict=True)):
                    site = planner.sites_at(self.tensor, self.other.index(letter))[k]
                    planner.book.link(site, same, "product", **planner.book.turn(site, same, axes, number))
            sources[choice] = same
        return sources

    def _shared(self, sources: dict[tuple[int, ...], int]) -> dict[tuple[int, ...], int] | None:
        if len(self.targets) != 1:
            return None
        keys = tuple(self.planner.sites[s].atoms for s in sources.values())
        dim = self.out.index(self.targets[0])
        key = (self.record.op, self.weight.place, keys, self._axis(self.targets[0]), tuple(self.record.letters))
        found = shared_cell(self.planner, self.record, key, dim)
        return None if found is None else {(k,): site for k, site in enumerate(found)}

    def _new_targets(self) -> dict[tuple[int, ...], int]:
        new = self.planner.book.new_site
        return {choice: new(self.text, self._atoms(self.targets, choice)) for choice in self._pieces(self.targets)}

    def _settle(self, state: State, targets: dict[tuple[int, ...], int], *, new: bool) -> None:
        """Which of the result's dimensions the target sites are; product nodes of several have none."""
        book, left = self.planner.book, dict.fromkeys(targets.values())
        for letter in self.targets:
            dim = self.out.index(letter)
            keys = book.keys(state.axes[dim])
            found = [next((s for s in left if self.planner.sites[s].atoms == key), None) for key in keys]
            if len(self.targets) == 1:
                found = list(targets.values())
            if keys and all(site is not None for site in found):
                state.dims[dim] = tuple(site for site in found if site is not None)
                for site in state.dims[dim] or ():
                    left.pop(site, None)
        state.loose = tuple(left)
        state.owned = set(targets.values()) if new else set()

    def _place(self, sources: dict[tuple[int, ...], int], targets: dict[tuple[int, ...], int]) -> None:
        planner = self.planner
        sides = {a: "source" if a in self.summed else "target" if a in self.targets else "tap" for a in self.mine}
        dims = tuple(sides[a] for a in self.mine)
        view = planner.view_of(self.weight)
        parts = [planner.book.pieces_of(planner.resolve(axis)) for axis in self.weight.axes]
        for number, choice in enumerate(combination_numbers(parts)):
            at = dict(zip(self.mine, choice, strict=True))
            chosen = [part[k] for part, k in zip(parts, choice, strict=True)]
            attributes: dict[str, Any] = {**self.record.attributes, **tap_labels(planner, dims, chosen)}
            place_block(
                planner,
                Slot(self.weight.parameter or "", number, "weight", dims, view),
                source=sources[tuple(at[a] for a in self.summed)],
                target=targets[tuple(at[a] for a in self.targets)],
                edge_type=self.edge_type,
                attributes=attributes,
            )

    def _tie(self, targets: dict[tuple[int, ...], int]) -> None:
        """What the other factor brings along besides its summed dimensions."""
        planner, before = self.planner, self.planner.state(self.tensor)
        used = {self.other.index(a) for a in self.summed}
        carried = {d for d, a in enumerate(self.other) if a not in self.mine and a in self.out}
        for dim, sites in enumerate(before.dims):
            if dim not in used and dim not in carried:
                _link_all(planner, sites or (), list(targets.values()), "multiply")
        for site in before.loose:
            _link_all(planner, (site,), list(targets.values()), "multiply")


def _link_all(planner: "Planner", sources: Sequence[int], targets: Sequence[int], edge_type: str, **more: Any) -> None:
    for source in sources:
        for target in planner.book.relatives(source, targets):
            if source != target:
                planner.book.link(source, target, edge_type, **more)


def _plan_tensors(planner: "Planner", record: Record) -> None:
    """Factors that are all tensors of the computation, or a parameter that is one here."""
    book, out = planner.book, record.letters[-1]
    axes = [planner.resolve(axis) for axis in record.output.axes]
    text = operation_text(record.op, record.attributes)
    state = State(axes, [None] * len(axes))
    keys = [
        book.keys(axis) if _has_nodes(planner, record, letter, axis) else []
        for letter, axis in zip(out, axes, strict=True)
    ]
    for dim, mine in enumerate(keys):
        inside = len(mine) == 1 and any(
            len(theirs) == 1 and set(mine[0]) < set(theirs[0]) for d, theirs in enumerate(keys) if d != dim
        )
        if mine and not inside:
            state.dims[dim] = book.new_sites(text, axes[dim])
            state.owned.update(state.dims[dim] or ())
    if not any(state.dims):
        state.loose = (book.new_site(text, ()),)
        state.owned.update(state.loose)
    planner.states[record.output.number] = state
    _tie_factors(planner, record, state)


def _has_nodes(planner: "Planner", record: Record, letter: str, axis: Axis) -> bool:
    if planner.book.has_neurons(axis):
        return True
    places = [(v, t.index(letter)) for v, t in zip(record.inputs, record.letters, strict=False) if letter in t]
    return any(planner.state(value).dims[dim] for value, dim in places)


def _tie_factors(planner: "Planner", record: Record, state: State) -> None:
    results = [site for sites in state.dims for site in sites or ()] or list(state.loose)
    products: dict[str, tuple[int, ...]] = {}
    for position, (value, text) in enumerate(zip(record.inputs, record.letters, strict=False)):
        edge_type = record.types[position]
        used: set[int] = set()
        for dim, letter in enumerate(text):
            found = _factor_sites(planner, value, dim)
            used.update(found)
            if not found:
                continue
            here = _meeting_sites(planner, record, state, letter, dim=dim, value=value, products=products)
            before = planner.state(value)
            if here is not None and len(here) == len(found) and before.dims[dim] is not None:
                planner.book.tie(found, here, edge_type, position)
                continue
            for site in found:
                allowed = [s for k, s in enumerate(here or ()) if before.allows(site, dim, k)]
                for target in planner.book.relatives(site, allowed or results):
                    told = planner.book.turn(site, target, before.axes, dim)
                    planner.book.link(site, target, edge_type, argument=position, **told)
        rest = [site for site in planner.state(value).loose if site not in used]
        _link_all(planner, rest, results, edge_type, argument=position)


def _factor_sites(planner: "Planner", value: Value, dim: int) -> tuple[int, ...]:
    """Sites of a factor's dimension: its own, or those without a dimension that have its atoms."""
    before = planner.state(value)
    known = before.dims[dim]
    if known is not None:
        return known
    told = tuple(site for site in before.loose if dim in before.at.get(site, {}))
    if told or not planner.book.has_neurons(before.axes[dim]):
        return told
    mine = set(atoms_of(before.axes[dim]))
    return tuple(s for s in before.loose if mine & set(planner.sites[s].atoms)) or planner.sites_at(value, dim)


def _meeting_sites(
    planner: "Planner",
    record: Record,
    state: State,
    letter: str,
    *,
    dim: int,
    value: Value,
    products: dict[str, tuple[int, ...]],
) -> tuple[int, ...] | None:
    """The result's sites for a letter, or product nodes where it is summed over."""
    out = record.letters[-1]
    if letter in out:
        return state.dims[out.index(letter)]
    if letter == "_":
        return None
    if letter not in products:
        results = [site for sites in state.dims for site in sites or ()] or list(state.loose)
        before = planner.state(value)
        keys = planner.book.keys(before.axes[dim])
        known = before.dims[dim]
        if known is not None and len(known) != len(keys):
            keys = [planner.sites[s].atoms for s in known]
        products[letter] = tuple(planner.book.new_site("product", key) for key in keys)
        _link_all(planner, products[letter], results, "reduce")
    return products[letter]
