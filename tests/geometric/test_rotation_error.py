"""How exactly models turn with their input: bounds for each grid, and the symmetries of grids to rounding."""

import pytest
import torch

from weightspace.errors import GeometryError
from weightspace.geometric import (
    Ponita,
    PonitaExplicitBasis,
    PonitaPointCloud,
    SchNet,
    orientation_grid,
    rotation_error,
)

GRIDS = ["fibonacci-16", "antipodal-16", "lebedev-26", "icosahedron-dodecahedron-32", "lebedev-50"]


def molecule(generator):
    z = torch.randint(1, 9, (8,), generator=generator)
    return {"z": z, "pos": 1.2 * torch.randn(8, 3, dtype=torch.float64, generator=generator)}


def untrained(cls, **arguments):
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        return cls(**arguments).double()


@pytest.mark.parametrize(
    ("cls", "bounds"),
    [
        (Ponita, [0.04, 0.02, 0.015, 0.01, 0.005]),
        (PonitaExplicitBasis, [0.04, 0.005, 0.002, 1e-4, 1e-4]),  # kernels of degree 4 on grids of degree 0 to 11
    ],
)
def test_bounds_of_each_grid(cls, bounds, generator):
    model = untrained(cls, channels=16, layers=3, num_vectors=1)
    inputs = molecule(generator)
    model.calibrate(**inputs)
    found = rotation_error(model, inputs, grids=GRIDS, rotations=8, generator=generator)
    energies = [found[name].random["interaction_energy"] for name in GRIDS]
    assert all(error < bound for error, bound in zip(energies, bounds, strict=True)), energies
    assert energies[0] > 2 * energies[-1] > 0
    for name in GRIDS:
        assert found[name].symmetries["interaction_energy"] < 1e-10 and found[name].symmetries["vectors"] < 1e-10


def test_the_models_own_grid_and_models_without_one(generator):
    model = untrained(Ponita, channels=8, layers=1, basis_channels=8, grid="lebedev-26")
    [(name, error)] = rotation_error(model, molecule(generator), rotations=2, generator=generator).items()
    assert name == "lebedev-26" and 1e-8 < error.random["interaction_energy"] < 0.1
    [(name, error)] = rotation_error(
        untrained(SchNet, channels=8, layers=1), molecule(generator), rotations=2, generator=generator
    ).items()
    assert name == "model" and error.symmetries == {} and error.random["interaction_energy"] < 1e-12
    with pytest.raises(GeometryError, match="a SchNet without one"):
        rotation_error(untrained(SchNet, channels=8, layers=1), molecule(generator), grids=[26])


@pytest.mark.parametrize("grid", ["lebedev-14", "circle-7"])
def test_clouds_with_vectors(grid, generator):
    dim = orientation_grid(grid).dim
    shape = {"channels": 8, "layers": 2, "basis_channels": 8}
    model = untrained(
        PonitaPointCloud, in_features=1, out_features=2, in_vectors=1, out_vectors=1, grid=grid, edges=4, shape=shape
    )
    pos, x, vec = (torch.randn(9, *s, dtype=torch.float64, generator=generator) for s in ((dim,), (1,), (1, dim)))
    inputs = {"pos": pos, "x": x, "vec": vec}
    error = rotation_error(model, inputs, rotations=4, generator=generator)[grid]
    assert 1e-8 < error.random["vectors"] < 0.5 and 1e-9 < error.random["scalars"] < 0.1
    improper = dim == 2  # reflections are told apart in the plane
    assert (error.symmetries["vectors"] > 1e-3) == improper and (error.symmetries["scalars"] < 1e-10) != improper
