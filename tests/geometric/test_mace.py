"""MACE: the published model's energies and forces, its products against couplings written out, and what they span."""

import math

import pytest
import torch
from e3nn import o3

from weightspace.errors import CheckpointError, ConfigurationError
from weightspace.geometric import MACE, MACEShape, mace_from_published
from weightspace.geometric._mace_products import GridProduct, SymmetricProduct, product_name
from weightspace.geometric._symmetric_couplings import monomial_coefficients, monomials, symmetric_basis
from weightspace.testing import AtomisticModelTests
from weightspace.testing._geometric_samples import rotation

from ._published import assert_same_energies_and_forces, published

TINY = {"channels": 2, "lmax": 2, "hidden_lmax": 1, "radial": (4, 4), "readout": 3}


class TestMACE(AtomisticModelTests):
    def model(self):
        return MACE(TINY, cutoff=2.5)


class TestMACEWithAllCouplings(AtomisticModelTests):
    def model(self):
        return MACE({**TINY, "product": "clebsch_gordan", "first_skips": True}, cutoff=2.5)


@pytest.mark.slow
class TestMACEWithMoreDegrees(AtomisticModelTests):
    def model(self):
        return MACE({**TINY, "lmax": 3, "hidden_lmax": 2, "layers": 3, "correlation": 4}, cutoff=2.5)


@pytest.mark.slow
class TestMACEWithAllCouplingsOfMoreDegrees(AtomisticModelTests):
    def model(self):
        shape = {**TINY, "lmax": 3, "hidden_lmax": 2, "layers": 3, "product": "clebsch_gordan"}
        return MACE(shape, cutoff=2.5)


def couplings():
    """The published buffers, whose nonzero entries the fixture holds."""
    _, found = published("mace")
    names = {key.removeprefix("couplings.").removesuffix(".shape") for key in found if key.endswith(".shape")}
    dense = {}
    for name in names:
        shape, indices, values = (found[f"couplings.{name}.{part}"] for part in ("shape", "indices", "values"))
        dense[name] = torch.zeros(*shape.tolist(), dtype=torch.float64)
        dense[name][indices.long().unbind(1)] = values.double()
    return dense


def mace_weights(name):
    weights, found = published(name)
    for key, value in couplings().items():
        for layer in (0, 1) if key.startswith("0") else (0,):
            weights[f"products.{layer}.symmetric_contractions.contractions.{key}"] = value
    return weights, {key: value for key, value in found.items() if not key.startswith("couplings")}


@pytest.mark.parametrize("name", ["mace", "mace_residual"])
def test_published_energies_and_forces(name):
    weights, found = mace_weights(name)
    model = mace_from_published(weights, average_neighbours=7.3)
    assert model.shape.first_skips == (name == "mace_residual")
    assert_same_energies_and_forces(model, found)


def test_products_are_the_published_contraction(generator):
    """The space is that of the published couplings, which are contracted index by index here."""
    basis = {(l, k): symmetric_basis(2, l, k) for l in (0, 1) for k in (1, 2, 3)}
    x = torch.randn(4, 9, dtype=torch.float64, generator=generator)
    for (l, k), rows in basis.items():
        tensor = couplings()[f"{l}.U_matrix_{k}"].movedim(-1, 0)  # (P, [2 l + 1,] D, ...)
        tensor = tensor if l else tensor[:, None]
        values = tensor
        for _ in range(k):
            values = values @ x[0]
        products = x[0][monomials(9, k)].prod(1)
        torch.testing.assert_close(monomial_coefficients(tensor, k) @ products, values, rtol=1e-10, atol=1e-10)
        flat = monomial_coefficients(tensor, k).flatten(1)
        assert len(rows) == torch.linalg.matrix_rank(flat, atol=1e-4)


