"""Networks of published sizes in plain torch: GPT-2 small, ResNet-50, ViT-B/16; any device, the meta device too."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Case = tuple[nn.Module, tuple[Tensor, ...]]


class Attention(nn.Module):
    """Self-attention with one projection for queries, keys and values."""

    def __init__(self, width: int, heads: int, *, causal: bool) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.heads, self.causal = heads, causal

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(x).split(x.shape[-1], dim=-1)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.out(mixed.transpose(1, 2).flatten(-2))


class Block(nn.Module):
    """Transformer block, norms first."""

    def __init__(self, width: int, heads: int, *, causal: bool, eps: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=eps), nn.LayerNorm(width, eps=eps)
        self.attention = Attention(width, heads, causal=causal)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.approximate = "tanh" if causal else "none"

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate=self.approximate))


class GPT2(nn.Module):
    """GPT-2 (Radford et al. 2019) with its tied embedding; the small one has 124,439,808 parameters."""

    def __init__(
        self, width: int = 768, heads: int = 12, layers: int = 12, *, words: int = 50257, places: int = 1024
    ) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(words, width), nn.Embedding(places, width)
        self.blocks = nn.ModuleList(Block(width, heads, causal=True, eps=1e-5) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, words, bias=False)
        self.head.weight = self.words.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.words(tokens) + self.places(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class Bottleneck(nn.Module):
    """Bottleneck block of He et al. 2015 (arXiv 1512.03385), stride in the 3x3 convolution."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        sizes = [(width_in, width, 1, 1), (width, width, 3, stride), (width, 4 * width, 1, 1)]
        convolutions = [nn.Conv2d(a, b, k, s, k // 2, bias=False) for a, b, k, s in sizes]
        self.conv1, self.conv2, self.conv3 = convolutions
        self.bn1, self.bn2, self.bn3 = (nn.BatchNorm2d(b) for _, b, _, _ in sizes)
        plain = stride == 1 and width_in == 4 * width
        down = nn.Sequential(nn.Conv2d(width_in, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width))
        self.skip = nn.Identity() if plain else down

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.bn1(self.conv1(x)))
        h = F.relu(self.bn2(self.conv2(h)))
        return F.relu(self.bn3(self.conv3(h)) + self.skip(x))


class ResNet50(nn.Module):
    """ResNet-50 on ImageNet: 25,557,032 parameters."""

    def __init__(self, width: int = 64, blocks: tuple[int, ...] = (3, 4, 6, 3)) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        layers: list[nn.Module] = []
        before = width
        for stage, count in enumerate(blocks):
            for number in range(count):
                layers.append(Bottleneck(before, width << stage, 2 if stage and not number else 1))
                before = 4 * width << stage
        self.layers, self.head = nn.Sequential(*layers), nn.Linear(before, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.bn(self.conv(x))), 3, 2, 1)
        return self.head(F.adaptive_avg_pool2d(self.layers(x), 1).flatten(1))


class ViT(nn.Module):
    """Vision Transformer (Dosovitskiy et al. 2021, arXiv 2010.11929); B/16 has 86,567,656 parameters."""

    def __init__(self, width: int = 768, heads: int = 12, layers: int = 12, *, patch: int = 16, image: int = 224):
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.places = nn.Parameter(torch.zeros(1, (image // patch) ** 2 + 1, width))
        self.blocks = nn.Sequential(*(Block(width, heads, causal=False, eps=1e-6) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width, eps=1e-6), nn.Linear(width, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.places
        return self.head(self.norm(self.blocks(x))[:, 0])


def gpt2_small() -> Case:
    """The network and its example input on the default device."""
    return GPT2(), (torch.zeros(1, 64, dtype=torch.long),)


def resnet50() -> Case:
    """The network and its example input on the default device."""
    return ResNet50(), (torch.zeros(1, 3, 224, 224),)


def vit_b16() -> Case:
    """The network and its example input on the default device."""
    return ViT(), (torch.zeros(1, 3, 224, 224),)
