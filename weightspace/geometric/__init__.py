"""Equivariant message passing on point clouds and molecules: products, orientation grids and the models people compare.

Nothing here knows of weights. Positions are in ångström and energies in electronvolt where a model is used on
molecules; the models themselves only ask for one consistent choice.
"""

from weightspace.geometric._atomistic import AbstractAtomisticModel, PointCloud
from weightspace.geometric._egnn import EGNN, egnn_from_published
from weightspace.geometric._force_field import ForceField
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
    cutoff_function,
)
from weightspace.geometric._schnet import SchNet, schnet_from_published
from weightspace.geometric._tensornet import TensorNet, tensornet_from_published

MODELS: tuple[type[AbstractAtomisticModel], ...] = (SchNet, EGNN, TensorNet)

__all__ = [
    "AbstractAtomisticModel",
    "AbstractCutoff",
    "BesselBasis",
    "CosineCutoff",
    "EGNN",
    "ExpNormalSmearing",
    "ForceField",
    "GaussianSmearing",
    "MODELS",
    "MollifierCutoff",
    "OrientationGrid",
    "PointCloud",
    "PolynomialCutoff",
    "SchNet",
    "TensorNet",
    "cutoff_function",
    "edge_lengths",
    "edge_vectors",
    "egnn_from_published",
    "neighbours",
    "orientation_grid",
    "schnet_from_published",
    "tensornet_from_published",
]
