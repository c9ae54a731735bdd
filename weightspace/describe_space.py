"""A weight space as a table for people; repeated layers take one line."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from weightspace.axes import axis_text

if TYPE_CHECKING:
    from weightspace.space import WeightSpace

LARGE = 24  # parameters from which on lines are shared
SHOWN = 8  # parameters named of a neuron group
REFERENCES = 4  # names in a line of which each may be the layer's own or shared by all layers


@dataclass(frozen=True)
class _Row:
    """A line: what it is about, and the rest of its text; number parts of the name may be collapsed."""

    name: str
    text: str


def describe_space(space: "WeightSpace", *, everything: bool = False) -> str:
    """Parameters with their axes, neuron groups, the order, and what is frozen and why.

    Args:
        space: to describe.
        everything: a line for each parameter and group; by default large networks share lines for repeated layers
            and for the vectors of one norm.

    Example:
        >>> import torch, weightspace as ws
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
        >>> print(describe_space(ws.trace(net, torch.zeros(1, 4))).splitlines()[0])
        4 parameters, 23 entries, 1 neuron group, log10 order 0.78
    """
    total = sum(spec.numel for spec in space.parameters.values())
    count = len(space.groups)
    lines = [
        f"{len(space.parameters)} parameters, {total:,} entries, {count} neuron group{'' if count == 1 else 's'}, "
        f"log10 order {space.log10_order:.2f}",
        f"signature {space.signature}",
        "",
    ]
    everything = everything or len(space.parameters) < LARGE
    parameters = _collapsed(_siblings(_parameter_rows(space), everything), everything)
    groups = _collapsed(_group_rows(space, everything), everything)
    width = max([len(row.name) for row in parameters] + [9])
    lines += [f"{'parameter':{width}}  {'shape':16} {'role':16} axes"]
    lines += [f"{row.name:{width}}  {row.text}" for row in parameters]
    width = max([len(row.name) for row in groups] + [12])
    lines += ["", f"{'neuron group':{width}}  size  acts on"]
    lines += [f"{row.name:{width}}  {row.text}" for row in groups]
    frozen = _collapsed([_Row(name, reason) for name, reason in space.frozen.items()], everything)
    lines += ["", "frozen axes:" if frozen else "no axis is frozen"]
    lines += [f"  {row.name}: {row.text}" for row in frozen]
    if any("{" in row.name for row in (*parameters, *groups, *frozen)):
        lines += ["", "{0-3}: entries that share a line; *: their layer's number; --all or everything=True shows each"]
    return "\n".join(lines)


def _parameter_rows(space: "WeightSpace") -> list[_Row]:
    rows = []
    for name, spec in space.parameters.items():
        axes = "  x  ".join(axis_text(axis) for axis in spec.axes) or "scalar"
        rows.append(_Row(name, f"{'x'.join(map(str, spec.shape)):16} {spec.role:16} {axes}"))
    return rows


def _group_rows(space: "WeightSpace", everything: bool) -> list[_Row]:
    rows = []
    for group in space.groups:
        over = f" (for each of {', '.join(group.over)})" if group.over else ""
        members = [f"{parameter}[{dim}]" for parameter, dim in group.members]
        if not everything:
            members = [row.name for row in _collapsed([_Row(name, "") for name in members], everything)]
            hidden = len(members) - SHOWN
            members = members if hidden < 2 else [*members[:SHOWN], f"and {hidden} more"]
        rows.append(_Row(group.name, f"{group.size:<5} {', '.join(members)}{over}"))
    return rows


def _siblings(rows: Sequence[_Row], everything: bool) -> list[_Row]:
    """Neighbours of one layer with one shape and one axis, such as the four vectors of a batch norm, as one row."""
    found: list[_Row] = []
    for row in rows:
        layer, _, name = row.name.rpartition(".")
        shape, role, axes = row.text[:16], row.text[17:33].strip(), row.text[34:]
        last = found[-1] if found and not everything else None
        if last is not None and layer and last.name.startswith(f"{layer}.") and "." not in last.name[len(layer) + 1 :]:
            before = last.name[len(layer) + 1 :].strip("{}")
            if (last.text[:16], last.text[34:]) == (shape, axes) and "x" not in shape:
                roles = "norm" if "norm" in last.text[17:33] else last.text[17:33].strip()
                found[-1] = _Row(
                    f"{layer}.{{{before},{name}}}", f"{shape} {roles if roles == role else roles:16} {axes}"
                )
                continue
        found.append(row)
    return found


def _collapsed(rows: Sequence[_Row], everything: bool) -> list[_Row]:
    """Rows that are one but for a number in their names, as one row."""
    if everything:
        return list(rows)
    members: dict[_Row, dict[int, int]] = {}
    keys: list[list[_Row]] = [[] for _ in rows]
    for place, row in enumerate(rows):
        for masked, number in _masks(row):
            members.setdefault(masked, {})[place] = number
            keys[place].append(masked)
    found: list[_Row] = []
    done: set[int] = set()
    for place, row in enumerate(rows):
        if place in done:
            continue
        best = max(keys[place], key=lambda key: len(members[key].keys() - done), default=row)
        mine = {p: n for p, n in members.get(best, {}).items() if p not in done}
        if len(mine) < 2:
            found.append(row)
            continue
        done.update(mine)
        found.append(_Row(best.name.replace("*", _numbers(list(mine.values())), 1), best.text))
    return found


def _masks(row: _Row) -> Iterator[tuple[_Row, int]]:
    """The row with one number of its name masked, there and in any of the names of the same layer in its text."""
    path = row.name.partition(":")[0].partition("[")[0].partition("{")[0].split(".")
    for position, part in enumerate(path):
        if not part.isdigit():
            continue
        before = ".".join([*path[:position], ""])
        layer = rf"(?<![\w.]){re.escape(before + part)}(?=[.:\[])"
        name = re.sub(layer, f"{before}*", row.name, count=1)
        own = sorted(set(re.findall(rf"{layer}[\w.:]*", row.text)))[:REFERENCES]
        for chosen in product((True, False), repeat=len(own)):
            text = row.text
            for reference, masked in zip(own, chosen, strict=True):
                whole = rf"(?<![\w.]){re.escape(reference)}(?![\w.:])"
                text = re.sub(whole, f"{before}*{reference[len(before + part) :]}", text) if masked else text
            yield _Row(name, text), int(part)


def _numbers(numbers: Sequence[int]) -> str:
    """`{0-3,5}`.

    Example:
        >>> _numbers([0, 1, 2, 3, 5])
        '{0-3,5}'
    """
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return "{" + ",".join(f"{a}" if a == b else f"{a}-{b}" for a, b in runs) + "}"
