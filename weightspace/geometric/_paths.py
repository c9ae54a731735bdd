"""Clebsch-Gordan paths: which degrees couple to which, and with what normalisation."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from e3nn import o3
from torch import Tensor

from weightspace.errors import GeometryError
from weightspace.geometric._constants import exact_tables


@dataclass(frozen=True)
class Path:
    """One coupling: entries of `irreps_1`, `irreps_2` and `irreps_out`, their degrees, and its constant."""

    slot_1: int
    slot_2: int
    slot_out: int
    degrees: tuple[int, int, int]
    coefficient: float

    @property
    def tensor(self) -> Tensor:
        """Coefficients (2 l1 + 1, 2 l2 + 1, 2 lout + 1), float64, normalisation included."""
        return self.coefficient * clebsch_gordan(*self.degrees)


@lru_cache(maxsize=4096)
def clebsch_gordan(l1: int, l2: int, l3: int) -> Tensor:
    """Real Clebsch-Gordan coefficients of norm one (e3nn's `wigner_3j`), in float64 whatever the default dtype."""
    with exact_tables():
        return o3.wigner_3j(l1, l2, l3, dtype=torch.float64)


def coupling_paths(
    irreps_1: o3.Irreps,
    irreps_2: o3.Irreps,
    irreps_out: o3.Irreps,
    instructions: Sequence[tuple[int, int, int]] | None = None,
) -> tuple[Path, ...]:
    """The chosen paths, or all that parity and the triangle rule allow, normalised as e3nn does.

    Component normalisation of the output and `path_normalization="element"` for 'uvu' instructions with one channel
    of spherical harmonics: the constant of a path is sqrt((2 lout + 1) / number of paths into its output entry).

    Args:
        irreps_1: entries of the first factor.
        irreps_2: entries of the second factor.
        irreps_out: entries of the result.
        instructions: triples of entry numbers; None takes every allowed one between entries of
            equal multiplicity, ordered by first, second, output entry.

    Raises:
        GeometryError: a triple that does not couple, or none that does.
    """
    if instructions is None:
        instructions = [
            (a, b, c)
            for a, (mul_1, ir_1) in enumerate(irreps_1)
            for b, (_, ir_2) in enumerate(irreps_2)
            for c, (mul_3, ir_3) in enumerate(irreps_out)
            if ir_3 in ir_1 * ir_2 and mul_1 == mul_3
        ]
    if not instructions:
        raise GeometryError(
            f"no path leads from {irreps_1} and {irreps_2} to {irreps_out}; parities multiply and degrees obey "
            "|l1 - l2| <= lout <= l1 + l2, and a path keeps the number of channels"
        )
    into = Counter(triple[2] for triple in instructions)
    return tuple(_path(irreps_1, irreps_2, irreps_out, triple, into[triple[2]]) for triple in instructions)


def _path(
    irreps_1: o3.Irreps, irreps_2: o3.Irreps, irreps_out: o3.Irreps, triple: tuple[int, int, int], number: int
) -> Path:
    sizes = (len(irreps_1), len(irreps_2), len(irreps_out))
    if len(triple) != 3 or not all(0 <= entry < size for entry, size in zip(triple, sizes, strict=True)):
        raise GeometryError(f"instruction {triple}: wanted three entry numbers below {sizes}")
    a, b, c = triple
    ir_1, ir_2, ir_3 = irreps_1[a].ir, irreps_2[b].ir, irreps_out[c].ir
    if ir_3 not in ir_1 * ir_2:
        allowed = ", ".join(str(ir) for ir in ir_1 * ir_2)
        raise GeometryError(f"instruction {triple}: {ir_1} x {ir_2} does not contain {ir_3}, only {allowed}")
    return Path(a, b, c, (ir_1.l, ir_2.l, ir_3.l), (ir_3.dim / number) ** 0.5)
