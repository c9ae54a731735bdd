"""Other people's models of five charged particles, called as model(pos, velocities, charges, batch) -> positions."""

import argparse
from functools import cache

import torch
from torch import Tensor, nn

from experiments._other_atoms import ponita_parts
from experiments._other_sources import other_module, silence
from weightspace.molecules import Molecules

PARTICLES = 5


@cache
def pairs(systems: int, *, loops: bool) -> Tensor:
    """All pairs within each system, of a particle with itself, too, where `loops` (2, E)."""
    place = torch.arange(PARTICLES)
    i, j = (x.flatten() for x in torch.meshgrid(place, place, indexing="ij"))
    kept = torch.ones_like(i, dtype=torch.bool) if loops else i != j
    first = PARTICLES * torch.arange(systems)[:, None]
    return torch.stack([(first + x[kept]).flatten() for x in (i, j)])


class RepositoryEGNN(nn.Module):
    """EGNN_vel of EGNN's repository with the inputs of its main_nbody.py."""

    def __init__(self, channels: int = 64, layers: int = 4):
        super().__init__()
        model = other_module("n_body_system.model", "egnn").EGNN_vel
        self.net = model(
            in_node_nf=1,
            in_edge_nf=2,
            hidden_nf=channels,
            device="cpu",
            n_layers=layers,
            recurrent=True,
            norm_diff=False,
            tanh=False,
        )

    def forward(self, pos: Tensor, velocities: Tensor, charges: Tensor, batch: Tensor) -> Tensor:
        """Positions (N, 3)."""
        row, col = pairs(len(pos) // PARTICLES, loops=False)
        edges = [charges[row] * charges[col], ((pos[row] - pos[col]) ** 2).sum(1, keepdim=True)]
        speed = velocities.norm(dim=1, keepdim=True)
        return self.net(speed, pos.detach().clone(), [row, col], velocities, torch.cat(edges, 1))


class RepositoryPonitaDynamics(nn.Module):
    """The model of PONITA_NBODY, with systems turned at random in training, as in its main_nbody.py."""

    def __init__(
        self, channels: int = 128, layers: int = 5, basis: int = 256, num_ori: int = 16, layer_scale: float = 1e-6
    ):
        super().__init__()
        _, self.random = ponita_parts()
        wrapper = other_module("lightning_wrappers.nbody", "ponita").PONITA_NBODY
        options = argparse.Namespace(
            lr=1e-3,
            weight_decay=1e-10,
            epochs=1,
            warmup=0,
            layer_scale=layer_scale,
            train_augm=True,
            hidden_dim=channels,
            layers=layers,
            radius=None,
            num_ori=num_ori,
            basis_dim=basis,
            degree=3,
            widening_factor=4,
            multiple_readouts=True,
        )
        with silence():
            made = wrapper(options)
        self.moved, self.model = wrapper.forward, made.model

    def initialise_on(self, molecules: Molecules) -> None:
        """Make its lazy layers, and let it scale its first kernels, before any step."""
        part = molecules[:100]
        velocities, charges = (part.atom_values[name].float() for name in ("velocities", "charges"))
        with silence(), torch.no_grad():
            self.train()
            self(part.pos.float(), velocities, charges, part.batch)

    def forward(self, pos: Tensor, velocities: Tensor, charges: Tensor, batch: Tensor) -> Tensor:
        """Positions (N, 3)."""
        systems, turn = len(pos) // PARTICLES, None
        if self.training:
            turn = self.random(systems).to(pos)[batch]
            pos, velocities = (torch.einsum("nij,nj->ni", turn, x) for x in (pos, velocities))
        from torch_geometric.data import Data

        graph = Data(pos=pos, x=charges, vec=velocities[:, None], edge_index=pairs(systems, loops=True), batch=batch)
        found = self.moved(self, graph)
        return found if turn is None else torch.einsum("nji,nj->ni", turn, found)
