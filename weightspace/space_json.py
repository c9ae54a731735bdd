"""A weight space as JSON text and back."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from weightspace.axes import AtomSpec, axis_from_json, axis_to_json
from weightspace.errors import WeightspaceError
from weightspace.parameters import ParameterSpec, Part
from weightspace.topology import Activation, BlockPlan, SitePlan, Slot, View

if TYPE_CHECKING:
    from weightspace.space import WeightSpace

FORMAT = 2


def space_text(space: "WeightSpace") -> str:
    """The space as JSON text."""
    value = {
        "format": FORMAT,
        "signature": space.signature,
        "parameters": [_parameter_to_json(name, spec) for name, spec in space.parameters.items()],
        "atoms": {name: asdict(spec) for name, spec in space.atoms.items()},
        "sites": [_site_to_json(site) for site in space.sites],
        "blocks": [_block_to_json(block) for block in space.blocks],
        "operations": space.operations,
        "keys": space.keys,
        "tied": dict(space.tied),
        "symmetries": space.symmetries,
    }
    return json.dumps(value)


def space_fields(text: str) -> dict[str, Any]:
    """Arguments of the `WeightSpace` that a text describes.

    Raises:
        WeightspaceError: the text is not a weight space of this format.
    """
    try:
        value = json.loads(text)
        if value["format"] != FORMAT:
            raise WeightspaceError(
                f"from_json: found format {value['format']}, this version reads format {FORMAT}; trace the module again"
            )
        return _fields(value)
    except (KeyError, TypeError, IndexError, json.JSONDecodeError) as error:
        raise WeightspaceError(
            f"from_json: the text is not a weight space ({type(error).__name__}: {error}); wanted what "
            f"WeightSpace.to_json wrote"
        ) from error


def _fields(value: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "parameters": dict(_parameter_from_json(*fields) for fields in value["parameters"]),
        "atoms": {name: AtomSpec(**{**f, "over": tuple(f["over"])}) for name, f in value["atoms"].items()},
        "sites": tuple(map(_site_from_json, value["sites"])),
        "blocks": tuple(map(_block_from_json, value["blocks"])),
        "signature": value["signature"],
        "operations": tuple(value["operations"]),
        "keys": tuple(value["keys"]),
        "tied": dict(value["tied"]),
        "symmetries": tuple(value.get("symmetries", ["permutation"])),
    }


def _parameter_to_json(name: str, spec: ParameterSpec) -> list[Any]:
    parts = [[part.dim, part.start, part.size, list(map(axis_to_json, part.axes))] for part in spec.parts]
    return [name, list(spec.shape), list(map(axis_to_json, spec.axes)), spec.role, parts]


def _parameter_from_json(name: str, shape: Any, axes: Any, role: str, parts: Any) -> tuple[str, ParameterSpec]:
    found = tuple(Part(dim, start, size, tuple(map(axis_from_json, mine))) for dim, start, size, mine in parts)
    return name, ParameterSpec(tuple(shape), tuple(map(axis_from_json, axes)), role, found)


def _slot_to_json(slot: Slot | None) -> Any:
    if slot is None:
        return None
    view = slot.view and [slot.view.offset, slot.view.strides, list(map(axis_to_json, slot.view.axes))]
    return [slot.parameter, slot.piece, slot.role, slot.dims, view]


def _slot_from_json(value: Any) -> Slot | None:
    if value is None:
        return None
    parameter, piece, role, dims, view = value
    found = view and View(view[0], tuple(view[1]), tuple(map(axis_from_json, view[2])))
    return Slot(parameter, piece, role, tuple(dims), found)


def _site_to_json(site: SitePlan) -> dict[str, Any]:
    at = site.activation
    return {
        "name": site.name,
        "node_type": site.node_type,
        "atoms": site.atoms,
        "slots": list(map(_slot_to_json, site.slots)),
        "activation": at and {**vars(at), "axis": axis_to_json(at.axis)},
        "beside": site.beside,
        "first": site.first,
        "places": site.places,
    }


def _site_from_json(fields: Mapping[str, Any]) -> SitePlan:
    at = fields["activation"]
    activation = None if at is None else Activation(**{**at, "axis": axis_from_json(at["axis"])})
    slots = tuple(slot for slot in map(_slot_from_json, fields["slots"]) if slot is not None)
    more = {"beside": tuple(fields["beside"]), "first": fields["first"], "places": tuple(fields["places"])}
    return SitePlan(fields["name"], fields["node_type"], tuple(fields["atoms"]), slots, activation, **more)


def _block_to_json(block: BlockPlan) -> dict[str, Any]:
    return {**vars(block), "attributes": dict(block.attributes), "slot": _slot_to_json(block.slot)}


def _block_from_json(fields: Mapping[str, Any]) -> BlockPlan:
    return BlockPlan(**{**fields, "slot": _slot_from_json(fields["slot"])})
