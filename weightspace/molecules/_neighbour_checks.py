"""Whether every atom has something to interact with."""

import torch

from weightspace.errors import MoleculeError
from weightspace.geometric import neighbours
from weightspace.molecules._molecules import Molecules

CHUNK = 500


def check_neighbours(molecules: Molecules, cutoff: float | None, *, where: str) -> None:
    """Refuses molecules of several atoms in which one has no neighbour: no force would ever act on it.

    Args:
        molecules: to look at.
        cutoff: of the model in Å; None for all pairs.
        where: of the data, for the message.

    Raises:
        MoleculeError: such an atom.

    Example:
        >>> far = Molecules(torch.tensor([8, 1]), 9.0 * torch.eye(3)[:2].double(), torch.tensor([0, 2]))
        >>> check_neighbours(far, 15.0, where="far")
    """
    if cutoff is None:
        return
    for start in range(0, len(molecules), CHUNK):
        part = molecules[start : start + CHUNK]
        edge_index, _ = neighbours(part.pos, cutoff=cutoff, batch=part.batch, cell=part.cell, num_graphs=len(part))
        count = torch.bincount(edge_index[1], minlength=len(part.z))
        alone = (count == 0) & (part.num_atoms[part.batch] > 1)
        if alone.any():
            atom = int(alone.nonzero()[0])
            molecule = int(part.batch[atom])
            raise MoleculeError(
                f"{where}: molecule {start + molecule}: atom {atom - int(part.ptr[molecule])} has no neighbour within "
                f"the model's cutoff of {cutoff:g} Å; look at units (Å) and at the geometry, leave the molecule out, "
                "or give the model a larger cutoff"
            )
