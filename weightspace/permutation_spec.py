"""The permutation specifications of Git Re-Basin (Ainsworth et al. 2023, arXiv 2209.04836): one group or none for each
dimension of each parameter.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightspace.axes import Atom, atoms_of, axis_text
from weightspace.group import PermutationGroup

if TYPE_CHECKING:
    from weightspace.space import WeightSpace

SHOWN = 20


class PermutationSpecWarning(UserWarning):
    """A space has symmetries that a permutation specification cannot hold; the message names each."""


@dataclass(frozen=True)
class PermutationSpec:
    """The `PermutationSpec` of github.com/samuela/git-re-basin (weight_matching.py), field by field.

    Args:
        perm_to_axes: permutation -> (parameter, dimension) that it acts on.
        axes_to_perm: parameter -> one permutation or None for each dimension.
    """

    perm_to_axes: Mapping[str, list[tuple[str, int]]]
    axes_to_perm: Mapping[str, tuple[str | None, ...]]


def permutation_spec(space: "WeightSpace") -> PermutationSpec:
    """The specification of a space's group, as far as it can be written: see `WeightSpace.to_permutation_spec`."""
    lost = {group.name: reason for group in space.groups if (reason := _why_lost(space, group.name))}
    kept = {group.name for group in space.groups} - lost.keys()
    axes_to_perm = {
        key: tuple(axis.name if isinstance(axis, Atom) and axis.name in kept else None for axis in spec.axes)
        for key in space.keys
        if (spec := space.parameters.get(space.tied.get(key, key))) is not None
    }
    perm_to_axes: dict[str, list[tuple[str, int]]] = {name: [] for name in space.group.acting if name in kept}
    for key, names in axes_to_perm.items():
        for dim, name in enumerate(names):
            if name is not None:
                perm_to_axes[name].append((key, dim))
    lost |= {f"frozen {name}": f"it is fixed by {reason}" for name, reason in space.frozen.items()}
    for name in sorted(set(space.symmetries) - {"permutation"}):
        lost[name] = "permutations are all that can be written"
    if lost:
        sizes = {group.name: f" ({group.size} neurons)" for group in space.groups}
        lines = [f"'{name}'{sizes.get(name, '')}: {reason}" for name, reason in lost.items()]
        more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
        warnings.warn(
            "to_permutation_spec: a permutation specification holds whole dimensions only, so these are written as "
            f"None (log10 order {space.log10_order:.2f}, of which {_order(space, kept):.2f} is kept): "
            + "; ".join(lines[:SHOWN] + more),
            PermutationSpecWarning,
            stacklevel=3,
        )
    return PermutationSpec(perm_to_axes, axes_to_perm)


def _why_lost(space: "WeightSpace", name: str) -> str:
    """Why a group cannot be written; empty where every dimension that it acts on is the group and nothing else."""
    bases = space.atoms[name].over
    if bases:
        return f"a permutation of its own for each of {', '.join(bases)}"
    for parameter, spec in space.parameters.items():
        for dim, axis in enumerate(spec.axes):
            if name in atoms_of(axis) and axis != Atom(name):
                return f"'{parameter}' dimension {dim} is {axis_text(axis)}"
    return ""


def _order(space: "WeightSpace", kept: set[str]) -> float:
    return PermutationGroup(space.atoms, [name for name in space.group.acting if name in kept]).log10_order
