"""CoordinateGMN: networks on points of space, read alike from every side: E(3) of the points times permutations."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from weightspace.errors import ConfigurationError
from weightspace.graph import ParameterGraph
from weightspace.metanets._coordinate_axes import AxesFinder
from weightspace.metanets._coordinate_readout import COLUMNS, CoordinateReadout, check_outputs
from weightspace.metanets._coordinate_trunk import CoordinateTrunk
from weightspace.metanets._input_scales import InputScales
from weightspace.metanets._readout import AbstractPredictor
from weightspace.metanets._union import unite


class CoordinateGMN(AbstractPredictor):
    """Graph metanetwork for networks on points of space (signed distances, occupancies, radiance fields): equivariant
    under E(3) of the points and invariant under every relabelling of neurons.

    A rigid motion x -> R x + t of the shape, reflections included, makes f'(x) = f(R^T (x - t)) of the network: in each
    layer that reads x, w_i' = R w_i and b_i' = b_i - w_i' . t, while all other entries stay. For moved networks
    scalars are the same, vectors V' = R V, positions p' = R p + t, and tensors T' = R T R^T.

    Source: none. The messages are those of Lim et al. 2024 (arXiv 2312.04501) as in `GMN`; vectors beside invariant
    features are those of Jing et al. 2021 (GVP, arXiv 2009.01411) and Satorras et al. 2021 (EGNN, arXiv 2102.09844):
    linear maps of channels, products with invariants, and inner products (`CoordinateLayer` has the equations).
    Translations: the network is seen from a centre c that moves with the shape, the point nearest to the planes
    w_i . x + b_i = 0 in the least squares of distances (`centre_of`), so that b_i + w_i . c is invariant; behind
    each round but the last, c goes on by a vector of the network, and heights and feet are those of the new centre
    (`Recentring`). Coordinates of weights are replaced by lengths for the invariant features; the vectors of a neuron
    begin with w_i, its direction and the foot of c on its plane.
    Tensors are sums of symmetrised outer products of vectors and a multiple of 1.

    Exact, up to rounding: all of the above, at any depth and width, for skips that concatenate x again, for batches of
    mixed architectures. Rounding grows with the condition of the first layer. What deviates: where the first layer's
    vectors span only a plane or a line, the network does not change along what is left, c stays at zero there, and
    positions follow only the part of t that the network can tell. Vectors are polar; there are no pseudovectors. All
    outputs *of the networks* count as numbers that no motion changes (a field of vectors is not read as one).

    Refused: anything but a linear layer with bias behind the coordinates (positional encodings, hash grids, weight
    norm, norms of x, sums with x), because a motion of the shape is then no motion of the weights.

    Args:
        outputs: kinds of the outputs in the order of their columns: "scalar" (1 column), "vector" (3), "position" (3),
            "tensor" (symmetric, 9).
        channels: of nodes and of the global feature.
        layers: rounds of message passing.
        edge_channels: of edges, by default `channels`.
        vector_channels: of vectors.
        coordinates: names of the sites of inputs that are positions; by default the only input of three numbers.
        directions: names of the sites of inputs that turn and do not move (directions of view).
        input_scales: what values are divided by, from `fit_input_scales`.

    Shapes:
        graphs of G networks in all -> (G, columns), in the order graphs, then models; `unpack` takes them apart.

    Raises:
        ConfigurationError: an unknown kind of output, or positions without an input of positions.
        GeometryError: coordinates that are not found, or that something else than a linear layer reads.

    Example:
        >>> CoordinateGMN(["scalar", "position"], channels=8, layers=2).columns
        4
    """

    trunk: CoordinateTrunk

    def __init__(
        self,
        outputs: Sequence[str],
        *,
        channels: int = 64,
        layers: int = 4,
        edge_channels: int | None = None,
        vector_channels: int = 16,
        coordinates: Sequence[str] | None = None,
        directions: Sequence[str] = (),
        input_scales: InputScales | Mapping[str, Any] | None = None,
    ):
        edge_channels = channels if edge_channels is None else edge_channels
        kinds = check_outputs(outputs)
        finder = AxesFinder("CoordinateGMN", None if coordinates is None else tuple(coordinates), tuple(directions))
        if "position" in kinds and finder.coordinates == ():
            raise ConfigurationError(
                "CoordinateGMN: found outputs of positions for networks that read directions alone, wanted 'vector'"
            )
        readout = CoordinateReadout(kinds, channels, vector_channels)
        trunk = CoordinateTrunk(
            channels, edge_channels, vector_channels=vector_channels, layers=layers, finder=finder,
            read_vectors=readout.vectors or readout.tensors,
        )  # fmt: skip
        arguments = {
            "outputs": list(kinds), "channels": channels, "layers": layers, "edge_channels": edge_channels,
            "vector_channels": vector_channels, "coordinates": None if coordinates is None else list(coordinates),
            "directions": list(directions),
        }  # fmt: skip
        super().__init__(trunk, sum(readout.sizes), arguments=arguments, input_scales=input_scales)
        self._arguments = arguments
        self.readout = readout

    @property
    def columns(self) -> int:
        """Number of columns of the result."""
        return sum(COLUMNS[kind] for kind in self.readout.outputs)

    def forward(self, graphs: ParameterGraph | Sequence[ParameterGraph]) -> Tensor:
        """One row per network."""
        union = unite(graphs)
        features, centre = self.trunk.features(union, self.input_scales)
        coefficients = self.read(union, features.x, features.e, features.u)
        return self.readout(union, features, coefficients, centre)

    def unpack(self, rows: Tensor) -> list[Tensor]:
        """The outputs one by one.

        Shapes:
            rows (G, columns) -> (G,) for a scalar, (G, 3) for a vector or position, (G, 3, 3) for a tensor.
        """
        shapes: dict[str, tuple[int, ...]] = {"scalar": (), "tensor": (3, 3)}
        parts = rows.split([COLUMNS[kind] for kind in self.readout.outputs], dim=-1)
        return [
            part.reshape(*rows.shape[:-1], *shapes.get(kind, (3,)))
            for kind, part in zip(self.readout.outputs, parts, strict=True)
        ]

    def act(self, rows: Tensor, rotation: Tensor, translation: Tensor) -> Tensor:
        """The outputs for moved shapes, from those for the shapes.

        Shapes:
            rows (G, columns); rotation (3, 3) or (G, 3, 3); translation (3,) or (G, 3); result (G, columns).
        """
        found = []
        for kind, part in zip(self.readout.outputs, self.unpack(rows), strict=True):
            if kind == "tensor":
                part = (rotation @ part @ rotation.mT).flatten(-2)
            elif kind != "scalar":
                part = (rotation @ part[..., None])[..., 0]
                part = part + translation if kind == "position" else part
            else:
                part = part[..., None]
            found.append(part)
        return torch.cat(found, dim=-1)
