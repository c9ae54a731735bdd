"""Molecules: readers and splits of data sets, and trained models at work.

Units are Å, eV and eV/Å everywhere; readers convert once.
"""

from weightspace.molecules._load import load_molecules
from weightspace.molecules._molecules import MolecularSplits, Molecules, concatenate

__all__ = ["MolecularSplits", "Molecules", "concatenate", "load_molecules"]
