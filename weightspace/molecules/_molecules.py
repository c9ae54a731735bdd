"""Molecules as flat tensors: what every reader returns and every training reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import torch
from torch import Tensor

from weightspace.errors import MoleculeError

ENERGY, FORCES = "energy", "forces"
_NOTHING: Mapping[str, Tensor] = MappingProxyType({})


@dataclass(frozen=True)
class Molecules:
    """Molecules, or frames of one, as flat tensors; Å, eV and eV/Å, converted once by the reader.

    Args:
        z: atomic numbers (N,).
        pos: positions (N, 3) in Å, float64.
        ptr: where each molecule starts among the atoms, and the number of atoms (G + 1,).
        values: of each molecule, (G, ...), float64; "energy" in eV.
        atom_values: of each atom, (N, ...), float64; "forces" in eV/Å.
        cell: rows are lattice vectors (G, 3, 3), or None without periodic boundaries.

    Raises:
        MoleculeError: shapes that do not fit each other.

    Example:
        >>> water = Molecules(torch.tensor([8, 1, 1]), torch.rand(3, 3).double(), torch.tensor([0, 3]))
        >>> len(water), water.elements, len(water[[0, 0]].z)
        (1, (1, 8), 6)
    """

    z: Tensor
    pos: Tensor
    ptr: Tensor
    values: Mapping[str, Tensor] = field(default_factory=lambda: _NOTHING)
    atom_values: Mapping[str, Tensor] = field(default_factory=lambda: _NOTHING)
    cell: Tensor | None = None

    def __post_init__(self) -> None:
        atoms = int(self.ptr[-1]) if len(self.ptr) else -1
        if self.pos.shape != (atoms, 3) or self.z.shape != (atoms,) or bool((self.ptr.diff() < 0).any()):
            raise MoleculeError(
                f"Molecules: found z {tuple(self.z.shape)}, pos {tuple(self.pos.shape)} and ptr that ends at {atoms}, "
                "wanted (N,), (N, 3) and an ascending ptr (G + 1,) that ends at N"
            )
        sized = [(name, value, len(self)) for name, value in self.values.items()]
        sized += [(name, value, atoms) for name, value in self.atom_values.items()]
        sized += [] if self.cell is None else [("cell", self.cell, len(self))]
        for name, value, wanted in sized:
            if len(value) != wanted:
                raise MoleculeError(f"Molecules: found {len(value)} rows of {name!r}, wanted {wanted}")

    def __len__(self) -> int:
        return len(self.ptr) - 1

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> "Molecules":
        """The molecules of an index, slice, list of indices or mask (G,), in that order."""
        if isinstance(index, int):
            index = [range(len(self))[index]]
        rows = torch.arange(len(self))[torch.as_tensor(index) if not isinstance(index, slice) else index]
        sizes = self.num_atoms[rows]
        ptr = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
        atoms = torch.arange(int(ptr[-1])) + (self.ptr[rows] - ptr[:-1]).repeat_interleave(sizes)
        return Molecules(
            z=self.z[atoms],
            pos=self.pos[atoms],
            ptr=ptr,
            values={name: value[rows] for name, value in self.values.items()},
            atom_values={name: value[atoms] for name, value in self.atom_values.items()},
            cell=None if self.cell is None else self.cell[rows],
        )

    @property
    def num_atoms(self) -> Tensor:
        """Of each molecule (G,)."""
        return self.ptr.diff()

    @property
    def batch(self) -> Tensor:
        """The molecule of each atom (N,)."""
        return torch.arange(len(self)).repeat_interleave(self.num_atoms)

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers that occur, ascending."""
        return tuple(self.z.unique().tolist())

    @property
    def energy(self) -> Tensor | None:
        """In eV (G,), or None."""
        return self.values.get(ENERGY)

    @property
    def forces(self) -> Tensor | None:
        """In eV/Å (N, 3), or None."""
        return self.atom_values.get(FORCES)


def concatenate(parts: Sequence[Molecules]) -> Molecules:
    """All molecules of several sets, with the values that all of them have.

    Raises:
        MoleculeError: no parts, or some with and some without cells.
    """
    if not parts or len({part.cell is None for part in parts}) > 1:
        raise MoleculeError(
            f"concatenate: found {len(parts)} parts, wanted at least one, all with cells or all without"
        )
    sizes = torch.cat([part.num_atoms for part in parts])
    names = [set.intersection(*(set(part.values) for part in parts))]
    names += [set.intersection(*(set(part.atom_values) for part in parts))]
    return Molecules(
        z=torch.cat([part.z for part in parts]),
        pos=torch.cat([part.pos for part in parts]),
        ptr=torch.cat([sizes.new_zeros(1), sizes.cumsum(0)]),
        values={name: torch.cat([part.values[name] for part in parts]) for name in sorted(names[0])},
        atom_values={name: torch.cat([part.atom_values[name] for part in parts]) for name in sorted(names[1])},
        cell=None if parts[0].cell is None else torch.cat([part.cell for part in parts if part.cell is not None]),
    )


@dataclass(frozen=True)
class MolecularSplits:
    """A data set as it is trained and tested on.

    Args:
        name: as given on the command line, such as "rmd17:ethanol".
        train: what models are fitted to.
        validation: what stops the training and chooses among checkpoints.
        tests: by the label of their rows in tables, such as {"test": ...} or {"300 K": ..., "600 K": ...}.
        isolated: energies of isolated atoms in eV by atomic number, where the data set gives them.
        target: which of `values` is learnt; it is called energy in tables.
        unit: of energies in reports, "meV" or "kcal/mol".
        notes: what must be said beside every table.
        temperatures: of the dynamics that test parts were drawn from, in K, where they are known.
    """

    name: str
    train: Molecules
    validation: Molecules
    tests: Mapping[str, Molecules]
    isolated: Mapping[int, float] = field(default_factory=lambda: MappingProxyType({}))
    target: str = ENERGY
    unit: str = "meV"
    notes: tuple[str, ...] = ()
    temperatures: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
