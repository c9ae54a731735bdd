"""Molecules: readers and splits of data sets, and trained models at work.

Units are Å, eV and eV/Å everywhere; readers convert once.
"""

from weightspace.molecules._checks import check_molecules, require_forces
from weightspace.molecules._load import load_molecules
from weightspace.molecules._molecules import MolecularSplits, Molecules, concatenate
from weightspace.molecules._own_files import read_molecules

__all__ = [
    "MolecularSplits",
    "Molecules",
    "check_molecules",
    "concatenate",
    "load_molecules",
    "read_molecules",
    "require_forces",
]
