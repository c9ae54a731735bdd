"""The message product: node features with the spherical harmonics of an edge, through one matrix per edge."""

from collections.abc import Sequence

import torch
from e3nn import o3
from torch import Tensor, nn

from weightspace.errors import GeometryError
from weightspace.geometric._constants import ExactConstants, exact_tables
from weightspace.geometric._layout import IrrepsLayout, irreps_of, native_rows
from weightspace.geometric._paths import Path, coupling_paths
from weightspace.geometric._take import take


class EdgeTensorProduct(nn.Module):
    """Tensor product of node features with an edge's spherical harmonics, all Clebsch-Gordan paths or chosen ones.

    It equals `e3nn.o3.TensorProduct` with 'uvu' instructions, path for path and with e3nn's normalisation. Two
    evaluations, chosen by the shape of the weights:

    - weights shared by the channels, (E, P): the coefficients, harmonics and weights of an edge make one matrix
      M_e[i, k] = sum over paths p and components j of w[e, p] C_p[i, j, k] Y[e, j], which all channels share:
      out[e, c] = x[e, c] M_e. Memory per edge is D_in D_out, independent of the number of channels.
    - weights per channel, (E, P, C), what NequIP and MACE use: x is weighted path by path and then contracted with
      one matrix per edge and output entry.

    Source:
        Thomas et al. 2018 (arXiv 1802.08219), equation 5; e3nn (arXiv 2207.09453) for conventions. The order of
        evaluation is this library's own.

    Args:
        irreps_in: of the node features. Entries may have different multiplicities; they are padded.
        irreps_sh: of the harmonics, multiplicity one in every entry.
        irreps_out: of the result.
        instructions: (entry in, entry sh, entry out) triples as in e3nn; None takes every allowed path.

    Shapes:
        x: (E, C, D_in) native or (E, irreps_in.dim) in mul_ir, gathered at the edges' sources.
        edge_sh: (E, irreps_sh.dim).
        weight: (E, P) shared by the channels, or (P,) by the edges, too; per channel (E, P, C) or e3nn's flat
        (E, weight_numel); None means ones.
        output: (E, C, D_out) or (E, irreps_out.dim), in the layout of x.

    Raises:
        GeometryError: irreps without a path, several harmonics in an entry, shapes that do not fit.

    Example:
        >>> product = EdgeTensorProduct("8x0e + 8x1o", "0e + 1o", "8x0e + 8x1o")
        >>> len(product.paths), product.weight_numel
        (4, 32)
        >>> product(torch.randn(5, 8, 4), torch.randn(5, 4), torch.randn(5, 4)).shape
        torch.Size([5, 8, 4])
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
        self.irreps_in, self.irreps_sh, self.irreps_out = (
            irreps_of(irreps, name)
            for irreps, name in ((irreps_in, "irreps_in"), (irreps_sh, "irreps_sh"), (irreps_out, "irreps_out"))
        )
        if any(mul != 1 for mul, _ in self.irreps_sh):
            raise GeometryError(f"irreps_sh: {self.irreps_sh} has multiplicities; give each once, as '0e + 1o'")
        self.paths = coupling_paths(self.irreps_in, self.irreps_sh, self.irreps_out, instructions)
        self.layout_in, self.layout_out = IrrepsLayout(self.irreps_in), IrrepsLayout(self.irreps_out)
        self.channels, self._sh_dim = self.layout_in.channels, self.irreps_sh.dim
        self._multiplicities = [self.irreps_in[path.slot_1].mul for path in self.paths]
        self._check_multiplicities()
        self.weight_numel = sum(self._multiplicities)
        with exact_tables():
            layouts = self.layout_in, IrrepsLayout(self.irreps_sh), self.layout_out
            self._shared, self._per_channel = _MatrixPlan(self.paths, *layouts), _WeightedPlan(self.paths, *layouts)

    def forward(self, x: Tensor, edge_sh: Tensor, weight: Tensor | None = None) -> Tensor:
        """The product at every edge; see the class for shapes."""
        x, native = native_rows(x, self.layout_in, "x")
        if edge_sh.shape != (x.shape[0], self._sh_dim):
            raise GeometryError(
                f"edge_sh: found {tuple(edge_sh.shape)}, wanted {(x.shape[0], self._sh_dim)}: a row of "
                f"{self.irreps_sh} for each of x's rows"
            )
        weight = self.path_weights(x, weight)
        plan = self._shared if weight.ndim == 2 else self._per_channel
        out = plan(x, edge_sh, weight)
        return out if native else self.layout_out.to_mul_ir(out)

    def extra_repr(self) -> str:
        """Irreps and number of paths."""
        return f"{self.irreps_in} x {self.irreps_sh} -> {self.irreps_out} | {len(self.paths)} paths"

    def _check_multiplicities(self) -> None:
        for path in self.paths:
            mul_in, mul_out = self.irreps_in[path.slot_1].mul, self.irreps_out[path.slot_out].mul
            if mul_in != mul_out:
                raise GeometryError(
                    f"path {path.slot_1, path.slot_2, path.slot_out}: {mul_in} channels in, {mul_out} out; a product "
                    "channel by channel keeps their number, mix channels with a linear map before or after"
                )

    def path_weights(self, x: Tensor, weight: Tensor | None) -> Tensor:
        """Weights as (E, P) or (E, P, C) for native x (E, C, D_in), from any of the forms that `forward` takes.

        Raises:
            GeometryError: none of them.
        """
        edges, paths = x.shape[0], len(self.paths)
        if weight is None:
            return x.new_ones(edges, paths)
        if weight.ndim == 1 and len(weight) == paths:
            return weight.expand(edges, -1)
        if weight.shape == (edges, paths) or weight.shape == (edges, paths, x.shape[1]):
            return weight
        if weight.shape == (edges, self.weight_numel) and x.shape[1] == self.channels:
            pieces = weight.split(self._multiplicities, dim=1)
            return torch.stack([nn.functional.pad(w, (0, self.channels - w.shape[1])) for w in pieces], dim=1)
        raise GeometryError(
            f"weight: found {tuple(weight.shape)}, wanted (E, P) = {(edges, paths)} shared by the channels, or "
            f"(E, P, C) = {(edges, paths, x.shape[1])}, or flat {(edges, self.weight_numel)} per channel where x has "
            f"{self.channels} channels"
        )


class _MatrixPlan:
    """Weights shared by the channels: one matrix per edge, built block by block from small products.

    The block of an input entry i and an output entry k is U @ G with U[e, (p, j)] = w[e, p] Y[e, j] over the paths
    that join them and G their coefficients; rows of U are gathered from transposed harmonics and weights, which are
    copies of contiguous memory.
    """

    def __init__(
        self, paths: Sequence[Path], layout_in: IrrepsLayout, layout_sh: IrrepsLayout, layout_out: IrrepsLayout
    ) -> None:
        self.shape = (layout_in.dim, layout_out.dim)
        harmonics: list[int] = []
        weights: list[int] = []
        self.rows: list[int] = []
        blocks: list[Tensor] = []
        place = torch.full(self.shape, -1, dtype=torch.long)
        filled = 0
        for a, c in sorted({(path.slot_1, path.slot_out) for path in paths}):
            joined = [(number, path) for number, path in enumerate(paths) if (path.slot_1, path.slot_out) == (a, c)]
            for number, path in joined:
                size = layout_sh.sizes[path.slot_2]
                harmonics += range(layout_sh.offsets[path.slot_2], layout_sh.offsets[path.slot_2] + size)
                weights += [number] * size
            blocks.append(torch.cat([path.tensor.permute(1, 0, 2).flatten(1) for _, path in joined]))  # (rows, I * K)
            self.rows.append(len(blocks[-1]))
            height, width = layout_in.sizes[a], layout_out.sizes[c]
            top, left = layout_in.offsets[a], layout_out.offsets[c]
            numbers = torch.arange(filled, filled + height * width).view(height, width)
            place[top : top + height, left : left + width] = numbers
            filled += height * width
        place = place.flatten()
        place[place < 0] = filled  # a column of zeros stands where no path leads
        back = torch.empty(filled, dtype=torch.long)
        back[place[place < filled]] = torch.nonzero(place < filled).flatten()
        self.constants = ExactConstants(
            harmonics=torch.tensor(harmonics),
            weights=torch.tensor(weights),
            place=place,
            back=back,
            **{f"block{number}": block for number, block in enumerate(blocks)},
        )

    def __call__(self, x: Tensor, edge_sh: Tensor, weight: Tensor) -> Tensor:
        matrix = self.matrix(edge_sh, weight)
        if self.shape[1] % 8:  # odd widths are faster with the channels innermost
            return torch.bmm(matrix.transpose(1, 2), x.transpose(1, 2)).transpose(1, 2)
        return torch.bmm(x, matrix)  # (E, C, D_out)

    def matrix(self, edge_sh: Tensor, weight: Tensor) -> Tensor:
        """M (E, D_in, D_out)."""
        of = self.constants.like
        harmonics = take(edge_sh.t().contiguous(), 0, of("harmonics", edge_sh))  # (rows, E)
        weights = take(weight.t().contiguous(), 0, of("weights", edge_sh))
        pieces = (harmonics * weights).split(self.rows)
        blocks = [piece.t() @ of(f"block{number}", edge_sh) for number, piece in enumerate(pieces)]
        flat = _Gather.apply(torch.cat(blocks, dim=1), of("place", edge_sh), of("back", edge_sh))
        return flat.view(-1, *self.shape)


class _Gather(torch.autograd.Function):
    """Columns to places where each stands at most once, zeros at the others; its gradient is a gather, not a scatter.

    `index` names the column of every place, one past the last for zeros; `back` the place of every column.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(columns: Tensor, index: Tensor, back: Tensor) -> Tensor:
        if len(index) > len(back):
            columns = nn.functional.pad(columns, (0, 1))
        return take(columns, 1, index)

    @staticmethod
    def setup_context(ctx, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:
        index, back = ctx.saved_tensors
        return _Gather.apply(gradient, back, index), None, None


class _WeightedPlan:
    """Weights per channel: features weighted path by path, then one small matrix per edge and output entry."""

    def __init__(
        self, paths: Sequence[Path], layout_in: IrrepsLayout, layout_sh: IrrepsLayout, layout_out: IrrepsLayout
    ) -> None:
        self.sizes_in, self.sizes_out = layout_in.sizes, layout_out.sizes
        self.joined = [
            [(number, path.slot_1) for number, path in enumerate(paths) if path.slot_out == c]
            for c in range(len(self.sizes_out))
        ]
        blocks = []
        for c, size in enumerate(self.sizes_out):
            columns = []
            for path in (path for path in paths if path.slot_out == c):
                start = layout_sh.offsets[path.slot_2]
                block = torch.zeros(layout_sh.dim, size, layout_in.sizes[path.slot_1], dtype=torch.float64)
                block[start : start + layout_sh.sizes[path.slot_2]] = path.tensor.permute(1, 2, 0)
                columns.append(block)
            blocks.append(torch.cat(columns, dim=2).flatten(1) if columns else torch.zeros(layout_sh.dim, 0))
        self.widths = [block.shape[1] for block in blocks]
        self.inner = [width // size for width, size in zip(self.widths, self.sizes_out, strict=True)]
        self.constants = ExactConstants(blocks=torch.cat(blocks, dim=1).double())

    def __call__(self, x: Tensor, edge_sh: Tensor, weight: Tensor) -> Tensor:
        features = x.transpose(1, 2).contiguous().split(self.sizes_in, dim=1)  # (E, 2 l + 1, C) each
        weights = weight.split(1, dim=1)  # (E, 1, C) each
        matrices = (edge_sh @ self.constants.like("blocks", edge_sh)).split(self.widths, dim=1)
        outputs = []
        for size, inner, joined, matrix in zip(self.sizes_out, self.inner, self.joined, matrices, strict=True):
            if not joined:
                outputs.append(x.new_zeros(x.shape[0], size, x.shape[1]))
                continue
            weighted = torch.cat([features[slot] * weights[number] for number, slot in joined], dim=1)
            outputs.append(torch.bmm(matrix.view(x.shape[0], size, inner), weighted))  # (E, 2 l + 1, C)
        return torch.cat(outputs, dim=1).transpose(1, 2)
