"""Data that cannot be right are refused where they are read: which molecule, what was found, what to do."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from weightspace.errors import MoleculeError
from weightspace.geometric import neighbours
from weightspace.molecules._molecules import FORCES, MolecularSplits, Molecules
from weightspace.molecules._symbols import symbol_of
from weightspace.molecules._units import HARTREE, KCAL_MOL

CLOSEST = 0.3  # Å; the shortest bond, of H2, is 0.74 Å
HARDEST = 100.0  # eV/Å, root mean square over a set
HARDEST_FRAMES, FRAMES = 15.0, 20  # the same of so many frames of one molecule; thermal ones have about 1
DEEPEST_BOND, HIGHEST_BOND = -20.0, 100.0  # eV per atom relative to isolated atoms; diamond has -7.4
MARGIN = 1.25  # relativistic energies of heavy elements lie below the estimate
ALL_ELECTRONS = (0.985, 1.075)  # of the estimate; true ones are 1.0 to 1.06
SOFTEST = 0.2  # eV/Å, root mean square: forces of frames have about 1 in eV/Å, 0.04 in Hartree/Å
PAIRS, TRUSTED, WIDEST = 500, 0.8, 5.0
HOW = "convert the file, or name its unit: FILE:unit=kcal/mol, FILE:unit=Hartree; FILE:unit=eV switches this check off"


def check_molecules(
    molecules: Molecules, *, where: str = "molecules", isolated: Mapping[int, float] | None = None, units: bool = True
) -> None:
    """Refuses numbers that are not finite, atoms on top of each other, and energies and forces that cannot be in eV.

    Units are judged by what physics excludes: energies below those of all electrons of the free atoms (about
    -13.6 Z^2.4 eV each); more than 100 eV per atom above, or 20 below, the isolated atoms; forces whose root mean
    square exceeds 100 eV/Å; energy differences between consecutive frames that follow the work of the forces
    (correlation above 0.8) with a factor outside 1/5 to 5; 20 frames of one molecule whose forces have more than
    15 eV/Å (at 300 K they have about 1). And by what is likely: energies as all electrons have them
    in Hartree, where forces are below 0.2 eV/Å or missing. Few molecules have valence electrons alone with such an
    energy in eV (hexanethiol by GFN2-xTB): state their unit. Energies of pseudopotentials in another unit, without
    forces and isolated atoms, cannot be told, nor those in Hartree whose forces are in Hartree, too.

    Args:
        molecules: as read; the order of frames matters for the last rule alone.
        where: what the error names, such as the file.
        isolated: energies of isolated atoms by atomic number, in eV.
        units: False where the unit was stated.

    Raises:
        MoleculeError: with the first molecule and atoms that are wrong, or isolated atoms that are not those of all
            elements.
    """
    _whole(isolated or {}, molecules, where)
    if not len(molecules):
        return
    _finite(molecules, where)
    _apart(molecules, where)
    if units:
        _plausible_energies(molecules, where, isolated or {})
        _plausible_forces(molecules, where)
        _forces_fit_energies(molecules, where)


def require_forces(splits: MolecularSplits) -> None:
    """Refuses splits without forces: for a loss or a metric that needs them.

    Raises:
        MoleculeError: a part has no forces.
    """
    parts = {"training": splits.train, "validation": splits.validation, **splits.tests}
    for label, part in parts.items():
        if part.forces is None:
            raise MoleculeError(
                f"{splits.name}: found no forces in the {label} part, wanted them for the force loss; "
                "train on energies alone (force weight 0), or take a data set with forces"
            )


def _whole(isolated: Mapping[int, float], molecules: Molecules, where: str) -> None:
    """Isolated atoms are those of all elements, or none: a missing one would count as zero."""
    strange = {z: energy for z, energy in isolated.items() if not math.isfinite(energy)}
    if strange:
        raise MoleculeError(
            f"{where}: the isolated atom of {symbol_of(min(strange))} has energy {strange[min(strange)]}, wanted a "
            "finite number; correct it, or remove all isolated atoms"
        )
    missing = [symbol_of(z) for z in molecules.elements if z not in isolated]
    if isolated and missing:
        raise MoleculeError(
            f"{where}: isolated atoms of {', '.join(missing)} are missing, found those of "
            f"{', '.join(map(symbol_of, sorted(isolated)))}; add them, or remove all of them"
        )


def _finite(molecules: Molecules, where: str) -> None:
    atoms = {"positions": molecules.pos, **molecules.atom_values}
    for name, value in atoms.items():
        _all_finite(value, name, molecules.batch, where)
    frames = {**molecules.values, **({} if molecules.cell is None else {"cell": molecules.cell})}
    for name, value in frames.items():
        _all_finite(value, name, None, where)


def _all_finite(value: Tensor, name: str, batch: Tensor | None, where: str) -> None:
    wrong = ~torch.isfinite(value).reshape(len(value), -1).all(1)
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        place = f"molecule {row}" if batch is None else f"molecule {int(batch[row])}"
        raise MoleculeError(
            f"{where}: {place} has {name} {value[row].tolist()}, wanted finite numbers ({int(wrong.sum())} such rows); "
            "leave these molecules out"
        )


def _apart(molecules: Molecules, where: str) -> None:
    pos = molecules.pos.clone()
    pos[:, 0] += 1e-9 * torch.arange(len(pos), dtype=pos.dtype)  # atoms that coincide count as neighbours, too
    batch = molecules.batch
    pairs, _ = neighbours(
        pos, cutoff=CLOSEST, batch=batch, cell=molecules.cell, num_graphs=len(molecules), method="dense"
    )
    if not pairs.shape[1]:
        return
    first, second = sorted(pairs[:, 0].tolist())
    molecule = int(batch[first])
    start = int(molecules.ptr[molecule])
    length = float((molecules.pos[first] - molecules.pos[second]).norm())
    more = len(batch[pairs[0]].unique()) - 1
    raise MoleculeError(
        f"{where}: atoms {first - start} and {second - start} of molecule {molecule} are {length:.3f} Å apart"
        f"{' or images of each other' if molecules.cell is not None else ''}, wanted at least {CLOSEST} Å "
        f"({more} more molecules like it); are positions in Å (1 bohr = 0.529 Å, 1 nm = 10 Å)?"
    )


def _plausible_energies(molecules: Molecules, where: str, isolated: Mapping[int, float]) -> None:
    energy = molecules.energy
    if energy is None or not len(molecules):
        return
    sizes = molecules.num_atoms.clamp(min=1)
    if isolated:
        table = torch.zeros(int(molecules.z.max()) + 1, dtype=energy.dtype)
        for z, value in isolated.items():
            if z < len(table):
                table[z] = value
        bond = (energy - _summed(table[molecules.z], molecules)) / sizes
        outside = (bond < DEEPEST_BOND) | (bond > HIGHEST_BOND)
        _refuse(outside, bond, where, f"from {DEEPEST_BOND:g} to {HIGHEST_BOND:g} eV per atom beside isolated atoms")
    free = _free_atoms(molecules)
    per_atom = energy / sizes
    _refuse(energy < MARGIN * free, per_atom, where, "no less than all electrons of the free atoms have")
    _refuse(per_atom > HIGHEST_BOND, per_atom, where, f"at most {HIGHEST_BOND:g} eV per atom")
    if _as_all_electrons(molecules, HARTREE):
        raise MoleculeError(
            f"{where}: energies per atom of {float(per_atom[0]):.5g} look like those of all electrons in Hartree, "
            f"wanted eV; {HOW}"
        )


def check_kcal(molecules: Molecules, *, where: str) -> None:
    """Refuses energies that look like those of all electrons if the factor from kcal/mol had not been applied.

    Raises:
        MoleculeError: they were in eV or Hartree before.
    """
    for unit, size in (("eV", 1.0), ("Hartree", HARTREE)):
        if _as_all_electrons(molecules, size / KCAL_MOL):
            raise MoleculeError(
                f"{where}: energies, read as kcal/mol, look like those of all electrons in {unit}; name their unit: "
                f"FILE:unit={unit}, or FILE:unit=kcal/mol, which switches this check off"
            )


def _free_atoms(molecules: Molecules) -> Tensor:
    """About what all electrons of the free atoms have, in eV (G,)."""
    return -0.5 * HARTREE * _summed(molecules.z.double() ** 2.4, molecules)


def _as_all_electrons(molecules: Molecules, factor: float) -> bool:
    """Whether all energies times a factor would be those of all electrons, and forces are soft or missing."""
    if molecules.energy is None or not len(molecules):
        return False
    ratio = factor * molecules.energy / _free_atoms(molecules)
    within = ALL_ELECTRONS[0] < float(ratio.min()) and float(ratio.max()) < ALL_ELECTRONS[1]
    return within and (molecules.forces is None or _root_mean_square(molecules.forces) < SOFTEST)


def _refuse(wrong: Tensor, value: Tensor, where: str, wanted: str) -> None:
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        raise MoleculeError(
            f"{where}: molecule {row} has an energy of {float(value[row]):.5g} eV per atom, wanted {wanted}; likely "
            f"kcal/mol ({KCAL_MOL} eV), kJ/mol (0.0103643 eV) or Hartree ({HARTREE:.4f} eV): {HOW}"
        )


def _summed(of_atoms: Tensor, molecules: Molecules) -> Tensor:
    return of_atoms.new_zeros(len(molecules)).index_add_(0, molecules.batch, of_atoms)


def _root_mean_square(forces: Tensor) -> float:
    return float(forces.square().mean().sqrt())


def _plausible_forces(molecules: Molecules, where: str) -> None:
    if molecules.forces is None or not len(molecules.pos):
        return
    rms = _root_mean_square(molecules.forces)
    frames = len(molecules) >= FRAMES and molecules.cell is None and _one_molecule(molecules, len(molecules))
    most = HARDEST_FRAMES if frames else HARDEST
    if rms > most:
        raise MoleculeError(
            f"{where}: forces {'of frames of one molecule ' * frames}have a root mean square of {rms:.4g} eV/Å, wanted "
            f"at most {most:g}; likely "
            f"kcal/mol/Å ({KCAL_MOL} eV/Å) or Hartree/bohr (51.42 eV/Å): {HOW}"
        )


def _forces_fit_energies(molecules: Molecules, where: str) -> None:
    """Consecutive frames of one molecule: the energy rises by the work against the mean force."""
    energy, forces = molecules.energy, molecules.atom_values.get(FORCES)
    if energy is None or forces is None or molecules.cell is not None or len(molecules) < FRAMES:
        return
    n = int(molecules.num_atoms[0])
    count = min(PAIRS + 1, len(molecules))
    if n < 2 or not _one_molecule(molecules, count):
        return
    pos, force = (x[: count * n].reshape(count, n, 3) for x in (molecules.pos, forces))
    pos = pos - pos.mean(1, keepdim=True)
    turn = _turns(pos[1:], pos[:-1])
    moved, pull = pos[1:] @ turn - pos[:-1], force[1:] @ turn + force[:-1]
    work, rise = -0.5 * (pull * moved).sum((1, 2)), energy[1:count] - energy[: count - 1]
    if not float(work.std()) or not float(rise.std()):
        return
    factor = float((work * rise).sum() / work.square().sum())
    agreement = float(torch.corrcoef(torch.stack([work, rise]))[0, 1])
    if abs(agreement) > TRUSTED and not 1 / WIDEST < factor < WIDEST:
        raise MoleculeError(
            f"{where}: energies of consecutive frames rise by {factor:.3g} times the work against the forces, wanted "
            f"about 1; energies and forces are in different units (1 eV = 23.06 kcal/mol, 1 Hartree = 27.21 eV), or "
            f"these are gradients rather than forces: {HOW}"
        )


def _one_molecule(molecules: Molecules, count: int) -> bool:
    """Whether the first frames hold the same atoms in the same order."""
    n = int(molecules.num_atoms[0])
    if bool((molecules.num_atoms[:count] != n).any()):
        return False
    z = molecules.z[: count * n].reshape(count, n)
    return not bool((z != z[:1]).any())


def _turns(moved: Tensor, fixed: Tensor) -> Tensor:
    """Rotations that lay each cloud of points onto another one, both around the origin (Kabsch 1976)."""
    u, _, vt = torch.linalg.svd(moved.transpose(1, 2) @ fixed)
    sign = torch.linalg.det(u @ vt)
    u = torch.cat([u[..., :2], u[..., 2:] * sign[:, None, None]], -1)
    return u @ vt
