"""The two products: equal to e3nn path for path and to the Gaunt tensor, with gradients of every order."""

import pytest
import torch
from e3nn import o3
from torch.autograd import gradcheck, gradgradcheck

from weightspace.errors import GeometryError
from weightspace.geometric import EdgeTensorProduct, GridTensorProduct, IrrepsLayout, natural_irreps
from weightspace.geometric._quadrature import harmonics, sphere_grid

pytestmark = pytest.mark.usefixtures("float64")


EDGE_IRREPS = [
    ("3x0e+3x1o+3x2e", "0e+1o+2e", "3x0e+3x1o+3x2e"),
    ("3x0e+2x1o+3x1e", "0e+1o+2e", "3x0e+2x1o+2x1o+3x1e+2x0e+3x0o"),
    ("4x1o", "1o", "4x1e"),
    ("2x0e+2x3o", "0e+2e+3o", "2x1e+2x2o+2x3e+2x0e"),
]


def e3nn_uvu(product):
    instructions = [(path.slot_1, path.slot_2, path.slot_out, "uvu", True) for path in product.paths]
    return o3.TensorProduct(
        product.irreps_in,
        product.irreps_sh,
        product.irreps_out,
        instructions,
        shared_weights=False,
        internal_weights=False,
    )


@pytest.mark.parametrize("irreps", EDGE_IRREPS)
def test_edge_product_equals_e3nn_with_weights_of_either_shape(irreps):
    product = EdgeTensorProduct(*irreps)
    peer, layout = e3nn_uvu(product), product.layout_in
    x, sh = torch.randn(6, product.irreps_in.dim), torch.randn(6, product.irreps_sh.dim)
    weight = torch.randn(6, product.weight_numel)
    wanted = peer(x, sh, weight)
    torch.testing.assert_close(product(x, sh, weight), wanted, rtol=1e-12, atol=1e-12)
    native = product(layout.to_native(x), sh, product.path_weights(layout.to_native(x), weight))
    torch.testing.assert_close(product.layout_out.to_mul_ir(native), wanted, rtol=1e-12, atol=1e-12)
    shared = torch.randn(6, len(product.paths))
    muls = torch.tensor([product.irreps_in[path.slot_1].mul for path in product.paths])
    wanted = peer(x, sh, shared.repeat_interleave(muls, dim=1))
    torch.testing.assert_close(product(x, sh, shared), wanted, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(product(x, sh), peer(x, sh, torch.ones_like(weight)), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(product(x, sh, shared[0]), product(x, sh, shared[:1].expand(6, -1)))


def test_edge_product_takes_chosen_paths():
    product = EdgeTensorProduct("2x0e+2x1o", "0e+1o", "2x0e+2x1o", instructions=[(1, 1, 0), (0, 1, 1)])
    peer = e3nn_uvu(product)
    x, sh, weight = torch.randn(4, 8), torch.randn(4, 4), torch.randn(4, 4)
    torch.testing.assert_close(product(x, sh, weight), peer(x, sh, weight), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("per_channel", [False, True])
def test_edge_product_has_gradients_of_both_orders(per_channel):
    product = EdgeTensorProduct("2x0e+2x1o+2x1e", "0e+1o", "2x0e+2x1o+2x2e+2x1e")
    shape = (2, len(product.paths), 2) if per_channel else (2, len(product.paths))
    inputs = [torch.randn(*size, requires_grad=True) for size in ((2, 2, 7), (2, 4), shape)]
    assert gradcheck(product, inputs)
    assert gradgradcheck(product, inputs)


@pytest.mark.parametrize(
    ("lmax", "fold"),
    [(lmax, "never") for lmax in range(1, 7)]
    + [(lmax, "always") for lmax in range(1, 7)]
    + [pytest.param(lmax, fold, marks=pytest.mark.slow) for lmax in (7, 8) for fold in ("never", "always")],
)
def test_grid_product_is_the_gaunt_tensor_and_the_odd_paths(lmax, fold):
    # every block of the bilinear map is a multiple of the Clebsch-Gordan coefficients, none is lost, none leaks
    irreps = natural_irreps(lmax, both_parities=lmax < 5)
    out = natural_irreps(lmax, both_parities=True)
    product = GridTensorProduct(irreps, irreps, out, antisymmetric=True, fold=fold)
    size = product.layouts[0].dim
    one = torch.eye(size)
    table = product(one.repeat_interleave(size, 0)[:, None], one.repeat(size, 1)[:, None]).view(size, size, -1)
    wanted = torch.zeros_like(table)
    layout, layout_out = product.layouts[0], product.layouts[2]
    constants = product.path_constants()
    for (a, b, c), constant in constants.items():
        blocks = [slice(of.offsets[slot], of.offsets[slot] + of.sizes[slot]) for of, slot in ((layout, a), (layout, b))]
        block_out = slice(layout_out.offsets[c], layout_out.offsets[c] + layout_out.sizes[c])
        degrees = irreps[a].ir.l, irreps[b].ir.l, out[c].ir.l
        wanted[blocks[0], blocks[1], block_out] = constant * o3.wigner_3j(*degrees)
        assert abs(constant) > 0.5, degrees
    all_paths = sum(ir_3 in ir_1 * ir_2 for _, ir_1 in irreps for _, ir_2 in irreps for _, ir_3 in out)
    assert len(constants) == all_paths
    torch.testing.assert_close(table, wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("normalization", "scale"), [("component", 1.0), ("integral", (4 * torch.pi) ** -0.5)])
def test_grid_product_multiplies_functions_on_the_sphere(normalization, scale):
    product = GridTensorProduct("3x0e+3x1o+3x2e", "3x0e+3x1o", "3x0e+3x1o+3x2e+3x3o", normalization=normalization)
    x, y = torch.randn(5, 3, 9), torch.randn(5, 3, 4)
    points = torch.nn.functional.normalize(torch.randn(11, 3), dim=1)
    f, g = x @ harmonics(points, [0, 1, 2]).T, y @ harmonics(points, [0, 1]).T
    out = product(x, y) @ harmonics(points, [0, 1, 2, 3]).T
    torch.testing.assert_close(out, scale * f * g, rtol=1e-10, atol=1e-10)


def test_grid_product_accepts_mul_ir_and_any_order_of_irreps():
    straight = GridTensorProduct("2x0e+2x1o+2x2e", "2x0e+2x1o+2x2e", "2x0e+2x1o+2x2e")
    mixed = GridTensorProduct("2x2e+2x0e+2x1o", "2x0e+2x1o+2x2e", "2x1o+2x0e+2x2e", fold="always")
    x, y = torch.randn(4, straight.irreps_1.dim), torch.randn(4, straight.irreps_1.dim)
    pieces = x.split([2, 6, 10], dim=1)
    out = straight(x, y).split([2, 6, 10], dim=1)
    found = mixed(torch.cat([pieces[2], pieces[0], pieces[1]], 1), y)
    torch.testing.assert_close(found, torch.cat([out[1], out[0], out[2]], 1), rtol=1e-12, atol=1e-12)
    assert mixed(x.float(), y.float()).dtype == torch.float32


@pytest.mark.parametrize("fold", ["never", "always"])
def test_grid_product_has_gradients_of_both_orders(fold):
    irreps = natural_irreps(1, 1)
    product = GridTensorProduct(irreps, irreps, "0e+1o+2e+1e", antisymmetric=True, fold=fold)
    inputs = [torch.randn(2, 1, 4, requires_grad=True) for _ in range(2)]
    assert gradcheck(product, inputs)
    assert gradgradcheck(product, inputs)


def test_blocks_of_rows_do_not_change_the_product(monkeypatch):
    irreps = natural_irreps(3, 4)
    product = GridTensorProduct(irreps, irreps, irreps)
    x, y = torch.randn(50, 4, 16, requires_grad=True), torch.randn(50, 4, 16, requires_grad=True)
    whole = torch.autograd.grad(product(x, y).square().sum(), [x, y])
    monkeypatch.setattr("weightspace.geometric._pointwise.CACHE_BYTES", 1)
    parts = torch.autograd.grad(product(x, y).square().sum(), [x, y])
    for a, b in zip(whole, parts, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["auto", "lebedev", "gauss_legendre"])
@pytest.mark.parametrize("degree", [2, 5, 8, 9, 10])
def test_grids_are_exact_positive_and_symmetric(name, degree):
    grid = sphere_grid(degree, name)
    means = grid.weights @ harmonics(grid.points, list(range(degree + 1)))
    torch.testing.assert_close(means, torch.eye(len(means))[0], rtol=1e-12, atol=1e-12)
    half = len(grid.weights) // 2
    torch.testing.assert_close(grid.points[:half], -grid.points[half:])
    assert grid.weights.min() > 0


def test_products_are_exact_on_float64_after_the_module_was_rounded():
    irreps = natural_irreps(2, 2)
    x, y = torch.randn(3, 2, 9), torch.randn(3, 2, 9)
    product = GridTensorProduct(irreps, irreps, irreps)
    wanted = product(x, y)
    torch.testing.assert_close(product.float().double()(x, y), wanted, rtol=0, atol=0)


def test_layout_pads_and_cuts_uneven_multiplicities():
    layout = IrrepsLayout("2x0e + 1x1o")
    x = torch.arange(5.0)
    native = layout.to_native(x)
    assert native.tolist() == [[0, 2, 3, 4], [1, 0, 0, 0]]
    assert layout.to_mul_ir(native).tolist() == x.tolist()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: EdgeTensorProduct("2x0e", "1o", "2x0e"), "no path leads from 2x0e and 1x1o to 2x0e"),
        (lambda: EdgeTensorProduct("two", "1o", "2x0e"), "irreps_in: 'two' is no irreps"),
        (lambda: EdgeTensorProduct("2x0e", "2x1o", "2x1o"), "irreps_sh: 2x1o has multiplicities"),
        (lambda: EdgeTensorProduct("2x0e", "1o", "3x1o", instructions=[(0, 0, 0)]), "2 channels in, 3 out"),
        (lambda: EdgeTensorProduct("2x0e", "1o", "2x1e", instructions=[(0, 0, 0)]), "does not contain 1e, only 1o"),
        (lambda: EdgeTensorProduct("2x0e", "1o", "2x1o", instructions=[(0, 1, 0)]), "wanted three entry numbers below"),
        (lambda: GridTensorProduct("2x0e", "3x0e", "2x0e"), r"multiplicities \[2, 3\]"),
        (lambda: GridTensorProduct("2x0e+2x0e", "2x0e", "2x0e"), "repeats an irrep"),
        (lambda: GridTensorProduct("1o", "1o", "1o"), "no path leads"),
        (lambda: GridTensorProduct("0e+1o", "0e+1o", "0e+1o", antisymmetric=True), "antisymmetric=True: irreps_out"),
        (lambda: GridTensorProduct("0e", "0e", "0e", grid="round"), "grid 'round': wanted 'auto' or one of"),
        (lambda: GridTensorProduct("0e", "0e", "0e", fold="half"), "fold='half'"),
        (lambda: sphere_grid(60, "lebedev"), "exact to degree 59, wanted 60"),
        (lambda: GridTensorProduct("0e", "0e", "0e")(torch.ones(2, 1, 1), torch.ones(3, 1, 1)), "y 3 of 1"),
        (lambda: GridTensorProduct("0e", "0e", "0e")(torch.ones(2, 1, 2), torch.ones(2, 1, 1)), "x has 2 components"),
        (lambda: EdgeTensorProduct("0e", "1o", "1o")(torch.ones(2, 1), torch.ones(2, 4)), r"wanted \(2, 3\)"),
        (lambda: EdgeTensorProduct("0e", "1o", "1o")(torch.ones(2), torch.ones(2, 3)), "x has 1 dimensions"),
        (
            lambda: EdgeTensorProduct("2x0e", "1o", "2x1o")(torch.ones(2, 2), torch.ones(2, 3), torch.ones(3, 1)),
            r"weight: found \(3, 1\), wanted \(E, P\) = \(2, 1\)",
        ),
    ],
)
def test_errors_say_what_was_found_and_wanted(make, words):
    with pytest.raises(GeometryError, match=words):
        make()
