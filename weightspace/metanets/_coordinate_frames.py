"""Networks on coordinates as invariant graphs and vectors, seen from a centre that moves with the shape.

A rigid motion x -> R x + t of the shape makes f'(x) = f(R^T (x - t)) of the network: the layer that reads the
coordinates has weights w_i' = R w_i and biases b_i' = b_i - w_i' . t; all else stays.

Legend of shape comments: B models of a graph, n neurons of a layer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from weightspace.graph import ParameterGraph
from weightspace.metanets._coordinate_axes import CoordinateAxes
from weightspace.metanets._input_scales import InputScales

SMALL = 0.05  # weights below this share of their usual size have no plane of their own


@dataclass(frozen=True)
class NeuronVectors:
    """The neurons of a layer that reads coordinates: f = height + w . (x - centre) before their activation.

    Args:
        site: number of the site of the neurons.
        moves: whether the layer reads positions; otherwise heights are zero.
        w: vectors of weights in units of their spread.
        height: value at the centre, in the same units.

    Shapes:
        w (B n, 3); height (B n,).
    """

    site: int
    moves: bool
    w: Tensor
    height: Tensor

    @property
    def features(self) -> Tensor:
        """Three vectors of a neuron: the weights, their direction, and the foot of the centre on the plane where the
        neuron is zero; (B n, 3, 3), kinds last. Short vectors have shorter directions and feet.
        """
        length = lengths(self.w)
        return torch.stack([self.w, self.w / length, -self.height[:, None] * self.w / length.square()], dim=-1)

    def seen_from(self, shift: Tensor) -> "NeuronVectors":
        """From centres that are moved by a vector for each neuron, (B n, 3)."""
        return replace(self, height=self.height + (self.w * shift).sum(1) * self.moves)


@dataclass(frozen=True)
class Framed:
    """A graph from its centre.

    Args:
        plain: the graph with biases as seen from the centre, and with the lengths of the vectors of weights (divided by
            the root of three) in place of their coordinates: invariant.
        axes: where it reads coordinates.
        layers: that read them.
        centre: which moves with the shape; zero where nothing reads positions.

    Shapes:
        centre (B, 3).
    """

    plain: ParameterGraph
    axes: CoordinateAxes
    layers: tuple[NeuronVectors, ...]
    centre: Tensor


def frame(graph: ParameterGraph, axes: CoordinateAxes, scales: InputScales) -> Framed:
    """See a graph from its centre.

    Args:
        graph: of one network or of a batch.
        axes: of the graph.
        scales: give the usual size of the weights.
    """
    edges, nodes = [block.edge_attr for block in graph.blocks], [site.x for site in graph.sites]
    sizes = [scales.of(graph.signature, b.name, b.role) for b in (graph.blocks[layer.block] for layer in axes.layers)]
    weights = [
        _weights(edges[layer.block], layer.slot, graph.sites[layer.site].num_nodes) / size
        for layer, size in zip(axes.layers, sizes, strict=True)
    ]
    planes = [
        (w / lengths(w), nodes[layer.site][..., layer.bias].reshape(w.shape[:2]) / size / lengths(w)[..., 0])
        for layer, w, size in zip(axes.layers, weights, sizes, strict=True)
        if layer.moves
    ]
    centre = centre_of(planes) if planes else weights[0].new_zeros(len(weights[0]), 3)
    found = []
    for layer, w, size in zip(axes.layers, weights, sizes, strict=True):
        height = w.new_zeros(w.shape[:2])
        if layer.moves:
            values = nodes[layer.site]
            shift = (w @ centre[:, :, None])[..., 0] * size  # (B, n)
            column = torch.arange(values.shape[-1], device=values.device) == layer.bias
            nodes[layer.site] = values + (shift[..., None] * column).view_as(values)
            height = nodes[layer.site][..., layer.bias].reshape(shift.shape) / size
        found.append(NeuronVectors(layer.site, layer.moves, w.flatten(0, 1), height.flatten()))
        long = torch.linalg.vector_norm(w, dim=2) * (size / 3**0.5)  # (B, n)
        edges[layer.block] = long[:, layer.slot // 3].view_as(edges[layer.block])
    return Framed(graph.replace(x=nodes, edge_attr=edges), axes, tuple(found), centre)


def centre_of(planes: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """The point nearest to planes w_i . x + b_i = 0 in the least squares of w_i . x + b_i, which are distances where
    vectors have length 1.

    With A = sum w_i w_i^T and r = -sum b_i w_i it is c = A^+ r, so that c' = R c + t for the moved network. Where the
    weights span no more than a plane or a line (eigenvalues of A below `rcond` of the largest), the network is the
    same along what is left, and c stays at zero there: only then does it not follow translations. The gradient is that
    of A^-1 r, within the span.

    Shapes:
        w (B, n, 3) and b (B, n) of each layer; result (B, 3).

    Example:
        >>> w, c = torch.randn(1, 5, 3, dtype=torch.float64), torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)
        >>> torch.allclose(centre_of([(w, -(w @ c[:, :, None])[..., 0])]), c)
        True
    """
    a = torch.stack([w.mT @ w for w, _ in planes]).sum(0)  # (B, 3, 3)
    r = -torch.stack([(w * b[..., None]).sum(1) for w, b in planes]).sum(0)  # (B, 3)
    with torch.no_grad():
        rcond = 100 * torch.finfo(a.dtype).eps
        inverse = torch.linalg.pinv(a, rtol=rcond, hermitian=True)
        start = inverse @ r[..., None]
    return (start + inverse @ (r[..., None] - a @ start))[..., 0]  # one step of Newton, which carries the gradient


def _weights(values: Tensor, slot: Tensor, neurons: int) -> Tensor:
    """Vectors of weights (B, n, 3) from the values of a block, (..., E, 1)."""
    values = values.reshape(-1, len(slot))
    return values.new_zeros(len(values), 3 * neurons).index_add(1, slot, values).unflatten(1, (neurons, 3))


def lengths(w: Tensor) -> Tensor:
    """Lengths of vectors in units of their spread, at least `SMALL`; (..., 3) -> (..., 1)."""
    return (w.square().sum(-1, keepdim=True) + SMALL**2).sqrt()
