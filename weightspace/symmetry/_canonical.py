"""Canonical forms: one state_dict for each orbit of the permutation group."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import torch
from torch import Tensor

from weightspace.conversion import check_state_dict
from weightspace.group import GroupElement
from weightspace.symmetry._entries import Ints, entry_blocks
from weightspace.symmetry._refinement import dense, first_colours, is_settled, refine
from weightspace.symmetry._search import Search, element_of
from weightspace.symmetry._twins import order_twins

if TYPE_CHECKING:
    from weightspace.space import WeightSpace

BUDGET = 1000


@overload
def canonicalize(
    space: "WeightSpace", state_dict: Mapping[str, Tensor], budget: int = ..., return_element: Literal[False] = ...
) -> dict[str, Tensor]: ...


@overload
def canonicalize(
    space: "WeightSpace", state_dict: Mapping[str, Tensor], budget: int = ..., *, return_element: Literal[True]
) -> tuple[dict[str, Tensor], GroupElement]: ...


def canonicalize(
    space: "WeightSpace", state_dict: Mapping[str, Tensor], budget: int = BUDGET, return_element: bool = False
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
    total = element_of(colours)
    if is_settled(colours):
        return total
    # In the order of the colours, blocks with equal contents (heads) have them at equal places: then they are twins.
    codes = move_codes(space, total, codes)
    colours = refine(first_colours(group), group=group, blocks=blocks, codes=codes)
    colours = order_twins(space, colours, blocks=blocks, codes=codes)
    colours = refine(colours, group=group, blocks=blocks, codes=codes)
    if is_settled(colours):
        return group.compose(element_of(colours), total)
    best = Search(space, blocks, codes, budget).run(colours)
    return group.compose(best, total)


def move_codes(space: "WeightSpace", g: GroupElement, codes: Mapping[str, Ints]) -> dict[str, Ints]:
    """Codes of the moved entries."""
    return {
        name: space._actions[name](g, torch.from_numpy(codes[name]).reshape(spec.shape), stacked=False)
        .reshape(-1)
        .numpy()
        for name, spec in space.parameters.items()
    }
