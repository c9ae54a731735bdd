"""The door between e3nn's `mul_ir` rows and the native layout (N, C, D), channels before components."""

import torch
from e3nn import o3
from torch import Tensor

from weightspace.errors import GeometryError


def natural_irreps(lmax: int, channels: int = 1, *, both_parities: bool = False) -> o3.Irreps:
    """Irreps of spherical harmonics up to `lmax`, and their pseudo-tensors where both parities are asked for.

    Natural parity comes first, so that features (N, C, 2 (L+1)^2) reshape for free to (N, 2 C, (L+1)^2): parities as
    separate channels.

    Example:
        >>> natural_irreps(2, 8)
        8x0e+8x1o+8x2e
        >>> natural_irreps(1, 8, both_parities=True)
        8x0e+8x1o+8x0o+8x1e
    """
    signs = (1, -1) if both_parities else (1,)
    return o3.Irreps([(channels, (l, sign * (-1) ** l)) for sign in signs for l in range(lmax + 1)])


def irreps_of(irreps: str | o3.Irreps, name: str) -> o3.Irreps:
    """Irreps from text, or an error that names the argument.

    Raises:
        GeometryError: the text is no irreps, or there are none in it.
    """
    try:
        found = o3.Irreps(irreps)
    except (ValueError, AssertionError, TypeError) as error:
        raise GeometryError(
            f"{name}: {irreps!r} is no irreps; write multiplicities, degrees and parities such as '32x0e + 32x1o'"
        ) from error
    if found.dim == 0:
        raise GeometryError(f"{name}: {irreps!r} holds no irreps; name at least one, such as '32x0e'")
    return found


class IrrepsLayout:
    """Irreps as slots of one native tensor (N, C, D): a slot per entry, C the largest multiplicity.

    Entries with fewer than C channels are padded with zeros on the way in and cut on the way out.

    Args:
        irreps: e3nn irreps, in the order in which `mul_ir` rows hold them.

    Shapes:
        native: (..., C, D) with D the sum of 2 l + 1 over the entries.
        mul_ir: (..., irreps.dim), e3nn's order: entry, channel, component.

    Example:
        >>> layout = IrrepsLayout("2x0e + 2x1o")
        >>> layout.to_native(torch.arange(8.0))
        tensor([[0., 2., 3., 4.],
                [1., 5., 6., 7.]])
    """

    def __init__(self, irreps: str | o3.Irreps) -> None:
        self.irreps = irreps_of(irreps, "irreps")
        self.multiplicities = [mul for mul, _ in self.irreps]  # plain numbers: torch.compile cannot guard irreps
        self.channels, self.row = max(self.multiplicities), self.irreps.dim
        self.sizes = [ir.dim for _, ir in self.irreps]
        self.dim = sum(self.sizes)
        self.offsets = [sum(self.sizes[:slot]) for slot in range(len(self.sizes))]

    def to_native(self, x: Tensor) -> Tensor:
        """`mul_ir` rows (..., irreps.dim) as (..., C, D).

        Raises:
            GeometryError: the last dimension is not that of the irreps.
        """
        self.check(x)
        entries = list(zip(self.multiplicities, self.sizes, strict=True))
        pieces = x.split([mul * size for mul, size in entries], dim=-1)
        return torch.cat([self._slot(piece, *entry) for piece, entry in zip(pieces, entries, strict=True)], dim=-1)

    def to_mul_ir(self, x: Tensor) -> Tensor:
        """(..., C, D) as `mul_ir` rows (..., irreps.dim)."""
        pieces = x.split(self.sizes, dim=-1)
        return torch.cat(
            [piece[..., :mul, :].flatten(-2) for piece, mul in zip(pieces, self.multiplicities, strict=True)], dim=-1
        )

    def check(self, x: Tensor, *, native: bool = False, name: str = "x") -> None:
        """Refuse a tensor whose last dimensions are not those of the irreps.

        Raises:
            GeometryError: found against wanted.
        """
        if native and x.shape[-1] != self.dim:
            raise GeometryError(
                f"{name} has {x.shape[-1]} components in its last dimension, {self.irreps} has {self.dim}; native "
                "features are (N, C, D)"
            )
        if not native and x.shape[-1] != self.row:
            raise GeometryError(
                f"{name} has {x.shape[-1]} entries in a row, {self.irreps} has {self.row}; mul_ir features are "
                "(N, irreps.dim), native ones (N, C, D)"
            )

    def _slot(self, piece: Tensor, mul: int, size: int) -> Tensor:
        slot = piece.unflatten(-1, (mul, size))
        return slot if mul == self.channels else torch.nn.functional.pad(slot, (0, 0, 0, self.channels - mul))


def native_rows(x: Tensor, layout: IrrepsLayout, name: str) -> tuple[Tensor, bool]:
    """Features as native rows (N, C, D), and whether they came so (three dimensions) or as `mul_ir` (two).

    Raises:
        GeometryError: neither shape fits the irreps.
    """
    if x.ndim not in (2, 3):
        raise GeometryError(f"{name} has {x.ndim} dimensions; give (N, irreps.dim) in mul_ir or (N, C, D) natively")
    layout.check(x, native=x.ndim == 3, name=name)
    return (x, True) if x.ndim == 3 else (layout.to_native(x), False)
