"""Wider networks compute the same function, whatever the copies and the shares."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import weightspace as ws
from weightspace.errors import WeightspaceError
from weightspace.symmetry import widen
from weightspace.testing import full_state


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.norm(self.second(self.first(x).relu()))).relu()


class TransformerBlock(nn.Module):
    """The hidden layer of its MLP is widened."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(4, 4) for _ in range(3))
        self.norm, self.up, self.down = nn.LayerNorm(4), nn.Linear(4, width), nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = x + functional.scaled_dot_product_attention(self.query(x), self.key(x), self.value(x))
        return x + self.down(functional.gelu(self.up(self.norm(x))))


class Tied(nn.Module):
    """A layer that is used twice."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.again, self.last = nn.Linear(2, width), nn.Linear(width, width), nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.again(self.again(self.first(x).tanh()).tanh()).tanh())


def cnn(width: int) -> nn.Module:
    net = nn.Sequential(nn.Conv2d(1, width, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(width, width, 3))
    return net.extend([nn.BatchNorm2d(width), nn.Tanh(), nn.Flatten(), nn.Linear(4 * width, 3)])


def resnet(width: int) -> nn.Module:
    net = nn.Sequential(nn.Conv2d(1, width, 3), Block(width), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return net.append(nn.Linear(width, 3))


def mlp(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 2))


def normed(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(3, width), nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, 2))


NETS = {
    "mlp": (mlp, (1, 3)),
    "cnn": (cnn, (1, 1, 10, 10)),
    "resnet": (resnet, (1, 1, 6, 6)),
    "transformer block": (TransformerBlock, (1, 3, 4)),
    "layer used twice": (Tied, (1, 2)),
}


def made(name: str, width: int) -> tuple[nn.Module, ws.WeightSpace]:
    make, shape = NETS[name] if name in NETS else (normed, (1, 3))
    net = make(width).double().eval()
    return net, ws.trace(net, torch.zeros(shape, dtype=torch.float64))


def runs(name: str, state: dict[str, Tensor], wide: int, **options) -> tuple[Tensor, Tensor]:
    net, space = made(name, 4)
    wider, wider_space = made(name, wide)
    x = torch.randn(5, *(NETS[name][1] if name in NETS else (1, 3))[1:], dtype=torch.float64)
    other = widen(space, state, wider_space, **options)
    return torch.func.functional_call(net, state, x), torch.func.functional_call(wider, other, x)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize(("wide", "seed", "even"), [(8, None, True), (16, 0, True), (11, 1, True), (13, 2, False)])
def test_the_function_stays(name, wide, seed, even):
    net, space = made(name, 4)
    state = full_state(space, net, torch.Generator().manual_seed(0))
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    before, after = runs(name, state, wide, generator=generator, even=even)
    torch.testing.assert_close(after, before, rtol=1e-12, atol=1e-12)


def test_a_norm_over_channels_wants_a_multiple():
    net, space = made("layer norm", 4)
    state = full_state(space, net, torch.Generator().manual_seed(0))
    before, after = runs("layer norm", state, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(after, before, rtol=1e-12, atol=1e-12)
    with pytest.raises(WeightspaceError, match="keep this layer's width, or make it a multiple and copy evenly"):
        runs("layer norm", state, 9)


def test_stacks_are_widened_alike():
    net, space = made("cnn", 4)
    _, wider = made("cnn", 8)
    states = [full_state(space, net, torch.Generator().manual_seed(seed)) for seed in range(2)]
    stacked = {key: torch.stack([state[key] for state in states]) for key in states[0]}
    found = widen(space, stacked, wider, generator=torch.Generator().manual_seed(3))
    for i, state in enumerate(states):
        alone = widen(space, state, wider, generator=torch.Generator().manual_seed(3))
        assert all(torch.equal(found[key][i], alone[key]) for key in alone)


def test_shares_are_drawn_where_asked_for():
    net, space = made("mlp", 4)
    _, wider = made("mlp", 8)
    state = net.state_dict()
    equal, drawn = (widen(space, state, wider, generator=g) for g in (None, torch.Generator().manual_seed(0)))
    assert torch.equal(equal["2.weight"][:, :4], equal["2.weight"][:, 4:])
    assert not torch.allclose(drawn["2.weight"][:, :4], drawn["2.weight"][:, 4:])
    assert torch.equal(drawn["0.weight"], equal["0.weight"])


def test_other_architectures_and_narrower_layers_are_refused():
    net, space = made("mlp", 4)
    with pytest.raises(WeightspaceError, match="differ in more than the widths"):
        widen(space, net.state_dict(), made("cnn", 8)[1])
    with pytest.raises(WeightspaceError, match="has 4 elements and 3 in the wider space"):
        widen(space, net.state_dict(), made("mlp", 3)[1])


def test_features_of_heads_are_refused():
    class Attention(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.query, self.key, self.value = nn.Linear(3, width), nn.Linear(3, width), nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            scores = self.query(x) @ self.key(x).transpose(1, 2)
            return scores.softmax(-1) @ self.value(x)

    nets = [Attention(width) for width in (2, 4)]
    spaces = [ws.trace(net, torch.zeros(1, 5, 3)) for net in nets]
    with pytest.raises(WeightspaceError, match="without weights between, so that copies would count"):
        widen(spaces[0], nets[0].state_dict(), spaces[1])
