"""The order of neurons that a canonical form has: refinement, twins, and a search where these do not settle it."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch

from weightspace.group import GroupElement
from weightspace.symmetry._entries import Ints, entry_blocks
from weightspace.symmetry._refinement import Colours, first_colours, is_settled, refine
from weightspace.symmetry._search import Search, element_of, places_of
from weightspace.symmetry._twins import order_twins

if TYPE_CHECKING:
    from weightspace.space import WeightSpace


def canonical_element(
    space: "WeightSpace",
    codes: Mapping[str, Ints],
    budget: int,
    form: Callable[[GroupElement], bytes] | None = None,
    before_ties: Callable[[], None] | None = None,
) -> GroupElement:
    """The element that takes entries, known by their codes, to their canonical form.

    Args:
        space: of the network.
        codes: for each parameter an integer per entry, flattened.
        budget: number of leaves that may be compared.
        form: of the entries that an element moves, where it is more than their codes in their new order; twins by
            their codes are then none.
        before_ties: called where refinement does not settle the order.
    """
    group, blocks = space.group, entry_blocks(space)
    colours = refine(first_colours(group), group=group, blocks=blocks, codes=codes)
    total = group.identity()
    if is_settled(colours):
        return element_of(colours)
    if before_ties is not None:
        before_ties()
    if form is not None:
        return Search(space, blocks, codes, budget, form).run(colours)
    for name in reversed(group.acting):  # fibres before their bases
        over = [colours[fibre] for fibre in group.acting if name in group.atoms[fibre].over]
        if is_settled({name: colours[name]}) or not all(map(_is_ordered, over)):
            continue
        element = element_of(colours)
        codes, colours, total = _move(space, element, codes, colours, total)
        colours = order_twins(space, colours, name, blocks=blocks, codes=codes)
        colours = refine(colours, group=group, blocks=blocks, codes=codes)
    found = element_of(colours) if is_settled(colours) else Search(space, blocks, codes, budget).run(colours)
    return group.compose(found, total)


def _is_ordered(colour: Ints) -> bool:
    """Whether colours tell apart the elements of a fibre over each value of its base."""
    ordered = np.sort(colour, axis=-1)
    return bool((ordered[..., 1:] != ordered[..., :-1]).all())


def _move(
    space: "WeightSpace", g: GroupElement, codes: Mapping[str, Ints], colours: Colours, total: GroupElement
) -> tuple[dict[str, Ints], Colours, GroupElement]:
    """Codes and colours of the moved entries and elements, and what has moved them in all."""
    moved = {}
    for name, spec in space.parameters.items():
        values = torch.from_numpy(codes[name]).reshape(spec.shape)
        moved[name] = space._actions[name](g, values, stacked=False).reshape(-1).numpy()
    recoloured = {}
    for name, places in places_of(space.group, g).items():
        flat = np.empty(places.shape, dtype=np.int64)
        flat[places] = colours[name].reshape(-1)
        recoloured[name] = flat.reshape(colours[name].shape)
    return moved, recoloured, space.group.compose(g, total)
