"""Attention of every node over its edges, in both directions, with the edges in queries, keys and values.

With node parts q, k, v and edge parts q, k, v, m of e, the neighbour j of node i along the edge e has

    logit  scale * (q_i + q_e) . (k_j + k_e)      value  v_j * m_e + v_e

per head, and node i attends over its incoming edges, its outgoing edges (with keys and values of their own) and itself
(with learned edge parts). Nothing edge-sized is kept for the backward pass but the edge features, from which the rest
is made again: memory is linear in edges.

Legend of shape comments: N nodes, E edges, D attention channels, H heads.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from weightspace.metanets._directions import Direction, both_directions, edge_slices
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
        """Sums of weighted values and of weights over edges, and the largest logits."""
        directions = both_directions(adjacency)
        shares = _logits_of_edges(directions, e, weight, parts, logits.shape[1])  # each (E, H)
        largest = logits
        for direction, values in zip(directions, shares, strict=True):
            largest = largest.maximum(_largest(direction, values))
        for direction, values in zip(directions, shares, strict=True):
            values.sub_(largest.index_select(0, direction.receiver)).exp_()
        sent = _sent_values(directions, e, weight, parts, shares)  # each (E, D)
        total, norm = (
            directions[0].at_receivers(along) + directions[1].at_receivers(against) for along, against in (sent, shares)
        )
        return total, norm, largest

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Keep what `backward` needs."""
        ctx.adjacency = inputs[0]
        ctx.save_for_backward(*inputs[2:], output[2])
        ctx.mark_non_differentiable(output[2])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients to logits, e, weight and parts."""
        e, weight, parts, largest = ctx.saved_tensors
        width = parts.shape[1] // 5
        grad_e, grad_weight = torch.empty_like(e), torch.zeros_like(weight)
        at_source, at_target = (e.new_empty(e.shape[0], 3 * width) for _ in range(2))
        for rows in edge_slices(e):
            of_edges = e[rows] @ weight
            grad_edges = torch.zeros_like(of_edges)
            for direction, mine, other in zip(
                both_directions(ctx.adjacency), (at_target, at_source), (at_source, at_target), strict=True
            ):
                pairs = _pairs(direction, rows, of_edges, parts)
                grad_query, grad_key, grad_sent = _backward(pairs, grads, largest, grad_edges.chunk(4, dim=1))
                mine[rows, :width] = grad_query
                other[rows, width : 2 * width], other[rows, 2 * width :] = grad_key, grad_sent
            torch.mm(grad_edges, weight.t(), out=grad_e[rows])
            grad_weight.addmm_(e[rows].t(), grad_edges)
        along, _ = both_directions(ctx.adjacency)
        q_against, k_along, v_along = along.at_senders(at_source).chunk(3, dim=1)
        q_along, k_against, v_against = along.at_receivers(at_target).chunk(3, dim=1)
        grad_parts = torch.cat([q_along + q_against, k_along, v_along, k_against, v_against], dim=1)
        return None, None, grad_e, grad_weight, grad_parts


def _logits_of_edges(
    directions: tuple[Direction, Direction], e: Tensor, weight: Tensor, parts: Tensor, heads: int
) -> list[Tensor]:
    logits = [e.new_empty(e.shape[0], heads) for _ in directions]
    half = weight[:, : weight.shape[1] // 2].contiguous()
    q, *rest = parts.chunk(5, dim=1)
    for rows in edge_slices(e):
        q_e, k_e = (e[rows] @ half).chunk(2, dim=1)
        for direction, k, out in zip(directions, rest[::2], logits, strict=True):
            query = q.index_select(0, direction.receiver[rows]).add_(q_e)
            key = k.index_select(0, direction.sender[rows]).add_(k_e)
            out[rows] = _logits(query, key, heads)
    return logits


def _sent_values(
    directions: tuple[Direction, Direction], e: Tensor, weight: Tensor, parts: Tensor, shares: list[Tensor]
) -> list[Tensor]:
    width = parts.shape[1] // 5
    values = [e.new_empty(e.shape[0], width) for _ in directions]
    half = weight[:, weight.shape[1] // 2 :].contiguous()
    for rows in edge_slices(e):
        v_e, m_e = (e[rows] @ half).chunk(2, dim=1)
        for direction, v, share, out in zip(
            directions, parts[:, width:].chunk(4, dim=1)[1::2], shares, values, strict=True
        ):
            value = v.index_select(0, direction.sender[rows]).mul_(m_e).add_(v_e)
            out[rows] = _times_heads(value, share[rows])
    return values


@dataclass(frozen=True)
class _Pairs:
    """Some edges in one direction: receivers, queries, keys, and values sent * factor + shift, (rows, D)."""

    receiver: Tensor
    query: Tensor
    key: Tensor
    sent: Tensor
    factor: Tensor
    shift: Tensor


def _pairs(direction: Direction, rows: slice, of_edges: Tensor, parts: Tensor) -> _Pairs:
    q_e, k_e, v_e, m_e = of_edges.chunk(4, dim=1)
    q, k_along, v_along, k_against, v_against = parts.chunk(5, dim=1)
    k, v = (k_along, v_along) if direction.along else (k_against, v_against)
    receiver, sender = direction.receiver[rows], direction.sender[rows]
    query, key = q.index_select(0, receiver).add_(q_e), k.index_select(0, sender).add_(k_e)
    return _Pairs(receiver, query, key, v.index_select(0, sender), m_e, v_e)


def _backward(
    pairs: _Pairs, grads: tuple[Tensor, ...], largest: Tensor, grad_edges: tuple[Tensor, ...]
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of each edge's query, key and sent value; those of its q, k, v, m are added to `grad_edges`."""
    heads = largest.shape[1]
    grad_total, grad_norm = (grad.index_select(0, pairs.receiver) for grad in grads[:2])
    share = _logits(pairs.query, pairs.key, heads).sub_(largest.index_select(0, pairs.receiver)).exp_()
    value = torch.addcmul(pairs.shift, pairs.sent, pairs.factor)
    grad_logits = _head_sums(grad_total * value, heads).add_(grad_norm).mul_(share).mul_(_scale(value))
    grad_query, grad_key = _times_heads(pairs.key, grad_logits), _times_heads(pairs.query, grad_logits)
    grad_value = _times_heads(grad_total, share)
    for total, grad in zip(grad_edges, (grad_query, grad_key, grad_value), strict=False):
        total += grad
    grad_edges[3].addcmul_(grad_value, pairs.sent)
    return grad_query, grad_key, grad_value.mul_(pairs.factor)


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
