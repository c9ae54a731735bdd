"""Colour refinement of neurons by the entries that they have, in exact integers.

Source: colour refinement (1-dimensional Weisfeiler-Leman) on the entries of the parameters; each neuron is told from
others by the sorted list of (value, colours of the entry's other neurons) in each parameter. Rows of integers are
ranked by sorting; nothing is hashed into a shorter number and nothing is summed in floating point.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from weightspace.group import PermutationGroup
from weightspace.symmetry._entries import EntryBlock, Ints

Colours = dict[str, Ints]
_LARGEST = 2**62


def first_colours(group: PermutationGroup) -> Colours:
    """One colour for all elements of each acting neuron group."""
    return {name: np.zeros(group.shape(name), dtype=np.int64) for name in group.acting}


def is_settled(colours: Colours) -> bool:
    """Whether no two elements of a neuron group have one colour."""
    return all(count(colour) == colour.size for colour in colours.values())


def count(colour: Ints) -> int:
    """Number of colours; they are numbered from 0 without gaps."""
    return int(colour.max(initial=-1)) + 1


def refine(
    colours: Colours, *, group: PermutationGroup, blocks: Sequence[EntryBlock], codes: Mapping[str, Ints]
) -> Colours:
    """The coarsest refinement that no entry can refine further.

    Args:
        colours: of the elements of each acting neuron group, numbered from 0 without gaps; not changed.
        group: the permutation group.
        blocks: all entries.
        codes: for each parameter an integer per entry, flattened; equal where the values are equal.
    """
    colours = dict(colours)
    while True:
        before = {name: count(colour) for name, colour in colours.items()}
        for name in group.acting:
            colours[name] = _with_base(colours, name, group)
        for block in blocks:
            for slot, (_, name) in enumerate(block.slots):
                if block.moving[slot] and count(colours[name]) < colours[name].size:
                    colours[name] = _refine_by(block, slot, colours, codes[block.parameter])
        if before == {name: count(colour) for name, colour in colours.items()}:
            return colours


def _with_base(colours: Colours, name: str, group: PermutationGroup) -> Ints:
    """Colours of a fibre that tell apart what stands over bases of different colours, or over fixed coordinates."""
    colour = colours[name]
    names = (*group.atoms[name].over, name)
    grid: dict[str, Ints] = dict(zip(names, np.indices(colour.shape, sparse=True), strict=True))
    for base in names[:-1]:
        known = colours.get(base)
        mine = grid[base] if known is None else known[tuple(grid[key] for key in (*group.atoms[base].over, base))]
        colour = dense(mine * (count(colour) + 1) + colour)
    return colour


def _refine_by(block: EntryBlock, slot: int, colours: Colours, codes: Ints) -> Ints:
    """The colours of one neuron group, told apart by the entries of one block."""
    name = block.slots[slot][1]
    old = colours[name].reshape(-1)
    own = set(block.own(slot))
    key = np.zeros([1] * len(block.sizes), dtype=np.int64)
    limit = 1
    for other, (_, atom) in enumerate(block.slots):
        if other in own:
            continue
        colour = colours[atom].reshape(-1)[block.elements[other]] if block.moving[other] else block.elements[other]
        if atom == name and block.moving[other]:
            colour = colour * 2 + (block.elements[other] == block.elements[slot])
        key, limit = _append(key, limit, colour)
    key, _ = _append(key, limit, codes[block.address])
    open_elements = np.flatnonzero(np.bincount(old)[old] > 1)
    rows = block.rows(slot, key)[open_elements]
    new = np.zeros_like(old)
    new[open_elements] = rank_rows(np.sort(rows, axis=1))
    return dense(old * (new.max() + 1) + new).reshape(colours[name].shape)


def _append(key: Ints, limit: int, digit: Ints) -> tuple[Ints, int]:
    """A further digit of a mixed-radix number, and the new limit; numbers are ranked anew before they overflow."""
    radix = int(digit.max(initial=0)) + 1
    if limit * radix >= _LARGEST:
        key, digit = dense(key), dense(digit)
        limit, radix = int(key.max(initial=0)) + 1, int(digit.max(initial=0)) + 1
    return key * radix + digit, limit * radix


def dense(values: Ints) -> Ints:
    """Values replaced by their ranks, equal values by equal ranks."""
    _, ranks = np.unique(values, return_inverse=True)
    return ranks.reshape(values.shape)


def rank_rows(rows: Ints) -> Ints:
    """Ranks of rows of non-negative integers in lexicographic order, equal rows with equal ranks.

    Shapes:
        rows (n, m) -> (n,)

    Example:
        >>> rank_rows(np.array([[2, 1], [0, 5], [2, 1]])).tolist()
        [1, 0, 1]
    """
    if rows.shape[1] == 1:
        return dense(rows[:, 0])
    texts = [row.tobytes() for row in rows.astype(">i8")]
    ranks = {text: rank for rank, text in enumerate(sorted(set(texts)))}
    return np.array([ranks[text] for text in texts], dtype=np.int64)
