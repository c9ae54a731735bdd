"""What a metanet must get right, one assert function for each check; `MetanetTests` calls them.

Everything is random, in float64 and in evaluation mode. Networks of one architecture go in as one batch, so a check is
one pass of the metanet for each architecture.
"""

import copy
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from weightspace.testing._subjects import Example, Subject, difference
from weightspace.testing._weight_changes import Change, graph_pieces

NETWORKS = 4
SPREAD = 1e-6
LARGE, SMALL = (1.0, 0.1, 0.01), (1e-6, 1e-9)


def assert_symmetric(subject: Subject, *, scalings: bool, tolerance: float) -> None:
    """Moved networks get the outputs (or the moved edits) of the networks.

    Args:
        subject: the metanet.
        scalings: scales and signs instead of permutations.
        tolerance: relative to the largest output (edit).
    """
    for example in subject.examples:
        entries, space = example.random(NETWORKS), example.space
        generator = torch.Generator().manual_seed(0)
        if scalings:
            act, what = partial(space.rescale, space.random_scaling(generator)), "scaled by a random scaling"
        else:
            element, what = space.random_element(generator, n=NETWORKS), "moved by a random element of the group"
            act = partial(space.act, element)
        moved = example.entries(act(example.states(entries)))
        with torch.no_grad():
            found, wanted = subject.answers(example, moved), subject.answers(example, entries)
            if subject.edits:
                wanted = example.entries(act(example.states(entries + wanted))) - moved
        _assert_same(found, wanted, f"{example.name}: {{}} of networks that were {what}", tolerance, subject, example)


def assert_relabelled(subject: Subject, *, tolerance: float) -> None:
    """The order of nodes and edges does not matter."""
    for example in subject.examples:
        entries = example.random(NETWORKS)
        with torch.no_grad():
            wanted = subject.answers(example, entries)
            for seed in range(2):
                graph = example.graphs(entries).relabel(torch.Generator().manual_seed(seed))
                found = subject.numbers(subject.metanet(graph), example, entries)
                what = f"{example.name}: {{}} of networks whose nodes and edges are in another order"
                _assert_same(found, wanted, what, tolerance, subject, example)


def assert_batches_like_singles(subject: Subject, *, tolerance: float) -> None:
    """A network gets the same alone, as a batch of one, and among others of its architecture."""
    for example in subject.examples:
        entries = example.random(NETWORKS)
        with torch.no_grad():
            together = subject.answers(example, entries)
            one = subject.answers(example, entries[:1])
            alone = [subject.numbers(subject.metanet(example.graph(row)), example, row[None]) for row in entries[:2]]
        _assert_same(one, alone[0], f"{example.name}: {{}} of a batch of one network", tolerance, subject, example)
        for n, wanted in enumerate(alone):
            what = f"{example.name}: {{}} of network {n} of a batch of {NETWORKS}, against itself alone,"
            _assert_same(together[n : n + 1], wanted, what, tolerance, subject, example)


def assert_mixed_like_alone(subject: Subject, *, tolerance: float) -> None:
    """Networks of several architectures in one call, single ones and batches, get what each gets alone."""
    sizes = [(None, 2, 1, 3)[i % 4] for i in range(len(subject.examples) + 1)]
    members = [*subject.examples, subject.examples[0]]
    entries = [example.random(size or 1, seed=i) for i, (example, size) in enumerate(zip(members, sizes, strict=True))]
    graphs = [
        example.graph(rows[0]) if size is None else example.graphs(rows)
        for example, rows, size in zip(members, entries, sizes, strict=True)
    ]
    with torch.no_grad():
        result = subject.metanet(graphs)
        for member, rows, mine in zip(members, entries, _split(subject, result, entries), strict=True):
            found, wanted = subject.numbers(mine, member, rows), subject.answers(member, rows)
            what = f"{member.name}: {{}} of networks in a call with other architectures"
            _assert_same(found, wanted, what, tolerance, subject, member)


def assert_pieces_matter(subject: Subject, *, redundant: bool, least: float) -> None:
    """Every parameter, and each of its pieces and roles, matters: other numbers there move the output (other edits).

    Args:
        subject: the metanet.
        redundant: whether numbers that do not change the network's function may be overlooked.
        least: what counts as moved, relative to the largest output.
    """
    for example in subject.examples:
        before, other = example.random(2)
        pieces = graph_pieces(example)
        masks = torch.zeros(len(pieces), len(before), dtype=torch.bool)
        for row, piece in zip(masks, pieces, strict=True):
            row[piece.address] = True
        changed = torch.where(masks, other, before)
        with torch.no_grad():
            answers = subject.answers(example, torch.cat([before[None], changed]))
        for piece, mask, after, entries in zip(pieces, masks, answers[1:], changed, strict=True):
            rest = ~mask if subject.edits and not bool(mask.all()) else slice(None)
            found = difference(after[rest], answers[0][rest])
            if redundant and found <= least and not example.function_changes(before, entries):
                continue
            assert found > least, (
                f"{example.name}: other numbers in {piece.name} move {_noun(subject)} by {found:.1e}, wanted more than "
                f"{least:.0e}: the metanet overlooks them"
            )


