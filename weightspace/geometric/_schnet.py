"""SchNet: continuous-filter convolutions on invariant features."""

import math
from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from weightspace.geometric._atomistic import AbstractAtomisticModel, PointCloud
from weightspace.geometric._published_weights import embedded_elements, load_published, per_element, submodule_count
from weightspace.geometric._radial import GaussianSmearing, cutoff_function
from weightspace.geometric._take import take


class SchNet(AbstractAtomisticModel):
    """SchNet: energies from interatomic distances alone.

    Source: Schütt, Kindermans, Sauceda, Chmiela, Tkatchenko and Müller 2017, "SchNet: A continuous-filter convolutional
    neural network for modeling quantum interactions", arXiv 1706.08566. With filters W(d) = MLP(rbf(d)) (section 4.2),

        x_i <- x_i + MLP(sum_j W1 x_j * W(d_ij)),    E = sum_i MLP(x_i).

    What deviates: filters are multiplied by a cutoff function, as in later versions by the authors (the paper's
    filters end abruptly); by default the polynomial one, whose energies have two continuous derivatives, while "cosine"
    (that of the published code) has one. Gaussians stand at `num_rbf` places up to the cutoff (the paper's 300 at
    0.1 Å apart up to 30 Å; the published code 50 up to 10 Å).

    Args:
        channels: features of an atom.
        layers: interaction blocks.
        filters: width of the filters; None for `channels`.
        num_rbf: radial functions.
        cutoff: in Å.
        cutoff_fn: "polynomial", "cosine" or "mollifier".
        elements: atomic numbers that the model knows; None for 1..118.

    Shapes:
        see `AbstractAtomisticModel`; features (N, C).

    Example:
        >>> import torch
        >>> model = SchNet(channels=8, layers=1)
        >>> model(torch.tensor([1, 8]), torch.eye(3)[:2])["energy"].shape
        torch.Size([1])
    """

    def __init__(
        self,
        *,
        channels: int = 128,
        layers: int = 6,
        filters: int | None = None,
        num_rbf: int = 50,
        cutoff: float = 10.0,
        cutoff_fn: str = "polynomial",
        elements: Sequence[int] | None = None,
    ):
        config = {"channels": channels, "layers": layers, "filters": filters, "num_rbf": num_rbf, "cutoff": cutoff}
        super().__init__(cutoff, elements=elements, config={**config, "cutoff_fn": cutoff_fn, "elements": elements})
        filters = channels if filters is None else filters
        self.embedding = nn.Embedding(len(self.elements), channels)
        self.rbf = GaussianSmearing(num_rbf, cutoff)
        self.envelope = cutoff_function(cutoff_fn, cutoff)
        self.layers = nn.ModuleList(_Interaction(channels, filters, num_rbf) for _ in range(layers))
        self.readout = nn.Sequential(
            nn.Linear(channels, channels // 2), _ShiftedSoftplus(), nn.Linear(channels // 2, 1)
        )

    def evaluate(self, cloud: PointCloud) -> dict[str, Tensor]:
        """Atomic energies (N,) and features (N, C)."""
        x = self.embedding(cloud.species)  # (N, C)
        rbf, envelope = self.rbf(cloud.edge_len), self.envelope(cloud.edge_len)[:, None]
        for layer in self.layers:
            x = x + layer(x, rbf, envelope, cloud)
        return {"node_energy": self.readout(x).squeeze(-1), "features": x}


class _Interaction(nn.Module):
    def __init__(self, channels: int, filters: int, num_rbf: int):
        super().__init__()
        self.filter = nn.Sequential(nn.Linear(num_rbf, filters), _ShiftedSoftplus(), nn.Linear(filters, filters))
        self.before = nn.Linear(channels, filters, bias=False)
        self.after = nn.Sequential(nn.Linear(filters, channels), _ShiftedSoftplus(), nn.Linear(channels, channels))

    def forward(self, x: Tensor, rbf: Tensor, envelope: Tensor, cloud: PointCloud) -> Tensor:
        weight = self.filter(rbf) * envelope  # (E, F)
        messages = take(self.before(x), 0, cloud.source) * weight
        return self.after(cloud.sum_edges(messages))


class _ShiftedSoftplus(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.softplus(x) - math.log(2)


def schnet_from_published(
    state_dict: Mapping[str, Tensor], *, cutoff: float = 10.0, mean: float = 0.0, std: float = 1.0
) -> SchNet:
    """A `SchNet` with the weights of `torch_geometric.nn.models.SchNet`, whose energies and forces it gives.

    Args:
        state_dict: of the published model with readout "add" and without dipole.
        cutoff: its cutoff, which the state_dict does not hold.
        mean, std: its per-atom mean and standard deviation, if it has them.

    Raises:
        CheckpointError: keys or shapes that are not those of that model.

    The published code keeps at most 32 neighbours of an atom; this model has no such limit.
    """
    channels = state_dict["embedding.weight"].shape[1] if "embedding.weight" in state_dict else 1
    layers = submodule_count(state_dict, "interactions")
    num_rbf, filters = 50, channels
    if layers and "interactions.0.mlp.0.weight" in state_dict:
        filters, num_rbf = state_dict["interactions.0.mlp.0.weight"].shape
    model = SchNet(
        channels=channels,
        layers=layers,
        filters=filters,
        num_rbf=num_rbf,
        cutoff=cutoff,
        cutoff_fn="cosine",
        elements=embedded_elements(state_dict, "embedding.weight"),
    )
    names = {"readout.0": "lin1", "readout.2": "lin2"}
    for i in range(layers):
        theirs = {"filter": "mlp", "before": "conv.lin1", "after.0": "conv.lin2", "after.2": "lin"}
        names |= {f"layers.{i}.{mine}": f"interactions.{i}.{other}" for mine, other in theirs.items()}
    load_published(
        model,
        state_dict,
        names,
        changed={"embedding.weight": ("embedding.weight", per_element(model))},
        unused=("distance_expansion.offset", "atomref.weight", "initial_atomref", *_filters_twice(layers)),
    )
    model.scale.fill_(std)
    model.references += mean
    if "atomref.weight" in state_dict:
        rows = state_dict["atomref.weight"].flatten()
        model.references[: len(rows)] += rows.to(model.references)
    return model


def _filters_twice(layers: int) -> list[str]:
    """The published state_dict holds each filter network under two names."""
    return [
        f"interactions.{i}.conv.nn.{k}.{kind}" for i in range(layers) for k in (0, 2) for kind in ("weight", "bias")
    ]
