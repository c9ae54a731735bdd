"""Random modules over all families of rules: sequences of features, drawn step by step."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import Tensor, nn

LENGTH = 4


class Step(nn.Module):
    """Parts and what they do to a sequence (batch, 4 places, features)."""

    def __init__(self, run: Callable[..., Tensor], *parts: nn.Module, **tensors: Tensor) -> None:
        super().__init__()
        self.parts, self._run = nn.ModuleList(parts), run
        for name, value in tensors.items():
            self.register_parameter(name, nn.Parameter(value))

    def forward(self, x: Tensor) -> Tensor:
        return self._run(x, self)


def _heads(x: Tensor, count: int) -> Tensor:
    return x.unflatten(-1, (count, -1)).transpose(1, 2)


def _attend(x: Tensor, s: Step, *, heads: int, shared: int) -> Tensor:
    q, k, v = (
        _heads(s.parts[0](x), heads),
        _heads(s.parts[1](x), heads // shared),
        _heads(s.parts[2](x), heads // shared),
    )
    mixed = F.scaled_dot_product_attention(q, k, v, enable_gqa=shared > 1)
    return s.parts[3](mixed.transpose(1, 2).flatten(2))


def attention(c: int, kind: str) -> tuple[Step, int]:
    """Attention by hand, in one packed layer, with shared keys, or by `nn.MultiheadAttention`."""
    if kind == "module":
        net = nn.MultiheadAttention(c, 2, batch_first=True)
        return Step(lambda x, s: s.parts[0](x, x, x, need_weights=False)[0], net), c
    if kind == "cross":
        net = nn.MultiheadAttention(c, 2, batch_first=True)
        run = lambda x, s: s.parts[0](x, *[s.parts[1](x)] * 2, need_weights=False)[0]  # noqa: E731
        return Step(run, net, nn.Linear(c, c)), c
    if kind == "fused":

        def fused(x: Tensor, s: Step) -> Tensor:
            q, k, v = s.parts[0](x).view(*x.shape[:2], 3, 2, -1).permute(2, 0, 3, 1, 4).unbind(0)
            mixed = torch.softmax(q @ k.transpose(-2, -1), -1) @ v
            return s.parts[1](mixed.transpose(1, 2).reshape(x.shape))

        return Step(fused, nn.Linear(c, 3 * c), nn.Linear(c, c)), c
    shared = 2 if kind == "shared" else 1
    parts = (nn.Linear(c, c), nn.Linear(c, c // shared), nn.Linear(c, c // shared), nn.Linear(c, c))
    return Step(lambda x, s: _attend(x, s, heads=2, shared=shared), *parts), c


def recurrent(c: int, kind: str) -> tuple[Step, int]:
    """A recurrent layer, or a cell unrolled by hand."""
    if kind == "cell":

        def unrolled(x: Tensor, s: Step) -> Tensor:
            h = x.new_zeros(x.shape[0], c)
            for place in range(LENGTH):
                h = s.parts[0](x[:, place], h)
            return x + h.unsqueeze(1)

        return Step(unrolled, nn.GRUCell(c, c)), c
    both = kind == "both"
    net = {"lstm": nn.LSTM, "both": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[kind](
        c, 4, batch_first=True, bidirectional=both
    )
    return Step(lambda x, s: s.parts[0](x)[0], net), 8 if both else 4


def gates(c: int, kind: str) -> tuple[Step, int]:
    """Products of parts of one layer, or of two."""
    half = {
        "glu": lambda h: F.glu(h, -1),
        "chunk": lambda h: h.chunk(2, -1)[0] * torch.sigmoid(h.chunk(2, -1)[1]),
        "turns": lambda h: h[..., ::2] * torch.tanh(h[..., 1::2]),
        "maxout": lambda h: h.unflatten(-1, (-1, 2)).amax(-1),
        "slices": lambda h: torch.cat([h[..., c:], torch.relu(h[..., :c])], -1)[..., 2 : c + 2],
        "stack": lambda h: torch.stack(h.split(c, -1)).mean(0),
    }[kind]
    return Step(lambda x, s: half(s.parts[0](x)), nn.Linear(c, 2 * c)), c


def products(c: int, kind: str) -> tuple[Step, int]:
    """Sums over products with learned tensors."""
    if kind == "bilinear":
        return Step(lambda x, s: s.parts[0](x, torch.tanh(x)), nn.Bilinear(c, c, 4)), 4
    if kind == "experts":
        shapes = {"gate": torch.randn(c, 3), "up": torch.randn(3, c, 4), "down": torch.randn(3, 4, c)}

        def experts(x: Tensor, s: Any) -> Tensor:
            hidden = torch.relu(torch.einsum("bti,eio->bteo", x, s.up))
            return torch.einsum("bteo,eoi,bte->bti", hidden, s.down, torch.softmax(x @ s.gate, -1))

        return Step(experts, **shapes), c
    if kind == "thin":
        thin = {"a": torch.randn(c, 2), "b": torch.randn(2, 4)}
        return Step(lambda x, s: x @ (s.a @ s.b), **thin), 4
    if kind == "scaled":
        return Step(lambda x, s: x * s.scale + s.shift, scale=torch.randn(c), shift=torch.randn(LENGTH, c)), c
    return Step(lambda x, s: F.linear(x, s.weight.abs()), weight=torch.randn(4, c)), 4


def plain(c: int, kind: str) -> tuple[Step, int]:
    """Layers and functions."""
    widths = {"linear": 8, "narrow": 4}
    if kind in widths:
        return Step(lambda x, s: torch.relu(s.parts[0](x)), nn.Linear(c, widths[kind])), widths[kind]
    if kind == "conv":
        run = lambda x, s: torch.tanh(s.parts[0](x.mT)).mT  # noqa: E731
        return Step(run, nn.Conv1d(c, 8, 3, padding=1, groups=2)), 8
    if kind == "transposed":
        return Step(lambda x, s: s.parts[0](x.mT).mT[:, :LENGTH], nn.ConvTranspose1d(c, 4, 3)), 4
    if kind == "normed":
        return Step(lambda x, s: s.parts[0](x), torch.nn.utils.parametrizations.weight_norm(nn.Linear(c, 4))), 4
    if kind == "twice":
        return Step(lambda x, s: s.parts[0](torch.relu(s.parts[0](x))), nn.Linear(c, c)), c
    if kind == "mixed":
        return Step(lambda x, s: x + s.parts[1](F.gelu(s.parts[0](x.mT))).mT, nn.Linear(4, 5), nn.Linear(5, 4)), c
    norm = {"layer": nn.LayerNorm(c), "rms": nn.RMSNorm(c), "group": nn.GroupNorm(2, c), "batch": nn.BatchNorm1d(c)}
    if kind in ("group", "batch"):
        return Step(lambda x, s: s.parts[0](x.mT).mT, norm[kind]), c
    return Step(lambda x, s: s.parts[0](x), norm[kind]), c


def wiring(c: int, kind: str) -> tuple[Step, int]:
    """Residuals, concatenations, shuffles, what depends on the order."""
    if kind == "residual":
        return Step(lambda x, s: x + s.parts[0](x), nn.Linear(c, c)), c
    if kind == "dense" and c <= 8:
        return Step(lambda x, s: torch.cat([x, torch.relu(s.parts[0](x))], -1), nn.Linear(c, 4)), c + 4
    if kind == "shuffle":
        return Step(lambda x, s: s.parts[0](x.unflatten(-1, (2, -1)).mT.flatten(-2)), nn.Linear(c, 4)), 4
    if kind == "padded" and c <= 8:
        return Step(lambda x, s: F.pad(x, (2, 2)) + s.parts[0](x), nn.Linear(c, c + 4)), c + 4
    if kind == "order":
        return Step(lambda x, s: s.parts[0](torch.cumsum(x, -1)), nn.Linear(c, 4)), 4
    if kind == "excite":
        return Step(lambda x, s: x * torch.sigmoid(s.parts[0](x.mean(1, keepdim=True))), nn.Linear(c, c)), c
    return Step(lambda x, s: torch.softmax(x, -1)), c


FAMILIES: dict[str, tuple[Callable[[int, str], tuple[Step, int]], tuple[str, ...]]] = {
    "attention": (attention, ("module", "cross", "fused", "shared", "plain")),
    "recurrent": (recurrent, ("lstm", "both", "gru", "rnn", "cell")),
    "gates": (gates, ("glu", "chunk", "turns", "maxout", "slices", "stack")),
    "products": (products, ("bilinear", "experts", "thin", "scaled", "computed")),
    "plain": (
        plain,
        ("linear", "narrow", "conv", "transposed", "normed", "twice", "mixed", "layer", "rms", "group", "batch"),
    ),
    "wiring": (wiring, ("residual", "dense", "shuffle", "padded", "order", "excite", "softmax")),
}
STEPS = st.lists(
    st.sampled_from([(family, kind) for family, (_, kinds) in FAMILIES.items() for kind in kinds]),
    min_size=1,
    max_size=5,
)


# Blocks of features, and what cuts features elsewhere: blocks that do not nest may freeze.
BLOCKS, CUTS = frozenset({"conv", "group"}), frozenset({"padded", "slices", "dense", "both"})


def may_freeze(steps: list[tuple[str, str]]) -> bool:
    """Whether blocks may meet that do not nest."""
    kinds = {kind for _, kind in steps}
    return bool(kinds & BLOCKS and kinds & CUTS)


class Drawn(nn.Module):
    """A linear layer, the drawn steps, and a head."""

    def __init__(self, steps: list[tuple[str, str]], head: str) -> None:
        super().__init__()
        self.first, width, made = nn.Linear(3, 8), 8, []
        for family, kind in steps:
            step, width = FAMILIES[family][0](width, kind)
            made.append(step)
        self.steps, self.head = nn.ModuleList(made), head
        self.last = nn.Linear(width * (LENGTH if head == "flat" else 1), 2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.first(x))
        for step in self.steps:
            x = step(x)
        x = x.flatten(1) if self.head == "flat" else x.mean(1) if self.head == "mean" else x[:, -1]
        return self.last(x)
