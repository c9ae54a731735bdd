"""EGNN: E(n)-equivariant message passing with coordinates that move."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from weightspace.errors import CheckpointError
from weightspace.geometric._atomistic import AbstractAtomisticModel, PointCloud
from weightspace.geometric._published_weights import load_published, submodule_count
from weightspace.geometric._radial import cutoff_function
from weightspace.geometric._take import take


class EGNN(AbstractAtomisticModel):
    """E(n)-equivariant graph network: invariant features, and coordinates moved along the edges.

    Source: Satorras, Hoogeboom and Welling 2021, "E(n) Equivariant Graph Neural Networks", arXiv 2102.09844, with
    x_ij = x_i - x_j, d_ij its length and the attention of eq. 8,

        m_ij = e_ij MLP_e(h_i, h_j, d_ij^2)                         (3)
        x_i <- x_i + C sum_j x_ij MLP_x(m_ij)                        (4)
        h_i <- h_i + MLP_h(h_i, sum_j m_ij)                          (5), (6)

    and E = sum_i MLP(h_i). "vectors" (N, 3) is how far coordinates have moved, an equivariant output; forces are
    derivatives of the energy (`ForceField`), not that output, and the positions that are handed in stay where they are.

    What deviates: with a `cutoff` (the paper has all pairs, C = 1 / (number of neighbours)), messages of (4) and (5)
    are multiplied by a cutoff function of the first distance, and C = 1, as a mean over a changing number of
    neighbours jumps. The first linear map of MLP_e is applied to atoms before edges gather them (the same function).
    The readout is a sum of atomic energies; the published code for QM9 has another MLP behind the sum. Its `normalize`
    and `tanh`, unused in the paper, are not here.

    Args:
        channels: features of an atom and of a message.
        layers: rounds.
        cutoff: in Å; None for all pairs.
        cutoff_fn: "polynomial", "cosine" or "mollifier", where there is a cutoff.
        attention: whether messages have weights e_ij.
        update_coordinates: whether coordinates move; otherwise no "vectors".
        readout: "mlp" (two linear maps) or "linear".
        elements: atomic numbers that the model knows; None for 1..118.

    Shapes:
        see `AbstractAtomisticModel`; features (N, C), vectors (N, 3), odd under inversion.

    Example:
        >>> model = EGNN(channels=8, layers=1)
        >>> model(torch.tensor([1, 8]), torch.eye(3)[:2])["vectors"].shape
        torch.Size([2, 3])
    """

    def __init__(
        self,
        *,
        channels: int = 128,
        layers: int = 7,
        cutoff: float | None = None,
        cutoff_fn: str = "polynomial",
        attention: bool = True,
        update_coordinates: bool = True,
        readout: str = "mlp",
        elements: Sequence[int] | None = None,
    ):
        config = {"channels": channels, "layers": layers, "cutoff": cutoff, "cutoff_fn": cutoff_fn}
        config |= {"attention": attention, "update_coordinates": update_coordinates, "readout": readout}
        super().__init__(cutoff, elements=elements, config={**config, "elements": elements})
        self.embedding = nn.Embedding(len(self.elements), channels)
        self.envelope = None if cutoff is None else cutoff_function(cutoff_fn, cutoff)
        self.layers = nn.ModuleList(
            _Layer(channels, attention=attention, moves=update_coordinates) for _ in range(layers)
        )
        self.readout = nn.Linear(channels, 1) if readout == "linear" else _mlp(channels, channels, 1)
        self.moves = update_coordinates

    def evaluate(self, cloud: PointCloud) -> dict[str, Tensor]:
        """Atomic energies (N,), features (N, C) and vectors (N, 3)."""
        h, vec = self.embedding(cloud.species), cloud.edge_vec
        if self.envelope is None:
            envelope = None
            count = cloud.sum_edges(torch.ones_like(cloud.edge_len))
            rate = 1 / count.clamp_min(1)[:, None]
        else:
            envelope, rate = self.envelope(cloud.edge_len)[:, None], None
        moved = torch.zeros_like(cloud.pos)
        for layer in self.layers:
            h, step = layer(h, vec, envelope, cloud)
            if step is not None:
                step = step if rate is None else step * rate
                moved = moved + step
                vec = vec + take(step, 0, cloud.target) - take(step, 0, cloud.source)
        found = {"node_energy": self.readout(h).squeeze(-1), "features": h}
        return {**found, "vectors": moved} if self.moves else found


class _Layer(nn.Module):
    def __init__(self, channels: int, *, attention: bool, moves: bool):
        super().__init__()
        self.edge_target = nn.Linear(channels, channels)
        self.edge_source = nn.Linear(channels, channels, bias=False)
        self.edge_square = nn.Linear(1, channels, bias=False)
        self.edge_out = nn.Linear(channels, channels)
        self.attention = nn.Linear(channels, 1) if attention else None
        self.node = _mlp(2 * channels, channels, channels)
        self.move: nn.Sequential | None = None
        if moves:
            last = nn.Linear(channels, 1, bias=False)
            nn.init.xavier_uniform_(last.weight, gain=0.001)
            self.move = nn.Sequential(nn.Linear(channels, channels), nn.SiLU(), last)

    def forward(
        self, h: Tensor, vec: Tensor, envelope: Tensor | None, cloud: PointCloud
    ) -> tuple[Tensor, Tensor | None]:
        hidden = take(self.edge_target(h), 0, cloud.target)
        hidden = hidden + take(self.edge_source(h), 0, cloud.source)
        hidden = F.silu(hidden + self.edge_square(vec.square().sum(-1, keepdim=True)))  # (E, C)
        message = F.silu(self.edge_out(hidden))
        if self.attention is not None:
            message = message * torch.sigmoid(self.attention(message))
        step = None
        if self.move is not None:
            size = self.move(message) if envelope is None else self.move(message) * envelope
            step = cloud.sum_edges(vec * size)
        if envelope is not None:
            message = message * envelope
        return h + self.node(torch.cat([h, cloud.sum_edges(message)], dim=1)), step


def _mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, outputs))


def egnn_from_published(state_dict: Mapping[str, Tensor], *, elements: Sequence[int]) -> EGNN:
    """An `EGNN` with the weights of `models/egnn_clean/egnn_clean.py` of github.com/vgsatorras/egnn.

    Args:
        state_dict: of the published EGNN with in_node_nf = number of elements (one-hot inputs), out_node_nf = 1,
            without edge attributes, and with residual=True, normalize=False, tanh=False (the defaults); its edges are
            all pairs.
        elements: which element each one-hot input stands for.

    Raises:
        CheckpointError: keys or shapes that are not those of that model.
    """
    for key in ("embedding_in.weight", "embedding_in.bias", "embedding_out.weight"):
        if key not in state_dict:
            raise CheckpointError(f"EGNN from published weights: {key!r} is missing; wanted the state_dict of its EGNN")
    layers = submodule_count(state_dict, "gcl_")
    channels = state_dict["embedding_in.weight"].shape[0]
    model = EGNN(
        channels=channels,
        layers=layers,
        attention="gcl_0.att_mlp.0.weight" in state_dict,
        readout="linear",
        elements=elements,
    )
    names, changed = {"readout": "embedding_out"}, {}
    bias = state_dict["embedding_in.bias"]
    changed["embedding.weight"] = ("embedding_in.weight", lambda weight: weight.t() + bias)
    for i in range(layers):
        mine, theirs = f"layers.{i}", f"gcl_{i}"
        names |= {
            f"{mine}.edge_out": f"{theirs}.edge_mlp.2",
            f"{mine}.edge_target.bias": f"{theirs}.edge_mlp.0.bias",
            f"{mine}.node": f"{theirs}.node_mlp",
            f"{mine}.move": f"{theirs}.coord_mlp",
            f"{mine}.attention": f"{theirs}.att_mlp.0",
        }
        first = f"{theirs}.edge_mlp.0.weight"
        changed[f"{mine}.edge_target.weight"] = (first, lambda weight: weight[:, :channels])
        changed[f"{mine}.edge_source.weight"] = (first, lambda weight: weight[:, channels : 2 * channels])
        changed[f"{mine}.edge_square.weight"] = (first, lambda weight: weight[:, 2 * channels :])
    load_published(model, state_dict, names, changed=changed, unused=("embedding_in.bias",))
    return model