def assert_moved(subject: Subject, changes: Callable[[Example], Iterable[Change]], *, least: float) -> int:
    """What is no symmetry moves the output (or changes the edits by more than their order).

    Changes that keep the network's function are left out, where the metanet does not move with them.

    Args:
        subject: the metanet.
        changes: of an architecture.
        least: what counts as moved, relative to the largest output.

    Returns:
        How many changes were tried.
    """
    tried = 0
    for example in subject.examples:
        listed = list(changes(example))
        if not listed:
            continue
        tried += len(listed)
        before = example.random(1)[0]
        changed = torch.stack([before[change.order] for change in listed])
        with torch.no_grad():
            answers = subject.answers(example, torch.cat([before[None], changed]))
        for change, after, entries in zip(listed, answers[1:], changed, strict=True):
            found = difference(after, answers[0][change.order] if subject.edits else answers[0])
            assert found > least or not example.function_changes(before, entries), (
                f"{example.name}: {change.what} changes the function and moves {_noun(subject)} by {found:.1e} only, "
                f"wanted more than {least:.0e}: the metanet cannot tell them apart, or has too few layers to see it"
            )
    return tried


def assert_zeros_are_weights(subject: Subject) -> None:
    """A weight of zero is an edge like any other: its output is the limit of those of small weights.

    Half of the edges of one parameter piece get weights of the sizes `LARGE`, `SMALL` and zero. The output of a
    continuous metanet comes closer, for small ones at least like the root of the size, up to a factor.
    """
    sizes = torch.tensor([*LARGE, *SMALL, 0.0], dtype=torch.float64)
    for example in subject.examples:
        before = example.random(1)[0]
        pieces = [piece for piece in graph_pieces(example) if piece.edges]
        rows = before.repeat(len(pieces), len(sizes), 1)
        for changed, piece in zip(rows, pieces, strict=True):
            order = torch.randperm(len(piece.address), generator=torch.Generator().manual_seed(0))
            small = piece.address[order[: (len(order) + 1) // 2]].flatten()
            changed[:, small] = sizes[:, None] * before[small].sign()
        with torch.no_grad():
            answers = subject.answers(example, rows.flatten(0, 1)).unflatten(0, (len(pieces), -1))
        for piece, mine in zip(pieces, answers, strict=True):
            _assert_continuous(mine, f"{example.name}: weights of {piece.name}", _noun(subject))


def _assert_continuous(answers: Tensor, what: str, noun: str) -> None:
    """Answers to small weights are close to the last one, that to weights zero."""
    scale = float(answers[-1].abs().max()) or 1.0
    found = [float((row - answers[-1]).abs().max()) / scale for row in answers[:-1]]
    for size, jump in zip(SMALL, found[len(LARGE) :], strict=True):
        allowed = 10 * max(*found[: len(LARGE)], 1e-6) * size**0.5
        assert jump <= allowed, (
            f"{what} of size {size:.0e} give {noun} that is {jump:.1e} away from that of weights 0, allowed "
            f"{allowed:.1e}: a zero is taken for a missing edge"
        )


def assert_networks_differ(subject: Subject) -> None:
    """Random networks get different outputs (edits), in each architecture; so the metanet is not constant."""
    for example in subject.examples:
        with torch.no_grad():
            answers = subject.answers(example, example.random(NETWORKS))
        size = float(answers.abs().max())
        for n in range(1, NETWORKS):
            found = float((answers[n] - answers[0]).abs().max())
            assert found > SPREAD * size, (
                f"{example.name}: {_noun(subject)} of random networks 0 and {n} differ by {found:.1e}, of "
                f"{size:.1e} at most, wanted more than {SPREAD:.0e} of that: the metanet is constant"
            )


def assert_inputs_unchanged(subject: Subject) -> None:
    """The metanet leaves the graphs that it reads as they are."""
    for example in subject.examples:
        graph = example.graphs(example.random(2))
        parts = [site.x for site in graph.sites] + [block.edge_attr for block in graph.blocks]
        before = [part.clone() for part in parts]
        with torch.no_grad():
            subject.metanet(graph)
        names = [site.name for site in graph.sites] + [block.name for block in graph.blocks]
        wrong = [n for n, a, b in zip(names, parts, before, strict=True) if not torch.equal(a, b)]
        assert not wrong, (
            f"{example.name}: the metanet writes into the numbers of {', '.join(wrong)}; it must copy them"
        )


def assert_single_precision(subject: Subject) -> None:
    """In float32 the outputs (edits) are finite."""
    metanet = copy.deepcopy(subject.metanet).float()
    single = Subject(metanet, subject.edits, subject.examples)
    for example in subject.examples:
        with torch.no_grad():
            answers = single.answers(example, example.random(NETWORKS).float())
        count = int((~torch.isfinite(answers)).sum())
        assert not count, f"{example.name}: {count} of {answers.numel()} numbers in {_noun(subject)} are not finite"


def _split(subject: Subject, result: Any, entries: Sequence[Tensor]) -> list[Any]:
    """The result of each graph of a call."""
    if subject.edits:
        assert isinstance(result, (list, tuple)) and len(result) == len(entries), (
            f"the metanet returns a {type(result).__name__} for a list of {len(entries)} graphs, wanted a list of as "
            "many graphs"
        )
        return list(result)
    models = sum(map(len, entries))
    assert isinstance(result, Tensor) and result.dim() and len(result) == models, (
        f"the metanet returns {tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__} for a "
        f"list of graphs with {models} networks in all, wanted a tensor with a row for each"
    )
    return list(result.split([len(rows) for rows in entries]))


def _assert_same(
    found: Tensor, wanted: Tensor, what: str, tolerance: float, subject: Subject, example: Example
) -> None:
    """Equal up to the tolerance; an edit names the parameter that is off."""
    error = difference(found, wanted)
    if error > tolerance:
        where = ""
        if subject.edits:
            off = {name: float(v.abs().max()) for name, v in example.states(found - wanted).items() if v.numel()}
            where = f" in {max(off, key=lambda name: off[name])}"
        raise AssertionError(
            f"{what.format(_noun(subject))} is off by {error:.1e}{where}, allowed {tolerance:.0e} of the largest"
        )


def _noun(subject: Subject) -> str:
    return "the edit" if subject.edits else "the output"
