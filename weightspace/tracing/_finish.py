"""From settled axes and records to the `WeightSpace`: names of the axes, the plan of the graph, the description."""

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from weightspace.axes import FREE, AtomSpec, Axis, atoms_of, rename
from weightspace.space import WeightSpace
from weightspace.tracing._description import describe, signature_of
from weightspace.tracing._parameters import Parameters
from weightspace.tracing._planner import Planner
from weightspace.tracing._records import Record, Value
from weightspace.tracing._solver import AxisSolver


def finish(
    module: nn.Module,
    solver: AxisSolver,
    parameters: Parameters,
    *,
    records: Sequence[Record],
    outputs: Sequence[Value],
    values: Sequence[Value],
) -> WeightSpace:
    """The weight space of a traced module."""
    names, specs = _name_atoms(solver, parameters, records, values)

    def final(axis: Axis) -> Axis:
        return rename(solver.resolve(axis), names)

    plain = {name: parameters.spec(name, final, "") for name in parameters.state}
    planner = Planner(final, specs.__getitem__, plain, {name for name, _ in module.named_buffers()})
    planner.plan(records, outputs, values)
    roles = _roles(records, planner)
    found = {name: parameters.spec(name, final, roles.get(name, "unused")) for name in parameters.state}
    named = {name for spec in found.values() for axis in spec.axes for name in atoms_of(axis)}
    used = _used(named, planner, specs)
    operations = tuple(describe(records, outputs, final=final, specs=specs, named=named))
    keys = tuple(module.state_dict().keys())
    atoms = {name: spec for name, spec in specs.items() if name in used}
    signature = signature_of(found, atoms, operations, keys, parameters.tied)
    return WeightSpace(
        found, atoms, tuple(planner.sites), tuple(planner.blocks), signature, operations, keys, parameters.tied
    )


def _used(named: set[str], planner: Planner, specs: dict[str, AtomSpec]) -> set[str]:
    used = named | {name for site in planner.sites for name in site.atoms}
    used |= {name for site in planner.sites if site.activation for name in atoms_of(site.activation.axis)}
    slots = [slot for site in planner.sites for slot in site.slots] + [b.slot for b in planner.blocks if b.slot]
    used |= {name for slot in slots if slot.view for axis in slot.view.axes for name in atoms_of(axis)}
    return used | {base for name in used for base in specs[name].over}


def _name_atoms(
    solver: AxisSolver, parameters: Parameters, records: Sequence[Record], values: Sequence[Value]
) -> tuple[dict[str, str], dict[str, AtomSpec]]:
    """Atoms named after the first dimension of a parameter that they stand on, rows before columns."""
    names: dict[str, str] = {}
    for first in (True, False):
        for parameter, value in parameters.named().items():
            for dim, axis in enumerate(value.axes):
                mine = solver.atoms(axis)
                for number, atom in enumerate(mine if (dim == 0) == first else ()):
                    names.setdefault(atom, f"{parameter}:{dim}" + (f".{number}" if len(mine) > 1 else ""))
    others = [axis for value in values for axis in value.axes] + [r.scope[1] for r in records if r.scope]
    for axis in others:
        for atom in solver.atoms(axis):
            names.setdefault(atom, f"axis{len(names)}")
    specs = {}
    for atom, name in names.items():
        spec = solver.spec(atom)
        specs[name] = replace(spec, over=tuple(names[b] for b in spec.over if b in names))
    named = {atom for value in parameters.values() for axis in value.axes for atom in solver.atoms(axis)}
    for atom, name in names.items():
        if atom not in named and specs[name].kind == FREE:
            specs[name] = replace(specs[name], neuron=False)
    for base in {base for spec in specs.values() for base in spec.over}:
        specs[base] = replace(specs[base], neuron=True)
    return names, specs


def _roles(records: Sequence[Record], planner: Planner) -> dict[str, str]:
    roles: dict[str, str] = {}
    for record in records:
        for use in record.uses:
            roles.setdefault(use.value.parameter or "", use.role)
    for block in planner.blocks:
        if block.slot is not None:
            roles.setdefault(block.slot.parameter, block.slot.role)
    for site in planner.sites:
        for slot in site.slots:
            roles.setdefault(slot.parameter, "unused" if site.node_type == "unused" else slot.role)
    return roles
