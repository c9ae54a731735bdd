"""Random modules so small that every tuple of permutations of the dimensions of their parameters can be tried.

A hidden width is 2 or 3. Left out is what has symmetries that are no permutations of neurons: biases that change
nothing (of keys, or before a norm that subtracts them all the same), entries that nothing reads.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ACTIVATIONS = {"tanh": torch.tanh, "gelu": F.gelu, "sigmoid": torch.sigmoid, "silu": F.silu, "softplus": F.softplus}
KINDS = (
    "linear", "no bias", "layer norm", "rms norm", "batch norm", "gate", "chunk", "residual", "shared", "bilinear",
    "attention", "scale", "softmax", "dense", "turns", "maxout", "conv", "depthwise", "group norm", "thin", "twice",
    "cell", "shift", "halves", "computed", "cat with itself",
)  # fmt: skip


class Tiny(nn.Module):
    """Two inputs, a hidden layer, a drawn part, and one output.

    Args:
        kind: of `KINDS`.
        width: of the hidden layer.
        other: of a second hidden layer, where there is one.
        activation: of `ACTIVATIONS`.
    """

    def __init__(self, kind: str, width: int, other: int, activation: str) -> None:
        super().__init__()
        self.kind, self.act = kind, ACTIVATIONS[activation]
        n, m = width, other
        if kind == "group norm":
            n = 4
        bias = kind not in ("no bias", "layer norm", "rms norm", "batch norm", "maxout", "group norm", "cell")
        self.first = nn.Linear(1 if kind in ("chunk", "turns", "halves", "maxout") else 2, n, bias=bias)
        out = n
        if kind in ("linear", "no bias", "cell"):
            self.part = nn.RNNCell(n, m, bias=False) if kind == "cell" else nn.Linear(n, m, bias=bias)
            out = m
        elif kind in ("layer norm", "rms norm", "batch norm"):
            self.part = {"layer norm": nn.LayerNorm, "rms norm": nn.RMSNorm, "batch norm": nn.BatchNorm1d}[kind](n)
        elif kind == "gate":
            self.part = nn.Linear(2, n)
        elif kind in ("residual", "shared", "twice"):
            self.part = nn.Linear(n, n, bias=kind == "residual")
        elif kind == "bilinear":
            self.other, self.part, out = nn.Linear(2, 2), nn.Bilinear(n, 2, 1, bias=False), 1
        elif kind == "attention":
            self.q, self.k, self.v = (nn.Linear(n, 2, bias=False) for _ in range(3))
            self.part = nn.Linear(2, n, bias=False)
        elif kind in ("scale", "shift"):
            self.scale = nn.Parameter(torch.ones(n))
        elif kind == "dense":
            self.part, out = nn.Linear(n, m), n + m
        elif kind in ("chunk", "turns", "halves", "maxout"):
            self.first, out = nn.Linear(1, 2 * 2, bias=kind != "maxout"), 2
        elif kind in ("conv", "depthwise"):
            groups = n if kind == "depthwise" else 1
            self.part, out = nn.Conv1d(n, n if groups > 1 else m, 2, groups=groups), n if groups > 1 else m
        elif kind == "group norm":
            self.part = nn.GroupNorm(2, 4, affine=False)
        elif kind == "thin":
            self.a, self.b, out = nn.Parameter(torch.randn(n, 2)), nn.Parameter(torch.randn(2, m)), m
        elif kind == "computed":
            self.weight, out = nn.Parameter(torch.randn(m, n)), m
        elif kind == "cat with itself":
            out = 2 * n
        self.last = nn.Linear(out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.first.in_features == 1:
            x = x[..., :1]
        return self.last(self._part(x, self.first(x)))

    def _part(self, x: Tensor, h: Tensor) -> Tensor:
        kind, act = self.kind, self.act
        if kind in ("chunk", "turns", "halves", "maxout"):
            return self._halves(h)
        if kind == "attention":
            h = act(h)
            mixed = torch.softmax(self.q(h) @ self.k(h).mT, -1) @ self.v(h)
            return act(h + self.part(mixed))
        if kind in ("layer norm", "rms norm", "batch norm", "group norm"):
            return act(self.part(h.flatten(0, 1)).unflatten(0, h.shape[:2]))
        h = act(h)
        if kind in ("conv", "depthwise"):
            return act(self.part(h.mT)).mean(-1)
        if kind == "bilinear":
            return act(self.part(h, act(self.other(x))))
        if kind in ("linear", "no bias"):
            return act(self.part(h))
        if kind == "cell":
            return self.part(h[:, 2], self.part(h[:, 1], self.part(h[:, 0])))
        return self._more(x, h)

    def _more(self, x: Tensor, h: Tensor) -> Tensor:
        kind, act = self.kind, self.act
        if kind == "gate":
            return h * torch.sigmoid(self.part(x))
        if kind == "residual":
            return h + act(self.part(h))
        if kind in ("shared", "twice"):
            again = act(self.part(h))
            return act(self.part(again)) if kind == "twice" else h * again
        if kind == "scale":
            return act(h * self.scale)
        if kind == "shift":
            return act(h + self.scale)
        if kind == "softmax":
            return torch.softmax(h, -1)
        if kind == "dense":
            return torch.cat([h, act(self.part(h))], -1)
        if kind == "thin":
            return act(h @ (self.a @ self.b))
        if kind == "computed":
            return act(F.linear(h, self.weight.abs()))
        return torch.cat([h, h * h], -1)

    def _halves(self, h: Tensor) -> Tensor:
        act = self.act
        if self.kind == "chunk":
            value, gate = h.chunk(2, -1)
            return value * act(gate)
        if self.kind == "turns":
            return act(h[..., ::2]) * h[..., 1::2]
        if self.kind == "halves":
            return act(h[..., :2]) + torch.sin(h[..., 2:])
        return h.unflatten(-1, (2, 2)).amax(-1)
