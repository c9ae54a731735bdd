import math

import pytest
import torch

from weightspace.errors import MoleculeError
from weightspace.molecules import Molecules, jensen_shannon, pair_distribution, wright_factor

BINS = torch.arange(0, 4.01, 0.1, dtype=torch.float64)


def some(seed: int, sizes: list[int], cell: float | None = None) -> Molecules:
    generator = torch.Generator().manual_seed(seed)
    ptr = torch.tensor([0, *torch.tensor(sizes).cumsum(0).tolist()])
    pos = torch.rand(sum(sizes), 3, generator=generator, dtype=torch.float64) * 2.5
    box = None if cell is None else cell * torch.eye(3, dtype=torch.float64).expand(len(sizes), 3, 3)
    return Molecules(torch.ones(sum(sizes), dtype=torch.long), pos, ptr, cell=box)


@pytest.mark.parametrize("sizes", [[4, 4, 4], [2, 7, 3], [5] * 300])
def test_it_is_the_histogram_of_a_loop_over_pairs(sizes):
    molecules = some(0, sizes)
    counts = torch.zeros(len(BINS) - 1, dtype=torch.float64)
    for g in range(len(sizes)):
        pos = molecules.pos[molecules.ptr[g] : molecules.ptr[g + 1]]
        for i in range(len(pos)):
            for j in range(i):
                r = float((pos[i] - pos[j]).norm())
                counts[
                    min(int(torch.searchsorted(BINS, torch.tensor(r).double(), right=True)) - 1, len(counts) - 1)
                ] += 1
    assert torch.allclose(pair_distribution(molecules, BINS), counts / counts.sum(), rtol=1e-12, atol=0)


def test_pairs_across_a_cell_count():
    one = Molecules(
        torch.tensor([1]), torch.zeros(1, 3).double(), torch.tensor([0, 1]), cell=torch.eye(3)[None].double()
    )
    found = pair_distribution(one, torch.tensor([0.0, 0.9, 1.1, 1.5]))
    assert found.tolist() == pytest.approx([0, 6 / 18, 12 / 18])  # six images at 1, twelve at sqrt 2


def test_distances_beyond_the_bins_are_not_lost():
    molecules = some(1, [6])
    assert float(pair_distribution(molecules, BINS[:5]).sum()) == pytest.approx(1)


def test_jensen_shannon_in_closed_form():
    p, q = torch.tensor([0.5, 0.5, 0.0]), torch.tensor([0.0, 0.5, 0.5])
    assert jensen_shannon(p, q) == pytest.approx(0.5, rel=1e-12)
    assert jensen_shannon(p, q) == jensen_shannon(q, p) and jensen_shannon(p, p) == 0
    a = torch.tensor([0.25, 0.75]).double()
    half = torch.tensor([0.5, 0.5]).double()
    middle = (a + half) / 2
    wanted = sum(float((x * (x / middle).log()).sum()) for x in (a, half)) / 2 / math.log(2)
    assert jensen_shannon(a, half) == pytest.approx(wanted, rel=1e-12)


def test_wright_in_closed_form():
    p, reference = torch.tensor([0.2, 0.8]), torch.tensor([0.4, 0.6])
    assert wright_factor(p, reference) == pytest.approx(100 * 0.08 / 0.52, rel=1e-6)
    assert wright_factor(p, p) == 0
    assert wright_factor(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])) == 200


@pytest.mark.parametrize(
    ("p", "q"), [(torch.ones(2) / 2, torch.ones(3) / 3), (torch.ones(2), torch.ones(2) / 2), (torch.ones(()),) * 2]
)
def test_what_is_no_histogram(p, q):
    for measure in (jensen_shannon, wright_factor):
        with pytest.raises(MoleculeError, match="wanted two histograms"):
            measure(p, q)


def test_errors():
    with pytest.raises(MoleculeError, match="wanted ascending edges"):
        pair_distribution(some(0, [3]), torch.tensor([1.0, 0.5]))
    with pytest.raises(MoleculeError, match="found no pair of atoms"):
        pair_distribution(some(0, [1, 1]), BINS)
