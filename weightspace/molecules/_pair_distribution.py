"""The distribution of distances between atoms, and how far two of them are from each other."""

import math

import torch
from torch import Tensor

from weightspace.errors import MoleculeError
from weightspace.geometric import edge_lengths, edge_vectors, neighbours
from weightspace.molecules._molecules import Molecules

CHUNK = 256  # molecules whose pairs are listed at once


@torch.no_grad()
def pair_distribution(molecules: Molecules, bins: Tensor) -> Tensor:
    """How often two atoms of a molecule are so far apart: h(r) as a histogram that sums to 1, over all molecules.

    Source: Fu et al. 2022, "Forces are not Enough", arXiv 2210.07237:
    h(r) = 1 / (n (n - 1)) sum_i sum_{j != i} delta(r - r_ij), averaged over frames. What deviates: molecules
    of several sizes are averaged over their pairs; distances outside all bins count in the first or last one, so
    that a molecule that fell apart is not missing.

    Args:
        molecules: in periodic cells, pairs within the last edge count, images too.
        bins: edges in Å (B + 1,), ascending.

    Shapes:
        -> (B,), float64.

    Raises:
        MoleculeError: bins that do not ascend, or molecules without any pair.

    Example:
        >>> hydrogen = Molecules(torch.ones(2).long(), torch.eye(3)[:2].double(), torch.tensor([0, 2]))
        >>> pair_distribution(hydrogen, torch.tensor([0.0, 1.0, 2.0])).tolist()
        [0.0, 1.0]
    """
    bins = bins.double()
    if bins.dim() != 1 or len(bins) < 2 or not bool((bins.diff() > 0).all()):
        raise MoleculeError(f"pair_distribution: found bins {tuple(bins.shape)}, wanted ascending edges (B + 1,)")
    counts = bins.new_zeros(len(bins) - 1)
    for start in range(0, len(molecules), CHUNK):
        part = molecules[start : start + CHUNK]
        found = torch.searchsorted(bins, _distances(part, float(bins[-1])), right=True) - 1
        counts += torch.bincount(found.clamp(0, len(counts) - 1), minlength=len(counts))
    if not bool(counts.sum() > 0):
        raise MoleculeError("pair_distribution: found no pair of atoms, wanted molecules of two atoms or more")
    return counts / counts.sum()


def jensen_shannon(p: Tensor, q: Tensor) -> float:
    """Jensen-Shannon divergence of two histograms, in bits: 0 where they are equal, 1 where they do not overlap.

    Source: Lin 1991, IEEE Transactions on Information Theory 37: D(p | m) / 2 + D(q | m) / 2 with m = (p + q) / 2 and
    the relative entropy D; used for pair distances by Bihani et al. 2023 (EGraFFBench), arXiv 2310.02428.

    Args:
        p, q: (B,), each sums to 1.

    Raises:
        MoleculeError: not two histograms of the same bins.

    Example:
        >>> jensen_shannon(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]))
        1.0
    """
    p, q = _checked("jensen_shannon", p, q)
    middle = (p + q) / 2
    entropy = [torch.special.xlogy(each, each / middle.masked_fill(middle == 0, 1)).sum() for each in (p, q)]
    return max(0.0, float(entropy[0] + entropy[1]) / (2 * math.log(2)))


def wright_factor(p: Tensor, reference: Tensor) -> float:
    """Wright's factor in percent: the squared distance of a distribution from the reference, relative to its square.

    Source: Bihani et al. 2023 (EGraFFBench), arXiv 2310.02428: 100 sum (g - g_ref)^2 / sum g_ref^2, as their published
    evaluation computes it; the measure of Wright 1993, Journal of Non-Crystalline Solids 159, is the square root of
    this ratio. What deviates: they compare g(r) of bulk systems, here h(r) of molecules is compared.

    Args:
        p: (B,), sums to 1.
        reference: of the same bins.

    Raises:
        MoleculeError: not two histograms of the same bins.

    Example:
        >>> wright_factor(torch.tensor([0.5, 0.5]), torch.tensor([1.0, 0.0]))
        50.0
    """
    p, reference = _checked("wright_factor", p, reference)
    return 100 * float((p - reference).square().sum() / reference.square().sum())


def _distances(molecules: Molecules, reach: float) -> Tensor:
    """Of all ordered pairs of each molecule; in a cell, of those within reach."""
    cell = None if molecules.cell is None else molecules.cell.double()
    pos, batch = molecules.pos.double(), molecules.batch
    edge_index, shift = neighbours(
        pos, cutoff=None if cell is None else reach, batch=batch, cell=cell, num_graphs=len(molecules)
    )
    return edge_lengths(edge_vectors(pos, edge_index, batch, cell, shift))


def _checked(owner: str, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    p, q = p.double(), q.double()
    sums = [float(p.sum()), float(q.sum())]
    if p.shape != q.shape or p.dim() != 1 or not all(abs(total - 1) < 1e-6 for total in sums):
        raise MoleculeError(
            f"{owner}: found shapes {tuple(p.shape)} and {tuple(q.shape)} with sums {sums[0]:.6g} and {sums[1]:.6g}, "
            "wanted two histograms (B,) of the same bins that sum to 1, as from pair_distribution"
        )
    return p, q
