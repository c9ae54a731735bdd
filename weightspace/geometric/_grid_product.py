"""Products of two features on a grid of the sphere: pointwise products, their Poisson bracket, and powers."""

from dataclasses import dataclass
from itertools import product
from typing import Literal

import torch
from e3nn import o3
from torch import Tensor, nn

from weightspace.errors import GeometryError
from weightspace.geometric._constants import exact_tables
from weightspace.geometric._layout import IrrepsLayout, irreps_of, native_rows
from weightspace.geometric._paths import clebsch_gordan
from weightspace.geometric._pointwise import Columns, Term, TrilinearForm
from weightspace.geometric._quadrature import GridName, SphereGrid, harmonics, sphere_grid, tangential_derivatives

NATURAL, PSEUDO = "natural", "pseudo"
FoldName = Literal["auto", "always", "never"]
FOLD_FROM = 6
"""Degree from which the antipodal fold was measured to pay on a CPU."""


class GridTensorProduct(nn.Module):
    """Channel-wise product of two features as functions on the sphere, exact, by three matrix products.

    Features of one channel are coefficients of a function on the sphere, f(r) = sum of x[l, m] Y[l, m](r). The
    product transforms both to the smallest grid that is exact, multiplies point by point and transforms back:
    z[l, m] = mean over the sphere of f g Y[l, m], the Gaunt product. It has the Clebsch-Gordan paths with
    l1 + l2 + lout even, each with a fixed constant (`path_constants`): it weights degrees, not paths, so equal shapes
    are not equal expressivity (docs/products.md counts both). The paths with l1 + l2 + lout odd come from the Poisson
    bracket r . (grad f x grad g) on the same grid, with `antisymmetric=True`.

    Parity: every product obeys p_out = p1 p2. Degrees with parity (-1)^l are natural, the others pseudo; a pointwise
    product of two natural or two pseudo features is natural, a bracket of them is pseudo, so the antisymmetric
    paths need features or outputs of both parities.

    Source:
        Luo et al. 2024, "Gaunt tensor products" (arXiv 2401.10216), by quadrature on a sphere (as Xie et al. 2025,
        "The price of freedom", arXiv 2506.13523) instead of two-dimensional Fourier series. Deviates: grids are
        Lebedev's with positive weights; the bracket, the fold of antipodes and both parities are this library's own.

    Args:
        irreps_1: of the first feature; each irrep once, one multiplicity for all.
        irreps_2: of the second feature, with the same multiplicity.
        irreps_out: of the result, with the same multiplicity.
        antisymmetric: add the bracket's paths.
        normalization: "component" for coefficients of harmonics whose square is 2 l + 1 and the mean over the sphere;
            "integral" for orthonormal harmonics, whose product has the Gaunt coefficients (smaller by sqrt(4 pi)).
        grid: "auto", "lebedev" or "gauss_legendre".
        fold: whether antipodal points share their transforms: even and odd degrees apart, on half the points.

    Shapes:
        x: (N, C, D_1) native or (N, irreps_1.dim) in mul_ir.
        y: (N, C, D_2) or (N, irreps_2.dim), as x.
        output: (N, C, D_out) or (N, irreps_out.dim), as x.

    Raises:
        GeometryError: irreps that repeat, differ in multiplicity, or admit no path; `antisymmetric=True` where parity
            admits no odd path.

    Example:
        >>> product = GridTensorProduct("4x0e + 4x1o", "4x0e + 4x1o", "4x0e + 4x1o + 4x2e")
        >>> product.grid.name, product(torch.randn(3, 4, 4), torch.randn(3, 4, 4)).shape
        ('lebedev-14', torch.Size([3, 4, 9]))
    """

    def __init__(
        self,
        irreps_1: str | o3.Irreps,
        irreps_2: str | o3.Irreps,
        irreps_out: str | o3.Irreps,
        *,
        antisymmetric: bool = False,
        normalization: Literal["component", "integral"] = "component",
        grid: GridName = "auto",
        fold: FoldName = "auto",
    ) -> None:
        super().__init__()
        self.irreps_1, self.irreps_2, self.irreps_out = (
            irreps_of(irreps, name)
            for irreps, name in ((irreps_1, "irreps_1"), (irreps_2, "irreps_2"), (irreps_out, "irreps_out"))
        )
        _check_multiplicities(self.irreps_1, self.irreps_2, self.irreps_out)
        self.antisymmetric, self.normalization = antisymmetric, normalization
        self.layouts = tuple(IrrepsLayout(irreps) for irreps in (self.irreps_1, self.irreps_2, self.irreps_out))
        self._classes = tuple(_parity_classes(layout) for layout in self.layouts)
        self.terms = _terms(self._classes, antisymmetric)
        self.grid = sphere_grid(sum(layout.irreps.lmax for layout in self.layouts), grid)
        folded = {"auto": max(self.irreps_1.lmax, self.irreps_2.lmax) >= FOLD_FROM, "always": True, "never": False}
        if fold not in folded:
            raise GeometryError(f"fold={fold!r}: wanted 'auto', 'always' or 'never'")
        scales = {"component": 1.0, "integral": (4 * torch.pi) ** -0.5}
        if normalization not in scales:
            raise GeometryError(f"normalization={normalization!r}: wanted 'component' or 'integral'")
        dims, scale = [layout.dim for layout in self.layouts], scales[normalization]
        with exact_tables():
            self._form = _form(self._classes, self.terms, dims, grid=_GridPart.of(self.grid, folded[fold]), scale=scale)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The product row by row and channel by channel."""
        (x, native), (y, _) = native_rows(x, self.layouts[0], "x"), native_rows(y, self.layouts[1], "y")
        if x.shape[:2] != y.shape[:2]:
            raise GeometryError(
                f"x has {x.shape[0]} rows of {x.shape[1]} channels, y {y.shape[0]} of {y.shape[1]}; they are "
                "multiplied row by row and channel by channel"
            )
        out = self._form.product(x.flatten(0, 1), y.flatten(0, 1)).view(*x.shape[:2], self.layouts[2].dim)
        return out if native else self.layouts[2].to_mul_ir(out)

    def path_constants(self) -> dict[tuple[int, int, int], float]:
        """Constant of every path (entry 1, entry 2, entry out) against Clebsch-Gordan coefficients of norm one.

        Example:
            >>> constants = GridTensorProduct("0e + 1o", "0e + 1o", "0e + 1o").path_constants()
            >>> {path: round(constant, 3) for path, constant in constants.items()}
            {(0, 0, 0): 1.0, (0, 1, 1): 1.732, (1, 0, 1): 1.732, (1, 1, 0): 1.732}
        """
        one = [torch.eye(layout.dim, dtype=torch.float64, device="cpu") for layout in self.layouts[:2]]
        left, right = one[0].repeat_interleave(len(one[1]), dim=0), one[1].repeat(len(one[0]), 1)
        table = self._form.product(left, right).view(len(one[0]), len(one[1]), -1)
        slots = [list(enumerate(zip(layout.irreps, layout.offsets, strict=True))) for layout in self.layouts]
        found = {}
        for (a, (mul_ir_1, start_1)), (b, (mul_ir_2, start_2)), (c, (mul_ir_3, start_3)) in product(*slots):
            ir_1, ir_2, ir_3 = mul_ir_1.ir, mul_ir_2.ir, mul_ir_3.ir
            odd = (ir_1.l + ir_2.l + ir_3.l) % 2 == 1
            if ir_3 in ir_1 * ir_2 and (self.antisymmetric or not odd):
                block = table[start_1 : start_1 + ir_1.dim, start_2 : start_2 + ir_2.dim, start_3 : start_3 + ir_3.dim]
                found[a, b, c] = (block * clebsch_gordan(ir_1.l, ir_2.l, ir_3.l)).sum().item()
        return found

    def extra_repr(self) -> str:
        """Irreps, grid and kinds of paths."""
        kinds = "even and odd paths" if self.antisymmetric else "even paths"
        return f"{self.irreps_1} x {self.irreps_2} -> {self.irreps_out} | {kinds} on {self.grid.name}"


@dataclass(frozen=True)
class _ParityClass:
    """The columns of one parity class, natural or pseudo, in a layout, and their degrees."""

    degrees: tuple[int, ...]
    columns: tuple[int, ...]


def _parity_classes(layout: IrrepsLayout) -> dict[str, _ParityClass]:
    classes = {}
    for kind, sign in ((NATURAL, 1), (PSEUDO, -1)):
        slots = tuple(slot for slot, (_, ir) in enumerate(layout.irreps) if ir.p == sign * (-1) ** ir.l)
        if not slots:
            continue
        columns = tuple(
            column
            for slot in slots
            for column in range(layout.offsets[slot], layout.offsets[slot] + layout.sizes[slot])
        )
        degrees = tuple(layout.irreps[slot].ir.l for slot in slots)
        if len(set(degrees)) < len(degrees):
            raise GeometryError(
                f"{layout.irreps} repeats an irrep; a function on the sphere holds each degree and parity once, so "
                "give more channels instead"
            )
        classes[kind] = _ParityClass(degrees, columns)
    return classes


def _terms(classes: tuple[dict[str, _ParityClass], ...], antisymmetric: bool) -> tuple[tuple[str, str, str, bool], ...]:
    """(kind 1, kind 2, kind out, bracket) of every product that leads to an output class."""
    terms = []
    for bracket in (False, True) if antisymmetric else (False,):
        for kind_1, found_1 in classes[0].items():
            for kind_2, found_2 in classes[1].items():
                kind_out = NATURAL if (kind_1 == kind_2) != bracket else PSEUDO
                if kind_out in classes[2] and _couples(found_1, found_2, classes[2][kind_out], odd=bracket):
                    terms.append((kind_1, kind_2, kind_out, bracket))
    if not terms:
        raise GeometryError("no path leads from irreps_1 and irreps_2 to irreps_out; parities multiply: p_out = p1 p2")
    if antisymmetric and not any(bracket for *_, bracket in terms):
        raise GeometryError(
            "antisymmetric=True: irreps_out admits no path with l1 + l2 + lout odd; their parity is p1 p2, so natural "
            "inputs (0e, 1o, 2e, ...) give pseudo-tensors (1e, 2o, ...): add those to irreps_out, or to the inputs"
        )
    return tuple(terms)


def _couples(found_1: _ParityClass, found_2: _ParityClass, found_out: _ParityClass, *, odd: bool) -> bool:
    return any(
        abs(a - b) <= c <= a + b and (a + b + c) % 2 == odd
        for a in found_1.degrees
        for b in found_2.degrees
        for c in found_out.degrees
    )


def _check_multiplicities(*all_irreps: o3.Irreps) -> None:
    found = {mul for irreps in all_irreps for mul, _ in irreps}
    if len(found) > 1:
        raise GeometryError(
            f"multiplicities {sorted(found)} in {', '.join(map(str, all_irreps))}: a product channel by channel wants "
            "one number of channels everywhere"
        )


@dataclass(frozen=True)
class _GridPart:
    """The points on which values are kept: the grid, or one point of every antipodal pair.

    On half the points a function is a pair (e, o) of its even and odd degrees, f(r) = e + o and f(-r) = e - o. A
    pointwise product has even part e1 e2 + o1 o2 and odd part e1 o2 + o1 e2. In the bracket the factor r is odd, so
    that there the parts change places: brackets of two even functions are odd.
    """

    points: Tensor
    weights: Tensor
    folded: bool

    @classmethod
    def of(cls, grid: SphereGrid, folded: bool) -> "_GridPart":
        half = len(grid.weights) // 2
        return (
            cls(grid.points[:half], 2 * grid.weights[:half], True) if folded else cls(grid.points, grid.weights, False)
        )

    @property
    def parts(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Name of a part and the remainders modulo 2 of its degrees."""
        return ((".even", (0,)), (".odd", (1,))) if self.folded else (("", (0, 1)),)

    def combinations(self, bracket: bool) -> tuple[tuple[str, str, str], ...]:
        """Parts of both factors and of the product."""
        if not self.folded:
            return (("", "", ""),)
        parity = {".even": 0, ".odd": 1}
        return tuple(
            (a, b, c)
            for a in parity
            for b in parity
            for c in parity
            if (parity[a] + parity[b] + parity[c]) % 2 == bracket
        )


