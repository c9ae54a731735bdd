"""Many-body products: powers of a feature on one grid, with one transform back."""

from collections.abc import Sequence

import torch
from e3nn import o3
from torch import Tensor, nn

from weightspace.errors import GeometryError
from weightspace.geometric._constants import ExactConstants, exact_tables
from weightspace.geometric._layout import IrrepsLayout, irreps_of, native_rows
from weightspace.geometric._quadrature import GridName, harmonics, sphere_grid


class GridPower(nn.Module):
    """Powers f, f^2, ... f^nu of a feature as a function on the sphere, weighted and transformed back once.

    The many-body terms of ACE and MACE on the paths that pointwise products have: f = sum of x[l, m] Y[l, m] is
    evaluated on the smallest grid on which f^nu is exact to the output's degree, its powers are summed with weights per
    channel, and one transform returns to coefficients: nu = 4 costs no more transforms than nu = 2.

    Source:
        Drautz 2019 and Batatia et al. 2022 (arXiv 2206.07697), equations 10-11, for powers of one feature;
        Luo et al. 2024 (arXiv 2401.10216) for pointwise products in their place. Deviates: of all the couplings of a
        symmetric power only those with a fixed constant for each sequence of degrees remain, and intermediate degrees
        are not cut off, whereas MACE has free weights for each.

    Args:
        irreps_in: natural parities, each irrep once, one multiplicity for all.
        irreps_out: natural parities, with the same multiplicity.
        powers: which powers, such as (1, 2, 3).
        grid: as for `GridTensorProduct`.

    Shapes:
        x: (N, C, D_in) native or (N, irreps_in.dim) in mul_ir.
        weight: (N, number of powers, C), or (1, number of powers, C) for all rows; None means ones.
        output: (N, C, D_out) or (N, irreps_out.dim), as x.

    Raises:
        GeometryError: pseudo-tensors, repeated irreps, powers below one, shapes that do not fit.

    Example:
        >>> power = GridPower("2x0e + 2x1o", "2x0e + 2x1o", (1, 2, 3))
        >>> power.grid.name, power(torch.randn(5, 2, 4)).shape
        ('lebedev-14', torch.Size([5, 2, 4]))
    """

    def __init__(
        self,
        irreps_in: str | o3.Irreps,
        irreps_out: str | o3.Irreps,
        powers: Sequence[int] = (1, 2, 3),
        *,
        grid: GridName = "auto",
    ) -> None:
        super().__init__()
        self.layout_in = IrrepsLayout(irreps_of(irreps_in, "irreps_in"))
        self.layout_out = IrrepsLayout(irreps_of(irreps_out, "irreps_out"))
        self.powers = tuple(powers)
        if not self.powers or min(self.powers) < 1 or len(set(self.powers)) < len(self.powers):
            raise GeometryError(
                f"powers: found {self.powers}, wanted different numbers of at least 1, such as (1, 2, 3)"
            )
        degrees = [_natural_degrees(layout) for layout in (self.layout_in, self.layout_out)]
        self.grid = sphere_grid(max(self.powers) * max(degrees[0]) + max(degrees[1]), grid)
        with exact_tables():
            self._constants = ExactConstants(
                to=harmonics(self.grid.points, degrees[0]).t().contiguous(),
                back=self.grid.weights[:, None] * harmonics(self.grid.points, degrees[1]),
            )

    def forward(self, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """Weighted powers, row by row and channel by channel."""
        x, native = native_rows(x, self.layout_in, "x")
        rows, channels = x.shape[:2]
        if weight is None:
            weight = x.new_ones(1, len(self.powers), channels)
        if weight.ndim != 3 or weight.shape[0] not in (1, rows) or weight.shape[1:] != (len(self.powers), channels):
            raise GeometryError(
                f"weight: found {tuple(weight.shape)}, wanted ({rows} or 1, {len(self.powers)} powers, {channels} "
                "channels)"
            )
        values = x @ self._constants.like("to", x)  # (N, C, G)
        powers = self._weighted_powers(values, weight[..., None])
        out = powers @ self._constants.like("back", x)
        return out if native else self.layout_out.to_mul_ir(out)

    def extra_repr(self) -> str:
        """Irreps, powers and grid."""
        return f"{self.layout_in.irreps} ^ {self.powers} -> {self.layout_out.irreps} on {self.grid.name}"

    def _weighted_powers(self, values: Tensor, weight: Tensor) -> Tensor:
        """Sum of weight[nu] values^nu by Horner's rule; (N, C, G)."""
        places = {power: place for place, power in enumerate(self.powers)}
        found: Tensor | None = None
        for power in range(max(self.powers), 0, -1):
            here = weight[:, places[power]] if power in places else None
            if found is None:
                found = here * values if here is not None else None
            else:
                found = (found if here is None else found + here) * values
        return found if found is not None else torch.zeros_like(values)


def _natural_degrees(layout: IrrepsLayout) -> list[int]:
    degrees = [ir.l for _, ir in layout.irreps]
    if any(ir.p != (-1) ** ir.l for _, ir in layout.irreps) or len(set(degrees)) < len(degrees):
        raise GeometryError(
            f"{layout.irreps}: powers are of one function on the sphere, with each degree once and natural parity "
            "(0e, 1o, 2e, ...)"
        )
    if len({mul for mul, _ in layout.irreps}) > 1:
        raise GeometryError(f"{layout.irreps}: wanted one multiplicity for all irreps")
    return degrees
