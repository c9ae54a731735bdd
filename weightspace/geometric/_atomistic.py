"""What all models of atoms share: inputs and their checks, edges, and energies from atomic energies."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from weightspace import pretrained
from weightspace.errors import GeometryError
from weightspace.geometric._neighbours import edge_lengths, edge_pairs, edge_vectors, neighbours
from weightspace.geometric._point_checks import check_lattice, check_shapes, check_values

NUM_ELEMENTS = 118


@dataclass(frozen=True)
class PointCloud:
    """A batch of graphs with their edges, as a model's `evaluate` reads it; row i of z, species, pos, batch is atom i.

    Args:
        z: atomic numbers (N,).
        species: place of each atom's element among `model.elements` (N,).
        pos: positions (N, 3).
        batch: graph of each atom (N,), ascending.
        num_graphs: G.
        edge_index: (2, E), sources in row 0, targets in row 1.
        edge_vec: pos[target] - pos[source] + edge_shift @ cell (E, 3).
        edge_len: its length (E,), with gradient zero where it is zero.
        cell: lattice vectors as rows (G, 3, 3), or None.
        edge_shift: how many lattice vectors an edge crosses (E, 3), or None.
        pair_edge: one edge of each pair of opposite edges (P,), for models that share what reads lengths alone; all
            edges where some have no opposite; None for other models.
        edge_pair: the pair of each edge (E,), or None.
    """

    z: Tensor
    species: Tensor
    pos: Tensor
    batch: Tensor
    num_graphs: int
    edge_index: Tensor
    edge_vec: Tensor
    edge_len: Tensor
    cell: Tensor | None = None
    edge_shift: Tensor | None = None
    pair_edge: Tensor | None = None
    edge_pair: Tensor | None = None

    @property
    def source(self) -> Tensor:
        """Where each edge starts (E,)."""
        return self.edge_index[0]

    @property
    def target(self) -> Tensor:
        """Where each edge ends (E,)."""
        return self.edge_index[1]

    def edge_unit(self) -> Tensor:
        """Directions (E, 3); zero where an edge has no length."""
        return self.edge_vec / self.edge_len.masked_fill(self.edge_len == 0, 1)[:, None]

    def sum_edges(self, messages: Tensor) -> Tensor:
        """Sum of messages (E, ...) at their targets (N, ...); in a fixed order on the CPU."""
        return messages.new_zeros(len(self.z), *messages.shape[1:]).index_add(0, self.target, messages)

    def sum_atoms(self, values: Tensor) -> Tensor:
        """Sum of values (N, ...) over the atoms of each graph (G, ...)."""
        return values.new_zeros(self.num_graphs, *values.shape[1:]).index_add(0, self.batch, values)

    def at(self, pos: Tensor, cell: Tensor | None = None) -> "PointCloud":
        """The same atoms and edges at other positions (and in another cell), differentiable in both."""
        edge_vec = edge_vectors(pos, self.edge_index, self.batch, cell, self.edge_shift)
        return replace(self, pos=pos, cell=cell, edge_vec=edge_vec, edge_len=edge_lengths(edge_vec))


def point_cloud(
    z: Tensor,
    pos: Tensor,
    *,
    species: Tensor,
    batch: Tensor,
    num_graphs: int,
    edges: tuple[Tensor, Tensor | None],
    cell: Tensor | None = None,
    pairs: tuple[Tensor, Tensor] | None = None,
) -> PointCloud:
    """A `PointCloud` with its edges' vectors and lengths, unchecked; arguments as there, edges as from `neighbours`
    and pairs from `edge_pairs`.
    """
    edge_index, edge_shift = edges
    edge_vec = edge_vectors(pos, edge_index, batch, cell, edge_shift)
    return PointCloud(
        z=z,
        species=species,
        pos=pos,
        batch=batch,
        num_graphs=num_graphs,
        edge_index=edge_index,
        edge_vec=edge_vec,
        edge_len=edge_lengths(edge_vec),
        cell=cell,
        edge_shift=edge_shift,
        pair_edge=None if pairs is None else pairs[0],
        edge_pair=None if pairs is None else pairs[1],
    )


class AbstractAtomisticModel(nn.Module, ABC):
    """A model of atoms: `forward` checks its input, finds edges, calls the model's `evaluate` and sums energies.

    energy = sum over atoms of (scale * what `evaluate` gives the atom + reference of its element).

    Args:
        cutoff: largest length of an edge, in the unit of positions (Å for molecules); None for all pairs of a graph.
        elements: atomic numbers that the model knows; None for 1..118.
        config: what the constructor of the concrete class was called with, for `save_pretrained`.

    Attributes:
        references: energy of each element, buffer (119,), zero until `fit_references`.
        scale: what atomic energies are multiplied by, buffer (), one until `fit_scale`.
        shares_pairs: of the class; whether its clouds say which edges are opposite.

    Shapes:
        z (N,) integers, pos (N, 3), batch (N,) ascending or None for one graph, edge_index (2, E) or None to find the
        pairs within the cutoff, cell (G, 3, 3) rows or None, edge_shift (E, 3) whole numbers, needed where both
        edge_index and cell are given -> dict of energy (G,), node_energy (N,) which sums to it, interaction_energy (G,)
        without references, and what the model adds (vectors, tensors, features).

    Raises:
        GeometryError: shapes, dtypes or devices that do not fit, an element that the model does not know, batch not
            ascending, an edge to an atom that is not there or between graphs, positions that are not finite. Values
            are looked at on the CPU alone: on an accelerator each look would wait for the device; there, z out of
            range or an edge to nowhere raises the device's own index error. Counting graphs (no cell given) and
            finding neighbours wait for the device; handing in edge_index and one cell per graph avoids both.

    Edges without length (coincident points) are not found; handed in, they are finite and carry no gradient of
    direction. Energies in float32: references of a molecule reach thousands of eV, where float32 has
    steps of half a meV, so train on interaction_energy against `energies - model.reference_energy(z, batch)`.
    """

    references: Tensor
    scale: Tensor
    element_index: Tensor
    shares_pairs: bool = False

    def __init__(self, cutoff: float | None, *, elements: Sequence[int] | None, config: Mapping[str, Any]):
        super().__init__()
        if cutoff is not None and not cutoff > 0:
            raise GeometryError(f"{type(self).__name__}: found cutoff={cutoff}, wanted a positive distance in Å")
        elements = tuple(range(1, NUM_ELEMENTS + 1)) if elements is None else tuple(elements)
        if not elements or len(set(elements)) < len(elements) or not set(elements) <= set(range(1, NUM_ELEMENTS + 1)):
            raise GeometryError(
                f"{type(self).__name__}: found elements={list(elements)}, wanted different atomic numbers in 1..118"
            )
        self.cutoff, self.elements, self.config = cutoff, elements, dict(config)
        index = torch.full((NUM_ELEMENTS + 1,), -1)
        index[list(elements)] = torch.arange(len(elements))
        self.register_buffer("element_index", index, persistent=False)
        self.register_buffer("references", torch.zeros(NUM_ELEMENTS + 1))
        self.register_buffer("scale", torch.ones(()))

    @abstractmethod
    def evaluate(self, cloud: PointCloud) -> dict[str, Tensor]:
        """Outputs of the model itself: "node_energy" (N,), without scale and references, and any others."""

    def forward(
        self,
        z: Tensor,
        pos: Tensor,
        batch: Tensor | None = None,
        edge_index: Tensor | None = None,
        cell: Tensor | None = None,
        edge_shift: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Energies and what the model adds; see the class."""
        return self.outputs(self.cloud(z, pos, batch, edge_index, cell, edge_shift))

    def cloud(
        self,
        z: Tensor,
        pos: Tensor,
        batch: Tensor | None = None,
        edge_index: Tensor | None = None,
        cell: Tensor | None = None,
        edge_shift: Tensor | None = None,
    ) -> PointCloud:
        """The checked input with its edges; the first half of `forward`."""
        name = type(self).__name__
        check_shapes(
            name,
            like=self.references,
            z=z,
            pos=pos,
            batch=batch,
            cell=cell,
            edge_index=edge_index,
            edge_shift=edge_shift,
        )
        if batch is None:
            batch, num_graphs = torch.zeros_like(z), 1
        else:
            num_graphs = len(cell) if cell is not None else (int(batch.max()) + 1 if len(batch) else 0)
        check_values(
            name,
            z=z,
            pos=pos,
            batch=batch,
            num_graphs=num_graphs,
            known=self.element_index,
            edge_index=edge_index,
        )
        check_lattice(name, cell, edge_shift)
        if edge_index is None:
            edge_index, edge_shift = neighbours(
                pos.detach(), cutoff=self.cutoff, batch=batch, cell=cell, num_graphs=num_graphs
            )
        return point_cloud(
            z=z,
            species=self.element_index[z],
            pos=pos,
            batch=batch,
            num_graphs=num_graphs,
            edges=(edge_index, edge_shift),
            cell=cell,
            pairs=edge_pairs(edge_index, edge_shift, len(z)) if self.shares_pairs else None,
        )

    def outputs(self, cloud: PointCloud) -> dict[str, Tensor]:
        """Energies and what the model adds; the second half of `forward`, without checks."""
        found = self.evaluate(cloud)
        interaction = found["node_energy"].to(self.scale.dtype) * self.scale  # (N,), summed in full precision
        node_energy = interaction + self.references[cloud.z]
        return {
            **found,
            "energy": cloud.sum_atoms(node_energy),
            "node_energy": node_energy,
            "interaction_energy": cloud.sum_atoms(interaction),
        }

    @torch.no_grad()
    def fit_references(self, z: Tensor, batch: Tensor | None, energies: Tensor) -> None:
        """Set `references` to the least-squares fit of energies by the numbers of atoms of each element.

        Solved in float64; of several solutions (elements that occur in fixed proportion) the smallest.

        Args:
            z: atomic numbers (N,).
            batch: graph of each atom (N,); None for one graph.
            energies: of each graph (G,).
        """
        batch = torch.zeros_like(z) if batch is None else batch
        counts = energies.new_zeros(len(energies), NUM_ELEMENTS + 1, dtype=torch.float64)
        counts.index_put_((batch, z), counts.new_ones(()), accumulate=True)
        known = (counts != 0).any(0)
        fitted = torch.linalg.pinv(counts[:, known]) @ energies.double()
        self.references.zero_()
        self.references[known] = fitted.to(self.references)

    @torch.no_grad()
    def reference_energy(self, z: Tensor, batch: Tensor | None = None) -> Tensor:
        """Sum of references of each graph, float64 (G,)."""
        batch = torch.zeros_like(z) if batch is None else batch
        num_graphs = int(batch.max()) + 1 if len(batch) else 0
        values = self.references.double()[z]
        return values.new_zeros(num_graphs).index_add(0, batch, values)

    @torch.no_grad()
    def fit_scale(self, forces: Tensor) -> None:
        """Set `scale` to the root mean square of the components of training forces (N, 3)."""
        self.scale.fill_(forces.square().mean().sqrt())

    def save_pretrained(self, directory: str | Path) -> Path:
        """Write `config.json` and `model.safetensors`."""
        return pretrained.save_pretrained(self, directory)

    @classmethod
    def from_pretrained(cls, directory: str | Path) -> Self:
        """The model that `save_pretrained` wrote, in evaluation mode and the default dtype."""
        return pretrained.from_pretrained(directory, cls)
