"""Neighbour lists: both methods against a loop over atoms and images."""

import itertools
import sys

import pytest
import torch

from weightspace.errors import GeometryError
from weightspace.geometric import _neighbours
from weightspace.geometric._neighbours import edge_lengths, edge_pairs, edge_vectors, neighbours

SKEWED = torch.tensor([[3.0, 0.2, 0.0], [1.4, 2.5, 0.3], [-0.8, 1.1, 2.9]], dtype=torch.float64)


def loop(pos, batch, cell, cutoff):
    """All (source, target, shift) by trying every image."""
    reach = range(-6, 7)
    shifts = list(itertools.product(reach, reach, reach)) if cell is not None else [(0, 0, 0)]
    found = set()
    grid = torch.tensor(shifts, dtype=torch.float64)
    for i, j in itertools.product(range(len(pos)), repeat=2):
        if batch[i] != batch[j]:
            continue
        moved = pos[j] - pos[i] + (0 if cell is None else grid @ cell[batch[i]])
        length = (moved + torch.zeros(len(grid), 3, dtype=torch.float64)).norm(dim=1)
        used = (length <= cutoff) & (length > 0)
        if cell is not None:
            used &= ((grid == 0) | (cell[batch[i]] != 0).any(-1)).all(-1)
        found |= {(i, j, shifts[k]) for k in used.nonzero().flatten().tolist()}
    return found


def as_set(edge_index, shift):
    shifts = torch.zeros(edge_index.shape[1], 3) if shift is None else shift
    rows = list(zip(*edge_index.tolist(), map(tuple, shifts.long().tolist()), strict=True))
    assert len(set(rows)) == len(rows)
    return set(rows)


def cells(kind):
    slab = SKEWED.clone()
    slab[2] = 0
    wire = torch.zeros(3, 3, dtype=torch.float64)
    wire[1] = torch.tensor([0.5, 2.0, 0.5])
    return {
        "open": None,
        "skewed": torch.stack([SKEWED, SKEWED * 1.3]),
        "small": torch.stack([SKEWED * 0.5, SKEWED * 0.45]),
        "mixed": torch.stack([slab, torch.zeros(3, 3, dtype=torch.float64)]),
        "wire": torch.stack([wire, SKEWED]),
    }[kind]


@pytest.mark.parametrize("kind", ["open", "skewed", "small", "mixed", "wire"])
@pytest.mark.parametrize("method", ["dense", "vesin"])
def test_both_methods_equal_a_loop_over_images(kind, method, generator, monkeypatch):
    monkeypatch.setattr(_neighbours, "DENSE_PAIRS", 700)  # several chunks
    pos = 4 * torch.randn(7, 3, dtype=torch.float64, generator=generator)  # many outside of their cell
    batch = torch.tensor([0, 0, 0, 0, 1, 1, 1])
    cell = cells(kind)
    if kind != "open":
        pos = pos / 3
    edge_index, shift = neighbours(pos, cutoff=2.3, batch=batch, cell=cell, method=method)
    assert as_set(edge_index, shift) == loop(pos, batch, cell, 2.3)
    assert (edge_index[1].diff() >= 0).all()
    lengths = edge_lengths(edge_vectors(pos, edge_index, batch, cell, shift))
    assert len(lengths) == 0 or (lengths.max() <= 2.3 + 1e-9 and lengths.min() > 0)


def test_all_pairs_without_a_cutoff():
    edge_index, shift = neighbours(torch.rand(5, 3), cutoff=None, batch=torch.tensor([0, 0, 0, 1, 1]))
    assert shift is None
    assert edge_index.tolist() == [[1, 2, 0, 2, 0, 1, 4, 3], [0, 0, 1, 1, 2, 2, 3, 4]]


