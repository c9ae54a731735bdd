"""Which evaluation of a message product to take, and how much each kind of product can express."""

from collections.abc import Sequence
from typing import Literal

import torch
from e3nn import o3
from torch import Tensor, nn

from weightspace.errors import GeometryError
from weightspace.geometric._edge_frames import EdgeFrames, edge_frames
from weightspace.geometric._edge_product import EdgeTensorProduct
from weightspace.geometric._so2_product import SO2TensorProduct

Evaluation = Literal["auto", "matrix", "so2"]

SO2_FROM: dict[tuple[str, bool], int] = {("cpu", False): 12, ("cpu", True): 4}
"""Degree from which the SO(2) evaluation is faster, by device and by whether weights are per channel.

Measured by experiments/benchmarks/products.py (a shared matrix is faster at every degree up to 6 there; 12 stands for
"beyond e3nn's harmonics"). A device that was not measured takes the numbers of the CPU.
"""


class MessageProduct(nn.Module):
    """`EdgeTensorProduct` or `SO2TensorProduct`, whichever was measured to be faster: one function, two evaluations.

    Args:
        irreps_in: of the node features.
        irreps_sh: of the harmonics.
        irreps_out: of the result.
        instructions: as for `EdgeTensorProduct`.
        per_channel: whether weights will be given per channel.
        evaluation: "auto" chooses by degree and device; "matrix" and "so2" do not.

    Shapes:
        x: (E, C, D_in) native or (E, irreps_in.dim) in mul_ir.
        geometry: what `geometry(edge_vec)` returned, which layers of equal degrees may share.
        weight: (E, P), or (E, P, C) per channel.
        output: (E, C, D_out) or (E, irreps_out.dim).

    Raises:
        GeometryError: as `EdgeTensorProduct`, or an unknown evaluation.

    Example:
        >>> product = MessageProduct("4x0e + 4x1o", "0e + 1o", "4x0e + 4x1o")
        >>> geometry = product.geometry(torch.randn(7, 3))
        >>> product(torch.randn(7, 4, 4), geometry, torch.randn(7, 4)).shape
        torch.Size([7, 4, 4])
    """

    def __init__(
        self,
        irreps_in: str | o3.Irreps,
        irreps_sh: str | o3.Irreps,
        irreps_out: str | o3.Irreps,
        *,
        instructions: Sequence[tuple[int, int, int]] | None = None,
        per_channel: bool = False,
        evaluation: Evaluation = "auto",
    ) -> None:
        super().__init__()
        if evaluation not in ("auto", "matrix", "so2"):
            raise GeometryError(f"evaluation {evaluation!r}: wanted 'auto', 'matrix' or 'so2'")
        self.per_channel, self.evaluation = per_channel, evaluation
        self.reduced = SO2TensorProduct(irreps_in, irreps_sh, irreps_out, instructions=instructions)
        self.direct: EdgeTensorProduct = self.reduced.direct
        self.paths, self.weight_numel = self.direct.paths, self.direct.weight_numel

    def geometry(self, edge_vec: Tensor) -> Tensor | EdgeFrames:
        """Harmonics (E, irreps_sh.dim) or frames of the edges, as the evaluation chosen for their device wants them."""
        if self.chosen(edge_vec.device.type) == "so2":
            return edge_frames(edge_vec, self.reduced.lmax)
        return o3.spherical_harmonics(self.direct.irreps_sh, edge_vec, normalize=True, normalization="component")

    def forward(self, x: Tensor, geometry: Tensor | EdgeFrames, weight: Tensor | None = None) -> Tensor:
        """The product at every edge; see the class for shapes."""
        if isinstance(geometry, EdgeFrames):
            return self.reduced(x, geometry, weight)
        return self.direct(x, geometry, weight)

    def chosen(self, device: str) -> str:
        """The evaluation on a type of device."""
        if self.evaluation != "auto":
            return self.evaluation
        threshold = SO2_FROM.get((device, self.per_channel), SO2_FROM["cpu", self.per_channel])
        return "so2" if self.reduced.lmax >= threshold else "matrix"


def expressivity(lmax: int) -> dict[str, int]:
    """Dimensions of the bilinear maps that each product makes with free weights per degree around it, one channel.

    A Clebsch-Gordan product has a weight per path. A product on a grid has one for each degree of both factors and of
    the result, so its paths' weights are products of three numbers: a variety whose dimension is the rank of its
    tangent at a generic point.

    Source:
        Xie et al. 2025, "The price of freedom" (arXiv 2506.13523), where expressivity is the dimension of the bilinear
        maps that a product and linear layers before and after it make.

    Args:
        lmax: largest degree of both natural-parity factors and of the result.

    Example:
        >>> expressivity(2)
        {'clebsch_gordan': 11, 'clebsch_gordan_both_parities': 15, 'gaunt': 7, 'gaunt_and_bracket': 9}
    """
    degrees = range(lmax + 1)
    coupled = [(a, b, c) for a in degrees for b in degrees for c in degrees if abs(a - b) <= c <= a + b]
    even, odd = ([path for path in coupled if sum(path) % 2 == rest] for rest in (0, 1))
    return {
        "clebsch_gordan": len(even),
        "clebsch_gordan_both_parities": len(coupled),
        "gaunt": _tangent_rank(even, lmax),
        "gaunt_and_bracket": _tangent_rank(coupled, lmax),
    }


def _tangent_rank(paths: list[tuple[int, int, int]], lmax: int) -> int:
    """Rank of d(w1[a] w2[b] w3[c, parity]) over all weights, at random ones."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(4, lmax + 1, dtype=torch.float64, generator=generator) + 0.5

    def path_weights(w: Tensor) -> Tensor:
        return torch.stack([w[0, a] * w[1, b] * w[2 + (a + b + c) % 2, c] for a, b, c in paths])

    jacobian = torch.autograd.functional.jacobian(path_weights, weights).flatten(1)
    return int(torch.linalg.matrix_rank(jacobian).item())
