"""Canonical forms: one state_dict for each orbit of the permutation group."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import torch
from torch import Tensor

from weightspace.conversion import check_state_dict
from weightspace.group import GroupElement
from weightspace.symmetry._entries import Ints, entry_blocks
from weightspace.symmetry._refinement import Colours, dense, first_colours, is_settled, refine
from weightspace.symmetry._search import Search, element_of, places_of
from weightspace.symmetry._twins import order_twins

if TYPE_CHECKING:
    from weightspace.space import WeightSpace

BUDGET = 1000


@overload
def canonicalize(
    space: "WeightSpace", state_dict: Mapping[str, Tensor], budget: int = ..., *, return_element: Literal[False] = ...
) -> dict[str, Tensor]: ...


@overload
def canonicalize(
    space: "WeightSpace", state_dict: Mapping[str, Tensor], budget: int = ..., *, return_element: Literal[True]
) -> tuple[dict[str, Tensor], GroupElement]: ...


@overload
def canonicalize(
    space: "WeightSpace", state_dict: Mapping[str, Tensor], budget: int = ..., *, return_element: bool
) -> Any: ...


def canonicalize(
    space: "WeightSpace", state_dict: Mapping[str, Tensor], budget: int = BUDGET, *, return_element: bool = False
) -> Any:
    """The canonical form of a network: bit for bit the same for all networks that a permutation takes into another.

    Neurons are told apart by colour refinement on the exact bits of their entries. Interchangeable neurons (equal
    entries everywhere) are put in any order; what is tied beyond that is told apart by individualisation and
    refinement, of all leaves the smallest one counts, and automorphisms that come up prune the rest.

    Source: B. D. McKay and A. Piperno, "Practical graph isomorphism, II", 2014, arXiv:1301.1493; here on weighted
    relations instead of graphs, without their node invariants.

    Args:
        space: of the network.
        state_dict: of one network, or stacked tensors, which are brought to canonical form model by model.
        budget: number of leaves that may be compared where neurons are tied.
        return_element: also return the group element that takes the state_dict to its canonical form.

    Raises:
        StateDictError: the state_dict does not fit the space, or holds values that are not finite.
        CanonicalizationError: more than `budget` leaves; names the neuron group of the tie. Never a silent choice.

    Example:
        >>> import torch, weightspace as ws
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> space = ws.trace(net, torch.zeros(1, 4))
        >>> state = net.state_dict()
        >>> moved = space.act(space.random_element(), state)
        >>> a, b = space.canonicalize(state), space.canonicalize(moved)
        >>> all(torch.equal(a[key], b[key]) for key in a)
        True
    """
    models = check_state_dict(space, state_dict, finite=True)
    if models is None:
        element = canonical_element(space, codes_of(space, state_dict), budget)
    else:
        networks = [{key: value[i] for key, value in state_dict.items()} for i in range(models)]
        found = [canonical_element(space, codes_of(space, network), budget) for network in networks]
        names = space.group.acting
        element = GroupElement({name: torch.stack([g.permutations[name] for g in found]) for name in names}, models)
    form = space.act(element, state_dict)
    return (form, element) if return_element else form


def codes_of(space: "WeightSpace", state_dict: Mapping[str, Tensor]) -> dict[str, Ints]:
    """For each parameter the ranks of its entries' bit patterns, flattened: zeros of different sign differ."""
    return {name: dense(_bits(state_dict[name])) for name in space.parameters}


def _bits(tensor: Tensor) -> Ints:
    kind = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]
    return tensor.detach().cpu().contiguous().view(kind).reshape(-1).numpy().astype(np.int64)


def canonical_element(space: "WeightSpace", codes: Mapping[str, Ints], budget: int) -> GroupElement:
    """The element that takes entries, known by their codes, to their canonical form."""
    group, blocks = space.group, entry_blocks(space)
    colours = refine(first_colours(group), group=group, blocks=blocks, codes=codes)
    total = group.identity()
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
