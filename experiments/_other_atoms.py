"""Other people's models of atoms behind this library's interface, so that one harness trains and measures them.

Each class calls the model of a repository, unchanged; which, and where it is looked for: `experiments._other_sources`.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from experiments._other_sources import PACKAGES, other_module, silence
from weightspace.geometric import AbstractAtomisticModel
from weightspace.geometric._atomistic import PointCloud
from weightspace.molecules import Molecules


class AbstractOther(AbstractAtomisticModel, ABC):
    """A model that gives energies of molecules; each atom gets the same part of its molecule's."""

    def __init__(self, cutoff: float | None, elements: Sequence[int]):
        super().__init__(cutoff, elements=elements, config={})
        del self.config  # which makes the harness save weights alone

    @abstractmethod
    def energies(self, cloud: PointCloud) -> Tensor:
        """Of each molecule (G,)."""

    def evaluate(self, cloud: PointCloud) -> dict[str, Tensor]:
        """Energies of atoms (N,)."""
        size = torch.bincount(cloud.batch, minlength=cloud.num_graphs).to(cloud.pos.dtype)
        return {"node_energy": (self.energies(cloud) / size)[cloud.batch]}


def one_hot(model: AbstractAtomisticModel, cloud: PointCloud) -> Tensor:
    """Elements (N, elements)."""
    return nn.functional.one_hot(cloud.species, len(model.elements)).to(cloud.pos.dtype)


def ends(cloud: PointCloud) -> Tensor:
    """Where molecules begin and end (G + 1,)."""
    counts = torch.bincount(cloud.batch, minlength=cloud.num_graphs).cumsum(0)
    return torch.cat([counts.new_zeros(1), counts])


def filled(x: Tensor, place: Tensor, rows: int) -> Tensor:
    """Rows of `x` at their places among `rows`, zeros elsewhere.

    Example:
        >>> filled(torch.tensor([[1.0], [2.0]]), torch.tensor([0, 2]), 3).flatten().tolist()
        [1.0, 0.0, 2.0]
    """
    return x.new_zeros(rows, x.shape[1]).index_copy(0, place, x)


class TorchMDTensorNet(AbstractOther):
    """TensorNet of torchmd-net with its kernels of warp-lang; it finds neighbours itself."""

    def __init__(
        self,
        channels: int = 128,
        layers: int = 2,
        num_rbf: int = 32,
        cutoff: float = 4.5,
        elements: Sequence[int] = (),
    ):
        super().__init__(cutoff, elements)
        create = other_module("torchmdnet.models.model", "torchmd-net", PACKAGES).create_model
        self.net = create(
            {
                "model": "tensornet",
                "embedding_dimension": channels,
                "num_layers": layers,
                "num_rbf": num_rbf,
                "rbf_type": "expnorm",
                "trainable_rbf": False,
                "activation": "silu",
                "cutoff_lower": 0.0,
                "cutoff_upper": cutoff,
                "max_z": 100,
                "max_num_neighbors": 32,
                "equivariance_invariance_group": "O(3)",
                "derivative": False,
                "output_model": "Scalar",
                "reduce_op": "add",
                "precision": 32,
                "static_shapes": False,
                "prior_model": None,
                "atom_filter": -1,
                "aggr": "add",
                "charge": False,
                "spin": False,
            }
        )

    def cloud(
        self,
        z: Tensor,
        pos: Tensor,
        batch: Tensor | None = None,
        edge_index: Tensor | None = None,
        *rest: Tensor | None,
    ) -> PointCloud:
        """Without edges."""
        none = torch.empty(2, 0, dtype=torch.long) if edge_index is None else edge_index
        return super().cloud(z, pos, batch, none, *rest)

    def energies(self, cloud: PointCloud) -> Tensor:
        """Of each molecule (G,)."""
        return self.net(cloud.z, cloud.pos, cloud.batch)[0].squeeze(-1)


class MACETorch(AbstractOther):
    """ScaleShiftMACE of mace-torch, run eagerly."""

    def __init__(
        self,
        channels: int = 32,
        hidden_lmax: int = 1,
        max_ell: int = 3,
        layers: int = 2,
        correlation: int = 3,
        cutoff: float = 5.0,
        avg_num_neighbors: float = 8.0,
        elements: Sequence[int] = (),
    ):
        super().__init__(cutoff, elements)
        blocks = other_module("mace.modules.blocks", PACKAGES).RealAgnosticResidualInteractionBlock
        mace = other_module("mace.modules.models", PACKAGES).ScaleShiftMACE
        irreps = other_module("e3nn.o3", PACKAGES).Irreps
        hidden = "+".join(f"{channels}x{degree}{'eo'[degree % 2]}" for degree in range(hidden_lmax + 1))
        net = mace(
            atomic_inter_scale=1.0,
            atomic_inter_shift=0.0,
            r_max=cutoff,
            num_bessel=8,
            num_polynomial_cutoff=5,
            max_ell=max_ell,
            interaction_cls=blocks,
            interaction_cls_first=blocks,
            num_interactions=layers,
            num_elements=len(elements),
            hidden_irreps=irreps(hidden),
            MLP_irreps=irreps("16x0e"),
            atomic_energies=torch.zeros(len(elements)).numpy(),
            avg_num_neighbors=avg_num_neighbors,
            atomic_numbers=list(elements),
            correlation=correlation,
            gate=nn.functional.silu,
            radial_MLP=[64, 64, 64],
        )
        self.net = copy.deepcopy(net)  # a copy has other buffers, and averages of weights pair them by place

    def energies(self, cloud: PointCloud) -> Tensor:
        """Of each molecule (G,)."""
        shifts = cloud.pos.new_zeros(cloud.edge_index.shape[1], 3)
        data = {
            "positions": cloud.pos,
            "node_attrs": one_hot(self, cloud),
            "edge_index": cloud.edge_index,
            "shifts": shifts,
            "unit_shifts": shifts,
            "cell": cloud.pos.new_zeros(3 * cloud.num_graphs, 3),
            "batch": cloud.batch,
            "ptr": ends(cloud),
        }
        return self.net(data, training=self.training, compute_force=False)["interaction_energy"]


