"""Individualisation and refinement: the smallest of all leaves where refinement alone does not settle the order."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from weightspace.errors import CanonicalizationError
from weightspace.group import GroupElement, PermutationGroup
from weightspace.symmetry._entries import EntryBlock, Ints
from weightspace.symmetry._refinement import Colours, count, dense, refine

if TYPE_CHECKING:
    from weightspace.space import WeightSpace

Chosen = tuple[str, int]


def element_of(colours: Colours) -> GroupElement:
    """The element that sorts the elements of each neuron group by their colours, over each value of its base."""
    return GroupElement(
        {
            name: torch.from_numpy(np.argsort(np.argsort(colour, axis=-1, kind="stable"), axis=-1, kind="stable"))
            for name, colour in colours.items()
        }
    )


def places_of(group: PermutationGroup, element: GroupElement) -> dict[str, Ints]:
    """For each neuron group the new number of each element, in the grid of its base and itself."""
    found = {}
    for name in group.acting:
        names, shape = (*group.atoms[name].over, name), group.shape(name)
        grid = {key: torch.from_numpy(index)[None] for key, index in zip(names, np.indices(shape), strict=True)}
        moved = group.move(element, grid)
        number = torch.zeros(1, *shape, dtype=torch.long)
        for key, size in zip(names, shape, strict=True):
            number = number * size + moved[key]
        found[name] = number.reshape(-1).numpy()
    return found


class Search:
    """Depth-first search over the choices in tied cells.

    Two leaves with one form make an automorphism. It proves that two branches of their last common node are alike, so
    the search goes on there, and at every node only one choice of each orbit of the automorphisms that keep the
    choices above it is followed.

    Args:
        space: of the network.
        blocks: all entries.
        codes: for each parameter an integer per entry.
        budget: number of leaves that may be compared.
    """

    def __init__(
        self,
        space: "WeightSpace",
        blocks: Sequence[EntryBlock],
        codes: Mapping[str, Ints],
        budget: int,
        form: Callable[[GroupElement], bytes] | None = None,
    ) -> None:
        self._space = space
        self._blocks = blocks
        self._codes = codes
        self._budget = budget
        self._form = form or self._moved_codes
        self._leaves = 0
        self._tie = ("", 0)
        self._seen: dict[bytes, tuple[tuple[Chosen, ...], GroupElement]] = {}
        self._best: bytes | None = None
        self._automorphisms: list[dict[str, Ints]] = []

    def run(self, colours: Colours) -> GroupElement:
        """The element that takes the entries to the smallest form.

        Raises:
            CanonicalizationError: more leaves than the budget.
        """
        self._tie = _largest_tie(colours)
        self._explore(colours, ())
        assert self._best is not None
        return self._seen[self._best][1]

    def _explore(self, colours: Colours, path: tuple[Chosen, ...]) -> int:
        """Search below a node; the depth of the node at which to go on."""
        cell = _target(colours)
        if cell is None:
            return self._leaf(colours, path)
        name, members = cell
        followed: list[int] = []
        for member in members.tolist():
            if followed and self._is_alike(name, member, followed, path):
                continue
            followed.append(member)
            chosen = dict(colours)
            flat = colours[name].reshape(-1) * 2 + 1
            flat[member] -= 1
            chosen[name] = dense(flat).reshape(colours[name].shape)
            refined = refine(chosen, group=self._space.group, blocks=self._blocks, codes=self._codes)
            back = self._explore(refined, (*path, (name, member)))
            if back < len(path):
                return back
        return len(path)

    def _leaf(self, colours: Colours, path: tuple[Chosen, ...]) -> int:
        self._leaves += 1
        if self._leaves > self._budget:
            name, size = self._tie
            raise CanonicalizationError(
                f"canonicalize: {size} neurons of '{name}' are tied, and more than budget={self._budget} leaves would "
                f"have to be compared to tell them apart; raise budget=, or break the tie in the weights"
            )
        element = element_of(colours)
        form = self._form(element)
        if self._best is None or form < self._best:
            self._best = form
        if form not in self._seen:
            self._seen[form] = (path, element)
            return len(path)
        other, twin = self._seen[form]
        group = self._space.group
        self._automorphisms.append(places_of(group, group.compose(group.inverse(element), twin)))
        return next(depth for depth, (a, b) in enumerate(zip(path, other, strict=False)) if a != b)

    def _moved_codes(self, element: GroupElement) -> bytes:
        """The moved codes, comparable and equal only where all codes are equal."""
        parts = []
        for name, spec in self._space.parameters.items():
            codes = torch.from_numpy(self._codes[name]).reshape(spec.shape)
            moved = self._space._actions[name](element, codes, stacked=False)
            parts.append(moved.contiguous().numpy().astype(">i4").tobytes())
        return b"".join(parts)

    def _is_alike(self, name: str, member: int, followed: Sequence[int], path: tuple[Chosen, ...]) -> bool:
        """Whether automorphisms that keep every choice of the path take a followed member to this one."""
        keeping = [a[name] for a in self._automorphisms if all(a[atom][number] == number for atom, number in path)]
        orbit, frontier = {member}, [member]
        while frontier:
            number = frontier.pop()
            for places in keeping:
                image = int(places[number])
                if image not in orbit:
                    orbit.add(image)
                    frontier.append(image)
        return bool(orbit & set(followed))


def _target(colours: Colours) -> tuple[str, Ints] | None:
    """The smallest tied cell of elements; None where the order is settled."""
    best: tuple[int, str, int] | None = None
    for name, colour in colours.items():
        if count(colour) == colour.size:
            continue
        sizes = np.bincount(colour.reshape(-1))
        tied = np.flatnonzero(sizes > 1)
        number = int(tied[np.argmin(sizes[tied])])
        if best is None or sizes[number] < best[0]:
            best = (int(sizes[number]), name, number)
    return None if best is None else (best[1], np.flatnonzero(colours[best[1]].reshape(-1) == best[2]))


def _largest_tie(colours: Colours) -> tuple[str, int]:
    sizes = {name: int(np.bincount(colour.reshape(-1)).max(initial=0)) for name, colour in colours.items()}
    name = max(sizes, key=lambda key: sizes[key])
    return name, sizes[name]
