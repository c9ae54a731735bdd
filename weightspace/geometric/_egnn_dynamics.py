"""EGNN with velocities: where particles will be."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from weightspace.errors import CheckpointError
from weightspace.geometric._dynamics import AbstractDynamicsModel, ParticleSystem
from weightspace.geometric._published_weights import load_published, submodule_count
from weightspace.geometric._take import take


class EGNNDynamics(AbstractDynamicsModel):
    """E(n)-equivariant graph network whose coordinates and velocities move from layer to layer.

    Source: Satorras, Hoogeboom and Welling 2021, "E(n) Equivariant Graph Neural Networks", arXiv 2102.09844, sections
    3.2 and 5.1, with x_ij = x_i - x_j and the published code's inputs of an edge: squares of the distance now and of
    the first distance, and the product of the charges,

        m_ij = MLP_e(h_i, h_j, |x_ij|^2, |x_ij(0)|^2, q_i q_j)                    (3)
        v_i <- MLP_v(h_i) v_i + 1 / (N - 1) sum_j x_ij MLP_x(m_ij),  x_i <- x_i + v_i       (7)
        h_i <- h_i + MLP_h(h_i, sum_j m_ij)                                    (5), (6)

    with h_i = W |v_i| + b at the start. The published code differs from equation 7: it multiplies the first velocities
    in every layer, x_i <- x_i + MLP_v(h_i) v_i(0) + 1 / (N - 1) sum_j x_ij MLP_x(m_ij), which is the default here as it
    trains more steadily; `accumulate=True` is equation 7.

    What deviates: the first linear map of MLP_e is applied to particles before edges gather them (the same function),
    what the code clamps at 100 is not clamped, and MLP_h is left out of the last layer, where nothing reads it.

    Args:
        channels: features of a particle and of a message.
        layers: rounds.
        accumulate: whether velocities are those of the layer before (equation 7) or the first ones (the code).

    Shapes:
        see `AbstractDynamicsModel`.

    Example:
        >>> model = EGNNDynamics(channels=8, layers=2)
        >>> model(torch.randn(5, 3), torch.randn(5, 3), torch.ones(5, 1)).shape
        torch.Size([5, 3])
    """

    def __init__(self, *, channels: int = 64, layers: int = 4, accumulate: bool = False):
        super().__init__({"channels": channels, "layers": layers, "accumulate": accumulate})
        self.accumulate = accumulate
        self.embedding = nn.Linear(1, channels)
        self.layers = nn.ModuleList(_Layer(channels, last=number == layers - 1) for number in range(layers))

    def evaluate(self, system: ParticleSystem) -> Tensor:
        """Later positions (N, 3)."""
        x, v, per_neighbour = system.pos, system.velocities, system.per_neighbour()
        h = self.embedding(v.norm(dim=-1, keepdim=True))
        first = system.difference(x).square().sum(-1, keepdim=True)
        fixed = torch.cat([system.charge_products(), first], dim=1)  # (E, 2)
        for layer in self.layers:
            h, scale, push = layer(h, system.difference(x), fixed, system)
            step = scale * v + per_neighbour * push
            x = x + step
            v = step if self.accumulate else v
        return x


class _Layer(nn.Module):
    def __init__(self, channels: int, *, last: bool):
        super().__init__()
        self.edge_target = nn.Linear(channels, channels)
        self.edge_source = nn.Linear(channels, channels, bias=False)
        self.edge_inputs = nn.Linear(3, channels, bias=False)
        self.edge_out = nn.Linear(channels, channels)
        size = nn.Linear(channels, 1, bias=False)
        nn.init.xavier_uniform_(size.weight, gain=0.001)
        self.push = nn.Sequential(nn.Linear(channels, channels), nn.SiLU(), size)
        self.keep = nn.Sequential(nn.Linear(channels, channels), nn.SiLU(), nn.Linear(channels, 1))
        self.node: nn.Sequential | None = None
        if not last:
            self.node = nn.Sequential(nn.Linear(2 * channels, channels), nn.SiLU(), nn.Linear(channels, channels))

    def forward(self, h: Tensor, vec: Tensor, fixed: Tensor, system: ParticleSystem) -> tuple[Tensor, Tensor, Tensor]:
        """New features (N, C), factor of the velocity (N, 1), sum of pushes (N, 3)."""
        inputs = torch.cat([vec.square().sum(-1, keepdim=True), fixed], dim=1)
        hidden = take(self.edge_target(h), 0, system.target) + self.edge_inputs(inputs)
        hidden = F.silu(hidden + take(self.edge_source(h), 0, system.source))  # (E, C)
        message = F.silu(self.edge_out(hidden))
        push = system.sum_edges(vec * self.push(message))
        if self.node is None:
            return h, self.keep(h), push
        return h + self.node(torch.cat([h, system.sum_edges(message)], dim=1)), self.keep(h), push


def egnn_dynamics_from_published(state_dict: Mapping[str, Tensor]) -> EGNNDynamics:
    """An `EGNNDynamics` with the weights of `EGNN_vel` in n_body_system/model.py of github.com/vgsatorras/egnn.

    Args:
        state_dict: of the published model with in_node_nf=1, in_edge_nf=2 and recurrent=True, as its n-body experiment
            has it.

    Raises:
        CheckpointError: keys or shapes that are not those of that model.
    """
    if "embedding.weight" not in state_dict or "gcl_0.coord_mlp_vel.0.weight" not in state_dict:
        raise CheckpointError(
            "EGNN with velocities from published weights: 'embedding.weight' or 'gcl_0.coord_mlp_vel.0.weight' is "
            "missing; wanted the state_dict of its EGNN_vel"
        )
    layers, channels = submodule_count(state_dict, "gcl_"), state_dict["embedding.weight"].shape[0]
    model = EGNNDynamics(channels=channels, layers=layers, accumulate=False)
    names, changed = {"embedding": "embedding"}, {}
    for i in range(layers):
        mine, theirs = f"layers.{i}", f"gcl_{i}"
        names |= {
            f"{mine}.edge_out": f"{theirs}.edge_mlp.2",
            f"{mine}.edge_target.bias": f"{theirs}.edge_mlp.0.bias",
            f"{mine}.push": f"{theirs}.coord_mlp",
            f"{mine}.keep": f"{theirs}.coord_mlp_vel",
            f"{mine}.node": f"{theirs}.node_mlp",
        }
        first = f"{theirs}.edge_mlp.0.weight"
        changed[f"{mine}.edge_target.weight"] = (first, lambda weight: weight[:, :channels])
        changed[f"{mine}.edge_source.weight"] = (first, lambda weight: weight[:, channels : 2 * channels])
        changed[f"{mine}.edge_inputs.weight"] = (first, lambda weight: weight[:, 2 * channels :])
    unread = tuple(f"gcl_{layers - 1}.node_mlp.{k}.{kind}" for k in (0, 2) for kind in ("weight", "bias"))
    load_published(model, state_dict, names, changed=changed, unused=unread)
    return model
