"""The cache of traced architectures: what is the same is not exported again, what differs never shares a space."""

import gc
import math
import threading
import types

import pytest
import torch
from torch import nn

import weightspace as ws
from tests.architectures import ResNet
from weightspace.tracing import _cache, _registry, _trace, rule
from weightspace.tracing._cache import SpaceCache


class Net(nn.Module):
    """Two layers, a batch norm, and an attribute that may be one that cannot be digested."""

    def __init__(self, part: object = None) -> None:
        super().__init__()
        self.a, self.norm, self.b, self.part = nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2), part

    def forward(self, x):
        return self.b(torch.relu(self.norm(self.a(x))))


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the modules that were exported, on an empty cache."""
    seen: list[str] = []
    export = _trace.export

    def counted(module, *args, **kwargs):
        seen.append(type(module).__name__)
        return export(module, *args, **kwargs)

    monkeypatch.setattr(_trace, "export", counted)
    monkeypatch.setattr(_trace, "SPACES", SpaceCache())
    return seen


def test_a_second_construction_is_not_exported_again(exports):
    spaces = [ws.trace(ResNet(1, (4, 8, 16)), torch.zeros(1, 3, 8, 8)) for _ in range(3)]
    assert exports == ["ResNet"] and spaces[0] is spaces[1] is spaces[2]


def test_other_weights_are_the_same_architecture(exports):
    net = Net()
    ws.trace(net, torch.zeros(2, 3))
    for parameter in net.parameters():
        nn.init.normal_(parameter)
    net.train()(torch.randn(8, 3))  # the counters and statistics of the batch norm move
    ws.trace(net, torch.randn(2, 3))
    assert exports == ["Net"]


def test_a_cached_space_that_nobody_holds_is_equal_and_without_index_tensors(exports):
    space = ws.trace(Net(), torch.zeros(2, 3))
    text = space.to_json()
    space.to_graph(Net().state_dict())
    assert "layout" in vars(space)
    del space
    gc.collect()
    again = ws.trace(Net(), torch.zeros(2, 3))
    assert exports == ["Net"] and again.to_json() == text and "layout" not in vars(again)


def test_a_space_that_was_never_verified_is_verified_on_request(exports, monkeypatch):
    verified = []
    monkeypatch.setattr(ws.WeightSpace, "verify", lambda self, *args, **kwargs: verified.append(self))
    first = ws.trace(Net(), torch.zeros(2, 3), verify=False)
    assert not verified
    assert ws.trace(Net(), torch.zeros(2, 3)) is first and len(verified) == 1
    ws.trace(Net(), torch.zeros(2, 3))
    assert len(verified) == 1 and exports == ["Net"]


def test_what_fails_to_verify_is_not_kept(exports, monkeypatch):
    def fail(self, *args, **kwargs):
        raise ws.VerificationError("no")

    monkeypatch.setattr(ws.WeightSpace, "verify", fail)
    for _ in range(2):
        with pytest.raises(ws.VerificationError):
            ws.trace(Net(), torch.zeros(2, 3))
    assert exports == ["Net", "Net"]


def test_the_spaces_used_last_are_kept(exports, monkeypatch):
    monkeypatch.setattr(_trace, "SPACES", SpaceCache(2))
    for width in (3, 4, 3, 5, 3, 4):
        ws.trace(nn.Linear(width, 2), torch.zeros(1, width))
    assert len(exports) == 4  # width 4 is exported again: 3 and 5 were used after it


class Attention(nn.Module):
    def __init__(self, heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, heads, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0]


def test_heads_share_no_space(exports):
    spaces = [ws.trace(Attention(heads), torch.zeros(1, 5, 8)) for heads in (2, 4, 2)]
    assert exports == ["Attention"] * 2
    assert spaces[0] is spaces[2] and spaces[0].signature != spaces[1].signature


def test_what_has_no_key_is_traced_anew(exports):
    for _ in range(2):
        ws.trace(Net(part=threading.Lock()), torch.zeros(2, 3))
    assert exports == ["Net", "Net"]


def test_a_rule_that_is_registered_later(exports, monkeypatch):
    rules = {name: known for name, known in _registry._RULES.items() if "sinc" not in name}
    monkeypatch.setattr(_registry, "_RULES", rules)
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    net.forward = types.MethodType(lambda self, x: self[1](torch.sinc(self[0](x))), net)
    assert ws.trace(net, torch.zeros(1, 3)).frozen

    @rule("aten.sinc.default")
    def sinc(call):
        return call.function("sinc")

    space = ws.trace(net, torch.zeros(1, 3))
    assert not space.frozen and space.log10_order == pytest.approx(math.log10(24)) and len(exports) == 2


def test_the_cache_is_the_tracers():
    assert _trace.SPACES is _cache.SPACES