class NequIP062(AbstractOther):
    """The energy model of nequip 0.6.2, run eagerly."""

    def __init__(
        self,
        channels: int = 32,
        layers: int = 4,
        lmax: int = 1,
        cutoff: float = 4.0,
        avg_num_neighbors: float = 6.5,
        elements: Sequence[int] = (),
    ):
        super().__init__(cutoff, elements)
        build = other_module("nequip.model", PACKAGES).model_from_config
        config = other_module("nequip.utils", PACKAGES).Config
        names = [other_module("ase.data", PACKAGES).chemical_symbols[z] for z in elements]
        settings = {
            "model_builders": ["SimpleIrrepsConfig", "EnergyModel"],
            "r_max": cutoff,
            "num_layers": layers,
            "l_max": lmax,
            "parity": True,
            "num_features": channels,
            "invariant_layers": 2,
            "invariant_neurons": 64,
            "num_basis": 8,
            "PolynomialCutoff_p": 6,
            "nonlinearity_type": "gate",
            "avg_num_neighbors": avg_num_neighbors,
            "use_sc": True,
            "num_types": len(names),
            "type_names": names,
            "chemical_symbols": names,
            "default_dtype": "float32",
            "model_dtype": "float32",
        }
        self.net = build(config.from_dict(settings), initialize=True)

    def energies(self, cloud: PointCloud) -> Tensor:
        """Of each molecule (G,)."""
        data = {
            "pos": cloud.pos,
            "edge_index": cloud.edge_index.flip(0),
            "atom_types": cloud.species[:, None],
            "batch": cloud.batch,
            "ptr": ends(cloud),
        }
        return self.net(data)["total_energy"].squeeze(-1)


class QM9EGNN(AbstractOther):
    """The QM9 model of EGNN's repository: all pairs, input features and options of its main_qm9.py.

    Smaller molecules of a batch are filled up with masked atoms, as there; these get no edges.
    """

    def __init__(self, channels: int = 64, layers: int = 4, elements: Sequence[int] = ()):
        super().__init__(None, elements)
        self.net = other_module("qm9.models", "egnn").EGNN(
            in_node_nf=3 * len(elements),
            in_edge_nf=0,
            hidden_nf=channels,
            device="cpu",
            n_layers=layers,
            coords_weight=1.0,
            attention=1,
            node_attr=0,
        )

    def energies(self, cloud: PointCloud) -> Tensor:
        """Of each molecule (G,)."""
        power = (cloud.z.to(cloud.pos.dtype)[:, None] / max(self.elements)) ** torch.arange(3.0)
        features = (one_hot(self, cloud)[:, :, None] * power[:, None]).flatten(1)
        first = ends(cloud)
        most = int(first.diff().max())
        place = torch.arange(len(cloud.z)) - first[cloud.batch] + most * cloud.batch
        mask, one = filled(cloud.pos.new_ones(len(place), 1), place, most * cloud.num_graphs), cloud.pos.new_ones(1, 1)
        inputs = (filled(x, place, len(mask)) for x in (features, cloud.pos))
        found = self.net(*inputs, list(place[cloud.edge_index]), None, mask, one, most)
        return found.reshape(cloud.num_graphs)


class RepositoryPonita(AbstractOther):
    """The model of PONITA's repository: all pairs, molecules turned at random in training, as in its main_md17.py."""

    def __init__(
        self, channels: int = 64, layers: int = 3, basis: int = 64, num_ori: int = 16, elements: Sequence[int] = ()
    ):
        super().__init__(None, elements)
        model, self.random = ponita_parts()
        with silence():
            self.net = model(
                len(elements),
                channels,
                1,
                layers,
                output_dim_vec=0,
                radius=None,
                num_ori=num_ori,
                basis_dim=basis,
                degree=3,
                widening_factor=4,
                layer_scale=None,
                task_level="graph",
                multiple_readouts=True,
                lift_graph=True,
            )

    def initialise_on(self, molecules: Molecules) -> None:
        """Make its lazy layers, and let it scale its first kernels, before any step."""
        part = molecules[: min(20, len(molecules))]
        with silence(), torch.no_grad():
            self.train()
            self(part.z, part.pos.float(), part.batch)

    def energies(self, cloud: PointCloud) -> Tensor:
        """Of each molecule (G,)."""
        pos = cloud.pos
        if self.training:
            turns = self.random(cloud.num_graphs).to(pos)
            pos = torch.einsum("nij,nj->ni", turns[cloud.batch], pos)
        from torch_geometric.data import Data

        graph = Data(pos=pos, x=one_hot(self, cloud), edge_index=cloud.edge_index, batch=cloud.batch)
        return self.net(graph)[0].squeeze(-1)


def ponita_parts() -> tuple[Any, Any]:
    """PONITA's model and its random rotations."""
    transforms = other_module("ponita.transforms", "ponita")
    names = ("PositionOrientationGraph", "SEnInvariantAttributes", "RandomRotate")
    for transform in (getattr(transforms, name) for name in names):
        transform.__abstractmethods__ = frozenset()  # torch-geometric has since asked for a method `forward`
    rotation = other_module("ponita.geometry.rotation", "ponita")
    return other_module("ponita.models.ponita", "ponita").Ponita, rotation.random_matrix
