"""Random atoms for checks of models: clusters, crystals, rotations."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from weightspace.geometric import AbstractAtomisticModel

SPACING = 1.1  # Å between places on which atoms are put


@dataclass(frozen=True)
class Atoms:
    """What a model is called with.

    Args:
        z, pos, batch, cell: as the model takes them.
    """

    z: Tensor
    pos: Tensor
    batch: Tensor
    cell: Tensor | None = None

    def __call__(self, model: Callable[..., dict[str, Tensor]]) -> dict[str, Tensor]:
        """The model's outputs."""
        return model(self.z, self.pos, self.batch, cell=self.cell)

    def at(self, pos: Tensor, cell: Tensor | None = None) -> "Atoms":
        """The same atoms elsewhere."""
        return replace(self, pos=pos, cell=self.cell if cell is None else cell)


def cluster(model: AbstractAtomisticModel, atoms: int, seed: int) -> Atoms:
    """One graph of atoms on places of a cubic lattice, moved a little."""
    generator = torch.Generator().manual_seed(seed)
    side = max(2, round((1.5 * atoms) ** (1 / 3) + 0.5))
    axis = torch.arange(side, dtype=torch.float64)
    places = SPACING * torch.cartesian_prod(axis, axis, axis)
    chosen = places[torch.randperm(len(places), generator=generator)[:atoms]]
    pos = chosen + 0.15 * torch.randn(atoms, 3, dtype=torch.float64, generator=generator).clamp(-2, 2)
    return Atoms(_elements(model, atoms, generator), pos, torch.zeros(atoms, dtype=torch.long))


def crystal(model: AbstractAtomisticModel) -> Atoms:
    """Four atoms in a skewed cell that is smaller than most cutoffs, so that atoms see their own images."""
    atoms = cluster(model, 4, 7)
    cell = torch.tensor([[2.4, 0.1, 0.0], [0.5, 2.3, 0.2], [-0.3, 0.4, 2.6]], dtype=torch.float64)
    return replace(atoms, cell=cell[None])


def joined(graphs: Sequence[Atoms]) -> Atoms:
    """One batch of several graphs."""
    batch = [graph.batch + number for number, graph in enumerate(graphs)]
    return Atoms(torch.cat([g.z for g in graphs]), torch.cat([g.pos for g in graphs]), torch.cat(batch))


def rotation(seed: int) -> Tensor:
    """A random rotation matrix, float64."""
    generator = torch.Generator().manual_seed(seed)
    matrix, upper = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=generator))
    matrix = matrix * upper.diagonal().sign()
    return matrix * torch.linalg.det(matrix).sign()


@contextmanager
def float64_constants() -> Iterator[None]:
    """Float64 as the default dtype, which constants of models and of e3nn follow."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(default)


def _elements(model: AbstractAtomisticModel, atoms: int, generator: torch.Generator) -> Tensor:
    known = [z for z in (1, 6, 7, 8) if z in model.elements] or list(model.elements)[:4]
    return torch.tensor(known)[torch.randint(len(known), (atoms,), generator=generator)]
