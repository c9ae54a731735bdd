"""Separable convolution on position-orientation space, ConvNeXt blocks, and the trunk that stacks them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu
from torch.utils.checkpoint import checkpoint

from weightspace.errors import ConfigurationError
from weightspace.geometric._orientation_grids import OrientationGrid
from weightspace.geometric._ponita_kernels import AbstractPonitaKernel, KernelEdges
from weightspace.geometric._ponita_messages import messages

WIDENING = 4
Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True)
class PonitaEvaluation:
    """How a trunk is evaluated; the function is the same.

    Args:
        share_pairs: one kernel for both directions of a pair wherever that is exact.
        kernel_rows: None keeps what the backward pass needs; a number evaluates kernels (and the MLPs of the blocks)
            anew in the backward pass, that many edges times orientations at once.
    """

    share_pairs: bool = True
    kernel_rows: int | None = None


class GridTensors(nn.Module):
    """A grid's tensors on the device of a module, in full precision whatever dtype the module is cast to.

    Args:
        grid: the grid.
    """

    ori_bits: Tensor
    weight_bits: Tensor
    antipode: Tensor | None

    def __init__(self, grid: OrientationGrid):
        super().__init__()
        self.name = grid.name
        # integers are moved between devices but never rounded by model.float() or model.half()
        self.register_buffer("ori_bits", grid.ori.contiguous().view(torch.int64).clone())
        self.register_buffer("weight_bits", grid.weights.contiguous().view(torch.int64).clone())
        self.register_buffer("antipode", None if grid.antipode is None else grid.antipode.clone(), persistent=False)

    def forward(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Orientations (O, d) and weights (O,) in the dtype of another tensor."""
        ori, weights = self.ori_bits.view(torch.float64), self.weight_bits.view(torch.float64)
        return ori.to(like.dtype), weights.to(like.dtype)


@dataclass(frozen=True)
class ConvolutionInput:
    """What all blocks read beside their features.

    Args:
        edges: rows of kernels.
        embedded: the kernel's shared part at the rows, or None to evaluate it anew in pieces.
        own: the same for a point and itself.
        fiber: the fibre's (O, O, B), or None without a grid.
        ori: orientations (O, d), or None.
        weights: quadrature weights (O,).
        antipode: (O,), where kernels of pairs are shared.
        rows_at_once: edges, or points, in a piece that is evaluated anew.
    """

    edges: KernelEdges
    embedded: tuple[Tensor, ...] | None
    own: Tensor | None
    fiber: Tensor | None
    ori: Tensor | None
    weights: Tensor
    antipode: Tensor | None
    rows_at_once: int = 0


class SeparableConv(nn.Module):
    """The two parts of a depthwise convolution: over positions, then over orientations.

    x1[i, o] = sum over j of k(x_j - x_i, o) x[j, o], the point itself among the j, then
    x2[i, o'] = sum over o of w_o k_fiber(o . o') x1[i, o] + bias.

    Args:
        kernel: what makes the shared part of the kernels.
        channels: C.
        fiber: whether there is a grid of orientations.
    """

    def __init__(self, kernel: AbstractPonitaKernel, channels: int, *, fiber: bool):
        super().__init__()
        self.pair = kernel.pair_map()
        self.fiber = kernel.fiber_map() if fiber else None
        self.bias = nn.Parameter(torch.zeros(channels))

    def over_positions(self, x: Tensor, given: ConvolutionInput, kernel: AbstractPonitaKernel) -> Tensor:
        """x1 (N, O, C)."""
        out = x * self.pair.own(given.own)
        if given.embedded is not None:
            return out + messages(self.pair.kernel(*given.embedded), x, given.edges.rows, given.antipode)

        def piece(x: Tensor, edges: KernelEdges) -> Tensor:
            found = self.pair.kernel(*kernel.embed(edges, given.ori))
            return messages(found, x, edges.rows, given.antipode)

        for edges in given.edges.pieces(given.rows_at_once):
            out = out + _anew(piece, x, edges)
        return out

    def over_orientations(self, x: Tensor, given: ConvolutionInput) -> Tensor:
        """x2 without bias (N, O, C)."""
        if self.fiber is None or given.fiber is None:
            return x
        return torch.einsum("noc,opc->npc", x, self.fiber(given.fiber) * given.weights[:, None, None])


class ConvNeXtBlock(nn.Module):
    """x + layer_scale * MLP(LayerNorm(conv(x))), the MLP four times as wide inside, with GELU.

    Args:
        kernel: what makes the shared part of the kernels.
        channels: C.
        fiber: whether there is a grid of orientations.
        layer_scale: initial value of the scale of each channel; None for no scale.
    """

    def __init__(self, kernel: AbstractPonitaKernel, channels: int, *, fiber: bool, layer_scale: float | None):
        super().__init__()
        self.conv = SeparableConv(kernel, channels, fiber=fiber)
        self.norm = nn.LayerNorm(channels)
        self.linear_1 = nn.Linear(channels, WIDENING * channels)
        self.linear_2 = nn.Linear(WIDENING * channels, channels)
        self.layer_scale = None if layer_scale is None else nn.Parameter(torch.full((channels,), layer_scale))

    def forward(self, x: Tensor, given: ConvolutionInput, kernel: AbstractPonitaKernel) -> Tensor:
        """(N, O, C) -> (N, O, C)."""
        first = self.conv.over_positions(x, given, kernel)
        if given.embedded is not None:
            return x + self.at_points(first, given)
        pieces = first.split(given.rows_at_once)
        return x + torch.cat([_anew(self.at_points, piece, given) for piece in pieces])

    def at_points(self, first: Tensor, given: ConvolutionInput) -> Tensor:
        """What the block adds, of what the convolution over positions gave."""
        h = self.conv.over_orientations(first, given) + self.conv.bias
        h = self.linear_2(gelu(self.linear_1(self.norm(h))))
        return h if self.layer_scale is None else self.layer_scale * h


