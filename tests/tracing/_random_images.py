"""Random modules on images: maps of a multiple of four channels, drawn step by step, then a head."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.tracing._random_modules import Step

SIZE = 6
Made = tuple[Step, int, int]
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "leaky": lambda x: F.leaky_relu(x, 0.1),
    "gelu": F.gelu,
    "square": torch.square,
    "scaled": lambda x: 1.5 * x - 0.25,
    "gate": lambda x: x * torch.sigmoid(x),
    "drop": lambda x: F.dropout(x, 0.5, training=False),
}


def _layer(part: nn.Module, c: int, size: int) -> Made:
    return Step(lambda x, s: s.parts[0](x), part), c, size


def convolutions(c: int, size: int, kind: str) -> Made:
    """Convolutions: plain, in groups, depthwise, transposed."""
    if kind in ("in 2", "in 4", "strided"):
        groups = {"in 2": 2, "in 4": 4, "strided": 1}[kind]
        stride = 2 if kind == "strided" and size > 3 else 1
        return _layer(nn.Conv2d(c, 8, 1, stride, groups=groups, bias=stride == 1), 8, -(-size // stride))
    if kind in ("depthwise", "doubled"):
        times = 2 if kind == "doubled" and c <= 8 else 1
        return _layer(nn.Conv2d(c, c * times, 3, padding=1, groups=c), c * times, size)
    if kind in ("transposed", "transposed in 2"):
        groups = 2 if kind == "transposed in 2" else 1
        return _layer(nn.ConvTranspose2d(c, 4, 3, padding=1, groups=groups), 4, size)
    if kind == "normed":
        return _layer(torch.nn.utils.parametrizations.weight_norm(nn.Conv2d(c, 8, 1)), 8, size)
    return _layer(nn.Conv2d(c, 12 if kind == "wide" else 4, 3, padding=1), 12 if kind == "wide" else 4, size)


def norms(c: int, size: int, kind: str) -> Made:
    """Norms, slopes, scales."""
    norm = {
        "batch": lambda: nn.BatchNorm2d(c),
        "batch plain": lambda: nn.BatchNorm2d(c, affine=False),
        "group 1": lambda: nn.GroupNorm(1, c),
        "group 2": lambda: nn.GroupNorm(2, c),
        "group 4": lambda: nn.GroupNorm(4, c),
        "instance": lambda: nn.InstanceNorm2d(c, affine=True),
        "layer": lambda: nn.LayerNorm([c, size, size]),
        "slopes": lambda: nn.PReLU(c),
        "slope": lambda: nn.PReLU(1),
    }
    return _layer(norm[kind](), c, size)


def functions(c: int, size: int, kind: str) -> Made:
    """Functions of every neuron alone."""
    return Step(lambda x, s: ACTIVATIONS[kind](x)), c, size


def wiring(c: int, size: int, kind: str) -> Made:
    """Residuals, concatenations, what scales channels."""
    if kind == "dense" and c <= 8:
        return Step(lambda x, s: torch.cat([x, s.parts[0](x)], 1), nn.Conv2d(c, 4, 1)), c + 4, size
    if kind == "excite":
        run = lambda x, s: x * torch.sigmoid(s.parts[0](x.mean((2, 3))))[..., None, None]  # noqa: E731
        return Step(run, nn.Linear(c, c)), c, size
    if kind == "padded" and c <= 8:
        run = lambda x, s: F.pad(x, (0, 0, 0, 0, 2, 2)) + s.parts[0](x)  # noqa: E731
        return Step(run, nn.Conv2d(c, c + 4, 1)), c + 4, size
    return Step(lambda x, s: x + torch.relu(s.parts[0](x)), nn.Conv2d(c, c, 3, padding=1)), c, size


def _by_hand(x: Tensor, groups: int) -> Tensor:
    return x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)


def channels(c: int, size: int, kind: str) -> Made:
    """Channels that change places, slices of them."""
    run: Callable[[Tensor, Step], Tensor] = {
        "shuffle 2": lambda x, s: s.parts[0](F.channel_shuffle(x, 2)),
        "shuffle by hand": lambda x, s: s.parts[0](_by_hand(x, 4)),
        "turns": lambda x, s: s.parts[0](torch.cat([x[:, 1::2], torch.relu(x[:, ::2])], 1)),
        "halves": lambda x, s: s.parts[0](torch.cat([x[:, c // 2 :], torch.tanh(x[:, : c // 2])], 1)),
        "gated": lambda x, s: F.glu(s.parts[0](x), 1),
    }[kind]
    groups, wide = 2 if kind.startswith("shuffle") else 1, 8 if kind == "gated" else 4
    return Step(run, nn.Conv2d(c, wide, 1, groups=groups)), 4, size


def places(c: int, size: int, kind: str) -> Made:
    """Positions: pooling, interpolation, pixels that become channels and back."""
    if kind == "pixels" and size <= SIZE:
        return Step(lambda x, s: F.pixel_shuffle(s.parts[0](x), 2), nn.Conv2d(c, 16, 1)), 4, 2 * size
    if kind == "unpixels" and size % 2 == 0 and c == 4:
        return Step(lambda x, s: F.pixel_unshuffle(x, 2)), 16, size // 2
    if kind in ("nearest", "bilinear") and size <= SIZE:
        options = {"align_corners": False} if kind == "bilinear" else {}
        return Step(lambda x, s: F.interpolate(x, scale_factor=2, mode=kind, **options)), c, 2 * size
    if kind == "adaptive":
        return Step(lambda x, s: F.adaptive_max_pool2d(x, 2)), c, 2
    if kind == "adaptive mean":
        return Step(lambda x, s: F.adaptive_avg_pool2d(x, 3)), c, 3
    if size < 4:
        return Step(lambda x, s: x), c, size
    pool = F.max_pool2d if kind == "max" else F.avg_pool2d
    return Step(lambda x, s: pool(x, 2, 1)), c, size - 1


FAMILIES: dict[str, tuple[Callable[[int, int, str], Made], tuple[str, ...]]] = {
    "convolutions": (
        convolutions,
        (
            "plain", "wide", "in 2", "in 4", "strided", "depthwise", "doubled", "transposed", "transposed in 2",
            "normed",
        ),
    ),
    "norms": (
        norms, ("batch", "batch plain", "group 1", "group 2", "group 4", "instance", "layer", "slopes", "slope"),
    ),
    "functions": (functions, tuple(ACTIVATIONS)),
    "wiring": (wiring, ("residual", "dense", "excite", "padded")),
    "channels": (channels, ("shuffle 2", "shuffle by hand", "turns", "halves", "gated")),
    "places": (places, ("pixels", "unpixels", "nearest", "bilinear", "adaptive", "adaptive mean", "max", "mean")),
}  # fmt: skip
KINDS = tuple((family, kind) for family, (_, kinds) in FAMILIES.items() for kind in kinds)
STEPS = st.lists(st.sampled_from(KINDS), min_size=1, max_size=5)
HEADS = ("flat", "mean", "max")
# Convolutions and norms in blocks of channels, and what puts channels side by side: blocks that do not nest may freeze.
BLOCKS = frozenset({"group 2", "group 4"}) | frozenset(
    {"in 2", "in 4", "depthwise", "doubled", "transposed in 2", "shuffle 2", "shuffle by hand"}
)
CUTS = frozenset({"dense", "padded"})


def may_freeze(steps: list[tuple[str, str]]) -> bool:
    """Whether blocks may meet that do not nest."""
    kinds = {kind for _, kind in steps}
    return bool(kinds & BLOCKS and kinds & CUTS)


class Pictured(nn.Module):
    """A convolution, the drawn steps, and a head."""

    def __init__(self, steps: list[tuple[str, str]], head: str) -> None:
        super().__init__()
        self.first, c, size, made = nn.Conv2d(2, 4, 1), 4, SIZE, []
        for family, kind in steps:
            step, c, size = FAMILIES[family][0](c, size, kind)
            made.append(step)
        self.steps, self.head = nn.ModuleList(made), head
        self.last = nn.Linear(c * size * size if head == "flat" else c, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for step in self.steps:
            x = step(x)
        return self.last(
            x.flatten(1) if self.head == "flat" else x.mean((2, 3)) if self.head == "mean" else x.amax((-1, -2))
        )
