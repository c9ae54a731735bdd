"""eSCN: convolutions over rotations about edges instead of all rotations, and perceptrons on the sphere."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from weightspace.geometric._atomistic import AbstractAtomisticModel, PointCloud
from weightspace.geometric._edge_frames import edge_frames, frame_constants
from weightspace.geometric._escn_grids import read_grid
from weightspace.geometric._escn_layers import EdgeConvolution, ESCNShape, GateUpdate, GridUpdate, Turn, turn_places
from weightspace.geometric._radial import GaussianSmearing, cutoff_function


class ESCN(AbstractAtomisticModel):
    """Equivariant Spherical Channel Network: every channel of an atom is a function on the sphere.

    Source: Passaro and Zitnick 2023, "Reducing SO(3) Convolutions to SO(2) for Efficient Equivariant GNNs",
    arXiv 2302.03655, and its published code: in the frame of an edge a convolution is one matrix for each m and -m
    (the reduction to SO(2)), messages come from both ends with a nonlinearity on a grid, a perceptron of features and
    summed messages acts at every point of the sphere, and energies and vectors are means over the sphere of what
    perceptrons read there. Default sizes are those of the published configuration eSCN-L6-M2-Lay12 (OC20, 2M).

    What deviates. Messages are multiplied by a cutoff function and all neighbours count (the published model takes the
    nearest 20 and ends abruptly; cutoff_fn=None ends as abruptly). The first layer, whose input is scalar, has no
    weights for orders other than zero; the published ones multiply zeros. Forces are the energy's derivative, through
    the frames; the published model's forces are `vectors`. Frames have no random angle about the edge.

    Exactness. A function on a grid is equivariant up to what the grid does not resolve. With "grid" the error comes
    from the grid around atoms and from the longitudes of that around edges (whatever the latitudes are), and falls
    with finer ones; the tests bound it. Where the angle about an edge is chosen differently (46 degrees from the y
    axis), energies jump by the error of the longitudes. "published" takes the published code's grids, whose 2 M + 1
    longitudes make the largest jumps. "gate" is another network, exactly equivariant: invariant gates in frames and at
    atoms instead of grids, and degrees' squared norms read at the end.

    Reflections are no symmetry of the paper's model (imaginary weights of m > 0 are pseudo-scalar paths): energies of
    mirror images differ. `mirror=True` leaves those weights out, and features have natural parity.

    Args:
        shape: sizes, an `ESCNShape` or its fields as a mapping.
        cutoff: in Å.
        cutoff_fn: "polynomial", "cosine", "mollifier", or None for none.
        vectors: whether to read a vector for each atom, too.
        elements: atomic numbers that the model knows; None for 1..118.

    Shapes:
        see `AbstractAtomisticModel`; features (N, C, (L + 1)^2), and vectors (N, 3) if asked for.

    Raises:
        ConfigurationError: as `ESCNShape`.

    Example:
        >>> model = ESCN({"channels": 4, "layers": 2, "lmax": 2, "hidden_channels": 4, "num_rbf": 8})
        >>> model(torch.tensor([1, 8]), torch.eye(3)[:2])["features"].shape
        torch.Size([2, 4, 9])
    """

    def __init__(
        self,
        shape: ESCNShape | Mapping[str, Any] = ESCNShape(),  # noqa: B008  frozen
        *,
        cutoff: float = 12.0,
        cutoff_fn: str | None = "polynomial",
        vectors: bool = False,
        elements: Sequence[int] | None = None,
    ):
        shape = shape if isinstance(shape, ESCNShape) else ESCNShape(**shape)
        config = {"shape": asdict(shape), "cutoff": cutoff, "cutoff_fn": cutoff_fn, "vectors": vectors}
        super().__init__(cutoff, elements=elements, config={**config, "elements": elements})
        self.shape, channels, layers = shape, shape.channels, range(shape.layers)
        self.rbf = GaussianSmearing(shape.num_rbf, cutoff)
        self.rbf.coefficient /= shape.rbf_width**2
        self.envelope = None if cutoff_fn is None else cutoff_function(cutoff_fn, cutoff)
        self.embedding = nn.Embedding(len(self.elements), channels)
        self.messages = nn.ModuleList(EdgeConvolution(shape, first=k == 0, elements=len(self.elements)) for k in layers)
        self.updates = nn.ModuleList(GateUpdate(shape) if shape.gate else GridUpdate(shape) for _ in layers)
        frame_constants(shape.lmax)
        self.places = {mmax: turn_places(shape.lmax, mmax) for mmax in (0, shape.mmax)}
        self.vector: nn.Module | None = None
        if shape.gate:
            self.energy = _perceptron((shape.lmax + 1) * channels, channels)
            self.vector = nn.Linear(channels, 1, bias=False) if vectors else None
        else:
            self.read = read_grid(shape.lmax, shape.grid)
            self.energy = _perceptron(channels, channels)
            self.vector = _perceptron(channels, channels) if vectors else None

    def evaluate(self, cloud: PointCloud) -> dict[str, Tensor]:
        """Atomic energies (N,), features (N, C, D), and vectors (N, 3) if asked for."""
        frames = edge_frames(-cloud.edge_vec, self.shape.lmax)  # the published code looks from targets to sources
        turns = [Turn(frames, mmax, places) for mmax, places in self.places.items()]
        rbf = self.rbf(cloud.edge_len)
        envelope = None if self.envelope is None else self.envelope(cloud.edge_len)[:, None, None]
        x = self.embedding(cloud.species)[:, None]  # (N, 1, C), scalars
        for k, (message, update) in enumerate(zip(self.messages, self.updates, strict=True)):
            found = message(x, cloud, rbf, turns[0 if k == 0 else -1])
            found = cloud.sum_edges(found if envelope is None else found * envelope)
            if k == 0:
                x = nn.functional.pad(x, (0, 0, 0, found.shape[1] - 1))
            x = update(x, found) if k == 0 else x + update(x, found)  # (N, D, C)
        out = self._gated_readout(x) if self.shape.gate else self._sphere_readout(x)
        return {**out, "features": x.transpose(1, 2)}

    def _sphere_readout(self, x: Tensor) -> dict[str, Tensor]:
        values = torch.matmul(self.read.like("to", x), x)  # (N, P, C)
        out = {"node_energy": self.energy(values).squeeze(2) @ self.read.like("scalar", x)}
        if self.vector is not None:
            out["vectors"] = self.vector(values).squeeze(2) @ self.read.like("vector", x)
        return out

    def _gated_readout(self, x: Tensor) -> dict[str, Tensor]:
        pieces = x.split(self.shape.sizes, dim=1)
        norms = [piece.square().mean(1) for piece in pieces[1:]]
        out = {"node_energy": self.energy(torch.cat([pieces[0].squeeze(1), *norms], dim=1)).squeeze(1)}
        if self.vector is not None:
            out["vectors"] = self.vector(pieces[1]).squeeze(2)  # degree 1 is (x, y, z)
        return out


def _perceptron(width: int, channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(width, channels),
        nn.SiLU(),
        nn.Linear(channels, channels),
        nn.SiLU(),
        nn.Linear(channels, 1, bias=False),
    )
