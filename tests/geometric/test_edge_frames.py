"""Frames of edges, the reduction to SO(2), powers on a grid, and the Fourier twin."""

import json
from pathlib import Path

import pytest
import torch
from e3nn import o3
from torch.autograd import gradcheck, gradgradcheck

from weightspace.errors import GeometryError
from weightspace.geometric import (
    EdgeTensorProduct,
    GridPower,
    GridTensorProduct,
    MessageProduct,
    SO2TensorProduct,
    edge_frames,
    expressivity,
    fourier_gaunt_product,
    natural_irreps,
)

pytestmark = pytest.mark.usefixtures("float64")

POLES = torch.tensor([[0.0, 1, 0], [0, -2, 0], [1, 0, 0], [0, 0, -1], [1e-9, 1, 0], [0, 0.7, 0.714143], [0, 0, 0]])


def edges():
    return torch.cat([POLES[:-1].double(), torch.randn(20, 3)])


def test_frames_are_rotations_that_turn_edges_onto_the_polar_axis():
    edge_vec = edges()
    frames = edge_frames(edge_vec, 6)
    turn = frames.matrices[1]
    for l, matrix in enumerate(frames.matrices):
        found = (matrix @ o3.spherical_harmonics(l, edge_vec, True)[:, :, None])[:, :, 0]
        wanted = o3.spherical_harmonics(l, torch.tensor([0.0, 1, 0]), True).expand_as(found)
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
        eye = torch.eye(2 * l + 1).expand_as(matrix)
        torch.testing.assert_close(matrix @ matrix.transpose(1, 2), eye, rtol=1e-12, atol=1e-12)
        some = torch.nn.functional.normalize(torch.randn(3), dim=0)  # all degrees belong to one rotation
        seen = o3.spherical_harmonics(l, turn @ some, True)
        torch.testing.assert_close(matrix @ o3.spherical_harmonics(l, some, True), seen, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize(
    "irreps",
    [("3x0e+3x1o+3x2e", "0e+1o+2e", "3x0e+3x1o+3x2e"), ("2x0e+2x1o+2x1e", "0e+1o+2e", "2x1o+2x0o+2x1e+2x2o+2x3e")],
)
def test_so2_product_equals_the_direct_one_at_the_poles_too(irreps, per_channel):
    direct, reduced = EdgeTensorProduct(*irreps), SO2TensorProduct(*irreps)
    edge_vec = edges().requires_grad_()
    channels = direct.channels
    weight = torch.randn(len(edge_vec), len(direct.paths), *([channels] if per_channel else []))
    x = torch.randn(len(edge_vec), channels, direct.layout_in.dim)
    sh = o3.spherical_harmonics(direct.irreps_sh, edge_vec, True, "component")
    outputs = [direct(x, sh, weight), reduced(x, edge_vec, weight)]
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-10, atol=1e-10)
    gradients = [torch.autograd.grad(out.sin().sum(), edge_vec)[0] for out in outputs]
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-9, atol=1e-9)
    rows = direct.layout_in.to_mul_ir(x)
    expected = direct.layout_out.to_mul_ir(outputs[1])
    torch.testing.assert_close(reduced(rows, edge_frames(edge_vec, 3), weight), expected, rtol=1e-10, atol=1e-10)


def test_so2_product_has_gradients_of_both_orders():
    product = SO2TensorProduct("2x0e+2x1o", "0e+1o", "2x0e+2x1o+2x1e")
    inputs = [
        torch.randn(3, 2, 4, requires_grad=True),
        torch.tensor([[0.1, 1.0, 0.2], [1.0, 0.3, -0.4], [0.0, 1.0, 0.0]], requires_grad=True),
        torch.randn(3, len(product.paths), 2, requires_grad=True),
    ]
    assert gradcheck(product, inputs)
    assert gradgradcheck(product, inputs)


def test_an_edge_of_length_zero_gives_finite_values_and_gradients():
    edge_vec = torch.zeros(2, 3, requires_grad=True)
    total = sum(matrix.sum() for matrix in edge_frames(edge_vec, 3).matrices)
    total.backward()
    assert torch.isfinite(total) and edge_vec.grad.eq(0).all()


@pytest.mark.parametrize("lmax", [1, 2, 4])
def test_fourier_series_give_the_same_product(lmax):
    irreps = natural_irreps(lmax)
    x, y = torch.randn(3, (lmax + 1) ** 2), torch.randn(3, (lmax + 1) ** 2)
    found = GridTensorProduct(irreps, irreps, irreps)(x[:, None], y[:, None])[:, 0]
    torch.testing.assert_close(found, fourier_gaunt_product(x, y, lmax), rtol=1e-10, atol=1e-10)


