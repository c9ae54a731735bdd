"""Every product under rotations and inversion, with the parities that its irreps declare."""

import pytest
import torch
from e3nn import o3

from weightspace.geometric import (
    EdgeTensorProduct,
    GridPower,
    GridTensorProduct,
    MessageProduct,
    SO2TensorProduct,
    edge_frames,
)

pytestmark = pytest.mark.usefixtures("float64")

MIXED = "2x0e+2x1o+2x2e+2x0o+2x1e+2x2o"
NATURAL = "2x0e+2x1o+2x2e"


def matrix_of(irreps, turn, inversion):
    """Block-diagonal representation, from harmonics at turned points: e3nn's own is good to 1e-9 at small angles."""
    blocks, points = [], torch.randn(40, 3)
    for mul, ir in irreps:
        before, after = (o3.spherical_harmonics(ir.l, p, True) for p in (points, points @ turn.T))
        block = torch.linalg.lstsq(before, after).solution.T
        blocks += [block * ir.p**inversion] * mul
    return torch.block_diag(*blocks)


def check(function, irreps_in, irreps_out):
    torch.manual_seed(0)
    irreps_in, irreps_out = [o3.Irreps(irreps) for irreps in irreps_in], o3.Irreps(irreps_out)
    rows = [torch.randn(5, irreps.dim) for irreps in irreps_in]
    for inversion in (0, 1):
        turn = torch.linalg.qr(torch.randn(3, 3))[0]
        turn = turn * torch.linalg.det(turn)
        turned = [x @ matrix_of(irreps, turn, inversion).T for x, irreps in zip(rows, irreps_in, strict=True)]
        wanted = function(*rows) @ matrix_of(irreps_out, turn, inversion).T
        torch.testing.assert_close(function(*turned), wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("per_channel", [False, True])
def test_messages_with_harmonics(per_channel):
    product = EdgeTensorProduct(MIXED, "0e+1o+2e", MIXED)
    shape = (len(product.paths), 2) if per_channel else (len(product.paths),)
    weight = torch.randn(1, *shape)
    check(lambda x, sh: product(x, sh, weight.expand(len(x), *shape)), [MIXED, "0e+1o+2e"], MIXED)


def test_messages_in_edge_frames():
    product = SO2TensorProduct(MIXED, "0e+1o+2e", MIXED)
    weight = torch.randn(1, len(product.paths))
    check(lambda x, edge_vec: product(x, edge_vec, weight.expand(len(x), -1)), [MIXED, "1o"], MIXED)


@pytest.mark.parametrize("evaluation", ["matrix", "so2"])
def test_message_products(evaluation):
    product = MessageProduct(MIXED, "0e+1o+2e", NATURAL, evaluation=evaluation)
    check(lambda x, edge_vec: product(x, product.geometry(edge_vec)), [MIXED, "1o"], NATURAL)


@pytest.mark.parametrize("antisymmetric", [False, True])
@pytest.mark.parametrize("irreps", [NATURAL, MIXED])
def test_products_on_grids(irreps, antisymmetric):
    product = GridTensorProduct(irreps, irreps, MIXED, antisymmetric=antisymmetric)
    check(product, [irreps, irreps], MIXED)


def test_antisymmetric_paths_change_sign_when_factors_are_exchanged():
    both = GridTensorProduct(NATURAL, NATURAL, "2x1e+2x2o", antisymmetric=True)
    x, y = torch.randn(3, 2, 9), torch.randn(3, 2, 9)
    torch.testing.assert_close(both(x, y), -both(y, x), rtol=1e-10, atol=1e-10)
    assert both(x, y).abs().max() > 0.1


def test_powers():
    power = GridPower(NATURAL, "2x0e+2x1o+2x3o", (1, 2, 3))
    weight = torch.randn(1, 3, 2)
    check(lambda x: power(x, weight), [NATURAL], "2x0e+2x1o+2x3o")


def test_frames_follow_a_rotation_up_to_a_turn_about_the_edge():
    edge_vec, rotation = torch.randn(10, 3), torch.linalg.qr(torch.randn(3, 3))[0]
    rotation = rotation * torch.linalg.det(rotation)
    before, after = edge_frames(edge_vec, 2), edge_frames(edge_vec @ rotation.T, 2)
    for l in (1, 2):
        left = after.matrices[l] @ matrix_of(o3.Irreps([(1, (l, 1))]), rotation, 0) @ before.matrices[l].transpose(1, 2)
        centre = left[:, l, l]
        torch.testing.assert_close(centre, torch.ones_like(centre), rtol=1e-10, atol=1e-10)


def test_a_wrong_parity_is_noticed():
    product = EdgeTensorProduct("2x1o", "1o", "2x1e")
    with pytest.raises(AssertionError):
        check(product, ["2x1o", "1o"], "2x1o")
