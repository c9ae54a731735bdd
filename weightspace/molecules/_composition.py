"""What composition alone says of energies: the baseline of every model that sees positions."""

import torch
from torch import Tensor

from weightspace.molecules._molecules import MolecularSplits, Molecules


def composition_energies(splits: MolecularSplits) -> dict[str, Tensor]:
    """The target of each test part's molecules (G,), by a linear fit on the counts of elements alone.

    Least squares on the training part, with an intercept; of several solutions the smallest.

    Args:
        splits: as loaded.
    """
    parts = {"": splits.train, **splits.tests}
    elements = sorted({z for part in parts.values() for z in part.elements})
    counts = {
        label: torch.cat([_counts(part, elements), torch.ones(len(part), 1)], 1).double()
        for label, part in parts.items()
    }
    fit = torch.linalg.lstsq(counts[""], splits.train.values[splits.target][:, None], driver="gelsd").solution[:, 0]
    return {label: counts[label] @ fit for label in splits.tests}


def composition_baseline(splits: MolecularSplits) -> dict[str, float]:
    """Mean absolute error of a linear fit on the counts of elements alone, of each test part.

    What a model must beat: it sees no positions. The fit is that of `composition_energies`; the error is in the unit of
    the target (eV for energies).

    Args:
        splits: as loaded.

    Example:
        >>> from weightspace.molecules import Molecules, MolecularSplits
        >>> two = Molecules(torch.tensor([1, 1, 6]), torch.eye(3).double(), torch.tensor([0, 2, 3]),
        ...                 {"energy": torch.tensor([2.0, 5.0]).double()})
        >>> composition_baseline(MolecularSplits("two", two, two, {"test": two}))["test"] < 1e-12
        True
    """
    energies = composition_energies(splits)
    return {
        label: float((energies[label] - part.values[splits.target]).abs().mean())
        for label, part in splits.tests.items()
    }


def _counts(molecules: Molecules, elements: list[int]) -> Tensor:
    column = torch.searchsorted(torch.tensor(elements), molecules.z)
    flat = molecules.batch * len(elements) + column
    return torch.bincount(flat, minlength=len(molecules) * len(elements)).reshape(len(molecules), -1)
