"""What keeps the function and is no permutation: docs/parameter-graph.md lists it, here it is computed in float64."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

State = dict[str, Tensor]


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(4, 4) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.scaled_dot_product_attention(self.q(x), self.k(x), self.v(x)))


class LowRank(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.randn(2, 4)), nn.Parameter(torch.randn(3, 2))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.b @ self.a)


class Experts(nn.Module):
    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleList(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        return sum(part(x) for part in self.parts)


def key_bias(s: State) -> None:
    s["k.bias"] += 1.5


def query_and_key(s: State) -> None:
    m = torch.randn(4, 4).double()
    for name in ("weight", "bias"):
        s[f"q.{name}"] = m @ s[f"q.{name}"]
        s[f"k.{name}"] = torch.linalg.inv(m).T @ s[f"k.{name}"]


def value_and_output(s: State) -> None:
    m = torch.randn(4, 4).double()
    s["v.weight"], s["v.bias"] = m @ s["v.weight"], m @ s["v.bias"]
    s["out.weight"] = s["out.weight"] @ torch.linalg.inv(m)


def bias_before_a_norm(s: State) -> None:
    s["0.bias"] += 1.5


def bias_and_running_mean(s: State) -> None:
    shift = torch.randn(3).double()
    s["0.bias"] += shift
    s["1.running_mean"] += shift


def dead_unit(s: State) -> None:
    s["0.weight"][0], s["0.bias"][0] = 0, -1  # never above zero
    s["2.weight"][:, 0] = 0


def what_leaves_a_dead_unit(s: State) -> None:
    s["2.weight"][:, 0] += 1.5


def shift_before_softmax(s: State) -> None:
    s["0.bias"] += 1.5


def basis_of_low_rank(s: State) -> None:
    m = torch.randn(2, 2).double()
    s["a"], s["b"] = m @ s["a"], s["b"] @ torch.linalg.inv(m)


def unused_row(s: State) -> None:
    s["0.weight"][5] += 1.5


def exchange_modules(s: State) -> None:
    for name in ("0.weight", "0.bias", "2.weight", "2.bias"):
        s[f"parts.0.{name}"], s[f"parts.1.{name}"] = s[f"parts.1.{name}"].clone(), s[f"parts.0.{name}"].clone()


def relu(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 3), *layers)


CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[State], None], Callable[[State], None] | None]] = {
    "key bias": (Attention, key_bias, None),
    "a matrix between queries and keys": (Attention, query_and_key, None),
    "a matrix between values and output": (Attention, value_and_output, None),
    "constant before layer norm": (lambda: relu(nn.LayerNorm(3)), bias_before_a_norm, None),
    "bias and running mean": (lambda: relu(nn.BatchNorm1d(3)), bias_and_running_mean, None),
    "dead unit": (lambda: relu(nn.ReLU(), nn.Linear(3, 2)), what_leaves_a_dead_unit, dead_unit),
    "shift before softmax": (lambda: relu(nn.Softmax(-1)), shift_before_softmax, None),
    "basis of a low-rank product": (LowRank, basis_of_low_rank, None),
    "row that no word uses": (lambda: nn.Sequential(nn.Embedding(6, 3), nn.Linear(3, 2)), unused_row, None),
    "modules of a list": (Experts, exchange_modules, None),
}


@pytest.mark.parametrize("name", CASES)
def test_other_weights_have_the_same_function(name):
    make, change, prepare = CASES[name]
    torch.manual_seed(0)
    net = make().double().eval()
    x = torch.tensor([0, 3, 2]) if "word" in name else torch.randn(2, 5, 4).double()
    x = x.flatten(0, 1) if "mean" in name else x
    state = {key: value.clone() for key, value in net.state_dict().items()}
    if prepare is not None:
        prepare(state)
    moved = {key: value.clone() for key, value in state.items()}
    change(moved)
    before, after = (torch.func.functional_call(net, weights, (x,)) for weights in (state, moved))
    assert any(not torch.allclose(state[key], moved[key]) for key in state)
    torch.testing.assert_close(after, before, rtol=1e-9, atol=1e-11)


def test_the_check_would_notice():
    torch.manual_seed(0)
    net = Attention().double()
    moved = {key: value.clone() for key, value in net.state_dict().items()}
    moved["q.bias"] += 1.5
    x = torch.randn(2, 5, 4).double()
    assert not torch.allclose(torch.func.functional_call(net, moved, (x,)), net(x))
