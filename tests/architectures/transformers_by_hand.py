"""Whole transformers: torch's encoder and decoder, and language models written by hand."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.architectures.attention import Chunked
from tests.architectures.cases import Case, log_factorial, tokens
from tests.architectures.grouped_queries import GroupedQueries, expand_reshape, rotate_half


class RMSNorm(nn.Module):
    """Root mean square norm, written out (Zhang and Sennrich 2019)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


class LlamaBlock(nn.Module):
    """Two pairs of keys and values with two queries each, rotary positions, SwiGLU (Touvron et al. 2023)."""

    def __init__(self, width: int, wide: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = RMSNorm(width), RMSNorm(width)
        self.attention = GroupedQueries(width, 2, 2, 4, repeat=expand_reshape, rotate=rotate_half)
        self.gate, self.up = nn.Linear(width, wide, bias=False), nn.Linear(width, wide, bias=False)
        self.down = nn.Linear(wide, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        h = self.norm2(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class GPTBlock(nn.Module):
    """Fused queries, keys and values, tanh-GELU."""

    def __init__(self, width: int, wide: int) -> None:
        super().__init__()
        self.norm1, self.attention, self.norm2 = nn.LayerNorm(width), Chunked(width, 2, 3), nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, wide), nn.Linear(wide, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class LanguageModel(nn.Module):
    """Embedding, blocks, norm, and logits by the embedding itself where `tied`."""

    def __init__(self, width: int, blocks: nn.Sequential, norm: nn.Module, *, tied: bool) -> None:
        super().__init__()
        self.embedding, self.blocks, self.norm = nn.Embedding(11, width), blocks, norm
        self.position = nn.Embedding(6, width) if tied else None
        self.head = nn.Linear(width, 11, bias=False)
        if tied:
            self.head.weight = self.embedding.weight

    def forward(self, numbers: Tensor) -> Tensor:
        x = self.embedding(numbers)
        if self.position is not None:
            x = x + self.position(torch.arange(numbers.shape[1]))
        return self.head(self.norm(self.blocks(x)))


class EncoderOnly(nn.Module):
    """Linear embedding, torch's encoder layers, mean over the sequence."""

    def __init__(self, layer: nn.TransformerEncoderLayer, norm: nn.Module | None = None) -> None:
        super().__init__()
        self.embedding, self.last = nn.Linear(3, 6), nn.Linear(6, 2)
        self.encoder = nn.TransformerEncoder(layer, 2, norm, enable_nested_tensor=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.encoder(self.embedding(x)).mean(1))


class EncoderDecoder(nn.Module):
    """A memory of its own stream, and two decoder layers that read it."""

    def __init__(self) -> None:
        super().__init__()
        self.source, self.target, self.last = nn.Linear(3, 6), nn.Embedding(11, 6), nn.Linear(6, 11)
        layer = nn.TransformerDecoderLayer(6, 2, dim_feedforward=7, activation="gelu", batch_first=True)
        self.decoder = nn.TransformerDecoder(layer, 2)

    def forward(self, x: Tensor, numbers: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(numbers.shape[1], dtype=x.dtype)
        return self.last(self.decoder(self.target(numbers), self.source(x), tgt_mask=mask, tgt_is_causal=True))


class Whole(nn.Module):
    """torch's Transformer, encoder and decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.source, self.target, self.last = nn.Linear(3, 6), nn.Linear(2, 6), nn.Linear(6, 2)
        self.body = nn.Transformer(6, 3, 1, 1, dim_feedforward=5, norm_first=True, batch_first=True)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.last(self.body(self.source(x), self.target(y)))


def heads(number: int, depth: int) -> float:
    """Heads, and inside each the features of queries and keys and those of values."""
    return log_factorial(number) + 2 * number * log_factorial(depth)


def transformer_encoder() -> Case:
    """The stream of 6; in each of two layers two heads of 3 and 8 between."""
    net = EncoderOnly(nn.TransformerEncoderLayer(6, 2, dim_feedforward=8, batch_first=True))
    return net, (torch.zeros(1, 5, 3),), log_factorial(6) + 2 * (heads(2, 3) + log_factorial(8))


def transformer_encoder_norm_first() -> Case:
    """The stream of 6; in each of two layers three heads of 2 and 5 between; a norm at the end."""
    layer = nn.TransformerEncoderLayer(6, 3, 5, activation="gelu", batch_first=True, norm_first=True, bias=False)
    net = EncoderOnly(layer, nn.LayerNorm(6))
    return net, (torch.zeros(1, 5, 3),), log_factorial(6) + 2 * (heads(3, 2) + log_factorial(5))


def transformer_decoder() -> Case:
    """The memory's and the target's stream of 6; in each of two layers twice two heads of 3, and 7 between."""
    order = 2 * log_factorial(6) + 2 * (2 * heads(2, 3) + log_factorial(7))
    return EncoderDecoder(), (torch.zeros(1, 4, 3), *tokens(length=5)), order


def transformer_whole() -> Case:
    """Two streams of 6; three attentions with three heads of 2, and twice 5 between."""
    order = 2 * log_factorial(6) + 3 * heads(3, 2) + 2 * log_factorial(5)
    return Whole(), (torch.zeros(1, 5, 3), torch.zeros(1, 4, 2)), order


def llama_by_hand() -> Case:
    """The stream of 6; in each of two blocks S_2 on the pairs, S_2 on the queries of each, S_4 on the values of each,
    and 7 between; the rotated features stay.
    """
    inner = log_factorial(2) + 2 * log_factorial(2) + 2 * log_factorial(4) + log_factorial(7)
    net = LanguageModel(6, nn.Sequential(LlamaBlock(6, 7), LlamaBlock(6, 7)), RMSNorm(6), tied=False)
    return net, tokens(), log_factorial(6) + 2 * inner


def gpt_tied() -> Case:
    """The stream of 6, on which the tied embedding lies twice; in each of two blocks two heads of 3, and 8 between."""
    net = LanguageModel(6, nn.Sequential(GPTBlock(6, 8), GPTBlock(6, 8)), nn.LayerNorm(6), tied=True)
    return net, tokens(), log_factorial(6) + 2 * (heads(2, 3) + log_factorial(8))


CASES: tuple[Callable[[], Case], ...] = (
    transformer_encoder, transformer_encoder_norm_first, transformer_decoder, transformer_whole, llama_by_hand,
    gpt_tied,
)  # fmt: skip
