"""Batches of molecules, in an order that depends on the seed and the epoch alone."""

from collections.abc import Callable, Iterator

import torch
from lightning import LightningDataModule
from torch import Tensor

from weightspace.molecules import MolecularSplits, Molecules

Batch = dict[str, Tensor]


def batch_of(molecules: Molecules, dtype: torch.dtype = torch.float32) -> Batch:
    """z, pos, batch, cell where there is one, and all values by name; floating ones in one dtype."""
    tensors = {"z": molecules.z, "pos": molecules.pos, "batch": molecules.batch, "size": molecules.num_atoms}
    tensors |= {} if molecules.cell is None else {"cell": molecules.cell}
    tensors |= {**molecules.values, **molecules.atom_values}
    return {name: value.to(dtype) if value.is_floating_point() else value for name, value in tensors.items()}


class MoleculeLoader:
    """Batches of molecules.

    Args:
        molecules: to take them from.
        batch_size: molecules of a batch.
        order: gives the indices of one pass.
    """

    def __init__(self, molecules: Molecules, batch_size: int, order: Callable[[], Tensor]):
        self.molecules, self.batch_size, self.order = molecules, batch_size, order
        self._length = -(-len(order()) // batch_size)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Batch]:
        for index in self.order().split(self.batch_size):
            yield batch_of(self.molecules[index])


def training_order(size: int, per_epoch: int, epoch: int, seed: int) -> Tensor:
    """Which molecules an epoch of `per_epoch` samples sees: its part of endless permutations drawn one by one.

    Example:
        >>> torch.cat([training_order(4, 2, epoch, seed=0) for epoch in (0, 1)]).sort().values
        tensor([0, 1, 2, 3])
    """
    start = epoch * per_epoch
    first, last = start // size, (start + per_epoch - 1) // size
    parts = []
    for k in range(first, last + 1):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + k)
        parts.append(torch.randperm(size, generator=generator))
    return torch.cat(parts)[start - first * size :][:per_epoch]


class MoleculeData(LightningDataModule):
    """Training and validation batches of a data set.

    Args:
        splits: the data, with what the objective has prepared.
        batch_size: of a training step.
        per_epoch: training samples between two checks on validation molecules.
        seed: of the order.
    """

    def __init__(self, splits: MolecularSplits, *, batch_size: int, per_epoch: int, seed: int):
        super().__init__()
        self.splits, self.batch_size, self.per_epoch, self.seed = splits, batch_size, per_epoch, seed

    def train_dataloader(self) -> MoleculeLoader:
        """The samples of the trainer's current epoch."""
        size = len(self.splits.train)

        def order() -> Tensor:
            epoch = 0 if self.trainer is None else self.trainer.current_epoch
            return training_order(size, self.per_epoch, epoch, self.seed)

        return MoleculeLoader(self.splits.train, self.batch_size, order)

    def val_dataloader(self) -> MoleculeLoader:
        """All validation molecules."""
        return in_order(self.splits.validation)


def in_order(molecules: Molecules, *, atoms: int = 1000) -> MoleculeLoader:
    """All molecules one after the other, with about so many atoms in a batch."""
    size = max(1, atoms * len(molecules) // max(1, len(molecules.z)))
    return MoleculeLoader(molecules, size, lambda: torch.arange(len(molecules)))