@pytest.mark.parametrize("lmax", [1, 2])
@pytest.mark.parametrize("l_out", [0, 1, 2])
@pytest.mark.parametrize("factors", [1, 2, 3])
def test_the_basis_is_complete(lmax, l_out, factors):
    """As many polynomials as the characters of O(3) count in the symmetric power."""
    angles = (torch.arange(2000, dtype=torch.float64) + 0.5) * math.pi / 2000
    measure = (1 - torch.cos(angles)) / 2000
    count = 0.0
    for sign in (1, -1):  # rotations, and rotations times the inversion

        def character(l, power, sign=sign):
            natural = sign ** (l * power)
            return natural * sum(torch.cos(m * power * angles) for m in range(-l, l + 1))

        p = {power: sum(character(l, power) for l in range(lmax + 1)) for power in (1, 2, 3)}
        symmetric = {1: p[1], 2: (p[1] ** 2 + p[2]) / 2, 3: (p[1] ** 3 + 3 * p[1] * p[2] + 2 * p[3]) / 6}[factors]
        count += float((measure * symmetric * character(l_out, 1)).sum()) / 2
    assert len(symmetric_basis(lmax, l_out, factors)) == round(count)
    assert abs(count - round(count)) < 1e-6


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("kind", [GridProduct, SymmetricProduct])
def test_products_are_equivariant(kind, generator):
    product = kind(2, 1, 3, channels=3, elements=2).double()
    x = torch.randn(5, 3, 9, dtype=torch.float64, generator=generator)
    species = torch.randint(2, (5,), generator=generator)
    for matrix in (rotation(1), -rotation(2)):
        d_in, d_out = (o3.Irreps(irreps).D_from_matrix(matrix) for irreps in ("0e + 1o + 2e", "0e + 1o"))
        found, wanted = product(x @ d_in.t(), species), product(x, species) @ d_out.t()
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)


def test_the_grid_holds_powers_of_a_function(generator):
    """No degree is cut off here, so that the result is the sum of powers at every point."""
    product = GridProduct(1, 3, 3, channels=2, elements=3).double()
    x = torch.randn(4, 2, 4, dtype=torch.float64, generator=generator)
    species = torch.tensor([0, 2, 1, 2])
    points = torch.randn(20, 3, dtype=torch.float64, generator=generator)
    y = o3.spherical_harmonics([0, 1, 2, 3], points, True, "component")
    found = product(x, species)
    for n, z in enumerate(species):
        for c in range(2):
            before = product.before[z, c][[0, 1, 1, 1]]
            after = product.after[z, c][[l for l in range(4) for _ in range(2 * l + 1)]]
            f = y[:, :4] @ (before * x[n, c]) / 2
            wanted = sum(product.weight[z, power - 1, c] * f**power for power in (1, 2, 3))
            torch.testing.assert_close(y @ (found[n, c] / after), wanted, rtol=1e-10, atol=1e-10)


def test_the_grid_spans_part_of_all_products(generator):
    """Its polynomials are among the symmetric ones, found by solving for their weights."""
    grid = GridProduct(2, 1, 3, channels=1, elements=1).double()
    full = SymmetricProduct(2, 1, 3, channels=1, elements=1).double()
    x = torch.randn(60, 1, 9, dtype=torch.float64, generator=generator)
    species = torch.zeros(60, dtype=torch.long)
    wanted = grid(x, species)
    for l, part in enumerate(wanted.split([1, 3], dim=2)):
        columns = torch.cat(
            [full._polynomials(x, product_name(l, k), 2 * l + 1).transpose(2, 3) for k in (1, 2, 3)], dim=3
        ).flatten(0, 2)
        solution = torch.linalg.lstsq(columns, part.flatten()).solution
        torch.testing.assert_close(columns @ solution, part.flatten(), rtol=1e-8, atol=1e-8)


def test_one_layer_and_its_pretrained_form(tmp_path):
    model = MACE(MACEShape(channels=2, layers=1, lmax=1, hidden_lmax=0, radial=(3, 4)), elements=(1, 8))
    z, pos = torch.tensor([1, 8, 1]), torch.eye(3)
    found = MACE.from_pretrained(model.save_pretrained(tmp_path))
    assert found.shape == model.shape
    torch.testing.assert_close(found(z, pos)["energy"], model(z, pos)["energy"])


def test_messages_of_errors():
    with pytest.raises(ConfigurationError, match="product='all', wanted 'grid' or 'clebsch_gordan'"):
        MACE({"product": "all"})
    with pytest.raises(ConfigurationError, match="hidden_lmax from 0 to lmax"):
        MACE({"lmax": 1})
    weights, _ = mace_weights("mace")
    cases = {
        "'interactions.1.linear.weight' is missing": {"interactions.1.linear.weight": None},
        "U_matrix_1' is missing": {"products.0.symmetric_contractions.contractions.0.U_matrix_1": None},
        "'surplus' .1 in all. has no place": {"surplus": torch.ones(1)},
        "wanted one head": {"atomic_energies_fn.atomic_energies": torch.ones(2, 3)},
        "'interactions.1.linear.weight' has 4 weights, wanted 63": {"interactions.1.linear.weight": torch.ones(4)},
        "is no symmetric product of the model's irreps": {
            "products.1.symmetric_contractions.contractions.0.U_matrix_2": torch.ones(9, 9, 3)
        },
    }
    for words, change in cases.items():
        changed = {key: value for key, value in {**weights, **change}.items() if value is not None}
        with pytest.raises(CheckpointError, match=words):
            mace_from_published(changed, average_neighbours=7.3)
