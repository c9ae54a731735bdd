"""The message product in the frame of each edge: rotate, couple components m and -m, rotate back."""

from collections.abc import Sequence

import torch
from e3nn import o3
from torch import Tensor, nn

from weightspace.errors import GeometryError
from weightspace.geometric._constants import ExactConstants, exact_tables
from weightspace.geometric._edge_frames import EdgeFrames, edge_frames, frame_constants
from weightspace.geometric._edge_product import EdgeTensorProduct
from weightspace.geometric._layout import native_rows
from weightspace.geometric._paths import Path
from weightspace.geometric._take import take


class SO2TensorProduct(nn.Module):
    """The same function as `EdgeTensorProduct` on the harmonics of `edge_vec`, by eSCN's reduction to SO(2).

    In an edge's frame only the harmonics with m = 0 differ from zero, so a component m of an input degree meets
    components m and -m of an output degree alone: O(L^3) products for each channel instead of O(L^4) or more. The
    frames' Wigner matrices cost one product with trigonometric polynomials (`edge_frames`) and can be shared by
    layers. Weights per channel cost no more than shared ones.

    Source:
        Passaro and Zitnick 2023 (arXiv 2302.03655), equations 4-7. Deviates: weights stay those of the paths, so that
        the result equals the Clebsch-Gordan product; eSCN's own weights, free for each (l, l', m), are in `ESCN`.

    Args:
        irreps_in: of the node features.
        irreps_sh: of the harmonics that the paths name; they are evaluated in the frame.
        irreps_out: of the result.
        instructions: as for `EdgeTensorProduct`.

    Shapes:
        x: (E, C, D_in) native or (E, irreps_in.dim) in mul_ir, gathered at the edges' sources.
        frames: `EdgeFrames` of the edges, or the edge vectors (E, 3).
        weight: (E, P) shared, (E, P, C) or e3nn's flat (E, weight_numel) per channel; None means ones.
        output: (E, C, D_out) or (E, irreps_out.dim), in the layout of x.

    Raises:
        GeometryError: as `EdgeTensorProduct`, and frames of too small a degree.

    Example:
        >>> arguments = ("8x0e + 8x1o", "0e + 1o", "8x0e + 8x1o")
        >>> x, edge_vec, weight = torch.randn(5, 8, 4), torch.randn(5, 3), torch.randn(5, 4, 8)
        >>> sh = o3.spherical_harmonics("0e + 1o", edge_vec, True, "component")
        >>> out = SO2TensorProduct(*arguments)(x, edge_vec, weight)
        >>> torch.allclose(out, EdgeTensorProduct(*arguments)(x, sh, weight), atol=1e-5)
        True
    """

    def __init__(
        self,
        irreps_in: str | o3.Irreps,
        irreps_sh: str | o3.Irreps,
        irreps_out: str | o3.Irreps,
        *,
        instructions: Sequence[tuple[int, int, int]] | None = None,
    ) -> None:
        super().__init__()
        self.direct = EdgeTensorProduct(irreps_in, irreps_sh, irreps_out, instructions=instructions)
        self.paths, self.weight_numel = self.direct.paths, self.direct.weight_numel
        self.degrees_in = [ir.l for _, ir in self.direct.irreps_in]
        self.degrees_out = [ir.l for _, ir in self.direct.irreps_out]
        self.lmax = max(self.degrees_in + self.degrees_out)
        frame_constants(self.lmax)
        with exact_tables():
            self._constants = _frame_couplings(self.direct)

    def forward(self, x: Tensor, frames: EdgeFrames | Tensor, weight: Tensor | None = None) -> Tensor:
        """The product at every edge; see the class for shapes."""
        x, native = native_rows(x, self.direct.layout_in, "x")
        if isinstance(frames, Tensor):
            frames = edge_frames(frames, self.lmax)
        if frames.lmax < self.lmax or frames.matrices[0].shape[0] != x.shape[0]:
            raise GeometryError(
                f"frames: {frames.matrices[0].shape[0]} edges up to degree {frames.lmax}, wanted {x.shape[0]} up to "
                f"{self.lmax}; make them with edge_frames(edge_vec, {self.lmax})"
            )
        weight = self.direct.path_weights(x, weight)
        if weight.ndim == 2:
            weight = weight[:, :, None]  # (E, P, 1)
        of = self._constants.like
        turned = frames.rotate(x.transpose(1, 2), self.degrees_in)  # (E, D_in, C)
        couplings = torch.matmul(of("couplings", x), weight)  # (E, Q, C)
        products = take(turned, 1, of("columns", x)) * couplings
        found = torch.matmul(of("into", x), products)  # (E, D_out, C)
        out = frames.rotate(found, self.degrees_out, back=True).transpose(1, 2)
        return out if native else self.direct.layout_out.to_mul_ir(out)

    def extra_repr(self) -> str:
        """Irreps and number of couplings."""
        return f"{self._constants.like('columns', torch.zeros(())).numel()} couplings of single components"


def _frame_couplings(product: EdgeTensorProduct) -> ExactConstants:
    """Which input component goes into which output component in the frame, and with which weights.

    couplings (Q, P) takes path weights to one number for each of Q pairs of components, columns (Q,) names the
    input's, into (D_out, Q) adds the products up.
    """
    pairs: dict[tuple[int, int], dict[int, float]] = {}
    for number, path in enumerate(product.paths):
        matrix = _in_frame(path)
        top, left = product.layout_in.offsets[path.slot_1], product.layout_out.offsets[path.slot_out]
        for i, k in torch.nonzero(matrix.abs() > 1e-12).tolist():
            pairs.setdefault((left + k, top + i), {})[number] = matrix[i, k].item()
    order = sorted(pairs)
    couplings = torch.zeros(len(order), len(product.paths), dtype=torch.float64)
    into = torch.zeros(product.layout_out.dim, len(order), dtype=torch.float64)
    for row, pair in enumerate(order):
        into[pair[0], row] = 1
        for number, value in pairs[pair].items():
            couplings[row, number] = value
    return ExactConstants(couplings=couplings, into=into, columns=torch.tensor([pair[1] for pair in order]))


def _in_frame(path: Path) -> Tensor:
    """Coefficients (2 l1 + 1, 2 lout + 1) of a path on the polar axis, where Y_l is sqrt(2 l + 1) at m = 0."""
    l = path.degrees[1]
    return path.tensor[:, l] * (2 * l + 1) ** 0.5
