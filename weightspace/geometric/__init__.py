"""Equivariant message passing on point clouds and molecules: products, orientation grids and the models people compare.

Nothing here knows of weights. Positions are in ångström and energies in electronvolt where a model is used on
molecules; the models themselves only ask for one consistent choice.
"""

from weightspace.geometric._atomistic import AbstractAtomisticModel, PointCloud
from weightspace.geometric._neighbours import edge_lengths, edge_vectors, neighbours
from weightspace.geometric._orientation_grids import OrientationGrid, orientation_grid
from weightspace.geometric._radial import (
    AbstractCutoff,
    BesselBasis,
    CosineCutoff,
    ExpNormalSmearing,
    GaussianSmearing,
    MollifierCutoff,
    PolynomialCutoff,
)

__all__ = [
    "AbstractAtomisticModel",
    "AbstractCutoff",
    "BesselBasis",
    "CosineCutoff",
    "ExpNormalSmearing",
    "GaussianSmearing",
    "MollifierCutoff",
    "OrientationGrid",
    "PointCloud",
    "PolynomialCutoff",
    "edge_lengths",
    "edge_vectors",
    "neighbours",
    "orientation_grid",
]
