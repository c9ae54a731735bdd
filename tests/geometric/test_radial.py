"""Radial bases and cutoff functions: formulas, and as many continuous derivatives as they promise."""

import math

import pytest
import torch

from weightspace.errors import ConfigurationError
from weightspace.geometric._radial import (
    BesselBasis,
    CosineCutoff,
    ExpNormalSmearing,
    GaussianSmearing,
    MollifierCutoff,
    PolynomialCutoff,
)

CUTOFFS = [CosineCutoff(3.0), PolynomialCutoff(3.0), PolynomialCutoff(3.0, p=2), MollifierCutoff(3.0)]
BASES = [GaussianSmearing, BesselBasis, ExpNormalSmearing]


def derivatives(function, x, order):
    values = [function(x)]
    for _ in range(order):
        values.append(torch.autograd.grad(values[-1].sum(), x, create_graph=True)[0])
    return torch.cat([v.detach().flatten() for v in values])


@pytest.mark.parametrize("cutoff", CUTOFFS, ids=lambda c: type(c).__name__)
def test_a_cutoff_is_as_smooth_as_it_says(cutoff):
    order = int(min(cutoff.smoothness, 3))
    x = torch.tensor([3 - 1e-6, 3.0, 3 + 1e-6, 10.0], dtype=torch.float64, requires_grad=True)
    values = derivatives(cutoff, x, order)
    assert values.abs().max() < 1e-4
    assert torch.isfinite(values).all()
    if math.isfinite(cutoff.smoothness):
        assert derivatives(cutoff, x, order + 1)[-4].abs() > 0.1


@pytest.mark.parametrize("cutoff", CUTOFFS, ids=lambda c: type(c).__name__)
def test_a_cutoff_falls_from_one(cutoff):
    values = cutoff(torch.linspace(0, 3, 50, dtype=torch.float64))
    assert values[0] == pytest.approx(1, abs=1e-12)
    assert (values.diff() <= 1e-12).all()


@pytest.mark.parametrize("basis", BASES, ids=lambda c: c.__name__)
def test_a_basis_has_finite_derivatives_at_zero(basis):
    x = torch.tensor([0.0, 1e-8, 0.5], dtype=torch.float64, requires_grad=True)
    assert torch.isfinite(derivatives(basis(5, 3.0).double(), x, 3)).all()


@pytest.mark.parametrize("basis", BASES, ids=lambda c: c.__name__)
def test_a_basis_equals_its_formula(basis):
    k, c = 5, 3.0
    d = torch.tensor([0.3, 1.7, 2.9], dtype=torch.float64)
    wanted = torch.empty(3, k, dtype=torch.float64)
    for e, x in enumerate(d.tolist()):
        for n in range(k):
            gauss = math.exp(-0.5 * (x - n * c / (k - 1)) ** 2 / (c / (k - 1)) ** 2)
            bessel = math.sqrt(2 / c) * math.sin((n + 1) * math.pi * x / c) / x
            start = math.exp(-c)
            mean = start + n * (1 - start) / (k - 1)
            normal = math.exp(-((2 / k * (1 - start)) ** -2) * (math.exp(-5 / c * x) - mean) ** 2)
            wanted[e, n] = {GaussianSmearing: gauss, BesselBasis: bessel, ExpNormalSmearing: normal}[basis]
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        found = basis(k, c)(d)
    finally:
        torch.set_default_dtype(default)
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("basis", [BesselBasis, ExpNormalSmearing], ids=lambda c: c.__name__)
def test_a_trainable_basis_gets_gradients(basis):
    module = basis(4, 3.0, trainable=True)
    module(torch.tensor([0.7, 1.1])).square().sum().backward()
    assert all(p.grad.abs().min() > 0 for p in module.parameters())
    assert not list(basis(4, 3.0).parameters())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: CosineCutoff(-1.0), "CosineCutoff: found cutoff=-1.0, wanted a positive distance"),
        (lambda: PolynomialCutoff(1.0, p=1), "PolynomialCutoff: found p=1, wanted 2 or more"),
        (lambda: GaussianSmearing(1, 1.0), "GaussianSmearing: found num_rbf=1, wanted 2 or more"),
    ],
)
def test_messages(make, words):
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert str(caught.value) == words
