"""Canonical forms: one state_dict for each orbit of the permutation group."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import torch
from torch import Tensor

from weightspace.conversion import check_state_dict
from weightspace.group import GroupElement
from weightspace.symmetry._canonical_scales import canonical_rescaling
from weightspace.symmetry._entries import Ints
from weightspace.symmetry._ordering import canonical_element
from weightspace.symmetry._refinement import dense

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

    Where the space was traced for scales or signs, these are brought to a canonical form, too, and networks of one
    orbit have forms that agree up to rounding (1e-10 in float64, which is required).

    Source: B. D. McKay and A. Piperno, "Practical graph isomorphism, II", 2014, arXiv:1301.1493; here on weighted
    relations instead of graphs, without their node invariants.

    Args:
        space: of the network.
        state_dict: of one network, or stacked tensors, which are brought to canonical form model by model.
        budget: number of leaves that may be compared where neurons are tied.
        return_element: also return the group element that takes the state_dict to its canonical form; with scales or
            signs a pair, the element and the `Scaling` that follows it (for stacked tensors a list of pairs).

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
    networks = [state_dict]
    if models is not None:
        networks = [{key: value[i] for key, value in state_dict.items()} for i in range(models)]
    if set(space.symmetries) != {"permutation"}:
        return _with_scales(space, networks, budget, models is not None, return_element)
    found = [canonical_element(space, codes_of(space, network), budget) for network in networks]
    element = found[0]
    if models is not None:
        names = space.group.acting
        element = GroupElement({name: torch.stack([g.permutations[name] for g in found]) for name in names}, models)
    form = space.act(element, state_dict)
    return (form, element) if return_element else form


def _with_scales(
    space: "WeightSpace", networks: Sequence[Mapping[str, Tensor]], budget: int, stacked: bool, return_element: bool
) -> Any:
    pairs = [canonical_rescaling(space, network, budget) for network in networks]
    forms = [
        space.rescale(scaling, space.act(element, network))
        for network, (element, scaling) in zip(networks, pairs, strict=True)
    ]
    form = {key: torch.stack([f[key] for f in forms]) for key in space.keys} if stacked else forms[0]
    return (form, pairs if stacked else pairs[0]) if return_element else form


def codes_of(space: "WeightSpace", state_dict: Mapping[str, Tensor]) -> dict[str, Ints]:
    """For each parameter the ranks of its entries' bit patterns, flattened: zeros of different sign differ."""
    return {name: dense(_bits(state_dict[name])) for name in space.parameters}


def _bits(tensor: Tensor) -> Ints:
    kind = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]
    return tensor.detach().cpu().contiguous().view(kind).reshape(-1).numpy().astype(np.int64)
