"""From records to the plan of the parameter graph: sites, blocks, labels.

Sites belong to (value, dimension, piece); views share them, functions of a neuron label them (or make a site of
their own where the unlabelled value is used elsewhere too), everything else makes sites and ties them to those of its
arguments.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import replace

from weightspace.axes import AtomSpec, Axis, Case, atoms_of, axis_size
from weightspace.parameters import ParameterSpec
from weightspace.topology import Activation, BlockPlan, SitePlan, Slot, View, contiguous_strides
from weightspace.tracing._axis_forms import by_choice
from weightspace.tracing._coverage import uncovered
from weightspace.tracing._plan_contract import plan_contract
from weightspace.tracing._plan_site import plan_site
from weightspace.tracing._plan_view import plan_view
from weightspace.tracing._records import Record, Value
from weightspace.tracing._sites import SiteBook, State, combination_numbers, operation_text


class Planner:
    """Walks the records once.

    Args:
        resolve: an axis in its final form and names.
        spec: what is known of an atom of a final axis.
        parameters: parameter name -> spec with final axes.
        buffers: names of those that are not learned.
    """

    def __init__(
        self,
        resolve: Callable[[Axis], Axis],
        spec: Callable[[str], AtomSpec],
        parameters: Mapping[str, ParameterSpec],
        buffers: Set[str],
    ) -> None:
        self.buffers = buffers
        self.resolve = resolve
        self.spec = spec
        self.parameters = parameters
        self.book = SiteBook(spec)
        self.states: dict[int, State] = {}
        self.cells: dict[tuple[object, ...], int] = {}
        self._consumers: Counter[int] = Counter()
        self._root: dict[int, int] = {}

    def plan(self, records: Sequence[Record], outputs: Sequence[Value], values: Sequence[Value]) -> None:
        """Plan the whole graph."""
        for record in records:
            self._root[record.output.number] = (
                self._root_of(record.inputs[0]) if record.kind == "alias" else record.output.number
            )
            for value in _read(record) if record.kind != "alias" else ():
                self._consumers[self._root_of(value)] += 1
        self._consumers.update(self._root_of(value) for value in outputs)
        steps = {
            "alias": lambda record: plan_view(self, record), "function": self._function, "reduce": self._reduce,
            "site": self._site, "contract": lambda record: plan_contract(self, record), "loop": self._loop,
            "hub": self._hub,
        }  # fmt: skip
        for record in records:
            steps[record.kind](record)
        self._label_outputs(outputs)
        self._place_rest()
        self._note_activations(values, {record.output.number for record in records if record.kind == "alias"})

    def _root_of(self, value: Value) -> int:
        return self._root.get(value.number, value.number)

    @property
    def sites(self) -> list[SitePlan]:
        """The planned sites."""
        return self.book.sites

    @property
    def blocks(self) -> list[BlockPlan]:
        """The planned blocks."""
        return self.book.blocks

    # --- states

    def state(self, value: Value) -> State:
        """Where a value's neurons are."""
        if value.number not in self.states:
            axes = [self.resolve(axis) for axis in value.axes]
            state = State(axes, [None] * len(axes), kind=value.origin if value.origin != "operation" else "view")
            self.states[value.number] = state
            if value.parameter is not None:
                state.at = self.parameter_sites(value)
                state.loose = tuple(state.at)
            elif value.origin == "constant":
                state.loose = (self.book.new_site(f"constant({value.label})", ()),)
        return self.states[value.number]

    def sites_at(self, value: Value, dim: int) -> tuple[int, ...]:
        """Sites of a value's dimension, made now if nothing has asked for them before."""
        state = self.state(value)
        found = state.dims[dim]
        if found is None:
            kind = state.kind if state.kind in ("input", "vocabulary") else "view"
            found = self.book.new_sites(f"{kind}{state.functions}", state.axes[dim])
            placed = [site for sites in state.dims for site in sites or ()]
            whole = len(found) == len(self.book.pieces_of(state.axes[dim]))
            for piece, site in enumerate(found):
                mine = set(self.sites[site].atoms)
                near = [other for other in placed if mine & set(self.sites[other].atoms)]
                loose = [other for other in state.loose if not whole or state.allows(other, dim, piece)]
                for other in dict.fromkeys((*loose, *near)):
                    told = self.book.which(found, piece) | self.book.turn(other, site, state.axes, dim)
                    self.book.link(other, site, "view", **told)
            state.dims[dim] = found
            state.owned.update(found)
        return found

    def all_sites(self, value: Value) -> list[tuple[int | None, int, int]]:
        """(dimension, piece, site) of everything that a value consists of."""
        state = self.state(value)
        for dim, axis in enumerate(state.axes):
            if state.dims[dim] is None and self.book.has_neurons(axis) and not state.loose:
                self.sites_at(value, dim)
        placed = [(dim, k, site) for dim, sites in enumerate(state.dims) for k, site in enumerate(sites or ())]
        return [*placed, *((None, 0, site) for site in state.loose)]

    def view_of(self, value: Value) -> View | None:
        """What a value is of its parameter; None where it is the whole parameter as it lies."""
        spec = self.parameters[value.parameter or ""]
        axes = tuple(value.axes) if value.number < 0 else tuple(self.resolve(axis) for axis in value.axes)
        if value.offset == 0 and axes == spec.axes and value.strides == contiguous_strides(spec.shape):
            return None
        return View(value.offset, value.strides, axes)

    def parameter_sites(self, value: Value, kind: str = "") -> dict[int, dict[int, int]]:
        """A parameter that takes part as a tensor: nodes of its neuron axes, the rest as taps; of every site the
        pieces of the dimensions on which it stands.
        """
        name = value.parameter or ""
        role = "unused" if kind == "unused" else "buffer" if name in self.buffers else "tensor"
        made: dict[int, dict[int, int]] = {}
        for at, view in self._views_of(value):
            axes = self.parameters[name].axes if view is None else view.axes
            parts = [self.book.pieces_of(axis) for axis in axes]
            for number, choice in enumerate(combination_numbers(parts)):
                atoms = self.book.with_bases(a for part, k in zip(parts, choice, strict=True) for a in part[k].atoms)
                slot = Slot(name, number, role if atoms or kind else "scalar", ("tap",) * len(axes), view)
                site = self.book.new_site(kind or ("parameter" if atoms else "scalar"), atoms, [slot])
                made[site] = {d: k for d, k in enumerate(choice) if len(parts[d]) > 1} | at
        return made

    def _views_of(self, value: Value) -> list[tuple[dict[int, int], View | None]]:
        """A parameter's value as views with one axis per dimension, and on which piece of one they stand."""
        axes = tuple(value.axes) if value.number < 0 else tuple(self.resolve(axis) for axis in value.axes)
        if not any(isinstance(axis, Case) for axis in axes):
            return [({}, self.view_of(value))]
        return [
            ({dim: number}, View(value.offset + start * value.strides[dim], value.strides, mine))
            for number, (dim, start, _, mine) in enumerate(by_choice(axes, self.size))
        ]

    def size(self, axis: Axis) -> int:
        """Number of elements of a final axis."""
        return axis_size(axis, lambda name: self.spec(name).size)

    def _place_rest(self) -> None:
        """Entries that nothing has placed lie on sites of their own."""
        for name, view in uncovered(self.parameters, self.sites, self.blocks, self.spec):
            value = Value(-1, list(view.axes), name, offset=view.offset, strides=view.strides)
            self.parameter_sites(value, kind="unused")

    # --- records

    def _site(self, record: Record) -> None:
        """A site, or where nothing but data is normalised, a function."""
        if record.scope is not None and not record.uses and record.dim is not None:
            axis = self.resolve(record.output.axes[record.dim])
            if not self.book.has_neurons(axis) and self.state(record.inputs[0]).dims[record.dim] is None:
                self._function(record)
                return
        plan_site(self, record)

    def _loop(self, record: Record) -> None:
        """The first input's neurons feed those of the second: recurrence."""
        after, before = record.inputs
        for a, b in zip(
            self.sites_at(after, len(after.axes) - 1), self.sites_at(before, len(before.axes) - 1), strict=True
        ):
            self.book.link(a, b, record.edge_type)
        self.states[record.output.number] = self.state(after)

    def _function(self, record: Record) -> None:
        source = record.inputs[0]
        before = self.state(source)
        text = ">" + operation_text(record.op, record.attributes)
        axes = [self.resolve(axis) for axis in record.output.axes]
        alone = self._consumers[self._root_of(source)] == 1
        bare = before.kind == "input" and not before.loose and not any(before.dims)
        touched = [] if bare else [site for _, _, site in self.all_sites(source)]
        carry = record.carry or tuple(range(len(axes)))
        lost = [s for d, sites in enumerate(before.dims) if d not in carry for s in sites or ()]
        dims = [None if d is None else before.dims[d] for d in carry]
        state = replace(before, axes=axes, dims=dims, loose=(*before.loose, *lost), owned=set(before.owned))
        if not touched:
            state.functions += text
        elif alone and all(site in before.owned for site in touched):
            for site in touched:
                self.book.add_function(site, text)
        else:
            renewed = {
                site: self.book.new_site("function" + text, self.sites[site].atoms) for site in dict.fromkeys(touched)
            }
            for old, new in renewed.items():
                self.book.link(old, new, "function")
            state.dims = [None if sites is None else tuple(renewed[s] for s in sites) for sites in dims]
            state.loose, state.owned = tuple(renewed[s] for s in state.loose), set(renewed.values())
            state.at = {renewed.get(site, site): where for site, where in before.at.items()}
        self.states[record.output.number] = state

    def _reduce(self, record: Record) -> None:
        """Dimensions disappear: what shares atoms with them gets new sites, the rest meets in one node."""
        source = record.inputs[0]
        before = self.state(source)
        axes = [self.resolve(axis) for axis in record.output.axes]
        rank = len(before.axes)
        gone = {d % rank for d in record.attributes["dims"]}
        kept = [d for d in range(rank) if d not in gone]
        carry = tuple(None if d in gone else d for d in range(rank)) if record.attributes["keepdim"] else tuple(kept)
        lost: dict[int, None] = {}
        for d in gone:
            mine = set(atoms_of(before.axes[d]))
            told = [site for site in before.loose if mine & set(self.sites[site].atoms)]
            if before.dims[d] is None and told:
                lost.update(dict.fromkeys(told))
            elif before.dims[d] is not None or self.book.has_neurons(before.axes[d]):
                lost.update(dict.fromkeys(self.sites_at(source, d)))
        if not lost:
            self._function(replace(record, carry=carry))
            return
        text = operation_text(record.op, record.attributes)
        kept_loose = tuple(site for site in before.loose if site not in lost)
        state = State(axes, [None if d is None else before.dims[d] for d in carry], kept_loose)
        reached: set[int] = set()
        for dim, d in enumerate(carry):
            mine = set(atoms_of(before.axes[d])) if d is not None else set()
            near = [site for site in lost if mine & set(self.sites[site].atoms)]
            if d is None or not near:
                continue
            made = self.book.new_sites(text, axes[dim])
            self.book.tie(before.dims[d] or (), made, "reduce", 0)
            for site in near:
                for target in self.book.relatives(site, made):
                    self.book.link(site, target, "reduce")
            state.dims[dim] = made
            state.owned.update(made)
            reached.update(near)
        rest = [site for site in lost if site not in reached]
        if rest:
            hub = self.book.new_site(text, ())
            for site in rest:
                self.book.link(site, hub, "reduce")
            state.loose = (*state.loose, hub)
            state.owned.add(hub)
        self.states[record.output.number] = state

    def _hub(self, record: Record) -> None:
        axes = [self.resolve(axis) for axis in record.output.axes]
        hub = self.book.new_site(operation_text(record.op, record.attributes), ())
        for position, value in enumerate(record.inputs):
            for number, (dim, _, site) in enumerate(self.all_sites(value)):
                where = {"part": number} if dim is None else {"dim": dim - len(self.state(value).axes)}
                self.book.link(site, hub, record.edge_type, argument=position, **where)
        self.states[record.output.number] = State(axes, [None] * len(axes), (hub,), owned={hub})

    # --- the end

    def _note_activations(self, values: Sequence[Value], aliases: set[int]) -> None:
        """The last value that has a site's neurons is its activation; views of it are not looked at again."""
        found: dict[int, Activation] = {}
        for value in values:
            state = self.states.get(value.number)
            if state is None or value.call is None:
                continue
            for dim, sites in enumerate(state.dims):
                parts = self.book.pieces_of(state.axes[dim]) if sites else ()
                if len(parts) != len(sites or ()):
                    continue
                for number, (site, part) in enumerate(zip(sites or (), parts, strict=True)):
                    seen = value.number in aliases and site in found
                    if site in state.owned and not seen and set(self.sites[site].atoms) <= set(part.atoms):
                        found[site] = Activation(value.call, value.operation, dim, state.axes[dim], number)
        for site, activation in found.items():
            self.sites[site] = replace(self.sites[site], activation=activation)

    def _label_outputs(self, outputs: Sequence[Value]) -> None:
        for number, value in enumerate(outputs):
            text = ">output" if len(outputs) == 1 else f">output({number})"
            for site in dict.fromkeys(site for _, _, site in self.all_sites(value)):
                self.book.add_function(site, text)


def _read(record: Record) -> list[Value]:
    return [*record.inputs, *([record.source[0]] if record.source else [])]
