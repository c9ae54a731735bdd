"""Networks on image patches: ViT, MLP-Mixer, shifted windows."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.architectures.cases import Case, image, log_factorial


class FusedAttention(nn.Module):
    """Queries, keys and values in one linear layer, taken apart by view, permute and unbind (as in timm)."""

    def __init__(self, width: int, heads: int, depth: int) -> None:
        super().__init__()
        self.heads, self.depth = heads, depth
        self.qkv, self.proj = nn.Linear(width, 3 * heads * depth), nn.Linear(heads * depth, width)

    def forward(self, x: Tensor, bias: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Attention; `bias` for every head, `mask` for every window of an image."""
        b, n, _ = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, self.depth).permute(2, 0, 3, 1, 4).unbind(0)
        scores = (q * self.depth**-0.5) @ k.transpose(-2, -1)
        scores = scores if bias is None else scores + bias
        if mask is not None:
            scores = (scores.view(-1, len(mask), self.heads, n, n) + mask[:, None]).view(-1, self.heads, n, n)
        return self.proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(b, n, self.heads * self.depth))


class MLP(nn.Sequential):
    """Two linear layers with GELU."""

    def __init__(self, width: int, wide: int) -> None:
        super().__init__(nn.Linear(width, wide), nn.GELU(), nn.Dropout(0.1), nn.Linear(wide, width))


class ViTBlock(nn.Module):
    """Norm before attention and before the MLP, both added."""

    def __init__(self, width: int, heads: int, depth: int, wide: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), FusedAttention(width, heads, depth)
        self.norm2, self.mlp = nn.LayerNorm(width), MLP(width, wide)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    """Class token and position embedding (Dosovitskiy et al. 2021)."""

    def __init__(self, pooled: bool = False) -> None:
        super().__init__()
        self.patch, self.pooled = nn.Conv2d(3, 6, 4, 4), pooled
        self.token, self.position = nn.Parameter(torch.zeros(1, 1, 6)), nn.Parameter(torch.randn(1, 5, 6))
        self.blocks = nn.Sequential(ViTBlock(6, 2, 3, 8), ViTBlock(6, 3, 2, 7))
        self.norm, self.head = nn.LayerNorm(6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.position
        x = self.norm(self.blocks(x))
        return self.head(x[:, 1:].mean(1) if self.pooled else x[:, 0])


class MixerBlock(nn.Module):
    """Tokens are mixed, then channels, both added (Tolstikhin et al. 2021)."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2, self.tokens, self.channels = nn.LayerNorm(6), nn.LayerNorm(6), MLP(9, 5), MLP(6, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channels(self.norm2(x))


class MixerNet(nn.Module):
    """Patches, two blocks, mean over tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.blocks = nn.Conv2d(3, 6, 3, 3), nn.Sequential(MixerBlock(), MixerBlock())
        self.norm, self.head = nn.LayerNorm(6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.patch(x).flatten(2).mT)).mean(1))


class WindowBlock(nn.Module):
    """Attention in windows of 2x2 tokens, shifted or not, with a table of relative positions (Liu et al. 2021)."""

    def __init__(self, width: int, heads: int, depth: int, wide: int, *, side: int, shift: int) -> None:
        super().__init__()
        self.side, self.shift, self.heads = side, shift, heads
        self.norm1, self.attention = nn.LayerNorm(width), FusedAttention(width, heads, depth)
        self.norm2, self.mlp = nn.LayerNorm(width), MLP(width, wide)
        self.table = nn.Parameter(torch.randn(9, heads))
        places = torch.stack(torch.meshgrid(torch.arange(2), torch.arange(2), indexing="ij")).flatten(1)
        apart = places[:, :, None] - places[:, None, :] + 1
        self.register_buffer("number", apart[0] * 3 + apart[1], persistent=False)
        self.register_buffer("mask", self._mask(), persistent=False)

    def _mask(self) -> Tensor:
        """Zero between pixels of one region of the shifted map, -100 between others."""
        region = torch.zeros(self.side, self.side)
        if self.shift:
            region[-self.shift :, :] += 1
            region[:, -self.shift :] += 2
        rows = self._windows(region[None, :, :, None]).squeeze(-1)
        return torch.where(rows[:, :, None] == rows[:, None, :], 0.0, -100.0)

    def _windows(self, x: Tensor) -> Tensor:
        b, h, w, c = x.shape
        return x.view(b, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, c)

    def forward(self, x: Tensor) -> Tensor:
        b, h, w, c = x.shape
        y = torch.roll(self.norm1(x), (-self.shift, -self.shift), (1, 2)) if self.shift else self.norm1(x)
        bias = self.table[self.number.view(-1)].view(4, 4, self.heads).permute(2, 0, 1)
        y = self.attention(self._windows(y), bias, self.mask if self.shift else None)
        y = y.view(b, h // 2, w // 2, 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(b, h, w, c)
        x = x + (torch.roll(y, (self.shift, self.shift), (1, 2)) if self.shift else y)
        return x + self.mlp(self.norm2(x))


class Swin(nn.Module):
    """Two blocks, four neighbouring tokens merged into one, one more block."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 5, 2, 2)
        self.a, self.b = WindowBlock(5, 2, 3, 7, side=4, shift=0), WindowBlock(5, 2, 3, 7, side=4, shift=1)
        self.norm, self.merge = nn.LayerNorm(20), nn.Linear(20, 6, bias=False)
        self.c, self.last, self.head = WindowBlock(6, 3, 2, 8, side=2, shift=0), nn.LayerNorm(6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.b(self.a(self.patch(x).permute(0, 2, 3, 1)))
        x = torch.cat([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], -1)
        return self.head(self.last(self.c(self.merge(self.norm(x)))).mean((1, 2)))


def vit() -> Case:
    """The stream of 6; two heads with queries and values of 3, and 8 between; three heads of 2, and 7 between."""
    first = log_factorial(2) + 2 * 2 * log_factorial(3) + log_factorial(8)
    second = log_factorial(3) + 3 * 2 * log_factorial(2) + log_factorial(7)
    return ViT(), image(), log_factorial(6) + first + second


def vit_pooled() -> Case:
    """As with the class token, which the mean over the other tokens leaves out."""
    return ViT(pooled=True), image(), vit()[2]


def mixer_net() -> Case:
    """The stream of 6; in each of two blocks 5 for tokens and 8 for channels. The nine tokens are places."""
    return MixerNet(), image(3, 9), log_factorial(6) + 2 * (log_factorial(5) + log_factorial(8))


def swin() -> Case:
    """A stream of 5 with two blocks of two heads of 3 and 7 between; a stream of 6, three heads of 2, 8 between."""
    first = log_factorial(2) + 2 * 2 * log_factorial(3) + log_factorial(7)
    second = log_factorial(3) + 3 * 2 * log_factorial(2) + log_factorial(8)
    return Swin(), image(), log_factorial(5) + 2 * first + log_factorial(6) + second


def patch_average() -> Case:
    """Tokens without attention: patches cut out by unfold, a gate, the mean; 7 and 5 features."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(12, 7), nn.Linear(7, 5), nn.Linear(5, 2)

        def forward(self, x: Tensor) -> Tensor:
            patches = F.unfold(x, 2, stride=2).transpose(1, 2)
            return self.c(F.silu(self.b(F.silu(self.a(patches)))).mean(1))

    return Net(), image(3, 6), log_factorial(7) + log_factorial(5)


CASES: tuple[Callable[[], Case], ...] = (vit, vit_pooled, mixer_net, swin, patch_average)
