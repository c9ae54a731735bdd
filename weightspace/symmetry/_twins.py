"""Interchangeable neurons: two that can be exchanged without any entry noticing."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from weightspace.group import GroupElement
from weightspace.symmetry._entries import EntryBlock, Ints
from weightspace.symmetry._refinement import Colours, dense, rank_rows

if TYPE_CHECKING:
    from weightspace.space import WeightSpace


def order_twins(
    space: "WeightSpace", colours: Colours, name: str, *, blocks: Sequence[EntryBlock], codes: Mapping[str, Ints]
) -> Colours:
    """Colours that tell twins of one neuron group apart, in any order: exchanging two twins leaves every entry as it
    is, so all orders give one canonical form.

    Where other groups are fibres over this one, what stands over twins must be equal place by place, so the fibres
    must be in an order that their colours determine.

    Args:
        space: of the network.
        colours: as from `refine`.
        name: of the neuron group.
        blocks: all entries.
        codes: for each parameter an integer per entry.
    """
    flat = colours[name].reshape(-1)
    open_elements = np.flatnonzero(np.bincount(flat)[flat] > 1)
    twins = _classes(space, name, open_elements, flat, blocks=blocks, codes=codes)
    place = np.zeros_like(flat)
    place[open_elements] = _number_within(twins)
    return {**colours, name: dense(flat * (place.max() + 1) + place).reshape(colours[name].shape)}


def _classes(
    space: "WeightSpace",
    name: str,
    elements: Ints,
    colours: Ints,
    *,
    blocks: Sequence[EntryBlock],
    codes: Mapping[str, Ints],
) -> Ints:
    """A number per element, equal for twins."""
    label = dense(colours[elements] * (len(colours) + 1) + elements // space.atoms[name].size)
    again = set()
    for block in blocks:
        mine = [slot for slot, (_, atom) in enumerate(block.slots) if atom == name]
        if len(mine) > 1:
            again.add(block.parameter)
        elif mine:
            rows = block.rows(mine[0], codes[block.parameter][block.address])[elements]
            label = dense(label * len(elements) + rank_rows(rows))
    return _confirmed(space, name, elements, label, codes={key: codes[key] for key in again}) if again else label


def _confirmed(space: "WeightSpace", name: str, elements: Ints, label: Ints, *, codes: Mapping[str, Ints]) -> Ints:
    """Classes split by what exchanging two of their members does to the entries of the given parameters, in which the
    neuron group stands more than once. Being twins is transitive, so one member speaks for all.
    """
    result = np.arange(len(label))
    speakers: dict[int, list[int]] = {}
    for i in range(len(label)):
        known = speakers.setdefault(int(label[i]), [])
        twin = next((j for j in known if _can_swap(space, name, (int(elements[j]), int(elements[i])), codes)), None)
        if twin is None:
            known.append(i)
        else:
            result[i] = twin
    return result


def _can_swap(space: "WeightSpace", name: str, pair: tuple[int, int], codes: Mapping[str, Ints]) -> bool:
    sigma = space.identity().permutations[name].contiguous().reshape(-1).clone()
    sigma[list(pair)] = sigma[list(pair[::-1])]
    swap = GroupElement({**space.identity().permutations, name: sigma.reshape(space.group.shape(name))})
    for parameter, code in codes.items():
        values = torch.from_numpy(code).reshape(space.parameters[parameter].shape)
        if not torch.equal(space._actions[parameter](swap, values, stacked=False), values):
            return False
    return True


def _number_within(label: Ints) -> Ints:
    """For each element how many elements before it have its label."""
    order = np.argsort(label, kind="stable")
    ordered = label[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    lengths = np.diff(np.append(starts, len(label)))
    result = np.empty_like(label)
    result[order] = np.arange(len(label)) - np.repeat(starts, lengths)
    return result
