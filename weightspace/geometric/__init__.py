"""Equivariant message passing on point clouds and molecules: products, orientation grids and the models people compare.

Nothing here knows of weights. Positions are in ångström and energies in electronvolt where a model is used on
molecules; the models themselves only ask for one consistent choice.
"""

from weightspace.geometric._atomistic import AbstractAtomisticModel, PointCloud
from weightspace.geometric._dynamics import AbstractDynamicsModel, LinearDynamics, ParticleSystem
from weightspace.geometric._edge_frames import EdgeFrames, edge_frames
from weightspace.geometric._edge_product import EdgeTensorProduct
from weightspace.geometric._egnn import EGNN, egnn_from_published
from weightspace.geometric._egnn_dynamics import EGNNDynamics, egnn_dynamics_from_published
from weightspace.geometric._escn import ESCN
from weightspace.geometric._escn_layers import ESCNShape
from weightspace.geometric._escn_published import escn_from_published
from weightspace.geometric._force_field import ForceField
from weightspace.geometric._fourier_product import fourier_gaunt_product
from weightspace.geometric._grid_power import GridPower
from weightspace.geometric._grid_product import GridTensorProduct
from weightspace.geometric._knn import nearest_neighbours
from weightspace.geometric._layout import IrrepsLayout, natural_irreps
from weightspace.geometric._mace import MACE, MACEShape
from weightspace.geometric._mace_published import mace_from_published
from weightspace.geometric._matrix_function import MatrixFunctionNetwork
from weightspace.geometric._neighbours import edge_lengths, edge_vectors, neighbours
from weightspace.geometric._nequip import NequIP
from weightspace.geometric._nequip_published import nequip_from_published
from weightspace.geometric._orientation_grids import OrientationGrid, orientation_grid
from weightspace.geometric._oriented_cloud import OrientedCloud, lift_edges
from weightspace.geometric._point_cloud import PonitaPointCloud, PonitaShape
from weightspace.geometric._ponita import Ponita
from weightspace.geometric._ponita_dynamics import PonitaDynamics
from weightspace.geometric._ponita_explicit import PonitaExplicitBasis
from weightspace.geometric._ponita_layers import PonitaEvaluation, set_ponita_evaluation
from weightspace.geometric._ponita_published import load_published_ponita
from weightspace.geometric._product_choice import MessageProduct, expressivity
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
from weightspace.geometric._rotation_error import RotationError, rotation_error
from weightspace.geometric._schnet import SchNet, schnet_from_published
from weightspace.geometric._so2_product import SO2TensorProduct
from weightspace.geometric._steerable_dynamics import SteerableDynamics
from weightspace.geometric._tensornet import TensorNet, tensornet_from_published

MODELS: tuple[type[AbstractAtomisticModel], ...] = (
    SchNet,
    EGNN,
    TensorNet,
    Ponita,
    PonitaExplicitBasis,
    ESCN,
    NequIP,
    MACE,
    MatrixFunctionNetwork,
)

DYNAMICS_MODELS: tuple[type[AbstractDynamicsModel], ...] = (
    LinearDynamics,
    EGNNDynamics,
    PonitaDynamics,
    SteerableDynamics,
)

__all__ = [
    "AbstractAtomisticModel",
    "AbstractCutoff",
    "AbstractDynamicsModel",
    "BesselBasis",
    "CosineCutoff",
    "DYNAMICS_MODELS",
    "EGNN",
    "EGNNDynamics",
    "ESCN",
    "ESCNShape",
    "EdgeFrames",
    "EdgeTensorProduct",
    "ExpNormalSmearing",
    "ForceField",
    "GaussianSmearing",
    "GridPower",
    "GridTensorProduct",
    "IrrepsLayout",
    "LinearDynamics",
    "MACE",
    "MACEShape",
    "MODELS",
    "MatrixFunctionNetwork",
    "MessageProduct",
    "MollifierCutoff",
    "NequIP",
    "OrientationGrid",
    "OrientedCloud",
    "ParticleSystem",
    "PointCloud",
    "PolynomialCutoff",
    "Ponita",
    "PonitaDynamics",
    "PonitaEvaluation",
    "PonitaExplicitBasis",
    "PonitaPointCloud",
    "PonitaShape",
    "RotationError",
    "SO2TensorProduct",
    "SchNet",
    "SteerableDynamics",
    "TensorNet",
    "cutoff_function",
    "edge_frames",
    "edge_lengths",
    "edge_vectors",
    "egnn_dynamics_from_published",
    "egnn_from_published",
    "escn_from_published",
    "expressivity",
    "fourier_gaunt_product",
    "lift_edges",
    "load_published_ponita",
    "mace_from_published",
    "natural_irreps",
    "nearest_neighbours",
    "neighbours",
    "nequip_from_published",
    "orientation_grid",
    "rotation_error",
    "schnet_from_published",
    "set_ponita_evaluation",
    "tensornet_from_published",
]
