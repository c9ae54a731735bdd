"""Attention: torch's module in its variants, and written out by hand in the usual ways.

With h heads, keys of d and values of e features the group of one layer is S_h acting on the heads, and inside each head
a permutation of the d (queries and keys together) and one of the e: h! (d!)^h (e!)^h.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.architectures.cases import Case, log_factorial
from tests.architectures.image_tokens import FusedAttention


def sequence(width: int = 3, length: int = 5) -> Tensor:
    """An example sequence."""
    return torch.zeros(1, length, width)


class SelfAttention(nn.Module):
    """A layer of attention between two linear ones, added to its argument."""

    def __init__(self, width: int, attention: nn.Module) -> None:
        super().__init__()
        self.first, self.attention, self.last = nn.Linear(3, width), attention, nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        y = self.attention(x, x, x) if isinstance(self.attention, nn.MultiheadAttention) else self.attention(x)
        return self.last(x + (y[0] if isinstance(y, tuple) else y))


class CrossAttention(nn.Module):
    """Attention between streams of their own; the values' is the keys' where there are two."""

    def __init__(self, widths: tuple[int, ...], attention: nn.MultiheadAttention) -> None:
        super().__init__()
        self.streams, self.attention = nn.ModuleList(nn.Linear(3, width) for width in widths), attention
        self.last = nn.Linear(widths[0], 2)

    def forward(self, *inputs: Tensor) -> Tensor:
        streams = [layer(x) for layer, x in zip(self.streams, inputs, strict=True)]
        return self.last(self.attention(streams[0], streams[1], streams[-1], need_weights=False)[0])


class Chunked(nn.Module):
    """One linear layer in three chunks, a causal mask, matmul and softmax."""

    def __init__(self, width: int, heads: int, depth: int) -> None:
        super().__init__()
        self.heads, self.qkv, self.proj = heads, nn.Linear(width, 3 * heads * depth), nn.Linear(heads * depth, width)

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q, k, v = (part.view(b, n, self.heads, -1).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        scores = torch.matmul(q, k.transpose(2, 3)) / q.shape[-1] ** 0.5
        future = torch.ones(n, n, dtype=torch.bool).triu(1)
        weights = F.dropout(torch.softmax(scores.masked_fill(future, float("-inf")), -1), 0.1, self.training)
        return self.proj(torch.matmul(weights, v).transpose(1, 2).contiguous().view(b, n, -1))


class Manual(nn.Module):
    """Three linear layers, values of another width, torch's scaled dot product."""

    def __init__(self, width: int, heads: int, depth: int, wide: int) -> None:
        super().__init__()
        self.heads, self.q, self.k = heads, nn.Linear(width, heads * depth), nn.Linear(width, heads * depth, bias=False)
        self.v, self.proj = nn.Linear(width, heads * wide), nn.Linear(heads * wide, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.proj(y.transpose(1, 2).flatten(2))


class Normed(nn.Module):
    """Queries and keys are normalised inside each head, with one vector of weights for all heads."""

    def __init__(self, width: int, heads: int, depth: int) -> None:
        super().__init__()
        self.heads, self.qkv, self.proj = heads, nn.Linear(width, 3 * heads * depth), nn.Linear(heads * depth, width)
        self.q_norm, self.k_norm = nn.LayerNorm(depth), nn.RMSNorm(depth, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(self.q_norm(q), self.k_norm(k), v)
        return self.proj(y.transpose(1, 2).reshape(b, n, -1))


class Slopes(nn.Module):
    """Attention with linear biases: a slope of its own for every head (Press et al. 2022)."""

    def __init__(self, width: int, heads: int, depth: int) -> None:
        super().__init__()
        self.heads, self.qkv, self.proj = heads, nn.Linear(width, 3 * heads * depth), nn.Linear(heads * depth, width)
        self.register_buffer("slopes", 2.0 ** -torch.arange(1, heads + 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q, k, v = (part.view(b, n, self.heads, -1).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        places = torch.arange(n, dtype=x.dtype)
        apart = -(places[:, None] - places[None, :]).abs()
        scores = q @ k.mT + self.slopes[:, None, None] * apart
        return self.proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(b, n, -1))


class Kernelised(nn.Module):
    """Attention without softmax, by einsum (Katharopoulos et al. 2020)."""

    def __init__(self, width: int, heads: int, depth: int, wide: int) -> None:
        super().__init__()
        self.heads, self.q, self.k = heads, nn.Linear(width, heads * depth), nn.Linear(width, heads * depth)
        self.v, self.proj = nn.Linear(width, heads * wide), nn.Linear(heads * wide, width)

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q, k, v = (layer(x).view(b, n, self.heads, -1) for layer in (self.q, self.k, self.v))
        q, k = F.elu(q) + 1, F.elu(k) + 1
        memory = torch.einsum("bnhd,bnhe->bhde", k, v)
        scale = 1 / torch.einsum("bnhd,bhd->bnh", q, k.sum(1))
        return self.proj(torch.einsum("bnhd,bhde,bnh->bnhe", q, memory, scale).flatten(2))


class Latents(nn.Module):
    """Learned queries read the sequence; four latent vectors of which the order means nothing (Jaegle et al. 2021)."""

    def __init__(self) -> None:
        super().__init__()
        self.latents, self.first = nn.Parameter(torch.randn(4, 6)), nn.Linear(3, 5)
        self.attention = nn.MultiheadAttention(6, 2, kdim=5, vdim=5, batch_first=True)
        self.norm, self.mlp, self.last = nn.LayerNorm(6), nn.Linear(6, 7), nn.Linear(7, 2)

    def forward(self, x: Tensor) -> Tensor:
        x, queries = self.first(x), self.latents.unsqueeze(0).repeat(len(x), 1, 1)
        h = queries + self.attention(queries, x, x)[0]
        return self.last(torch.tanh(self.mlp(self.norm(h)))).mean(1)


def mha_self() -> Case:
    """The stream of 12 and three heads of 4."""
    net = SelfAttention(12, nn.MultiheadAttention(12, 3, batch_first=True))
    return net, (sequence(),), log_factorial(12) + log_factorial(3) + 3 * 2 * log_factorial(4)


def mha_sequence_first() -> Case:
    """As above with the sequence as the first dimension, biases of keys and values, and a key of zeros."""
    net = SelfAttention(6, nn.MultiheadAttention(6, 2, add_bias_kv=True, add_zero_attn=True))
    return net, (torch.zeros(5, 1, 3),), log_factorial(6) + log_factorial(2) + 2 * 2 * log_factorial(3)


def mha_other_widths() -> Case:
    """Queries of 8, keys of 5 and values of 6 features; two heads of 4; the result is a stream of its own."""
    net = CrossAttention((8, 5, 6), nn.MultiheadAttention(8, 2, kdim=5, vdim=6, batch_first=True))
    order = sum(log_factorial(n) for n in (8, 5, 6)) + log_factorial(2) + 2 * 2 * log_factorial(4) + log_factorial(8)
    return net, (sequence(), sequence(3, 4), sequence(3, 4)), order


def mha_packed_cross() -> Case:
    """One weight for queries, keys and values: its columns are the queries' stream, then the keys'; then the result."""
    net = CrossAttention((6, 6), nn.MultiheadAttention(6, 2, batch_first=True))
    order = 3 * log_factorial(6) + log_factorial(2) + 2 * 2 * log_factorial(3)
    return net, (sequence(), sequence(3, 4)), order


def mha_packed_three() -> Case:
    """One weight whose columns are three streams."""
    net = CrossAttention((4, 4, 4), nn.MultiheadAttention(4, 2, bias=False, batch_first=True))
    order = 4 * log_factorial(4) + log_factorial(2) + 2 * 2 * log_factorial(2)
    return net, (sequence(), sequence(3, 4), sequence(3, 4)), order


def fused_unbind() -> Case:
    """The stream of 5; two heads of 3. Queries, keys and values are told apart by their place."""
    order = log_factorial(5) + log_factorial(2) + 2 * 2 * log_factorial(3)
    return SelfAttention(5, FusedAttention(5, 2, 3)), (sequence(),), order


def fused_chunk() -> Case:
    """The stream of 5; three heads of 2, with a causal mask."""
    order = log_factorial(5) + log_factorial(3) + 3 * 2 * log_factorial(2)
    return SelfAttention(5, Chunked(5, 3, 2)), (sequence(),), order


def values_of_another_width() -> Case:
    """The stream of 5; two heads, keys of 3 and values of 4."""
    order = log_factorial(5) + log_factorial(2) + 2 * log_factorial(3) + 2 * log_factorial(4)
    return SelfAttention(5, Manual(5, 2, 3, 4)), (sequence(),), order


def query_key_norm() -> Case:
    """The stream of 5; two heads with values of 4 each; the norms' weights tie the 4 of queries and keys of all heads.

    Queries and keys have one permutation in common: S_4 once. Heads and values: S_4 wr S_2.
    """
    order = log_factorial(5) + log_factorial(4) + log_factorial(2) + 2 * log_factorial(4)
    return SelfAttention(5, Normed(5, 2, 4)), (sequence(),), order


def head_slopes() -> Case:
    """The stream of 5; the two heads have slopes of their own, so they stay; inside each, 3 for keys and for values."""
    return SelfAttention(5, Slopes(5, 2, 3)), (sequence(),), log_factorial(5) + 2 * 2 * log_factorial(3)


def kernelised() -> Case:
    """The stream of 5; two heads, keys of 3 and values of 4."""
    order = log_factorial(5) + log_factorial(2) + 2 * log_factorial(3) + 2 * log_factorial(4)
    return SelfAttention(5, Kernelised(5, 2, 3, 4)), (sequence(),), order


def latents() -> Case:
    """Four latent vectors, their 6 features, the sequence's 5, two heads of 3, 7 behind."""
    heads = log_factorial(2) + 2 * 2 * log_factorial(3)
    return Latents(), (sequence(),), sum(log_factorial(n) for n in (4, 6, 5, 7)) + heads


CASES: tuple[Callable[[], Case], ...] = (
    mha_self, mha_sequence_first, mha_other_widths, mha_packed_cross, mha_packed_three, fused_unbind, fused_chunk,
    values_of_another_width, query_key_norm, head_slopes, kernelised, latents,
)  # fmt: skip
