"""Radial bases and cutoff functions: what models read of the length of an edge.

A basis knows nothing of the end of the edge list; multiplied by a cutoff function it goes to zero there. How smoothly
says `smoothness`, the number of continuous derivatives: forces need one, force training two (it follows the
derivative of forces).
"""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from weightspace.errors import ConfigurationError


class AbstractCutoff(nn.Module, ABC):
    """A function of a distance that is zero from `cutoff` on.

    Args:
        cutoff: in the unit of distances.

    Attributes:
        smoothness: how many derivatives are continuous at the cutoff.

    Shapes:
        any shape -> the same.
    """

    smoothness: float

    def __init__(self, cutoff: float):
        super().__init__()
        if not cutoff > 0:
            raise ConfigurationError(f"{type(self).__name__}: found cutoff={cutoff}, wanted a positive distance")
        self.cutoff = cutoff

    def forward(self, edge_len: Tensor) -> Tensor:
        """The function's values."""
        inside = edge_len < self.cutoff
        # 0 where the edge is outside: its value and its gradients count for nothing, and are finite
        return torch.where(inside, self.inside((edge_len / self.cutoff).masked_fill(~inside, 0)), 0)

    @abstractmethod
    def inside(self, x: Tensor) -> Tensor:
        """The function of x = edge_len / cutoff in [0, 1)."""


class CosineCutoff(AbstractCutoff):
    """(1 + cos(pi d / c)) / 2.

    Source: Behler 2011, "Atom-centered symmetry functions", doi 10.1063/1.3553717, eq. 4; SchNet, PhysNet and TensorNet
    use it. Its second derivative jumps at the cutoff, so derivatives of forces do.

    Example:
        >>> CosineCutoff(2.0)(torch.tensor([0.0, 1.0, 2.0, 3.0])).round(decimals=5).tolist()
        [1.0, 0.5, 0.0, 0.0]
    """

    smoothness = 1

    def inside(self, x: Tensor) -> Tensor:
        """Half a period."""
        return 0.5 * (torch.cos(math.pi * x) + 1)


class PolynomialCutoff(AbstractCutoff):
    """1 - (p+1)(p+2)/2 x^p + p(p+2) x^(p+1) - p(p+1)/2 x^(p+2) with x = d / c.

    Source: Gasteiger, Gross and Günnemann 2020 (DimeNet), arXiv 2003.03123, eq. 8, with their p one higher: NequIP and
    MACE write it so. Value and two derivatives are zero at the cutoff.

    Args:
        cutoff: in the unit of distances.
        p: the lowest power; larger ones stay near 1 for longer.

    Example:
        >>> PolynomialCutoff(1.0, p=6)(torch.tensor([0.0, 1.0])).tolist()
        [1.0, 0.0]
    """

    smoothness = 2

    def __init__(self, cutoff: float, p: int = 6):
        super().__init__(cutoff)
        if p < 2:
            raise ConfigurationError(f"PolynomialCutoff: found p={p}, wanted 2 or more")
        self.p = p

    def inside(self, x: Tensor) -> Tensor:
        """The polynomial."""
        p = self.p
        return 1 - x**p * ((p + 1) * (p + 2) / 2 - p * (p + 2) * x + p * (p + 1) / 2 * x.square())


class MollifierCutoff(AbstractCutoff):
    """exp(1 - 1 / (1 - (d / c)^2)): all derivatives are zero at the cutoff.

    Source: the standard mollifier, as in SchNetPack (Schütt et al. 2019, doi 10.1021/acs.jctc.8b00908).

    Example:
        >>> MollifierCutoff(1.0)(torch.tensor([0.0, 1.0])).tolist()
        [1.0, 0.0]
    """

    smoothness = math.inf

    def inside(self, x: Tensor) -> Tensor:
        """The mollifier."""
        # 1e-3 below, exp(-1 / gap) is zero even in float64, and its gradient is kept from 0 * inf
        gap = (1 - x.square()).clamp_min(1e-3)
        return torch.exp(1 - 1 / gap)


def cutoff_function(name: str, cutoff: float) -> AbstractCutoff:
    """The cutoff function of a name.

    Args:
        name: "polynomial" (p = 6), "cosine" or "mollifier".
        cutoff: in the unit of distances.

    Raises:
        ConfigurationError: another name.

    Example:
        >>> cutoff_function("cosine", 5.0).smoothness
        1
    """
    known = {"polynomial": PolynomialCutoff, "cosine": CosineCutoff, "mollifier": MollifierCutoff}
    if name not in known:
        raise ConfigurationError(f"cutoff function: found {name!r}, wanted one of {', '.join(known)}")
    return known[name](cutoff)