def _form(
    classes: tuple[dict[str, _ParityClass], ...],
    products: tuple[tuple[str, str, str, bool], ...],
    dims: list[int],
    *,
    grid: _GridPart,
    scale: float,
) -> TrilinearForm:
    terms = [term for product in products for term in _pointwise_terms(*product, grid)]
    kinds = {(side, term.kinds[side]) for term in terms for side in range(3)}
    sides = [
        [
            columns
            for name, members in classes[side].items()
            for columns in _columns(name, members, grid, {kind for number, kind in kinds if number == side})
        ]
        for side in range(3)
    ]
    weights = scale * grid.weights
    sides[2] = [_weighted(columns, weights) for columns in sides[2]]
    there = [{kind for columns in side for kind in columns.kinds} for side in sides]
    possible = [term for term in terms if all(kind in there[side] for side, kind in enumerate(term.kinds))]
    return TrilinearForm(sides, dims, possible)


def _pointwise_terms(kind_1: str, kind_2: str, kind_out: str, bracket: bool, grid: _GridPart) -> list[Term]:
    terms = []
    for a, b, c in grid.combinations(bracket):
        if bracket:
            terms.append(Term((f"{kind_1}.u{a}", f"{kind_2}.v{b}", f"{kind_out}.value{c}"), 1))
            terms.append(Term((f"{kind_1}.v{a}", f"{kind_2}.u{b}", f"{kind_out}.value{c}"), -1))
        else:
            terms.append(Term((f"{kind_1}.value{a}", f"{kind_2}.value{b}", f"{kind_out}.value{c}"), 1))
    return terms


def _columns(name: str, members: _ParityClass, grid: _GridPart, wanted: set[str]) -> list[Columns]:
    degrees = torch.cat([torch.full((2 * l + 1,), l) for l in members.degrees])
    values = {"value": harmonics(grid.points, list(members.degrees))}
    if any(kind.startswith(f"{name}.u") for kind in wanted):
        values["u"], values["v"] = tangential_derivatives(grid.points, list(members.degrees))
    found = []
    for part, remainders in grid.parts:
        chosen = [number for number, l in enumerate(degrees.tolist()) if l % 2 in remainders]
        kinds = tuple(f"{name}.{value}{part}" for value in values if f"{name}.{value}{part}" in wanted)
        if chosen and kinds:
            matrix = torch.cat([values[kind.split(".")[1]][:, chosen].t() for kind in kinds], dim=1)
            found.append(Columns(tuple(members.columns[number] for number in chosen), matrix, kinds))
    return found


def _weighted(columns: Columns, weights: Tensor) -> Columns:
    return Columns(columns.columns, columns.matrix * weights.repeat(len(columns.kinds)), columns.kinds)