def test_coincident_points_and_empty_clouds():
    for method in ("dense", "vesin"):
        pos = torch.tensor([[0.0, 0, 0], [0, 0, 0], [1, 0, 0]])
        assert neighbours(pos, cutoff=2.0, method=method)[0].tolist() == [[2, 2, 0, 1], [0, 1, 2, 2]]
        assert neighbours(pos[:1], cutoff=2.0, method=method)[0].shape == (2, 0)
    edge_index, shift = neighbours(torch.zeros(0, 3), cutoff=1.0, cell=torch.eye(3)[None])
    assert edge_index.shape == (2, 0) and shift.shape == (0, 3)


def test_large_systems_go_to_vesin_and_agree(monkeypatch, generator):
    pos = 30 * torch.rand(1500, 3, dtype=torch.float64, generator=generator)
    called = []
    plain = _neighbours._by_vesin
    monkeypatch.setattr(_neighbours, "_by_vesin", lambda *a, **k: called.append(1) or plain(*a, **k))
    fast = neighbours(pos, cutoff=3.0)
    assert called
    assert as_set(*fast) == as_set(*neighbours(pos, cutoff=3.0, method="dense"))


@pytest.mark.parametrize("kind", ["open", "skewed", "small", "wire"])
def test_pairs_are_opposite_edges(kind, generator):
    pos = 1.3 * torch.randn(7, 3, dtype=torch.float64, generator=generator)
    batch = torch.tensor([0, 0, 0, 0, 1, 1, 1])
    edge_index, shift = neighbours(pos, cutoff=2.3, batch=batch, cell=cells(kind), method="dense")
    order = torch.randperm(edge_index.shape[1], generator=generator)
    edge_index, shift = edge_index[:, order], None if shift is None else shift[order]
    first, pair = edge_pairs(edge_index, shift, len(pos))
    assert 2 * len(first) == len(pair) and pair[first].tolist() == list(range(len(first)))
    image = torch.zeros(len(pair), 3) if shift is None else shift
    for p in range(len(first)):
        one, other = (pair == p).nonzero().flatten().tolist()
        assert edge_index[:, one].tolist() == edge_index[:, other].flip(0).tolist()
        assert image[one].tolist() == (-image[other]).tolist()


def test_edges_without_opposites_are_pairs_of_their_own():
    edge_index = torch.tensor([[0, 1, 2], [1, 0, 0]])
    for edges in (edge_index, torch.tensor([[0, 2], [1, 0]]), torch.zeros(2, 0, dtype=torch.long)):
        first, pair = edge_pairs(edges, None, 3)
        assert first.tolist() == pair.tolist() == list(range(edges.shape[1]))


def test_lengths_have_finite_derivatives_at_zero():
    vec = torch.tensor([[0.0, 0, 0], [0, 3, 4]], dtype=torch.float64, requires_grad=True)
    length = edge_lengths(vec)
    assert length.tolist() == [0, 5]
    (first,) = torch.autograd.grad(length.sum(), vec, create_graph=True)
    torch.testing.assert_close(first.tolist(), [[0.0, 0.0, 0.0], [0.0, 0.6, 0.8]])
    assert torch.isfinite(torch.autograd.grad(first.square().sum() + first.sum(), vec)[0]).all()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"cutoff": 1.0, "method": "tree"}, "neighbours: found method='tree', wanted 'dense', 'vesin' or None"),
        ({"cutoff": 0.0}, "neighbours: found cutoff=0.0, wanted a positive distance, or None for all pairs"),
        (
            {"cutoff": None, "cell": torch.eye(3)[None]},
            "neighbours: found cutoff=None, wanted a distance, as a periodic system (and vesin) needs",
        ),
    ],
)
def test_messages(arguments, words):
    with pytest.raises(GeometryError) as caught:
        neighbours(torch.rand(3, 3), **arguments)
    assert str(caught.value) == words


def test_without_vesin_the_message_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "vesin", None)
    with pytest.raises(GeometryError, match=r"not installed; install the extra mol .*, or pass method='dense'"):
        neighbours(torch.rand(3, 3), cutoff=1.0, method="vesin")
