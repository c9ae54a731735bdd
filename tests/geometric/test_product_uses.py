"""Products in the ways that people use modules: no rows, transforms of functions, compiled, built anywhere."""

import pytest
import torch
from torch.testing import assert_close

from weightspace.errors import GeometryError
from weightspace.geometric import EdgeTensorProduct, GridPower, GridTensorProduct, SO2TensorProduct
from weightspace.geometric import _edge_frames as edge_frames_module
from weightspace.geometric import _paths as paths_module

IRREPS, BOTH = "2x0e + 2x1o", "2x0e + 2x1o + 2x0o + 2x1e"
PRODUCTS = {
    "edge": lambda: EdgeTensorProduct(IRREPS, "0e + 1o", IRREPS),
    "so2": lambda: SO2TensorProduct(IRREPS, "0e + 1o", IRREPS),
    "grid": lambda: GridTensorProduct(BOTH, BOTH, BOTH, antisymmetric=True),
    "folded": lambda: GridTensorProduct(IRREPS, IRREPS, IRREPS, fold="always"),
    "power": lambda: GridPower(IRREPS, IRREPS, (1, 2)),
}


pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def inputs(name, rows, *, per_channel=False):
    weight = torch.randn(rows, 4, 2) if per_channel else torch.randn(rows, 4)
    return {
        "edge": lambda: (torch.randn(rows, 2, 4), torch.randn(rows, 4), weight),
        "so2": lambda: (torch.randn(rows, 2, 4), torch.randn(rows, 3), weight),
        "grid": lambda: (torch.randn(rows, 2, 8), torch.randn(rows, 2, 8)),
        "folded": lambda: (torch.randn(rows, 2, 4), torch.randn(rows, 2, 4)),
        "power": lambda: (torch.randn(rows, 2, 4), torch.randn(rows, 2, 2)),
    }[name]()


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("name", PRODUCTS)
def test_no_rows(name, per_channel):
    args = [each.requires_grad_() for each in inputs(name, 0, per_channel=per_channel)]
    out = PRODUCTS[name]()(*args)
    assert out.shape == args[0].shape
    gradients = torch.autograd.grad(out.square().sum(), args, create_graph=True)
    assert [each.shape for each in gradients] == [each.shape for each in args]


@pytest.mark.parametrize("name", PRODUCTS)
def test_vmap_and_jacobians(name):
    product, args = PRODUCTS[name](), inputs(name, 3)
    batch = [torch.stack([each, 2 * each]) for each in args]
    wanted = torch.stack([product(*(each[i] for each in batch)) for i in range(2)])
    assert_close(torch.func.vmap(product)(*batch), wanted)
    assert_close(torch.func.vmap(product, in_dims=(0, *[None] * (len(args) - 1)))(batch[0], *args[1:])[0], wanted[0])
    jacobian = torch.func.jacrev(product)(*args)
    leaf = args[0].clone().requires_grad_()
    wanted = torch.autograd.grad(product(leaf, *args[1:])[0, 0, 0], leaf)[0]
    assert_close(jacobian[0, 0, 0], wanted)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's own, while it traces
@pytest.mark.parametrize(("name", "per_channel"), [("edge", False), ("edge", True), ("so2", True), ("grid", False)])
def test_products_compile_to_one_graph(name, per_channel):
    torch._dynamo.reset()
    product = PRODUCTS[name]()
    compiled = torch.compile(product, backend="eager", fullgraph=True)
    args = [each.requires_grad_() for each in inputs(name, 3, per_channel=per_channel)]
    found, wanted = compiled(*args), product(*args)
    assert_close(found, wanted)
    for a, b in zip(*(torch.autograd.grad(out.square().sum(), args) for out in (found, wanted)), strict=True):
        assert_close(a, b)


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_built_in_inference_mode_or_on_another_default_device_train(name):
    wanted, args = PRODUCTS[name](), [each.requires_grad_() for each in inputs(name, 3)]
    paths_module.clebsch_gordan.cache_clear()
    edge_frames_module._KNOWN.clear()
    with torch.inference_mode():
        product = PRODUCTS[name]()
        product(*args)
    with torch.device("meta"):
        elsewhere = PRODUCTS[name]()
    for each in (product, elsewhere):
        out = each(*args)
        assert_close(out, wanted(*args), rtol=1e-14, atol=1e-14)
        torch.autograd.grad(out.square().sum(), args)


def test_messages():
    with pytest.raises(GeometryError, match="normalization='norm': wanted 'component' or 'integral'"):
        GridTensorProduct("0e", "0e", "0e", normalization="norm")
    product = PRODUCTS["edge"]()
    with pytest.raises(GeometryError, match=r"flat \(3, 8\) per channel where x has 2 channels"):
        product(torch.randn(3, 5, 4), torch.randn(3, 4), torch.randn(3, 8))
