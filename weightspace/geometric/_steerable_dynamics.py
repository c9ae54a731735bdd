"""Scalars and vectors on moving particles: where they will be."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from weightspace.geometric._dynamics import AbstractDynamicsModel, ParticleSystem
from weightspace.geometric._take import take


class SteerableDynamics(AbstractDynamicsModel):
    """Steerable features of degrees 0 and 1 on particles, with messages that see how velocities lie along an edge.

    Source: after Brandstetter, Hesselink, van der Pol, Bekkers and Welling 2022, "Geometric and physical quantities
    improve E(3) equivariant message passing" (SEGNN), arXiv 2110.02905, equations 7 and 8 and its n-body inputs:
    vectors x_i - mean(x) and v_i, scalars |v_i| and charge, q_i q_j at edges. With u_ij the direction from j to i,
    scalars s (N, C) and vectors V (N, 3, C), a layer is

        h_ij = silu(A s_i + B s_j + (P V_i + Q V_j) . u_ij + R(d_ij, q_i q_j))
        m_ij, a_ij, b_ij = W h_ij;  M_i = mean_j silu(m_ij),  U_i = mean_j (V_j a_ij + u_ij b_ij)
        s_i <- s_i + MLP(s_i, M_i, invariants of V_i + U_i),  V_i <- V_i + U_i + tanh(gate_i) T (V_i + U_i)

    and x_i + w V_i after the last.

    What deviates: degree 1 only, where a steerable linear map's product with u_ij has three paths that are written out;
    its parts for i and j are applied to particles before edges gather them; one such map for each message instead of
    two, with vectors weighted by scalars of the edge as in PaiNN (Schütt et al. 2021, arXiv 2102.03150); five functions
    of the distance, alone and times q_i q_j, instead of its square; no steerable attributes of nodes, no normalisation.

    Args:
        channels: C, scalars and vectors of a particle.
        layers: rounds.

    Shapes:
        see `AbstractDynamicsModel`.

    Example:
        >>> model = SteerableDynamics(channels=8, layers=2)
        >>> model(torch.randn(5, 3), torch.randn(5, 3), torch.ones(5, 1)).shape
        torch.Size([5, 3])
    """

    def __init__(self, *, channels: int = 32, layers: int = 4):
        super().__init__({"channels": channels, "layers": layers})
        self.scalars = nn.Linear(2, channels)
        self.vectors = nn.Linear(2, channels, bias=False)
        self.layers = nn.ModuleList(_Layer(channels) for _ in range(layers))
        self.way = nn.Linear(channels, 1, bias=False)

    def evaluate(self, system: ParticleSystem) -> Tensor:
        """Later positions (N, 3)."""
        pos, velocities = system.pos, system.velocities
        s = self.scalars(torch.cat([velocities.norm(dim=-1, keepdim=True), system.charges], dim=1))  # (N, C)
        vec = self.vectors(torch.stack([pos - system.mean_pos(), velocities], dim=-1))  # (N, 3, C)
        apart = system.difference(pos)
        length = apart.norm(dim=-1, keepdim=True)
        unit, radial = apart / length, _radial(length, system.charge_products())
        per_neighbour = system.per_neighbour()
        for layer in self.layers:
            s, vec = layer(s, vec, unit, radial, per_neighbour, system=system)
        return pos + self.way(vec).squeeze(-1)


RADIAL = 10


def _radial(length: Tensor, products: Tensor) -> Tensor:
    """Bounded and growing functions of distances (E, 1), alone and times products of charges (E, 10)."""
    functions = [length, 1 / (length + 0.1), 1 / (length + 0.5), (-length).exp(), (length + 0.01).log()]
    alone = torch.cat(functions, dim=1)
    return torch.cat([alone, alone * products], dim=1)


class _Layer(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.ends = nn.Linear(channels, 2 * channels)
        self.turns = nn.Linear(channels, 2 * channels, bias=False)
        self.radial = nn.Linear(RADIAL, channels, bias=False)
        self.message = nn.Linear(channels, 3 * channels)
        self.mix = nn.Linear(channels, 3 * channels, bias=False)
        self.node = nn.Sequential(nn.Linear(4 * channels, channels), nn.SiLU(), nn.Linear(channels, 2 * channels))

    def forward(
        self, s: Tensor, vec: Tensor, unit: Tensor, radial: Tensor, per_neighbour: Tensor, *, system: ParticleSystem
    ) -> tuple[Tensor, Tensor]:
        """New scalars (N, C) and vectors (N, 3, C)."""
        source, target = system.source, system.target
        scalar_i, scalar_j = self.ends(s).chunk(2, dim=-1)
        vector_i, vector_j = self.turns(vec).chunk(2, dim=-1)
        hidden = take(scalar_i, 0, target) + take(scalar_j, 0, source) + self.radial(radial)
        along = take(vector_i, 0, target) + take(vector_j, 0, source)  # (E, 3, C)
        hidden = hidden + (along * unit[..., None]).sum(1)
        message, keep, push = self.message(F.silu(hidden)).chunk(3, dim=-1)
        scalars = system.sum_edges(F.silu(message)) * per_neighbour
        moved = take(vec, 0, source) * keep[:, None] + unit[..., None] * push[:, None]
        vec = vec + system.sum_edges(moved) * per_neighbour[..., None]
        a, b, c = self.mix(vec).chunk(3, dim=-1)
        change, gate = self.node(torch.cat([s, scalars, *_invariants(a, b)], dim=1)).chunk(2, dim=-1)
        return s + change, vec + c * torch.tanh(gate)[:, None]


def _invariants(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Lengths of a and inner products with b (N, C), growing no faster than the vectors (N, 3, C) do."""
    square, other = a.square().sum(1), b.square().sum(1)
    return (square + 1).sqrt() - 1, (a * b).sum(1) / (1 + square + other).sqrt()
