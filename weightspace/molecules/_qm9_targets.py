"""The twelve targets of QM9: columns, units, and what isolated atoms contribute."""

from collections.abc import Mapping
from types import MappingProxyType

from weightspace.molecules._units import HARTREE

TARGETS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "mu": ("mu", "D"),
        "alpha": ("alpha", "a0^3"),
        "homo": ("homo", "Hartree"),
        "lumo": ("lumo", "Hartree"),
        "gap": ("gap", "Hartree"),
        "r2": ("r2", "a0^2"),
        "zpve": ("zpve", "Hartree"),
        "U0": ("u0", "Hartree"),
        "U": ("u298", "Hartree"),
        "H": ("h298", "Hartree"),
        "G": ("g298", "Hartree"),
        "Cv": ("cv", "cal/(mol K)"),
    }
)
"""Column of `gdb9.sdf.csv` and its unit there, in the order of PyG's `y`."""

UNITS: Mapping[str, str] = MappingProxyType(
    {name: "eV" if unit == "Hartree" else unit for name, (_, unit) in TARGETS.items()}
)
"""As the reader returns them."""

ELEMENTS = (1, 6, 7, 8, 9)
_HARTREE = {
    "U0": (-0.500273, -37.846772, -54.583861, -75.064579, -99.718730),
    "U": (-0.498857, -37.845355, -54.582445, -75.063163, -99.717314),
    "H": (-0.497912, -37.844411, -54.581501, -75.062219, -99.716370),
    "G": (-0.510927, -37.861317, -54.598897, -75.079532, -99.733544),
}

ATOM_REFERENCES: Mapping[str, Mapping[int, float]] = MappingProxyType(
    {
        target: MappingProxyType({z: value * HARTREE for z, value in zip(ELEMENTS, values, strict=True)})
        for target, values in _HARTREE.items()
    }
)
"""Energies of free H, C, N, O and F at the same level in eV (`atomref.txt` of the data set)."""
