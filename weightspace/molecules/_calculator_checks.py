"""What is looked at before a model is asked about some atoms."""

from collections.abc import Sequence

import torch
from torch import Tensor

from weightspace.errors import MoleculeError
from weightspace.geometric import AbstractAtomisticModel, edge_lengths, edge_vectors, neighbours
from weightspace.molecules._ase import ase_module
from weightspace.molecules._checks import CLOSEST


def known_elements(model: AbstractAtomisticModel, z: Sequence[int]) -> None:
    """All elements are among those that the model was built for.

    Raises:
        MoleculeError: one is not.
    """
    known = set(model.elements)
    strange = [(atom, element) for atom, element in enumerate(z) if element not in known]
    if strange:
        symbols = ase_module("ase.data", "the elements' names").chemical_symbols
        atom, element = strange[0]
        raise MoleculeError(
            f"atom {atom} is {symbols[element]}, and {type(model).__name__} was trained on "
            f"{' '.join(symbols[each] for each in model.elements)}; train it on data with {symbols[element]}"
        )


def finite_positions(pos: Tensor) -> None:
    """No position (N, 3) is nan or infinite.

    Raises:
        MoleculeError: one is.
    """
    strange = ~pos.isfinite().all(1)
    if bool(strange.any()):
        atom = int(strange.nonzero()[0])
        raise MoleculeError(
            f"the position of atom {atom} is {pos[atom].tolist()}, wanted finite numbers; look at the step before, or "
            "at the file"
        )


def checked_edges(
    pos: Tensor, *, cutoff: float | None, cell: Tensor | None, allow_isolated: bool
) -> tuple[Tensor, Tensor | None]:
    """Edges of one molecule, (2, E) and (E, 3) or None, where no atoms overlap and none is alone.

    Args:
        pos: finite positions (N, 3).
        cutoff: of the model, in Å; None for all pairs.
        cell: lattice vectors as rows (1, 3, 3), or None.
        allow_isolated: whether an atom of a molecule of several may have no neighbour.

    Raises:
        MoleculeError: two atoms closer than 0.3 Å, or an atom without neighbours.
    """
    batch = pos.new_zeros(len(pos), dtype=torch.long)
    method = "vesin" if cell is not None and pos.device.type == "cpu" else None
    edge_index, shift = neighbours(pos, cutoff=cutoff, batch=batch, cell=cell, num_graphs=1, method=method)
    length = edge_lengths(edge_vectors(pos, edge_index, batch, cell, shift))
    if len(length) and bool(length.min() < CLOSEST):
        source, target = edge_index[:, int(length.argmin())].tolist()
        raise _overlap(source, target, float(length.min()))
    _, place, count = pos.unique(dim=0, return_inverse=True, return_counts=True)
    if len(count) < len(pos):  # points without distance are no neighbours
        first, second = (place == int(count.argmax())).nonzero().flatten()[:2].tolist()
        raise _overlap(first, second, 0.0)
    if len(pos) > 1 and not allow_isolated:
        alone = torch.bincount(edge_index[1], minlength=len(pos)) == 0
        if bool(alone.any()):
            raise MoleculeError(
                f"atom {int(alone.nonzero()[0])} has no neighbour within the cutoff of {cutoff} Å, so no force acts "
                "on it; look at units (Å) and at the geometry, or pass allow_isolated=True (--allow-isolated)"
            )
    return edge_index, shift


def _overlap(first: int, second: int, distance: float) -> MoleculeError:
    return MoleculeError(
        f"atoms {min(first, second)} and {max(first, second)} are {distance:.3g} Å apart, wanted at least {CLOSEST} Å; "
        "they overlap: look at units (Å), at duplicates and at the cell"
    )
