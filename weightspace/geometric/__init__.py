"""Equivariant message passing on point clouds and molecules: products, orientation grids and the models people compare.

Nothing here knows of weights. Positions are in ångström and energies in electronvolt where a model is used on
molecules; the models themselves only ask for one consistent choice.
"""

from weightspace.geometric._orientation_grids import OrientationGrid, orientation_grid

__all__ = [
    "OrientationGrid",
    "orientation_grid",
]
