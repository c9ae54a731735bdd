"""The parameter graph of a specified space: one site per group of neurons, parameters on edges and nodes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

from weightspace.axes import FREE, Atom, AtomSpec, Axis, Piece, atoms_of, pieces
from weightspace.errors import SpecificationError
from weightspace.parameters import ParameterSpec
from weightspace.topology import BlockPlan, SitePlan, Slot

_Atoms = tuple[str, ...]


def plan_graph(
    parameters: Mapping[str, ParameterSpec], specs: Mapping[str, AtomSpec]
) -> tuple[tuple[SitePlan, ...], tuple[BlockPlan, ...], dict[str, AtomSpec]]:
    """Sites, blocks, and the atoms with those marked whose elements became nodes.

    A parameter's first dimension with neurons is the target of its edges, its last one their source; between more than
    two, the others make product nodes. With one such dimension its numbers lie on nodes, with none on a node of its
    own. Sites of several atoms are tied to the sites of these atoms, so that the graph has the group's automorphisms.

    Args:
        parameters: with their axes.
        specs: what is known of the atoms.

    Raises:
        SpecificationError: a name stands in two of the dimensions that make product nodes.
    """
    plan = _Plan(dict(specs))
    for spec in parameters.values():
        plan.mark_nodes(spec)
    for name, spec in parameters.items():
        plan.place(name, spec)
    plan.tie_factors()
    return tuple(plan.finished_sites()), tuple(plan.blocks), plan.specs


@dataclass
class _Site:
    atoms: _Atoms
    slots: list[Slot] = field(default_factory=list)
    kinds: set[str] = field(default_factory=set)
    feeds: bool = False


class _Plan:
    def __init__(self, specs: dict[str, AtomSpec]) -> None:
        self.specs = specs
        self.sites: dict[_Atoms | str, _Site] = {}
        self.blocks: list[BlockPlan] = []

    def _is_node(self, name: str) -> bool:
        return self.specs[name].neuron

    def _has_nodes(self, axis: Axis) -> bool:
        return any(self._is_node(name) for name in atoms_of(axis))

    def mark_nodes(self, spec: ParameterSpec) -> None:
        """Fixed first and second dimensions have nodes where a parameter would otherwise lie on a single one."""
        named = [dim for dim, axis in enumerate(spec.axes) if self._has_nodes(axis)]
        for dim, axis in enumerate(spec.axes[:2]):
            alone = len(spec.axes) == 1 and not named
            if isinstance(axis, Atom) and dim not in named and (alone or (len(named) < 2 and len(spec.axes) > 1)):
                self.specs[axis.name] = replace(self.specs[axis.name], neuron=True)

    def _pieces(self, axis: Axis) -> tuple[Piece, ...]:
        return pieces(axis, lambda name: self.specs[name].size)

    def _key(self, parts: Sequence[Piece], where: str) -> _Atoms:
        """Node atoms of pieces; a fibre brings its base along."""
        names = [name for part in parts for name in part.atoms if self._is_node(name)]
        if len(set(names)) < len(names):
            raise SpecificationError(
                f"specify: {where}: {', '.join(sorted({n for n in names if names.count(n) > 1}))} stands twice among "
                "the dimensions that one node has; give one of them another name in fixed=, or reshape the parameter"
            )
        bases = [base for name in names for base in self.specs[name].over if base not in names]
        return (*dict.fromkeys(bases), *names)

    def _site(self, atoms: _Atoms, key: str | None = None) -> int:
        self.sites.setdefault(key or atoms, _Site(atoms))
        return list(self.sites).index(key or atoms)

    def place(self, name: str, spec: ParameterSpec) -> None:
        """Lay a parameter on edges or nodes, piece by piece."""
        dims = [dim for dim, axis in enumerate(spec.axes) if self._has_nodes(axis)]
        labels = ["kernel" if dim > 1 else "tap" for dim in range(len(spec.axes))]
        for dim in dims:
            labels[dim] = "target"
        if len(dims) > 1:
            labels[dims[-1]] = "source"
        for number, combination in enumerate(product(*(self._pieces(axis) for axis in spec.axes))):
            slot = Slot(name, number, spec.role, tuple(labels))
            target = self._key([combination[dim] for dim in dims[: max(1, len(dims) - 1)]], f"'{name}'")
            end = self._site(target, None if target else name)
            if len(dims) < 2:
                self._site_at(end).slots.append(slot)
                continue
            start = self._site(self._key([combination[dims[-1]]], f"'{name}'"))
            kind = "conv" if "kernel" in labels else "linear"
            self._site_at(end).kinds.add(kind)
            self._site_at(start).feeds = True
            label = name if number == 0 else f"{name}#{number}"
            self.blocks.append(BlockPlan(label, start, end, kind, {}, slot))

    def _site_at(self, number: int) -> _Site:
        return list(self.sites.values())[number]

    def tie_factors(self) -> None:
        """Tie sites of several atoms to the sites of each, a fibre with its base."""
        todo = [site.atoms for site in self.sites.values() if len(site.atoms) > 1]
        while todo:
            atoms = todo.pop(0)
            for name in atoms:
                bases = self.specs[name].over
                factor = tuple(a for a in atoms if a in bases or a == name)
                if factor == atoms:
                    continue
                if factor not in self.sites and len(factor) > 1:
                    todo.append(factor)
                start, end = self._site(atoms), self._site(factor)
                label = f"{len(self.blocks)}:view"
                self.blocks.append(BlockPlan(label, start, end, "view", {"factor": atoms.index(name)}))

    def finished_sites(self) -> list[SitePlan]:
        """The sites with node types that name no parameter."""
        found = []
        for number, site in enumerate(self.sites.values()):
            fixed = bool(site.atoms) and all(self.specs[name].kind != FREE for name in site.atoms)
            other = "scalar" if not site.atoms else "input" if fixed and site.feeds and not site.slots else "parameter"
            kind = next((kind for kind in ("conv", "linear") if kind in site.kinds), other)
            found.append(SitePlan(f"{number}:{kind}", kind, site.atoms, tuple(site.slots)))
        return found