class GaussianSmearing(nn.Module):
    """exp(-(d - mu_k)^2 / (2 delta^2)) with mu_k at equal distances delta from `start` to `cutoff`.

    Source: Schütt et al. 2017 (SchNet), arXiv 1706.08566, section 4.2.

    Args:
        num_rbf: how many functions.
        cutoff: centre of the last.
        start: centre of the first.

    Shapes:
        (E,) -> (E, num_rbf).

    Example:
        >>> GaussianSmearing(3, 2.0)(torch.tensor([1.0])).argmax().item()
        1
    """

    centers: Tensor

    def __init__(self, num_rbf: int, cutoff: float, *, start: float = 0.0):
        super().__init__()
        _check_number(self, num_rbf, 2)
        self.num_rbf = num_rbf
        self.coefficient = -0.5 / ((cutoff - start) / (num_rbf - 1)) ** 2
        self.register_buffer("centers", torch.linspace(start, cutoff, num_rbf, dtype=torch.float64).to(_dtype()))

    def forward(self, edge_len: Tensor) -> Tensor:
        """The functions' values."""
        return torch.exp(self.coefficient * (edge_len[:, None] - self.centers).square())


class BesselBasis(nn.Module):
    """sqrt(2 / c) sin(n pi d / c) / d for n = 1..num_rbf; constant below d = c / 10^6.

    Source: Gasteiger, Gross and Günnemann 2020 (DimeNet), arXiv 2003.03123, eq. 7.

    Args:
        num_rbf: how many functions.
        cutoff: where all are zero.
        trainable: whether the frequencies n pi are parameters.

    Shapes:
        (E,) -> (E, num_rbf).

    Example:
        >>> BesselBasis(8, 5.0)(torch.tensor([0.0, 5.0])).shape
        torch.Size([2, 8])
    """

    def __init__(self, num_rbf: int, cutoff: float, *, trainable: bool = False):
        super().__init__()
        _check_number(self, num_rbf, 1)
        self.num_rbf, self.cutoff = num_rbf, cutoff
        frequencies = (math.pi * torch.arange(1, num_rbf + 1, dtype=torch.float64)).to(_dtype())
        if trainable:
            self.frequencies = nn.Parameter(frequencies)
        else:
            self.register_buffer("frequencies", frequencies)

    def forward(self, edge_len: Tensor) -> Tensor:
        """The functions' values."""
        x = edge_len.clamp_min(1e-6 * self.cutoff)[:, None]  # torch.sinc has no third derivative at zero
        return math.sqrt(2 / self.cutoff) * torch.sin(x * (self.frequencies / self.cutoff)) / x


class ExpNormalSmearing(nn.Module):
    """exp(-beta_k (exp(-alpha d) - mu_k)^2), alpha = 5 / c: narrow near, wide far.

    Source: Unke and Meuwly 2019 (PhysNet), arXiv 1902.08408, eq. 7, with the constants of TorchMD-Net (Thölke and De
    Fabritiis 2022, arXiv 2202.02541): mu_k at equal distances from exp(-c) to 1, beta_k = (2 / K (1 - exp(-c)))^-2. The
    cutoff function that both papers multiply by is left to the model.

    Args:
        num_rbf: how many functions.
        cutoff: in Å (mu and alpha depend on the unit).
        trainable: whether mu and beta are parameters.

    Shapes:
        (E,) -> (E, num_rbf).

    Example:
        >>> ExpNormalSmearing(4, 5.0)(torch.tensor([0.0])).argmax().item()
        3
    """

    def __init__(self, num_rbf: int, cutoff: float, *, trainable: bool = False):
        super().__init__()
        _check_number(self, num_rbf, 1)
        self.num_rbf, self.alpha = num_rbf, 5.0 / cutoff
        start = math.exp(-cutoff)
        means = torch.linspace(start, 1, num_rbf, dtype=torch.float64).to(_dtype())
        betas = torch.full((num_rbf,), (2 / num_rbf * (1 - start)) ** -2)
        if trainable:
            self.means, self.betas = nn.Parameter(means), nn.Parameter(betas)
        else:
            self.register_buffer("means", means)
            self.register_buffer("betas", betas)

    def forward(self, edge_len: Tensor) -> Tensor:
        """The functions' values."""
        decay = torch.exp(-self.alpha * edge_len)[:, None]
        return torch.exp(-self.betas * (decay - self.means).square())


def _check_number(basis: nn.Module, num_rbf: int, least: int) -> None:
    if num_rbf < least:
        raise ConfigurationError(f"{type(basis).__name__}: found num_rbf={num_rbf}, wanted {least} or more")


def _dtype() -> torch.dtype:
    return torch.get_default_dtype()