class PonitaTrunk(nn.Module):
    """Blocks on position-orientation space with a readout after each, averaged.

    Args:
        kernel: what makes kernels.
        grid: orientations, or None for features without (or with one of its own at each point).
        channels: C.
        layers: how many blocks.
        outputs: of the readouts.
        layer_scale: of the blocks.
        symmetric: without a grid, whether the kernel is the same in both directions of a pair.
    """

    def __init__(
        self,
        kernel: AbstractPonitaKernel,
        grid: OrientationGrid | None,
        *,
        channels: int,
        layers: int,
        outputs: int,
        layer_scale: float | None = None,
        symmetric: bool = True,
    ):
        super().__init__()
        self.evaluation = PonitaEvaluation()
        self.kernel = kernel
        self.grid = None if grid is None else GridTensors(grid)
        self.shares = symmetric if grid is None else grid.antipode is not None
        self.blocks = nn.ModuleList(
            ConvNeXtBlock(kernel, channels, fiber=grid is not None, layer_scale=layer_scale) for _ in range(layers)
        )
        self.readouts = nn.ModuleList(nn.Linear(channels, outputs) for _ in range(layers))

    def forward(self, x: Tensor, edges: KernelEdges) -> Tensor:
        """(N, O, C) -> (N, O, outputs)."""
        given = self.prepare(x, edges)
        read = []
        for block, readout in zip(self.blocks, self.readouts, strict=True):
            x = block(x, given, self.kernel)
            read.append(readout(x))
        return torch.stack(read).mean(0)

    def orientations(self, like: Tensor) -> tuple[Tensor | None, Tensor]:
        """Orientations (O, d), or None without a grid, and weights (O,)."""
        return (None, like.new_ones(1)) if self.grid is None else self.grid(like)

    def lift(self, x: Tensor) -> Tensor:
        """The same features at all orientations: (N, C) -> (N, O, C)."""
        orientations = 1 if self.grid is None else len(self.grid.ori_bits)
        return x[:, None].expand(-1, orientations, -1).contiguous()

    def prepare(self, x: Tensor, edges: KernelEdges) -> ConvolutionInput:
        """What all blocks share, evaluated once unless it is to be evaluated anew."""
        ori, weights = self.orientations(x)
        at_once = self.evaluation.kernel_rows
        return ConvolutionInput(
            edges,
            embedded=self.kernel.embed(edges, ori) if at_once is None else None,
            own=self.kernel.embed_own(x),
            fiber=None if ori is None else self.kernel.embed_fiber(ori),
            ori=ori,
            weights=weights,
            antipode=self.antipode(x) if edges.rows.shared else None,
            rows_at_once=0 if at_once is None else max(1, at_once // len(weights)),
        )

    def antipode(self, like: Tensor) -> Tensor | None:
        """Opposite of each orientation (O,); without a grid, the only one."""
        if self.grid is None:
            return torch.zeros(1, dtype=torch.long, device=like.device)
        return self.grid.antipode

    @torch.no_grad()
    def calibrate(self, x: Tensor, edges: KernelEdges) -> None:
        """Scale each layer's kernels so that convolutions keep the standard deviation of these features.

        The published code does this at the first training step.
        """
        given = self.prepare(x, edges)
        for module in self.blocks:
            block = cast(ConvNeXtBlock, module)
            conv = block.conv
            first = conv.over_positions(x, given, self.kernel)
            second = conv.over_orientations(first, given)
            for weight in conv.pair.parameters():
                weight.mul_(x.std() / first.std())
            if conv.fiber is not None:
                conv.fiber.weight.mul_(first.std() / second.std())
            x = block(x, given, self.kernel)


def set_ponita_evaluation(model: Model, *, share_pairs: bool = True, kernel_rows: int | None = None) -> Model:
    """Choose how the trunks inside a model are evaluated, in place; outputs and gradients are the same.

    Args:
        model: one with a `PonitaTrunk` inside.
        share_pairs: evaluate kernels once for both directions of a pair, where the grid is antipodal, every edge has
            its reverse, and the kernel reads no attributes of edges; elsewhere the plain evaluation runs anyhow.
        kernel_rows: None for speed; a number (such as 65536) for memory: kernels and MLPs are evaluated anew in the
            backward pass, that many edges times orientations at once.

    Returns:
        The model.

    Raises:
        ConfigurationError: there is no trunk inside, or `kernel_rows` is not positive.

    Example:
        >>> from weightspace.geometric import Ponita
        >>> model = set_ponita_evaluation(Ponita(channels=8, layers=1, basis_channels=8), kernel_rows=65536)
    """
    trunks = [module for module in model.modules() if isinstance(module, PonitaTrunk)]
    if not trunks:
        raise ConfigurationError(f"set_ponita_evaluation: found no PonitaTrunk in {type(model).__name__}, wanted one")
    if kernel_rows is not None and kernel_rows < 1:
        raise ConfigurationError(f"set_ponita_evaluation: found kernel_rows={kernel_rows}, wanted a positive number")
    for trunk in trunks:
        trunk.evaluation = replace(trunk.evaluation, share_pairs=share_pairs, kernel_rows=kernel_rows)
    return model


def _anew(function: Callable[..., Tensor], *inputs: object) -> Tensor:
    return checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False)
