"""Attention of every node over its edges, in both directions, with the edges in queries, keys and values.

With node parts q, k, v and edge parts q, k, v, m of e, the neighbour j of node i along the edge e has

    logit  scale * (q_i + q_e) . (k_j + k_e)      value  v_j * m_e + v_e

per head, and node i attends over its incoming edges, its outgoing edges (with keys and values of their own) and itself
(with learned edge parts). Nothing edge-sized is kept for the backward pass but the edge features, from which the rest
is made again: memory is linear in edges.

Legend of shape comments: N nodes, E edges, D attention channels, H heads.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from weightspace.metanets._directions import Direction, both_directions
from weightspace.metanets._message_passing import Adjacency


def relational_attention(
    adjacency: Adjacency, e: Tensor, *, weight: Tensor, parts: Tensor, own: Tensor, heads: int
) -> Tensor:
    """What each node gathers.

    Args:
        adjacency: sources, targets and their orders.
        e: edge features.
        weight: makes the edge parts q, k, v, m of e.
        parts: of each node: q, k and v along the edges, k and v against them.
        own: edge parts q, k, v, m of a node's pair with itself.
        heads: H, a divisor of D.

    Shapes:
        e (E, C); weight (C, 4 D); parts (N, 5 D); own (4 D,); result (N, D).
    """
    device = e.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else e.dtype
    e, weight, parts, own = (tensor.to(dtype) for tensor in (e, weight, parts, own))
    with torch.autocast(device, enabled=False):
        q, k, v, _, _ = parts.chunk(5, dim=1)
        own_q, own_k, own_v, own_m = own.chunk(4)
        logits = _logits(q + own_q, k + own_k, heads)  # (N, H)
        total, norm, largest = _Attention.apply(adjacency, logits.detach(), e, weight, parts)
        share = (logits - largest).exp()
        total = total + _times_heads(v * own_m + own_v, share)
        return _times_heads(total, 1 / (norm + share))


class _Attention(torch.autograd.Function):
    """Sums of exp(logit - largest) * value and of exp(logit - largest) over edges, and the largest logits.

    The largest logits cancel in the quotient of the two sums, so no gradient goes through them.
    """

    @staticmethod
    def forward(
        adjacency: Adjacency, logits: Tensor, e: Tensor, weight: Tensor, parts: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        pairs = list(_pairs(adjacency, e @ weight, parts))
        found = [_logits(pair.query, pair.key, logits.shape[1]) for pair in pairs]  # each (E, H)
        largest = logits
        for pair, values in zip(pairs, found, strict=True):
            largest = largest.maximum(_largest(pair.direction, values))
        shares = [(x - largest.index_select(0, p.direction.receiver)).exp_() for x, p in zip(found, pairs, strict=True)]
        along, against = zip(pairs, shares, strict=True)
        norm = along[0].direction.at_receivers(along[1]) + against[0].direction.at_receivers(against[1])
        total = along[0].gathered(along[1]) + against[0].gathered(against[1])
        return total, norm, largest

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.adjacency = inputs[0]
        ctx.save_for_backward(*inputs[2:], output[2])
        ctx.mark_non_differentiable(output[2])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        e, weight, parts, largest = ctx.saved_tensors
        grad_edges = e.new_zeros(e.shape[0], weight.shape[1])
        grad_parts: list[Tensor] = []
        for pair in _pairs(ctx.adjacency, e @ weight, parts):
            grad_parts += _backward(pair, grads, largest, grad_edges.chunk(4, dim=1))
        q_along, k_along, v_along, q_against, k_against, v_against = grad_parts
        joined = torch.cat([q_along + q_against, k_along, v_along, k_against, v_against], dim=1)
        return None, None, grad_edges @ weight.t(), e.t() @ grad_edges, joined


@dataclass(frozen=True)
class _Pairs:
    """Receiver and sender of every edge in one direction: query, key, and the value sent * factor + shift, (E, D)."""

    direction: Direction
    query: Tensor
    key: Tensor
    sent: Tensor
    factor: Tensor
    shift: Tensor

    def gathered(self, share: Tensor) -> Tensor:
        """Sum of share * value at the receivers; (E, H) -> (N, D)."""
        return self.direction.at_receivers(_times_heads(torch.addcmul(self.shift, self.sent, self.factor), share))


def _pairs(adjacency: Adjacency, of_edges: Tensor, parts: Tensor) -> Iterator[_Pairs]:
    q_e, k_e, v_e, m_e = of_edges.chunk(4, dim=1)
    q, k_along, v_along, k_against, v_against = parts.chunk(5, dim=1)
    along, against = both_directions(adjacency)
    for direction, k, v in ((along, k_along, v_along), (against, k_against, v_against)):
        query = q.index_select(0, direction.receiver).add_(q_e)
        key = k.index_select(0, direction.sender).add_(k_e)
        yield _Pairs(direction, query, key, v.index_select(0, direction.sender), m_e, v_e)


def _backward(
    pair: _Pairs, grads: tuple[Tensor, ...], largest: Tensor, grad_edges: tuple[Tensor, ...]
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the nodes' q, k and v; those of the edge parts q, k, v, m are added to `grad_edges`."""
    direction, heads = pair.direction, largest.shape[1]
    grad_total, grad_norm = (grad.index_select(0, direction.receiver) for grad in grads[:2])
    share = _logits(pair.query, pair.key, heads).sub_(largest.index_select(0, direction.receiver)).exp_()
    value = torch.addcmul(pair.shift, pair.sent, pair.factor)
    grad_logits = _head_sums(grad_total * value, heads).add_(grad_norm).mul_(share).mul_(_scale(value))
    grad_query, grad_key = _times_heads(pair.key, grad_logits), _times_heads(pair.query, grad_logits)
    grad_value = _times_heads(grad_total, share)
    for total, grad in zip(grad_edges, (grad_query, grad_key, grad_value), strict=False):
        total += grad
    grad_edges[3].addcmul_(grad_value, pair.sent)
    grad_sent = direction.at_senders(grad_value.mul_(pair.factor))
    return direction.at_receivers(grad_query), direction.at_senders(grad_key), grad_sent


def _scale(like: Tensor) -> float:
    return float(like.shape[1] ** -0.5)


def _logits(query: Tensor, key: Tensor, heads: int) -> Tensor:
    return _head_sums(query * key, heads).mul_(_scale(query))


def _head_sums(values: Tensor, heads: int) -> Tensor:
    """Sum over the channels of each head; (rows, D) -> (rows, H)."""
    return values.unflatten(1, (heads, -1)).sum(-1)


def _times_heads(values: Tensor, factors: Tensor) -> Tensor:
    """Every channel times its head's factor; (rows, D), (rows, H) -> (rows, D)."""
    return (values.unflatten(1, (factors.shape[1], -1)) * factors[:, :, None]).flatten(1)


def _largest(direction: Direction, values: Tensor) -> Tensor:
    """Largest of the values that each node receives, -inf where there are none; (E, H) -> (N, H)."""
    receiver = direction.receiver[:, None].expand_as(values)
    empty = values.new_full((direction.adjacency.num_nodes, values.shape[1]), -torch.inf)
    return empty.scatter_reduce_(0, receiver, values, "amax")
