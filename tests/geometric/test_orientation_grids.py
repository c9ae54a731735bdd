"""Orientation grids: weights, exactness against independently written spherical harmonics, symmetry groups."""

import numpy as np
import pytest
import torch
from scipy.special import sph_harm_y

from weightspace.errors import GeometryError
from weightspace.geometric import orientation_grid

DEGREES = {
    "antipodal-6": 3,
    "antipodal-12": 5,
    "antipodal-16": 5,
    "antipodal-20": 5,
    "lebedev-26": 7,
    "lebedev-38": 9,
    "lebedev-50": 11,
    "icosahedron-dodecahedron-32": 9,
    "fibonacci-16": 0,
}
LONG = ("antipodal-12", "antipodal-20")  # made as antipodal-16 is
GROUPS = {
    "antipodal-12": 120,
    "lebedev-26": 48,
    "lebedev-38": 48,
    "lebedev-50": 48,
    "icosahedron-dodecahedron-32": 120,
    "circle-6": 12,
}


def integrals(grid, degree):
    """Mean over the sphere of every harmonic of a degree, by the grid, relative to the harmonic's root mean square."""
    x, y, z = grid.ori.numpy().T
    polar, azimuth = np.arccos(z.clip(-1, 1)), np.arctan2(y, x)
    values = [sph_harm_y(degree, m, polar, azimuth) for m in range(degree + 1)]
    return np.abs(np.stack(values) @ grid.weights.numpy()).max() * np.sqrt(4 * np.pi)


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in LONG)) for n in DEGREES])
def test_weights_are_positive_of_sum_one_and_exact_to_the_stated_degree(name):
    grid = orientation_grid(name)
    assert grid.name == name and grid.degree == DEGREES[name] and len(grid) == int(name.rsplit("-", 1)[1])
    assert grid.weights.min() > 0 and abs(float(grid.weights.sum()) - 1) < 1e-14
    torch.testing.assert_close(torch.linalg.vector_norm(grid.ori, dim=1), torch.ones(len(grid)).double())
    assert all(integrals(grid, l) < 1e-12 for l in range(1, grid.degree + 1))
    first_wrong = grid.degree + 1  # every odd degree vanishes on an antipodal grid
    assert integrals(grid, first_wrong) > 1e-5


@pytest.mark.parametrize("points", [5, 8])
def test_the_circle_is_exact_below_its_number_of_points(points):
    grid = orientation_grid(f"circle-{points}")
    angle = torch.atan2(grid.ori[:, 1], grid.ori[:, 0])
    means = [abs(complex((torch.exp(1j * k * angle) * grid.weights).sum())) for k in range(1, points + 1)]
    assert max(means[:-1]) < 1e-14 and means[-1] > 0.99 and grid.degree == points - 1
    assert (grid.antipode is None) == bool(points % 2)


@pytest.mark.parametrize("name", [*DEGREES, "circle-8"])
def test_antipodes_are_opposite_or_absent(name):
    grid = orientation_grid(name)
    if name.startswith("fibonacci"):
        assert grid.antipode is None
    else:
        torch.testing.assert_close(grid.ori[grid.antipode], -grid.ori, rtol=0, atol=1e-12)
        torch.testing.assert_close(grid.weights[grid.antipode], grid.weights, rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", GROUPS)
def test_symmetry_groups_are_those_of_the_solids(name):
    grid = orientation_grid(name)
    maps = grid.symmetries()
    assert len(maps) == GROUPS[name]
    torch.testing.assert_close(maps @ maps.mT, torch.eye(grid.dim).double().expand_as(maps), rtol=0, atol=1e-12)
    distance, place = torch.cdist(torch.einsum("sij,oj->soi", maps, grid.ori), grid.ori.expand(len(maps), -1, -1)).min(
        -1
    )
    assert distance.max() < 1e-7 and (place.sort(-1).values == torch.arange(len(grid))).all()


def test_repelled_axes_are_apart_and_the_same_every_time():
    grid = orientation_grid(16)
    cosines = (grid.ori @ grid.ori.T).fill_diagonal_(-1)
    assert torch.rad2deg(torch.acos(cosines.max())) > 40  # the best packing of 8 axes has 49.6 degrees
    assert grid is orientation_grid("antipodal-16")
    torch.testing.assert_close(
        grid.weights[:8].sort().values * 16,
        torch.tensor([0.90968, 0.90970, 0.95031, 0.95031, 0.95031, 0.95031, 1.18970, 1.18970]).double(),
        rtol=0,
        atol=1e-4,
    )


def test_sizes_choose_the_grid_and_rows_are_taken_as_they_are():
    assert [orientation_grid(n).name for n in (7, 12, 26, 32)] == [
        "fibonacci-7",
        "antipodal-12",
        "lebedev-26",
        "icosahedron-dodecahedron-32",
    ]
    rows = [[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [-1, 0, 0]]
    given = orientation_grid(rows)
    assert given.name == "given-4" and given.weights.tolist() == [0.25] * 4 and given.antipode is None


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("sphere", "found 'sphere', wanted antipodal-N"),
        ("lebedev-27", "found 'lebedev-27', wanted"),
        ("antipodal-7", "N even, from 6"),
        ("icosahedron-dodecahedron-30", "icosahedron-dodecahedron-32"),
        ([[1.0, 1, 0]], "wanted unit vectors"),
        ([[1.0]], "wanted \\(O, 3\\) or \\(O, 2\\)"),
    ],
)
def test_an_unknown_grid_is_refused(wrong, words):
    with pytest.raises(GeometryError, match=words):
        orientation_grid(wrong)
