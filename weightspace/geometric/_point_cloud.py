"""PONITA on point clouds with scalars and vectors: an equivariant classifier and regressor."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from weightspace.errors import ConfigurationError, GeometryError
from weightspace.geometric._knn import nearest_neighbours
from weightspace.geometric._neighbours import neighbours
from weightspace.geometric._orientation_grids import orientation_grid
from weightspace.geometric._ponita_atoms import check_sizes
from weightspace.geometric._ponita_edges import EdgeExtras, kernel_edges, make_window
from weightspace.geometric._ponita_kernels import MLPKernel
from weightspace.geometric._ponita_layers import PonitaTrunk
from weightspace.geometric._take import take


@dataclass(frozen=True)
class PonitaShape:
    """Sizes of a PONITA trunk.

    Args:
        channels: C.
        layers: how many blocks.
        basis_channels: of the kernels' shared MLP.
        layer_scale: initial scale of what each block adds (ConvNeXt has 1e-6), or None for no scale.
        window: "polynomial" or "mollifier", where edges end at a distance.
    """

    channels: int = 128
    layers: int = 5
    basis_channels: int = 256
    layer_scale: float | None = None
    window: str = "polynomial"


class PonitaPointCloud(nn.Module):
    """PONITA for point clouds: scalars and vectors in at each point, scalars and vectors out for each cloud.

    Source: Bekkers et al. 2024, arXiv 2310.02970, sections 4 and 5, and the published code: its three modes are
    grid = a grid of the sphere (R3 x S2, fibre bundle), grid = None (positions alone), grid = "own" (a cloud in
    position-orientation space, each point with an orientation of its own: kernels of
    (r . o_i, norm(r - (r . o_i) o_i), o_i . o_j)); with a grid of the circle it works in the plane (R2 x S1, rotations
    and translations, no reflections). Convolutions, blocks and what deviates as in `Ponita`; moreover outputs of a
    cloud are the mean over its points (the published code takes sums; `points` gives what is pooled), and kernels may
    read attributes of edges, zero for a point's own term, in which case pairs are not shared.

    Args:
        in_features: scalars of a point; without any input, all points start alike.
        out_features: scalars of a cloud, such as class logits.
        in_vectors: vectors of a point.
        out_vectors: vectors of a cloud.
        edge_features: attributes of an edge.
        grid: what `orientation_grid` takes, None, or "own".
        edges: a whole number for that many nearest neighbours, a float for all points within that distance.
        shape: sizes, a `PonitaShape` or its fields as a mapping.

    Shapes:
        pos (N, 3) or (N, 2), x (N, in_features), vec (N, in_vectors, 3), batch (N,) ascending or None for one cloud,
        edge_index (2, E) or None to find edges, edge_attr (E, edge_features), ori (N, 3) for grid="own" ->
        scalars (G, out_features), vectors (G, out_vectors, 3).

    Raises:
        ConfigurationError: sizes that are not positive, vectors without orientations.
        GeometryError: input that does not fit.

    Example:
        >>> model = PonitaPointCloud(0, 10, out_vectors=1, edges=4, shape={"channels": 16, "layers": 2})
        >>> logits, vectors = model(torch.randn(30, 3), batch=torch.arange(30) // 15)
        >>> logits.shape, vectors.shape
        (torch.Size([2, 10]), torch.Size([2, 1, 3]))
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        in_vectors: int = 0,
        out_vectors: int = 0,
        edge_features: int = 0,
        grid: str | int | Sequence[Sequence[float]] | None = "antipodal-16",
        edges: int | float = 16,
        shape: PonitaShape | Mapping[str, Any] = PonitaShape(),  # noqa: B008  frozen
    ):
        super().__init__()
        self.shape = shape if isinstance(shape, PonitaShape) else PonitaShape(**shape)
        check_sizes("PonitaPointCloud", channels=self.shape.channels, layers=self.shape.layers)
        self.config = {
            "in_features": in_features,
            "out_features": out_features,
            "in_vectors": in_vectors,
            "out_vectors": out_vectors,
            "edge_features": edge_features,
            "grid": grid if grid is None or isinstance(grid, str | int) else [list(map(float, row)) for row in grid],
            "edges": edges,
            "shape": asdict(self.shape),
        }
        self.in_features, self.in_vectors, self.out_features = in_features, in_vectors, out_features
        self.edge_features, self.own_orientations, self.edges = edge_features, grid == "own", edges
        if grid is None and (in_vectors or out_vectors):
            raise ConfigurationError("PonitaPointCloud: found vectors and grid=None, wanted a grid, or grid='own'")
        orientations = None if grid is None or grid == "own" else orientation_grid(grid)
        self.dim = 3 if orientations is None else orientations.dim
        self.window = make_window(self.shape.window, edges if isinstance(edges, float) else None)
        inputs = in_features + in_vectors
        self.embedding = nn.Linear(inputs or 1, self.shape.channels, bias=False)
        own = (0.0, 0.0) if orientations is not None else ((0.0, 0.0, 1.0) if self.own_orientations else (0.0,))
        self.trunk = PonitaTrunk(
            MLPKernel(
                channels=self.shape.channels,
                basis_channels=self.shape.basis_channels,
                own=own + (0.0,) * edge_features,
                fiber=orientations is not None,
            ),
            orientations,
            channels=self.shape.channels,
            layers=self.shape.layers,
            outputs=out_features + out_vectors,
            layer_scale=self.shape.layer_scale,
        )

    def forward(
        self,
        pos: Tensor,
        x: Tensor | None = None,
        vec: Tensor | None = None,
        batch: Tensor | None = None,
        edge_index: Tensor | None = None,
        *,
        edge_attr: Tensor | None = None,
        ori: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Scalars (G, out_features) and vectors (G, out_vectors, d) of each cloud."""
        scalars, vectors = self.points(pos, x, vec, batch, edge_index, edge_attr=edge_attr, ori=ori)
        if batch is None:
            return scalars.mean(0, keepdim=True), vectors.mean(0, keepdim=True)
        graphs = int(batch[-1]) + 1 if len(batch) else 0
        count = torch.bincount(batch, minlength=graphs).clamp_min(1).to(pos.dtype)
        return _summed(scalars, batch, graphs) / count[:, None], _summed(vectors, batch, graphs) / count[:, None, None]

    def points(
        self,
        pos: Tensor,
        x: Tensor | None = None,
        vec: Tensor | None = None,
        batch: Tensor | None = None,
        edge_index: Tensor | None = None,
        *,
        edge_attr: Tensor | None = None,
        ori: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Scalars (N, out_features) and vectors (N, out_vectors, d) of each point."""
        self._check(pos, x, vec, edge_index, edge_attr, ori)
        if edge_index is None:
            edge_index = self._find(pos, batch)
        edges = kernel_edges(
            self.trunk,
            edge_index,
            take(pos, 0, edge_index[1]) - take(pos, 0, edge_index[0]),
            num_nodes=len(pos),
            window=self.window,
            extras=EdgeExtras(attr=edge_attr, ori=ori),
        )
        directions, weights = self.trunk.orientations(pos)
        read = self.trunk(self._lift(pos, x, vec, directions if ori is None else ori[:, None]), edges)
        scalars, along = read.split([self.out_features, read.shape[2] - self.out_features], dim=2)
        if ori is not None:
            return scalars[:, 0], along[:, 0, :, None] * ori[:, None]
        if directions is None:
            return scalars[:, 0], along.new_zeros(len(pos), 0, pos.shape[1])
        scalars = torch.einsum("nof,o->nf", scalars, weights)
        return scalars, torch.einsum("nov,od->nvd", along, directions * weights[:, None])

    def _lift(self, pos: Tensor, x: Tensor | None, vec: Tensor | None, ori: Tensor | None) -> Tensor:
        """Embedded inputs at all orientations (N, O, C): scalars the same at all, vectors by their component."""
        scalars = self.embedding.in_features - self.in_vectors  # one where there is no input: the same for all points
        weight_x, weight_vec = self.embedding.weight.t().split([scalars, self.in_vectors])
        lifted = self.trunk.lift((pos.new_ones(len(pos), scalars) if x is None else x) @ weight_x)
        if vec is None or ori is None:
            return lifted
        return lifted + (ori @ vec.mT) @ weight_vec

    def _find(self, pos: Tensor, batch: Tensor | None) -> Tensor:
        if isinstance(self.edges, float):
            flat = torch.nn.functional.pad(pos.detach(), (0, 3 - pos.shape[1]))  # the plane in space
            return neighbours(flat, cutoff=self.edges, batch=batch)[0]
        return nearest_neighbours(pos.detach(), self.edges, batch=batch)

    def _check(
        self,
        pos: Tensor,
        x: Tensor | None,
        vec: Tensor | None,
        edge_index: Tensor | None,
        edge_attr: Tensor | None,
        ori: Tensor | None,
    ) -> None:
        nodes, dim = (len(pos), pos.shape[-1]) if pos.dim() == 2 else (0, 0)
        if dim != self.dim and not (self.trunk.grid is None and dim == 2):
            raise GeometryError(f"PonitaPointCloud: pos has shape {tuple(pos.shape)}, wanted (N, {self.dim})")
        num_edges = None if edge_index is None else edge_index.shape[-1]
        wanted = {
            "x": (x, (nodes, self.in_features), self.in_features > 0),
            "vec": (vec, (nodes, self.in_vectors, dim), self.in_vectors > 0),
            "edge_index": (edge_index, (2, num_edges), self.edge_features > 0),
            "edge_attr": (edge_attr, (num_edges, self.edge_features), self.edge_features > 0),
            "ori": (ori, (nodes, dim), self.own_orientations),
        }
        for name, (tensor, size, needed) in wanted.items():
            if (tensor is None) == needed and not (name == "edge_index" and not needed):
                raise GeometryError(
                    f"PonitaPointCloud: found {'no ' if needed else ''}{name}, wanted "
                    f"{'it in shape ' + str(size) if needed else 'none; build the model with that input'}"
                )
            if tensor is not None and tuple(tensor.shape) != size:
                raise GeometryError(f"PonitaPointCloud: {name} has shape {tuple(tensor.shape)}, wanted {size}")


def _summed(values: Tensor, batch: Tensor, graphs: int) -> Tensor:
    return values.new_zeros(graphs, *values.shape[1:]).index_add(0, batch, values)
