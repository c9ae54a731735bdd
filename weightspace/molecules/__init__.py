"""Molecules: readers and splits of data sets, and trained models at work.

Units are Å, eV and eV/Å everywhere; readers convert once.
"""

from weightspace.molecules._checks import check_molecules, require_forces
from weightspace.molecules._load import load_molecules
from weightspace.molecules._molecules import MolecularSplits, Molecules, concatenate
from weightspace.molecules._nbody import (
    ParticleFrames,
    charged_energy,
    draw_charged_particles,
    simulate_charged_particles,
)
from weightspace.molecules._nbody_exact import simulate_exactly
from weightspace.molecules._nbody_splits import nbody_splits
from weightspace.molecules._own_files import read_molecules

__all__ = [
    "MolecularSplits",
    "Molecules",
    "ParticleFrames",
    "charged_energy",
    "check_molecules",
    "concatenate",
    "draw_charged_particles",
    "load_molecules",
    "nbody_splits",
    "read_molecules",
    "require_forces",
    "simulate_charged_particles",
    "simulate_exactly",
]
