"""A zoo in words: what `weightspace zoo info` shows."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from weightspace.zoo._store import Zoo

MOST_TEXTS = 6


def describe(zoo: "Zoo") -> str:
    """Architectures with their sizes, then every attribute with its range or commonest values; reads every weight once.

    Args:
        zoo: a zoo or a view.
    """
    total = sum(value.nbytes for index in zoo.positions.values() for value in zoo.stacked(index).values())
    bad = [i for index in zoo.positions.values() for i in _not_finite(zoo, index)]
    lines = [f"{zoo.path}: {len(zoo):,} networks of {len(zoo.spaces)} architectures, {total / 1e6:,.1f} MB of weights"]
    lines.append(
        f"{len(bad)} networks hold values that are not finite: {bad[:10]}" if bad else "all weights are finite"
    )
    lines += ["", f"{'networks':>8}  {'weights':>9}  {'groups':>6}  {'log10 order':>11}  signature     architecture"]
    for signature, index in zoo.positions.items():
        space = zoo.spaces[signature]
        weights = sum(spec.numel for spec in space.parameters.values())
        label = _label(zoo[int(index[0])].attributes)
        lines.append(
            f"{len(index):8,}  {weights:9,}  {len(space.groups):6}  {space.log10_order:11.2f}  "
            f"{signature[:12]}  {label}"
        )
    rows = zoo.attributes
    names = list(dict.fromkeys(name for row in rows for name in row))
    width = max([len(name) for name in names] + [9])
    lines += ["", f"{'attribute':{width}}  values"]
    return "\n".join([*lines, *(f"{name:{width}}  {_values(name, rows)}" for name in names)])


def _not_finite(zoo: "Zoo", index: Any) -> list[int]:
    tensors = [value for value in zoo.stacked(index).values() if value.is_floating_point()]
    fine = [value.reshape(len(index), -1).isfinite().all(1) for value in tensors]
    return [int(i) for row, i in enumerate(index) if not all(f[row] for f in fine)]


def _label(attributes: Mapping[str, Any]) -> str:
    spec = attributes.get("architecture") or attributes.get("factory_args") or {}
    if not isinstance(spec, Mapping):
        return str(spec)
    shown = [f"{key}={value}" for key, value in spec.items() if key not in ("factory", "image", "strides")]
    return " ".join([str(spec.get("factory", "")), *shown]).strip()


def _values(name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    values = [row[name] for row in rows if row.get(name) is not None]
    absent = f"; absent in {len(rows) - len(values)}" if len(values) < len(rows) else ""
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if numbers and len(numbers) == len(values):
        ordered = sorted(numbers)
        return f"{ordered[0]:.4g} to {ordered[-1]:.4g}, median {ordered[len(ordered) // 2]:.4g}{absent}"
    counts = Counter(str(value) for value in values)
    if len(counts) > MOST_TEXTS:
        return f"{len(counts)} different values, e.g. {str(values[0])[:60]}{absent}"
    return ", ".join(f"{text} ({count})" for text, count in counts.most_common()) + absent
