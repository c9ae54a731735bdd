"""The computation in our own words, and its digest: equal wherever the same architecture is traced."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from weightspace.axes import FREE, UNIT, Atom, AtomSpec, Axis, Product, atoms_of, axis_text, axis_to_json, rename
from weightspace.space import ParameterSpec
from weightspace.tracing._records import Record, Value


def describe(
    records: Sequence[Record],
    outputs: Sequence[Value],
    *,
    final: Callable[[Axis], Axis],
    specs: Mapping[str, AtomSpec],
    named: set[str],
) -> Iterable[str]:
    """A line for each operation: no names or sizes of data axes, no first (batch) dimension of an input, no views.

    What a consumer sees of an axis is written with it, so that a transposed view is seen all the same.

    Args:
        records: the operations.
        outputs: of the module.
        final: an axis in its final form.
        specs: what is known of an atom of a final axis.
        named: atoms that stand on parameters.
    """
    roots: dict[int, str] = {}
    local: dict[str, str] = {}
    count = 0

    def axes_of(value: Value) -> str:
        """The axes of a value as text, data axes by their order of appearance."""
        texts = []
        for axis in (_without_batch(final(axis), specs, named) for axis in value.axes):
            atoms = list(dict.fromkeys(atoms_of(axis)))
            for name in atoms:
                if name not in named:
                    local.setdefault(name, f"d{len(local)}")
            texts.append(axis_text(rename(axis, {name: name if name in named else local[name] for name in atoms})))
        return f"[{', '.join(texts)}]"

    def text(value: Value) -> str:
        label = value.parameter or (f"{value.origin}({value.label})" if value.origin != "operation" else "?")
        return roots.get(value.number, label) + axes_of(value)

    for record in records:
        if record.kind == "alias":
            source = record.inputs[0]
            roots[record.output.number] = roots.get(source.number) or text(source).split("[")[0]
            continue
        parts = [text(value) for value in record.inputs]
        parts += [f"{use.role}={text(use.value)}" for use in record.uses]
        parts += (
            [f"source={text(record.source[0])}.{record.source[1] - len(record.source[0].axes)}"]
            if record.source
            else []
        )
        attributes = json.dumps(dict(record.attributes), sort_keys=True, default=str)
        roots[record.output.number] = f"v{count}"
        count += 1
        yield f"{roots[record.output.number]} = {record.op}({', '.join(parts)}; {attributes})"
    yield "return " + ", ".join(text(value) for value in outputs)


def _without_batch(axis: Axis, specs: Mapping[str, AtomSpec], named: set[str]) -> Axis:
    if isinstance(axis, Atom):
        spec = specs[axis.name]
        first = spec.label.split("/")[0].endswith(".0") or spec.kind == FREE
        return UNIT if first and axis.name not in named else axis
    if not isinstance(axis, Product):
        return replace(axis, terms=tuple(_without_batch(term, specs, named) for term in axis.terms))
    kept = [part for part in (_without_batch(f, specs, named) for f in axis.factors) if part != UNIT]
    return kept[0] if len(kept) == 1 else Product(tuple(kept))


def signature_of(
    parameters: Mapping[str, ParameterSpec],
    atoms: Mapping[str, AtomSpec],
    operations: Sequence[str],
    keys: Sequence[str],
    tied: Mapping[str, str],
) -> str:
    """Digest of all that tells one architecture from another, 32 digits.

    Args:
        parameters: of the space, in order.
        atoms: of the space; those that stand on no parameter are left out.
        operations: the normalised description of the computation.
        keys: of the state_dict, in order.
        tied: keys that share another key's tensor -> that key.
    """
    own = {name for p in parameters.values() for axis in p.axes for name in atoms_of(axis)}
    text = json.dumps(
        {
            "parameters": [
                [name, p.shape, [axis_to_json(axis) for axis in p.axes], p.role] for name, p in parameters.items()
            ],
            "atoms": sorted(
                [name, s.size, s.kind == FREE, s.over, s.label] for name, s in atoms.items() if name in own
            ),
            "operations": operations,
            "keys": keys,
            "tied": sorted(tied.items()),
        },
        sort_keys=True,
    )
    return hashlib.sha256(text.encode()).hexdigest()[:32]
