"""Bonds of molecules and when they count as broken."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from weightspace.errors import MoleculeError
from weightspace.geometric import edge_lengths, edge_vectors, neighbours
from weightspace.molecules._ase import ase_module
from weightspace.molecules._molecules import Molecules

STRETCH = 1.3  # a bond is at most so many times the sum of covalent radii long
TOLERANCE = 0.5  # Å


@dataclass(frozen=True)
class Bonds:
    """Pairs of bonded atoms and their equilibrium lengths.

    Args:
        index: pairs of atoms (2, B).
        shift: lattice vectors that a bond crosses (B, 3), or None without cells.
        length: in Å (B,).
    """

    index: Tensor
    shift: Tensor | None
    length: Tensor

    def to(self, device: torch.device) -> "Bonds":
        """On another device."""
        shift = None if self.shift is None else self.shift.to(device)
        return Bonds(self.index.to(device), shift, self.length.to(device))

    def repeat(self, times: int, size: int) -> "Bonds":
        """The bonds of several copies of a molecule of `size` atoms, one after another."""
        start = torch.arange(times).repeat_interleave(self.index.shape[1]) * size
        shift = None if self.shift is None else self.shift.repeat(times, 1)
        return Bonds(self.index.repeat(1, times) + start, shift, self.length.repeat(times))

    def deviation(self, pos: Tensor, batch: Tensor, cell: Tensor | None) -> Tensor:
        """How far each bond is from its equilibrium length, in Å (B,)."""
        return (edge_lengths(edge_vectors(pos, self.index, batch, cell, self.shift)) - self.length).abs()

    def broken(self, pos: Tensor, batch: Tensor, cell: Tensor | None, *, num_graphs: int) -> Tensor:
        """Which molecules have a bond that is more than 0.5 Å from its equilibrium length (G,)."""
        off = self.deviation(pos, batch, cell) > TOLERANCE
        return off.new_zeros(num_graphs, dtype=torch.long).index_add(0, batch[self.index[0]], off.long()) > 0


def bonds_of(molecules: Molecules) -> Bonds:
    """Bonds of molecules as they are: pairs at most 1.3 times the sum of their covalent radii apart.

    Example:
        >>> water = torch.tensor([[0, 0, 0.12], [0, 0.76, -0.48], [0, -0.76, -0.48]]).double()
        >>> bonds_of(Molecules(torch.tensor([8, 1, 1]), water, torch.tensor([0, 3]))).index.tolist()
        [[0, 0], [1, 2]]
    """
    radius = _radii(molecules.z)
    cell = None if molecules.cell is None else molecules.cell.double()
    pos, batch = molecules.pos.double(), molecules.batch
    index, shift = neighbours(
        pos, cutoff=2 * STRETCH * float(radius.max()), batch=batch, cell=cell, num_graphs=len(molecules)
    )
    index, shift = index.flip(0), None if shift is None else -shift
    length = edge_lengths(edge_vectors(pos, index, batch, cell, shift))
    near = (length <= STRETCH * (radius[index[0]] + radius[index[1]])) & (index[0] < index[1])
    return Bonds(index[:, near], None if shift is None else shift[near], length[near])


def equilibrium_bonds(reference: Molecules) -> Bonds:
    """Bonds of a molecule of which there are many frames, with their mean lengths.

    A bond is a pair that is bonded on average and stays within 0.5 Å of its mean length in every frame, so that no
    frame of the reference counts as broken (a proton that wanders between two atoms is bonded to neither).

    Args:
        reference: frames of one molecule, without cells.

    Raises:
        MoleculeError: frames of different molecules, or cells.
    """
    frames = same_molecule(reference)
    first, second = torch.triu_indices(frames.shape[1], frames.shape[1], 1)
    length = torch.linalg.vector_norm(frames[:, first] - frames[:, second], dim=-1)  # (T, pairs)
    mean = length.mean(0)
    radius = _radii(reference.z[: frames.shape[1]])
    bonded = (mean <= STRETCH * (radius[first] + radius[second])) & ((length - mean).abs() <= TOLERANCE).all(0)
    return Bonds(torch.stack([first[bonded], second[bonded]]), None, mean[bonded])


def same_molecule(reference: Molecules) -> Tensor:
    """Positions (T, n, 3) of the frames of one molecule, float64.

    Raises:
        MoleculeError: no frames, frames of different molecules, or cells.
    """
    n = int(reference.num_atoms[0]) if len(reference) else 0
    same = n > 0 and bool((reference.num_atoms == n).all())
    if not same or reference.cell is not None or not bool((reference.z.view(-1, n) == reference.z[:n]).all()):
        raise MoleculeError(
            f"reference: found {len(reference)} frames of different molecules, or with cells, or none; wanted frames "
            "of one molecule, its atoms in the same order and without periodic boundaries"
        )
    return reference.pos.double().view(-1, n, 3)


def _radii(z: Tensor) -> Tensor:
    data = ase_module("ase.data", "bonds")
    return torch.as_tensor(np.asarray(data.covalent_radii))[z.cpu()].double()
