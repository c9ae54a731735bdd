"""Molecules: readers and splits of data sets, and trained models at work.

Units are Å, eV and eV/Å everywhere; readers convert once. `WeightspaceCalculator` needs ase and is loaded at its first
use (PEP 562).
"""

from typing import TYPE_CHECKING, Any

from weightspace.molecules._ase import ase_module
from weightspace.molecules._checks import check_molecules, require_forces
from weightspace.molecules._composition import composition_baseline, composition_energies
from weightspace.molecules._dynamics import Trajectory, run_dynamics
from weightspace.molecules._dynamics_bonds import Bonds, bonds_of, equilibrium_bonds
from weightspace.molecules._dynamics_simulate import simulate
from weightspace.molecules._dynamics_simulation import Dynamics, Simulation
from weightspace.molecules._dynamics_stability import StabilityReport, md_stability
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
from weightspace.molecules._neighbour_checks import check_neighbours
from weightspace.molecules._own_files import read_molecules
from weightspace.molecules._pair_distribution import jensen_shannon, pair_distribution, wright_factor
from weightspace.molecules._predict_molecule import Relaxation, predict_molecules
from weightspace.molecules._relax import relax

if TYPE_CHECKING:
    from weightspace.molecules._calculator import WeightspaceCalculator

__all__ = [
    "Bonds",
    "Dynamics",
    "MolecularSplits",
    "Molecules",
    "ParticleFrames",
    "Relaxation",
    "Simulation",
    "StabilityReport",
    "Trajectory",
    "WeightspaceCalculator",
    "bonds_of",
    "charged_energy",
    "check_molecules",
    "check_neighbours",
    "composition_baseline",
    "composition_energies",
    "concatenate",
    "draw_charged_particles",
    "equilibrium_bonds",
    "jensen_shannon",
    "load_molecules",
    "md_stability",
    "nbody_splits",
    "pair_distribution",
    "predict_molecules",
    "read_molecules",
    "relax",
    "require_forces",
    "run_dynamics",
    "simulate",
    "simulate_charged_particles",
    "simulate_exactly",
    "wright_factor",
]


def __getattr__(name: str) -> Any:
    if name == "WeightspaceCalculator":
        ase_module("ase", name)
        from weightspace.molecules._calculator import WeightspaceCalculator

        return WeightspaceCalculator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
