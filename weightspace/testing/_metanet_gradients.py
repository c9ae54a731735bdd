"""Gradients of a metanet: to its own parameters, and to the numbers of the networks that it reads."""

import torch
from torch import Tensor

from weightspace.testing._subjects import Example, Subject

STEP = 1e-6
ALLOWED = 1e-4


def assert_parameters_learn(subject: Subject) -> None:
    """Each parameter of the metanet that wants a gradient gets a finite one, not zero in some architecture."""
    parameters = {name: value for name, value in subject.metanet.named_parameters() if value.requires_grad}
    reached: set[str] = set()
    for example in subject.examples:
        total = _projected(subject, example, example.random(2))
        if not total.requires_grad:
            continue
        gradients = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)
        for name, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                assert bool(torch.isfinite(gradient).all()), f"{example.name}: the gradient of {name} is not finite"
                reached |= {name} if bool(gradient.any()) else set()
    missing = [name for name in parameters if name not in reached]
    assert not missing, (
        f"{len(missing)} of the metanet's {len(parameters)} parameters get no gradient in any architecture: "
        f"{', '.join(missing[:5])}"
    )


def assert_numbers_get_gradients(subject: Subject) -> None:
    """The gradient to the networks' numbers is finite, not zero, and that of finite differences in float64.

    Checked along a random direction; a difference is allowed `ALLOWED` of what a gradient of this size has there.
    """
    for example in subject.examples:
        entries = example.random(2).requires_grad_()
        total = _projected(subject, example, entries)
        assert total.requires_grad, f"{example.name}: no gradient reaches the networks' numbers"
        (gradient,) = torch.autograd.grad(total, entries, allow_unused=True)
        assert gradient is not None and bool(gradient.any()), (
            f"{example.name}: no gradient reaches the networks' numbers"
        )
        assert bool(torch.isfinite(gradient).all()), (
            f"{example.name}: the gradient to the networks' numbers is not finite"
        )
        direction = torch.randn(entries.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        with torch.no_grad():
            ahead, back = (_projected(subject, example, entries + sign * STEP * direction) for sign in (1, -1))
            found, wanted = float((gradient * direction).sum()), float((ahead - back) / (2 * STEP))
        allowed = ALLOWED * float(gradient.norm())
        assert abs(found - wanted) <= allowed, (
            f"{example.name}: the gradient to the networks' numbers has {found:.6e} along a random direction, finite "
            f"differences {wanted:.6e}; allowed {allowed:.1e} apart"
        )


def _projected(subject: Subject, example: Example, entries: Tensor) -> Tensor:
    """A random linear form of the answers."""
    answers = subject.answers(example, entries)
    weights = torch.randn(answers.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return (answers * weights).sum()