def test_powers_on_one_grid_equal_products_one_after_another():
    x, weight = torch.randn(4, 2, 9), torch.randn(4, 3, 2)
    found = GridPower("2x0e+2x1o+2x2e", "2x0e+2x1o", (2, 3, 4))(x, weight)
    power, wanted = x, 0
    for number in range(3):
        lmax = 2 * (number + 1)
        product = GridTensorProduct(natural_irreps(lmax, 2), natural_irreps(2, 2), natural_irreps(lmax + 2, 2))
        power = product(power, x)
        wanted = wanted + weight[:, number, :, None] * power[:, :, :4]
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)


def test_powers_take_mul_ir_and_have_gradients():
    power = GridPower("2x0e+2x1o", "2x0e+2x1o", (1, 3))
    x = torch.randn(3, 8, requires_grad=True)
    weight = torch.randn(1, 2, 2, requires_grad=True)
    native = power(power.layout_in.to_native(x), weight)
    torch.testing.assert_close(power.layout_out.to_mul_ir(native), power(x, weight))
    assert gradcheck(power, (x, weight)) and gradgradcheck(power, (x, weight))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: edge_frames(torch.ones(3), 1), r"edge_vec: found \(3,\), wanted \(E, 3\)"),
        (lambda: edge_frames(torch.ones(1, 3), -1), "lmax: found -1"),
        (lambda: GridPower("1x0e+1x0e", "0e"), "each degree once"),
        (lambda: GridPower("1x0e+1x1e", "0e"), "natural parity"),
        (lambda: GridPower("1x0e", "0e", (0, 1)), r"powers: found \(0, 1\)"),
        (lambda: GridPower("1x0e", "0e")(torch.ones(2, 1), torch.ones(3, 3, 1)), r"weight: found \(3, 3, 1\)"),
        (
            lambda: SO2TensorProduct("0e", "1o", "1o")(torch.ones(2, 1), edge_frames(torch.ones(2, 3), 0)),
            "up to degree 0, wanted 2 up to 1",
        ),
    ],
)
def test_errors_say_what_was_found_and_wanted(make, words):
    with pytest.raises(GeometryError, match=words):
        make()


@pytest.mark.parametrize("evaluation", ["auto", "matrix", "so2"])
def test_a_message_product_is_one_function_however_it_is_evaluated(evaluation):
    irreps = natural_irreps(4, 2)
    product = MessageProduct(irreps, natural_irreps(4), irreps, per_channel=True, evaluation=evaluation)
    edge_vec, x = torch.randn(6, 3), torch.randn(6, 2, 25)
    weight = torch.randn(6, len(product.paths), 2)
    sh = o3.spherical_harmonics(natural_irreps(4), edge_vec, True, "component")
    wanted = EdgeTensorProduct(irreps, natural_irreps(4), irreps)(x, sh, weight)
    torch.testing.assert_close(product(x, product.geometry(edge_vec), weight), wanted, rtol=1e-10, atol=1e-10)
    assert product.chosen("cpu") == {"auto": "so2"}.get(evaluation, evaluation)


def test_expressivity_counts_paths_and_tangents():
    for lmax in (1, 2, 3):
        found = expressivity(lmax)
        irreps = natural_irreps(lmax)
        assert found["clebsch_gordan"] == len(EdgeTensorProduct(irreps, irreps, irreps).paths)
        both = GridTensorProduct(irreps, irreps, natural_irreps(lmax, both_parities=True), antisymmetric=True)
        assert found["clebsch_gordan_both_parities"] == len(both.path_constants())
        assert found["gaunt"] == 3 * (lmax + 1) - 2


@pytest.mark.parametrize("per_channel", [False, True])
def test_the_choice_of_evaluation_is_the_measured_one(per_channel):
    results = Path(__file__).parents[2] / "experiments" / "benchmarks" / "results" / "products.json"
    rows = json.loads(results.read_text())["message"]
    names = ("so2_per_channel", "per_channel") if per_channel else ("so2_shared", "shared")
    faster = {row["lmax"]: row["ms"][names[0]] < 0.9 * row["ms"][names[1]] for row in rows}
    for lmax, so2 in faster.items():
        product = MessageProduct(
            natural_irreps(lmax), natural_irreps(lmax), natural_irreps(lmax), per_channel=per_channel
        )
        assert product.chosen("cpu") == ("so2" if so2 else "matrix"), lmax
