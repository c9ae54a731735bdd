"""Queries that share keys and values, and rotary positions.

With g pairs of keys and values of d and e features, each read by r queries: S_g on the pairs, S_r on the queries of
each, and inside each pair a permutation of the d and one of the e: g! (r!)^g (d!)^g (e!)^g. Rotary positions fix the d.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.architectures.attention import SelfAttention, sequence
from tests.architectures.cases import Case, log_factorial


def repeat_interleave(x: Tensor, times: int) -> Tensor:
    """Every head several times in a row, by torch's own operation."""
    return x.repeat_interleave(times, dim=1)


def expand_reshape(x: Tensor, times: int) -> Tensor:
    """The same by a view of a new dimension."""
    b, heads, n, depth = x.shape
    return x[:, :, None, :, :].expand(b, heads, times, n, depth).reshape(b, heads * times, n, depth)


def angles(length: int, depth: int) -> Tensor:
    """The angle of every position and every second feature (Su et al. 2021)."""
    return torch.arange(length)[:, None] * 100.0 ** (-torch.arange(0, depth, 2) / depth)


def rotate_half(x: Tensor) -> Tensor:
    """Feature i is turned with feature i + d/2."""
    angle = angles(x.shape[-2], x.shape[-1]).to(x.dtype)
    cos, sin = torch.cat([angle.cos()] * 2, -1), torch.cat([angle.sin()] * 2, -1)
    first, second = x[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :]
    return x * cos + torch.cat([-second, first], -1) * sin


def rotate_pairs(x: Tensor) -> Tensor:
    """Feature 2i is turned with feature 2i + 1."""
    angle = angles(x.shape[-2], x.shape[-1]).to(x.dtype)
    even, odd = x[..., 0::2], x[..., 1::2]
    turned = [even * angle.cos() - odd * angle.sin(), even * angle.sin() + odd * angle.cos()]
    return torch.stack(turned, -1).flatten(-2)


class GroupedQueries(nn.Module):
    """Attention in which several queries read one key (Ainslie et al. 2023), with or without rotary positions.

    Args:
        width: of the stream.
        pairs: of keys and values.
        queries: for each pair.
        depth: of queries and keys; values have `wide` features, `depth` by default.
        repeat: makes as many keys as there are queries.
        rotate: positions on queries and keys.
    """

    def __init__(
        self, width: int, pairs: int, queries: int, depth: int, *,
        wide: int | None = None, repeat: Callable[[Tensor, int], Tensor] | None = None,
        rotate: Callable[[Tensor], Tensor] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        wide = depth if wide is None else wide
        self.pairs, self.queries, self.depth, self.repeat, self.rotate = pairs, queries, depth, repeat, rotate
        self.q, self.k = nn.Linear(width, pairs * queries * depth), nn.Linear(width, pairs * depth)
        self.v, self.proj = nn.Linear(width, pairs * wide), nn.Linear(pairs * queries * wide, width)

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q = self.q(x).view(b, n, self.pairs * self.queries, -1).transpose(1, 2)
        k, v = (layer(x).view(b, n, self.pairs, -1).transpose(1, 2) for layer in (self.k, self.v))
        if self.rotate is not None:
            q, k = self.rotate(q), self.rotate(k)
        if self.repeat is not None:
            k, v = self.repeat(k, self.queries), self.repeat(v, self.queries)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=self.repeat is None)
        return self.proj(y.transpose(1, 2).reshape(b, n, -1))


def gqa_repeat_interleave() -> Case:
    """The stream of 5; two pairs with three queries each; 4 features of keys, 3 of values."""
    inner = log_factorial(2) + 2 * log_factorial(3) + 2 * log_factorial(4) + 2 * log_factorial(3)
    net = SelfAttention(5, GroupedQueries(5, 2, 3, 4, wide=3, repeat=repeat_interleave))
    return net, (sequence(),), log_factorial(5) + inner


def gqa_expand() -> Case:
    """The stream of 5; three pairs with two queries each; 3 features."""
    inner = log_factorial(3) + 3 * log_factorial(2) + 3 * 2 * log_factorial(3)
    return (
        SelfAttention(5, GroupedQueries(5, 3, 2, 3, repeat=expand_reshape)),
        (sequence(),),
        log_factorial(5) + inner,
    )


def gqa_enabled() -> Case:
    """The stream of 5; two pairs with two queries each, repeated inside torch's operation; 3 features."""
    inner = log_factorial(2) + 2 * log_factorial(2) + 2 * 2 * log_factorial(3)
    return SelfAttention(5, GroupedQueries(5, 2, 2, 3)), (sequence(),), log_factorial(5) + inner


def mqa_repeat_interleave() -> Case:
    """The stream of 5; one pair that four queries read: S_4 on the queries, 3 features of keys, 3 of values."""
    inner = log_factorial(4) + 2 * log_factorial(3)
    net = SelfAttention(5, GroupedQueries(5, 1, 4, 3, repeat=repeat_interleave))
    return net, (sequence(),), log_factorial(5) + inner


def mqa_expand() -> Case:
    """The stream of 5; one pair that four queries read, keys of 4 and values of 3 features."""
    inner = log_factorial(4) + log_factorial(4) + log_factorial(3)
    net = SelfAttention(5, GroupedQueries(5, 1, 4, 4, wide=3, repeat=expand_reshape))
    return net, (sequence(),), log_factorial(5) + inner


def rope_rotate_half() -> Case:
    """The stream of 5; three heads; the 4 rotated features stay, the 4 of values move inside each head."""
    inner = log_factorial(3) + 3 * log_factorial(4)
    return SelfAttention(5, GroupedQueries(5, 3, 1, 4, rotate=rotate_half)), (sequence(),), log_factorial(5) + inner


def rope_interleaved() -> Case:
    """As by halves; here two heads."""
    inner = log_factorial(2) + 2 * log_factorial(4)
    return SelfAttention(5, GroupedQueries(5, 2, 1, 4, rotate=rotate_pairs)), (sequence(),), log_factorial(5) + inner


def rope_gqa() -> Case:
    """The stream of 5; two pairs with three queries each; the 4 rotated features stay, the values' 4 move."""
    inner = log_factorial(2) + 2 * log_factorial(3) + 2 * log_factorial(4)
    net = SelfAttention(5, GroupedQueries(5, 2, 3, 4, repeat=expand_reshape, rotate=rotate_half))
    return net, (sequence(),), log_factorial(5) + inner


CASES: tuple[Callable[[], Case], ...] = (
    gqa_repeat_interleave, gqa_expand, gqa_enabled, mqa_repeat_interleave, mqa_expand, rope_rotate_half,
    rope_interleaved, rope_gqa,
)  # fmt: skip
