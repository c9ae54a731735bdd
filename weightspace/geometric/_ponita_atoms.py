"""What PONITA and its explicit-basis variant share on molecules: embedding of elements, edges, readouts."""

import torch
from torch import Tensor, nn

from weightspace.errors import ConfigurationError
from weightspace.geometric._atomistic import PointCloud
from weightspace.geometric._ponita_edges import EdgeExtras, kernel_edges
from weightspace.geometric._ponita_kernels import KernelEdges
from weightspace.geometric._ponita_layers import PonitaTrunk
from weightspace.geometric._radial import AbstractCutoff


def read_atoms(
    trunk: PonitaTrunk, embedding: nn.Embedding, window: AbstractCutoff | None, cloud: PointCloud
) -> dict[str, Tensor]:
    """Atomic energies (N,) and, where the trunk has further outputs, vectors (N, V, 3)."""
    read = trunk(*trunk_input(trunk, embedding, window, cloud))  # (N, O, 1 + V)
    ori, weights = trunk.orientations(read)
    found = {"node_energy": read[..., 0] @ weights}
    if ori is not None and read.shape[2] > 1:
        found["vectors"] = torch.einsum("nov,od->nvd", read[..., 1:], ori * weights[:, None])
    return found


def trunk_input(
    trunk: PonitaTrunk, embedding: nn.Embedding, window: AbstractCutoff | None, cloud: PointCloud
) -> tuple[Tensor, KernelEdges]:
    """Features (N, O, C) and edges that a trunk reads."""
    edges = kernel_edges(
        trunk,
        cloud.edge_index,
        cloud.edge_vec,
        num_nodes=cloud.z.shape[0],
        window=window,
        extras=EdgeExtras(pair_edge=cloud.pair_edge),
    )
    return trunk.lift(embedding(cloud.species)), edges


def check_sizes(owner: str, **sizes: int) -> None:
    """Numbers of channels, layers and so on are positive.

    Raises:
        ConfigurationError: one is not.
    """
    for name, size in sizes.items():
        if size < 1:
            raise ConfigurationError(f"{owner}: found {name}={size}, wanted a positive number")
