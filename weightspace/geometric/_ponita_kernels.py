"""Kernels on position-orientation space: a learned basis of invariants, or radial functions times Legendre ones."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from weightspace.geometric import _pair_invariants as invariants
from weightspace.geometric._neighbours import edge_lengths
from weightspace.geometric._ponita_messages import KernelRows
from weightspace.geometric._radial import BesselBasis


@dataclass(frozen=True)
class KernelEdges:
    """What a kernel reads, at the rows where it is evaluated.

    Args:
        rows: which edges these are, and which points they join.
        vec: pos[target] - pos[source] (R, d).
        weight: window of each (R,).
        attr: attributes (R, A), or None.
        ori_source: where points carry an orientation of their own, that of the source (R, d).
        ori_target: and of the target (R, d).
    """

    rows: KernelRows
    vec: Tensor
    weight: Tensor
    attr: Tensor | None = None
    ori_source: Tensor | None = None
    ori_target: Tensor | None = None

    def pieces(self, size: int) -> list["KernelEdges"]:
        """At most `size` rows each."""
        starts = range(0, len(self.rows), size)
        return [self._piece(start, min(start + size, len(self.rows))) for start in starts]

    def _piece(self, start: int, stop: int) -> "KernelEdges":
        others = [None if t is None else t[start:stop] for t in (self.attr, self.ori_source, self.ori_target)]
        return KernelEdges(
            self.rows.piece(start, stop),
            self.vec[start:stop],
            self.weight[start:stop],
            *others,
        )


class AbstractPonitaKernel(nn.Module, ABC):
    """The part of all kernels that the layers share; each layer has a linear map of it."""

    @abstractmethod
    def embed(self, edges: KernelEdges, ori: Tensor | None) -> tuple[Tensor, ...]:
        """What the layers' maps read, for every row."""

    @abstractmethod
    def embed_own(self, like: Tensor) -> Tensor | None:
        """The same for a point and itself; None where layers have a weight of their own for that."""

    @abstractmethod
    def embed_fiber(self, ori: Tensor) -> Tensor:
        """What the layers' fibre maps read, for every pair of orientations (O, O, B)."""

    @abstractmethod
    def pair_map(self) -> "AbstractPairMap":
        """A new layer's map to kernels."""

    @abstractmethod
    def fiber_map(self) -> nn.Linear:
        """A new layer's map to fibre kernels."""


class AbstractPairMap(nn.Module, ABC):
    """One layer's linear map from what is shared to its kernel."""

    @abstractmethod
    def kernel(self, *embedded: Tensor) -> Tensor:
        """Kernels (R, O, C)."""

    @abstractmethod
    def own(self, embedded: Tensor | None) -> Tensor:
        """Kernel between a point and itself, the same for all orientations (1, 1, C)."""


class BasisMLP(nn.Sequential):
    """Monomials of invariants, then two linear maps with GELU: (..., d) -> (..., basis_channels).

    Args:
        entries: how many invariants.
        degree: of the monomials.
        channels: hidden width.
        basis_channels: B.
    """

    def __init__(self, entries: int, degree: int, channels: int, basis_channels: int):
        width = len(invariants.monomial_places(entries, degree))
        super().__init__(nn.Linear(width, channels), nn.GELU(), nn.Linear(channels, basis_channels), nn.GELU())
        self.entries, self.degree = entries, degree

    def forward(self, x: Tensor) -> Tensor:
        """Basis functions of the invariants."""
        return super().forward(invariants.monomials(x, self.degree))


