"""Canonical forms where a space has scales or signs."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from weightspace.errors import CanonicalizationError, StateDictError
from weightspace.group import GroupElement
from weightspace.symmetry._entries import Ints
from weightspace.symmetry._gauge import balancing, positive_signs
from weightspace.symmetry._ordering import canonical_element
from weightspace.symmetry._scaling import Scaling

if TYPE_CHECKING:
    from weightspace.space import WeightSpace

CLOSE = 1e-9
SAME = 1e-11
Floats = NDArray[np.float64]


def canonical_rescaling(
    space: "WeightSpace", state_dict: Mapping[str, Tensor], budget: int
) -> tuple[GroupElement, Scaling]:
    """The permutation, and the scaling after it, that take one network to its canonical form.

    Scales first, then the order of the neurons by their entries' absolute values (which count as equal within 1e-9),
    then signs.

    Raises:
        StateDictError: entries are not in float64.
        CanonicalizationError: ties, as for permutations alone, or a tie of values that are close but not equal.
    """
    for name in space.parameters:
        if state_dict[name].dtype != torch.float64:
            raise StateDictError(
                f"canonicalize: state_dict['{name}'] is in {state_dict[name].dtype}; with scales or signs canonical "
                f"forms agree up to rounding only, wanted torch.float64: convert the weights with .double()"
            )
    group = space.scalings
    still = np.zeros(group.signs.dimension, dtype=np.int64)
    before = group.element(balancing(group, _flat(space, state_dict)), still)
    balanced = group.rescale(before, state_dict)
    codes = _codes(space, balanced)
    tie = _Ties(space, balanced)
    element = canonical_element(
        space, codes, budget, tie.form if "sign" in space.symmetries else None, tie.refuse_close
    )
    moved = {name: space._actions[name](element, balanced[name].detach(), stacked=False) for name in space.parameters}
    after = group.element(np.zeros(group.scales.dimension), positive_signs(group, _flat(space, moved)))
    first = {name: space._actions[name](element, factor, stacked=False) for name, factor in before.factors.items()}
    return element, Scaling(first).compose(after)


def _flat(space: "WeightSpace", state: Mapping[str, Tensor]) -> Floats:
    """All entries, one after the other."""
    return np.concatenate([state[name].detach().cpu().reshape(-1).numpy() for name in space.parameters])


def _codes(space: "WeightSpace", state: Mapping[str, Tensor]) -> dict[str, Ints]:
    """For each parameter the ranks of its entries, or of their absolute values where signs are free; values count as
    equal where they follow each other within `CLOSE`.
    """
    found = {}
    for name in space.parameters:
        values = state[name].detach().cpu().reshape(-1).numpy()
        ranks = _ranks(np.abs(values))
        if "sign" not in space.symmetries:
            ranks = np.where(values < 0, ranks.max(initial=0) - ranks, ranks.max(initial=0) + ranks)
        found[name] = ranks
    return found


def _ranks(values: Floats) -> Ints:
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    far = np.diff(ordered) > CLOSE * ordered[1:]
    ranks = np.empty(len(values), dtype=np.int64)
    ranks[order] = np.concatenate([[0], np.cumsum(far)]) if len(values) else order
    return ranks


class _Ties:
    """What the search for the smallest leaf asks where the order is not settled."""

    def __init__(self, space: "WeightSpace", balanced: Mapping[str, Tensor]) -> None:
        self._space = space
        self._values = {name: balanced[name].detach().cpu() for name in space.parameters}

    def refuse_close(self) -> None:
        """Raises where values that count as equal differ: a choice among them would show."""
        for name, tensor in self._values.items():
            ordered = np.sort(np.abs(tensor.reshape(-1).numpy()))
            gaps = np.diff(ordered) / np.maximum(ordered[1:], np.finfo(float).tiny)
            if bool(((gaps > SAME) & (gaps <= CLOSE)).any()):
                raise CanonicalizationError(
                    f"canonicalize: neurons are tied, and values of '{name}' agree to {CLOSE:.0e} but are not equal, "
                    f"so that rounding would decide; break the tie in the weights"
                )

    def form(self, element: GroupElement) -> bytes:
        """A leaf's entries with their canonical signs."""
        group = self._space.scalings
        moved = {name: self._space._actions[name](element, v, stacked=False) for name, v in self._values.items()}
        signs = group.element(np.zeros(group.scales.dimension), positive_signs(group, _flat(self._space, moved)))
        parts = []
        for name, tensor in moved.items():
            values = (tensor * signs.factors[name]).reshape(-1).numpy()
            parts.append((_ranks(np.abs(values)) * 2 + (values < 0)).astype(">i4").tobytes())
        return b"".join(parts)
