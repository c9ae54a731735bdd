"""Canonical scales and signs: one representative of each orbit of a space's scalings.

Scales: the representative whose logarithms of absolute entries have the least sum of squares. Moving along the group
adds a vector of a fixed subspace to these logarithms, so this is a projection: unique, and the same wherever on the
orbit it starts and however the neurons are ordered. Entries that are zero do not count.

Signs: in a given order of the entries, each entry that the signs are still free to choose becomes positive.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.sparse.linalg import cg

from weightspace.symmetry._entries import Ints

if TYPE_CHECKING:
    from weightspace.symmetry._scaling import ScalingGroup

Floats = NDArray[np.float64]


def balancing(group: "ScalingGroup", values: Floats) -> Floats:
    """Coordinates of the scaling that takes a network to the representative of its orbit.

    Args:
        group: scales of the space.
        values: all entries, one after the other.

    Shapes:
        values (entries,) -> (dimension of the kernel of the scales,)
    """
    relations, kernel = group.relations, group.scales
    live = np.flatnonzero(values)
    moved = kernel.basis[relations.plus[live]] - kernel.basis[relations.minus[live]].multiply(
        relations.degree[live][:, None]
    )
    moved = sparse.csr_array(moved)
    normal = sparse.csr_array(moved.T @ moved)
    wanted = -(moved.T @ np.log(np.abs(values[live])))
    diagonal = normal.diagonal()
    scale = 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    scaled = sparse.csr_array(normal.multiply(scale[:, None]).multiply(scale[None, :]))
    found = np.zeros(kernel.dimension)
    for _ in range(3):  # the second and third rounds remove the rounding of the first
        step, _ = cg(
            scaled, scale * (wanted - normal @ found), rtol=1e-14, atol=0.0, maxiter=20 * kernel.dimension + 50
        )
        found = found + scale * step
    return found


def positive_signs(group: "ScalingGroup", values: Floats) -> Ints:
    """Coordinates of the sign change that makes as many entries as it can positive, first ones first.

    Source: the greedy algorithm on a binary matroid. Most entries have the signs of one or two coordinates: among
    those the greedy choice is a minimum spanning tree.

    Args:
        group: signs of the space.
        values: all entries, one after the other.

    Shapes:
        values (entries,) -> (rank of the kernel of the signs,)
    """
    kernel = group.signs
    chosen, patterns = _candidates(group, np.flatnonzero(values))
    pivots: dict[int, tuple[int, int]] = {}
    for entry, pattern in zip(chosen, patterns, strict=True):
        odd = int(values[entry] < 0)
        for bit, (other, parity) in pivots.items():
            if pattern >> bit & 1:
                pattern, odd = pattern ^ other, odd ^ parity
        if pattern:
            bit = pattern.bit_length() - 1
            for key, (other, parity) in pivots.items():
                if other >> bit & 1:
                    pivots[key] = (other ^ pattern, parity ^ odd)
            pivots[bit] = (pattern, odd)
    result = np.zeros(kernel.dimension, dtype=np.int64)
    for bit, (_, odd) in pivots.items():
        result[bit] = odd
    return result


def _candidates(group: "ScalingGroup", live: Ints) -> tuple[list[int], list[int]]:
    """Entries among which the greedy algorithm chooses, in their order, and the bits of the coordinates that move
    each.
    """
    relations, kernel = group.relations, group.signs
    key = (relations.plus[live] * (relations.nodes + 1) + relations.minus[live]) * 2 + relations.parity[live]
    _, first = np.unique(key, return_index=True)
    live = np.sort(live[first])
    sums = kernel.basis[relations.plus[live]] + kernel.basis[relations.minus[live]].multiply(
        relations.parity[live][:, None]
    )
    sums = sparse.csr_array(sums)
    sums.data = np.rint(sums.data) % 2
    sums.eliminate_zeros()
    count = np.diff(sums.indptr)
    pairs = np.flatnonzero((count == 1) | (count == 2))
    starts = sums.indptr[pairs]
    ends = np.where(count[pairs] == 2, sums.indices[np.minimum(starts + 1, len(sums.indices) - 1)], kernel.dimension)
    lines = np.stack([np.minimum(sums.indices[starts], ends), np.maximum(sums.indices[starts], ends)])
    _, once = np.unique(lines[0] * (kernel.dimension + 1) + lines[1], return_index=True)
    size = kernel.dimension + 1
    tree = minimum_spanning_tree(
        sparse.csr_array(((pairs[once] + 1).astype(float), (lines[0][once], lines[1][once])), shape=(size, size))
    )
    kept = np.sort(np.concatenate([np.rint(tree.data).astype(np.int64) - 1, np.flatnonzero(count > 2)]))
    bits = [sum(1 << int(c) for c in sums.indices[sums.indptr[k] : sums.indptr[k + 1]]) for k in kept]
    return live[kept].tolist(), bits
