"""Slow twins: the same functions with the same weights, written as gather, concatenate, scatter."""

import torch
from torch import Tensor


def dense_edge_mlp(layer, x_source: Tensor, x_target: Tensor, e: Tensor, u: Tensor) -> Tensor:
    """relu(W [x_s, x_t, e, u] + bias), one matrix on the concatenation of every edge."""
    weight = torch.cat([layer.source.weight, layer.target.weight, layer.edge_in.weight, layer.context.weight], dim=1)
    return torch.relu(torch.cat([x_source, x_target, e, u], dim=1) @ weight.t() + layer.source.bias)


def mean_over(values: Tensor, index: Tensor, size: int) -> Tensor:
    total = torch.zeros(size, values.shape[1], dtype=values.dtype).index_add(0, index, values)
    counts = torch.zeros(size, 1, dtype=values.dtype).index_add(0, index, torch.ones(len(index), 1, dtype=values.dtype))
    return total / counts.clamp(min=1)


def degree(index: Tensor, nodes: Tensor) -> Tensor:
    return torch.bincount(index, minlength=len(nodes)).to(nodes.dtype)[:, None]


def layer_twin(
    layer, *, edge_index: Tensor, graph: Tensor, x: Tensor, e: Tensor, u: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """PyG's `MetaLayer` scheme: an edge model, a node model on messages scattered both ways, a global model.

    The second linear map of either direction's message is applied to every message, in front of the mean.
    """
    source, target = edge_index
    here = layer.norm(x)
    h = dense_edge_mlp(layer, here[source], here[target], e, u[graph[source]])
    first, nonlinear, second = layer.node
    split = [x.shape[1], h.shape[1], h.shape[1], 2 * e.shape[1], u.shape[1]]
    own, forward, backward, product, context = first.weight.split(split, dim=1)
    into = mean_over(h, target, len(x)), mean_over(h @ forward.t(), target, len(x))
    out_of = mean_over(h @ backward.t(), source, len(x))
    ahead = mean_over(e * layer.ahead(here[source]), target, len(x)) * degree(target, x).sqrt()
    back = mean_over(e * layer.back(here[target]), source, len(x)) * degree(source, x).sqrt()
    products = torch.cat([ahead, back], dim=1) @ product.t()
    x = x + second(nonlinear(here @ own.t() + into[1] + out_of + products + u[graph] @ context.t() + first.bias))
    pooled = mean_over(torch.cat([x, into[0]], dim=1), graph, len(u))
    return x, e + h @ layer.edge_out.weight.t(), u + layer.graph(torch.cat([u, pooled], dim=1))


def union_edges(union) -> Tensor:
    """Edge index of a union, from what the kernel looks up; shape (2, E)."""
    return union.adjacency.ends.t() - torch.tensor([[0], [union.adjacency.num_nodes]])


def trunk_twin(trunk, union, scales) -> tuple[Tensor, Tensor, Tensor]:
    x, e = trunk.nodes(union, scales), trunk.edges(union, scales)
    u = trunk.start.expand(union.num_models, -1)
    for layer in trunk.layers:
        x, e, u = layer_twin(layer, edge_index=union_edges(union), graph=union.node_graph, x=x, e=e, u=u)
    return x, e, u