class MLPKernel(AbstractPonitaKernel):
    """Kernels as linear maps of a basis that an MLP makes of the invariants, as in the paper.

    Args:
        channels: C.
        basis_channels: B.
        degree: of the monomials of the invariants.
        own: the invariants of a point and itself, with its attributes; as many as an edge has.
        fiber: whether there is a grid of orientations.
    """

    own_entries: Tensor

    def __init__(
        self, *, channels: int, basis_channels: int, own: tuple[float, ...], degree: int = 3, fiber: bool = True
    ):
        super().__init__()
        self.channels, self.basis_channels = channels, basis_channels
        self.pair = BasisMLP(len(own), degree, channels, basis_channels)
        self.fiber = BasisMLP(1, degree, channels, basis_channels) if fiber else None
        self.register_buffer("own_entries", torch.tensor(own), persistent=False)

    def embed(self, edges: KernelEdges, ori: Tensor | None) -> tuple[Tensor, ...]:
        """The windowed basis (R, O, B)."""
        if ori is not None:
            found = invariants.grid_invariants(edges.vec, ori)
        elif edges.ori_source is not None and edges.ori_target is not None:
            found = invariants.oriented_invariants(edges.vec, edges.ori_source, edges.ori_target)
        else:
            found = invariants.position_invariants(edges.vec)
        if edges.attr is not None:
            found = torch.cat([found, edges.attr[:, None].expand(-1, found.shape[1], -1)], dim=-1)
        return (self.pair(found) * edges.weight[:, None, None],)

    def embed_own(self, like: Tensor) -> Tensor:
        """The basis at the invariants of a point and itself (1, 1, B)."""
        return self.pair(self.own_entries[None, None])

    def embed_fiber(self, ori: Tensor) -> Tensor:
        """The basis of o . o' (O, O, B)."""
        assert self.fiber is not None
        return self.fiber(invariants.fiber_invariants(ori))

    def pair_map(self) -> "MLPPairMap":
        """Linear map of the basis."""
        return MLPPairMap(self.basis_channels, self.channels)

    def fiber_map(self) -> nn.Linear:
        """Linear map of the fibre basis."""
        return nn.Linear(self.basis_channels, self.channels, bias=False)


class MLPPairMap(AbstractPairMap):
    """A linear map of the basis.

    Args:
        basis_channels: B.
        channels: C.
    """

    def __init__(self, basis_channels: int, channels: int):
        super().__init__()
        self.linear = nn.Linear(basis_channels, channels, bias=False)

    def kernel(self, *embedded: Tensor) -> Tensor:
        """(R, O, B) -> (R, O, C)."""
        return self.linear(embedded[0])

    def own(self, embedded: Tensor | None) -> Tensor:
        """(1, 1, B) -> (1, 1, C)."""
        assert embedded is not None
        return self.linear(embedded)


class LegendreKernel(AbstractPonitaKernel):
    """Kernels sum over n, l of w_nl R_n(|r|) P_l(cos angle(r, o)): nothing is learned before the layers' linear maps.

    Args:
        channels: C.
        cutoff: where the Bessel functions R_n have their zeros.
        radial: how many R_n.
        degree: largest l.
    """

    def __init__(self, *, channels: int, cutoff: float, radial: int, degree: int):
        super().__init__()
        self.channels, self.degree = channels, degree
        self.radial = BesselBasis(radial, cutoff)

    def embed(self, edges: KernelEdges, ori: Tensor | None) -> tuple[Tensor, ...]:
        """Windowed radial functions (R, n) and Legendre polynomials (R, O, L + 1)."""
        assert ori is not None
        edge_len = edge_lengths(edges.vec)
        radial = self.radial(edge_len) * edges.weight[:, None]
        unit = edges.vec / edge_len.masked_fill(edge_len == 0, 1)[:, None]
        return radial, invariants.legendre(-unit @ ori.T, self.degree)

    def embed_own(self, like: Tensor) -> None:
        """Nothing: each layer has a weight for it."""

    def embed_fiber(self, ori: Tensor) -> Tensor:
        """Legendre polynomials of o . o' (O, O, L + 1)."""
        return invariants.legendre(ori @ ori.T, self.degree)

    def pair_map(self) -> "LegendrePairMap":
        """Weights w_nl of every channel."""
        return LegendrePairMap(self.radial.num_rbf, self.degree, self.channels)

    def fiber_map(self) -> nn.Linear:
        """Weights of P_l(o . o') for every channel."""
        return nn.Linear(self.degree + 1, self.channels, bias=False)


class LegendrePairMap(AbstractPairMap):
    """Weights of radial functions and Legendre polynomials, and of a point itself.

    Args:
        radial: how many radial functions.
        degree: largest l.
        channels: C.
    """

    def __init__(self, radial: int, degree: int, channels: int):
        super().__init__()
        self.linear = nn.Linear(radial, (degree + 1) * channels, bias=False)
        self.itself = nn.Parameter(torch.empty(channels).uniform_(-1, 1))
        self.channels = channels

    def kernel(self, *embedded: Tensor) -> Tensor:
        """(R, n) and (R, O, L + 1) -> (R, O, C)."""
        radial, angular = embedded
        return angular @ self.linear(radial).unflatten(-1, (-1, self.channels))  # (R, O, L+1) x (R, L+1, C)

    def own(self, embedded: Tensor | None) -> Tensor:
        """(1, 1, C)."""
        return self.itself[None, None]
