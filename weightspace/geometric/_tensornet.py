"""TensorNet: Cartesian rank-2 tensors as features, kept as their 1 + 3 + 5 irreducible components."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from weightspace.errors import CheckpointError
from weightspace.geometric._atomistic import AbstractAtomisticModel, PointCloud
from weightspace.geometric._constants import ExactConstants, exact_tables
from weightspace.geometric._published_weights import embedded_elements, load_published, per_element, submodule_count
from weightspace.geometric._radial import ExpNormalSmearing, cutoff_function
from weightspace.geometric._take import take

PARTS = (1, 3, 5)  # trace, antisymmetric part, symmetric traceless part


class TensorNet(AbstractAtomisticModel):
    """TensorNet: every channel of an atom is a 3x3 matrix; layers multiply matrices. O(3)-equivariant.

    Source: Simeon and De Fabritiis 2023, "TensorNet: Cartesian Tensor Representations for Efficient Learning of
    Molecular Potentials", arXiv 2306.06482, section 3.2: embedding, interactions with messages
    M_i = sum_j (f_I I_j + f_A A_j + f_S S_j), products Y M + M Y, updates X <- X + dX + dX^2, and a scalar readout of
    the norms of the three parts.

    What deviates: matrices are kept as 9 components in an orthogonal basis, so that only products of an atom's own
    matrices form 3x3 arrays and an edge carries 9 numbers per channel; filters, which read lengths alone, are
    evaluated once for both directions of an edge. Both give the same function. As in the published code an atom also
    gets a message from itself, at distance zero. By default the cutoff function is the polynomial one, whose energies
    have two continuous derivatives, while "cosine" (the paper's) has one. The total charge that the published code can
    read is taken as zero.

    Args:
        channels: matrices of an atom.
        layers: interactions.
        num_rbf: radial functions.
        cutoff: in Å.
        cutoff_fn: "polynomial", "cosine" or "mollifier".
        trainable_rbf: whether centres and widths of the radial functions are parameters.
        elements: atomic numbers that the model knows; None for 1..118.

    Shapes:
        see `AbstractAtomisticModel`; features (N, C), and tensors (N, C, 3, 3): the last X, R X R^T under
        rotations; an inversion transposes it.

    Example:
        >>> model = TensorNet(channels=8, layers=1, num_rbf=8)
        >>> model(torch.tensor([1, 8]), torch.eye(3)[:2])["tensors"].shape
        torch.Size([2, 8, 3, 3])
    """

    shares_pairs = True

    def __init__(
        self,
        *,
        channels: int = 128,
        layers: int = 2,
        num_rbf: int = 32,
        cutoff: float = 4.5,
        cutoff_fn: str = "polynomial",
        trainable_rbf: bool = False,
        elements: Sequence[int] | None = None,
    ):
        config = {"channels": channels, "layers": layers, "num_rbf": num_rbf, "cutoff": cutoff, "cutoff_fn": cutoff_fn}
        config |= {"trainable_rbf": trainable_rbf, "elements": elements}
        super().__init__(cutoff, elements=elements, config=config)
        self.rbf = ExpNormalSmearing(num_rbf, cutoff, trainable=trainable_rbf)
        self.envelope = cutoff_function(cutoff_fn, cutoff)
        self.embedding = _Embedding(channels, num_rbf, len(self.elements))
        self.layers = nn.ModuleList(_Interaction(channels, num_rbf) for _ in range(layers))
        self.out_norm = nn.LayerNorm(3 * channels)
        self.out = nn.Linear(3 * channels, channels)
        self.readout = nn.Sequential(nn.Linear(channels, channels // 2), nn.SiLU(), nn.Linear(channels // 2, 1))
        with exact_tables():
            self._constants = ExactConstants(matrices=basis_matrices())

    def evaluate(self, cloud: PointCloud) -> dict[str, Tensor]:
        """Atomic energies (N,), features (N, C) and tensors (N, C, 3, 3)."""
        assert cloud.pair_edge is not None  # its class attribute shares_pairs asks for them
        lengths = take(cloud.edge_len, 0, cloud.pair_edge)
        lengths = torch.cat([lengths, lengths.new_zeros(1)])  # last, an atom and itself
        envelope = self.envelope(lengths)[:, None]  # (P + 1, 1)
        rbf = self.rbf(lengths) * envelope
        matrices = self._constants.like("matrices", cloud.pos)
        x = self.embedding(cloud, rbf, envelope, matrices)  # (9, N, C)
        for layer in self.layers:
            x = layer(x, cloud, rbf, envelope, matrices)
        h = F.silu(self.out(self.out_norm(torch.cat(part_norms(x), dim=-1))))
        return {
            "node_energy": self.readout(h).squeeze(-1),
            "features": h,
            "tensors": torch.einsum("knc,kab->ncab", x, matrices),
        }


class _Embedding(nn.Module):
    def __init__(self, channels: int, num_rbf: int, elements: int):
        super().__init__()
        self.z = nn.Embedding(elements, channels)
        self.z_target = nn.Linear(channels, channels)
        self.z_source = nn.Linear(channels, channels, bias=False)
        self.filter = nn.Linear(num_rbf, 3 * channels)
        self.norm = nn.LayerNorm(channels)
        self.scalars = nn.Sequential(
            nn.Linear(channels, 2 * channels), nn.SiLU(), nn.Linear(2 * channels, 3 * channels), nn.SiLU()
        )
        self.mix = nn.ModuleList(nn.Linear(channels, channels, bias=False) for _ in PARTS)

    def forward(self, cloud: PointCloud, rbf: Tensor, envelope: Tensor, matrices: Tensor) -> Tensor:
        assert cloud.edge_pair is not None
        z = self.z(cloud.species)
        z_target, z_source = self.z_target(z), self.z_source(z)
        z_edge = take(z_target, 0, cloud.target) + take(z_source, 0, cloud.source)  # (E, C)
        filters = self.filter(rbf) * envelope  # (P + 1, 3 C)
        f = (take(filters, 0, cloud.edge_pair).view(-1, 3, z.shape[1]) * z_edge[:, None]).unbind(1)
        y = _edge_components(cloud.edge_unit(), matrices).split(PARTS, dim=1)  # (E, 1), (E, 3), (E, 5)
        trace, *rest = (cloud.sum_edges(y_k[:, :, None] * f_k[:, None]) for y_k, f_k in zip(y, f, strict=True))
        own = filters[-1:].chunk(3, dim=1)[0] * (z_target + z_source)  # a length of zero has no direction
        x = torch.cat([trace + own[:, None], *rest], dim=1).transpose(0, 1)  # (9, N, C)
        scalars = self.scalars(self.norm(sum(part_norms(x)))).chunk(3, dim=1)
        return torch.cat(
            [mix(part) * scalar for mix, part, scalar in zip(self.mix, x.split(PARTS), scalars, strict=True)]
        )


class _Interaction(nn.Module):
    def __init__(self, channels: int, num_rbf: int):
        super().__init__()
        self.filter = nn.Sequential(
            nn.Linear(num_rbf, channels),
            nn.SiLU(),
            nn.Linear(channels, 2 * channels),
            nn.SiLU(),
            nn.Linear(2 * channels, 3 * channels),
            nn.SiLU(),
        )
        self.mix_in = nn.ModuleList(nn.Linear(channels, channels, bias=False) for _ in PARTS)
        self.mix_out = nn.ModuleList(nn.Linear(channels, channels, bias=False) for _ in PARTS)

    def forward(self, x: Tensor, cloud: PointCloud, rbf: Tensor, envelope: Tensor, matrices: Tensor) -> Tensor:
        assert cloud.edge_pair is not None
        filters = self.filter(rbf) * envelope  # (P + 1, 3 C)
        x = x / (sum(part_norms(x)) + 1)
        parts = [mix(part) for mix, part in zip(self.mix_in, x.split(PARTS), strict=True)]
        f = take(filters, 0, cloud.edge_pair).chunk(3, dim=1)  # (E, C) each
        own = filters[-1:].chunk(3, dim=1)
        got = torch.cat(
            [
                cloud.sum_edges(take(part.transpose(0, 1), 0, cloud.source) * f_k[:, None]).transpose(0, 1)
                + part * own_k
                for part, f_k, own_k in zip(parts, f, own, strict=True)
            ]
        )  # (9, N, C)
        y = torch.cat(parts)
        full_y, full_got = _full(y, matrices), _full(got, matrices)
        product = _components(_product(full_y, full_got) + _product(full_got, full_y), matrices)
        product = product / (sum(part_norms(product)) + 1)
        dx = _mixed(self.mix_out, product)
        full = _full(dx, matrices)
        return x + dx + _components(_product(full, full), matrices)


def basis_matrices() -> Tensor:
    """The identity, three antisymmetric matrices (of the cross product), five symmetric traceless ones of norm 1.

    Shapes:
        -> (9, 3, 3), float64.
    """
    found = torch.zeros(9, 3, 3, dtype=torch.float64)
    found[0] = torch.eye(3)
    for k, (i, j) in enumerate(((1, 2), (2, 0), (0, 1))):
        found[1 + k, j, i], found[1 + k, i, j] = 1, -1
        found[4 + k, i, j] = found[4 + k, j, i] = math.sqrt(0.5)
    found[7] = torch.diag(torch.tensor([1.0, -1.0, 0.0], dtype=torch.float64)) / math.sqrt(2)
    found[8] = torch.diag(torch.tensor([-1.0, -1.0, 2.0], dtype=torch.float64)) / math.sqrt(6)
    return found


def part_norms(x: Tensor) -> list[Tensor]:
    """Squared Frobenius norms of trace, antisymmetric and symmetric part; (9, N, C) -> three of (N, C)."""
    trace, skew, symmetric = x.split(PARTS)
    return [3 * trace.squeeze(0).square(), 2 * skew.square().sum(0), symmetric.square().sum(0)]


def _edge_components(unit: Tensor, matrices: Tensor) -> Tensor:
    """Of the identity, the cross product with a direction, and its outer product without trace; (E, 3) -> (E, 9)."""
    outer = (unit[:, :, None] * unit[:, None]).flatten(1)  # (E, 9)
    return torch.cat([torch.ones_like(unit[:, :1]), unit, outer @ matrices[4:].flatten(1).t()], dim=1)


def _mixed(linears: nn.ModuleList, x: Tensor) -> Tensor:
    return torch.cat([linear(part) for linear, part in zip(linears, x.split(PARTS), strict=True)])


def _full(x: Tensor, matrices: Tensor) -> Tensor:
    """(9, N, C) -> (3, 3, N, C)."""
    return (matrices.flatten(1).t() @ x.flatten(1)).view(3, 3, *x.shape[1:])


def _components(full: Tensor, matrices: Tensor) -> Tensor:
    """(3, 3, N, C) -> (9, N, C)."""
    scale = matrices.square().sum((1, 2), keepdim=True)
    return ((matrices / scale).flatten(1) @ full.flatten(0, 1).flatten(1)).view(9, *full.shape[2:])


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Matrix product, channel by channel; (3, 3, N, C) twice -> the same."""
    return (a[:, :, None] * b[None]).sum(1)


def tensornet_from_published(state_dict: Mapping[str, Tensor], *, cutoff: float = 4.5) -> TensorNet:
    """A `TensorNet` with the weights of torchmd-net's TensorNet (group "O(3)", rbf "expnorm", activation "silu").

    Args:
        state_dict: of its `TorchMD_Net` with output model "Scalar", keys `representation_model...`, `output_model...`;
            `std` becomes `scale`; `mean`, which it adds once per molecule, must be zero. Its cutoff_lower is 0.
        cutoff: its cutoff_upper, which the state_dict does not hold.

    Raises:
        CheckpointError: keys or shapes that are not those of that model, or a mean that is not zero.
    """
    if "mean" in state_dict and float(state_dict["mean"]) != 0:
        raise CheckpointError(
            f"TensorNet from published weights: mean is {float(state_dict['mean']):g}, wanted 0; it is added once per "
            "molecule, which no energy of an atom can: set it to 0 and add it to energies yourself"
        )
    root, embed = "representation_model", "representation_model.tensor_embedding"
    layers = submodule_count(state_dict, f"{root}.layers")
    elements = embedded_elements(state_dict, f"{embed}.emb.weight")
    channels = state_dict[f"{embed}.emb.weight"].shape[1]
    first = f"{embed}.distance_proj1"
    state_dict = dict(state_dict)
    for kind in ("weight", "bias"):
        parts = [state_dict.pop(f"{embed}.distance_proj{k}.{kind}", None) for k in (1, 2, 3)]
        found = [part for part in parts if part is not None]
        if len(found) == 3:
            state_dict[f"{first}.{kind}"] = torch.cat(found)
    means = state_dict.get(f"{root}.distance_expansion.means", torch.zeros(32))
    model = TensorNet(
        channels=channels, layers=layers, num_rbf=len(means), cutoff=cutoff, cutoff_fn="cosine", elements=elements
    )
    names = {
        "rbf": f"{root}.distance_expansion",
        "embedding.filter": first,
        "embedding.norm": f"{embed}.init_norm",
        "embedding.z_target.bias": f"{embed}.emb2.bias",
        "out_norm": f"{root}.out_norm",
        "out": f"{root}.linear",
        "readout": "output_model.output_network.layers",
        "embedding.scalars.0": f"{embed}.linears_scalar.0",
        "embedding.scalars.2": f"{embed}.linears_scalar.1",
        "embedding.mix": f"{embed}.linears_tensor",
    }
    for i in range(layers):
        theirs = f"{root}.layers.{i}"
        names |= {f"layers.{i}.filter.{2 * k}": f"{theirs}.linears_scalar.{k}" for k in range(3)}
        names |= {f"layers.{i}.mix_in.{k}": f"{theirs}.linears_tensor.{k}" for k in range(3)}
        names |= {f"layers.{i}.mix_out.{k}": f"{theirs}.linears_tensor.{k + 3}" for k in range(3)}
    pair = f"{embed}.emb2.weight"
    changed = {
        "embedding.z.weight": (f"{embed}.emb.weight", per_element(model)),
        "embedding.z_target.weight": (pair, lambda weight: weight[:, :channels]),
        "embedding.z_source.weight": (pair, lambda weight: weight[:, channels:]),
    }
    load_published(model, state_dict, names, changed=changed, unused=("mean", "std", f"{root}.distance.box"))
    model.scale.fill_(float(state_dict.get("std", 1.0)))
    return model
