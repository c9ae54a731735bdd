"""Rules: users' own, wrong ones, what is frozen and what is not, what tells signatures apart."""

from collections import OrderedDict

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import weightspace as ws
from tests import architectures
from weightspace.tracing import _registry, rule
from weightspace.tracing._call import node_uses


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> dict:
    monkeypatch.setattr(_registry, "_RULES", dict(_registry._RULES))
    return _registry._RULES


def test_a_rule_of_the_users_own_frees_the_axis(registry):
    @rule(torch.ops.aten.sinc.default)
    def sinc(call):
        return call.function("sinc")

    class Net(nn.Sequential):
        def forward(self, x):
            return self[1](torch.sinc(self[0](x)))

    space = ws.trace(Net(nn.Linear(2, 4), nn.Linear(4, 1)), torch.zeros(1, 2))
    assert not space.frozen and round(10**space.log10_order) == 24


def test_a_rule_that_returns_wrong_sizes_is_refused(registry):
    @rule("aten.sinc.default")
    def sinc(call):
        call.function("sinc")
        return call.input.axes[:1]

    class Net(nn.Linear):
        def forward(self, x):
            return torch.sinc(super().forward(x))

    with pytest.raises(ws.TraceError, match=r"rule for aten\.sinc\.default returned axes of sizes"):
        ws.trace(Net(2, 3), torch.zeros(4, 2))


def test_a_rule_that_unifies_too_little_is_caught(registry):
    """A batch norm whose statistics are forgotten: the group would be too large."""

    def wrong(call):
        channel = call["input"].axes[1]
        for name in ("weight", "bias"):
            call.unify(call[name].axes[0], channel)
        call.solver.mark_neurons(channel)
        uses = node_uses((call["weight"], "norm_weight"), (call["bias"], "norm_bias"))
        return call.site("batch_norm", axes=call["input"].axes, inputs=(call["input"],), uses=uses, dim=1)

    module, inputs, _ = architectures.cnn_flatten()
    ws.trace(module, *inputs)
    registry["aten.batch_norm.default"] = wrong
    with pytest.raises(ws.VerificationError, match=r"permuting '0\.weight:0' \(on .*\) changes the function by"):
        ws.trace(module, *inputs)


def test_a_rule_that_forgets_the_order_of_a_cumulative_sum_is_caught(registry):
    registry["aten.cumsum.default"] = lambda call: call.function("cumsum")
    module, inputs, _ = architectures.unknown()
    with pytest.raises(ws.VerificationError, match=r"'a\.weight:0'.*A rule is wrong; the operations that read it"):
        ws.trace(module, *inputs)


def test_verifying_needs_power():
    """A module whose result does not depend on where its neurons are gives the check nothing to see."""

    class Blind(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(2, 3), nn.Linear(3, 2)

        def forward(self, x):
            return torch.relu(self.b(torch.relu(self.a(x)))) * 0 + self.b.weight.sum() + self.a.weight.sum()

    with pytest.raises(ws.VerificationError, match="the check has no power here"):
        ws.trace(Blind(), torch.zeros(1, 2))


def test_an_in_place_write_into_a_view_freezes_its_aliases():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x):
            h = self.a(x)
            h[:, :2].cumsum_(1)
            return self.b(h)

    space = ws.trace(Net(), torch.zeros(1, 3))
    assert round(10**space.log10_order) == 2 and set(space.frozen) == {"a.weight:0.0"}


def test_blocks_that_do_not_nest_freeze():
    net = nn.Sequential(nn.Conv2d(3, 12, 3), nn.GroupNorm(2, 12), nn.ReLU(), nn.Conv2d(12, 9, 3, groups=3))
    space = ws.trace(net, torch.zeros(1, 3, 8, 8))
    assert "0.weight:0.0" in space.frozen and "aten.conv2d.default at '3'" in space.frozen["0.weight:0.0"]


def test_constants_with_different_values_fix_the_axis():
    class Net(nn.Module):
        def __init__(self, mask):
            super().__init__()
            self.a, self.b, self.mask = nn.Linear(3, 4), nn.Linear(4, 2), mask

        def forward(self, x):
            return self.b(self.a(x) * self.mask)

    assert ws.trace(Net(torch.tensor([0.0, 1, 1, 0])), torch.zeros(1, 3)).log10_order == 0
    assert round(10 ** ws.trace(Net(torch.ones(4)), torch.zeros(1, 3)).log10_order) == 24


def test_the_module_is_left_as_it_was():
    module, inputs, _ = architectures.cnn_flatten()
    module.train()
    module[1].eval()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    ws.trace(module, *inputs)
    assert module.training and not module[1].training and module[0].training
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())


class Activated(nn.Module):
    def __init__(self, function, *, eps: float = 1e-5, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 4, 3, stride, groups=groups), nn.BatchNorm2d(4, eps=eps)
        self.head, self.function = nn.Linear(4, 2), function

    def forward(self, x):
        return self.head(self.function(self.norm(self.conv(x))).mean((2, 3)))


VARIANTS = {
    "plain": lambda: Activated(torch.relu),
    "activation": lambda: Activated(torch.tanh),
    "slope": lambda: Activated(lambda x: F.leaky_relu(x, 0.1)),
    "other slope": lambda: Activated(lambda x: F.leaky_relu(x, 0.2)),
    "eps": lambda: Activated(torch.relu, eps=1e-3),
    "stride": lambda: Activated(torch.relu, stride=2),
}


def test_signatures_tell_wiring_and_attributes_apart():
    spaces = {name: ws.trace(make(), torch.zeros(1, 2, 8, 8), verify=False) for name, make in VARIANTS.items()}
    assert len({space.signature for space in spaces.values()}) == len(VARIANTS)


def test_renaming_modules_changes_names_and_nothing_else_in_the_graph():
    a = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(27, 2))
    b = nn.Sequential(OrderedDict(zip(("first", "norm", "act", "flat", "last"), a, strict=True)))
    graphs = [ws.trace(net, torch.zeros(1, 1, 5, 5)).to_graph(net.state_dict()) for net in (a, b)]
    for one, other in zip(graphs[0].sites, graphs[1].sites, strict=True):
        assert one.node_type == other.node_type and one.roles == other.roles and torch.equal(one.x, other.x)
    for one, other in zip(graphs[0].blocks, graphs[1].blocks, strict=True):
        assert (one.edge_type, one.attributes, one.role) == (other.edge_type, other.attributes, other.role)
        assert torch.equal(one.edge_index, other.edge_index) and torch.equal(one.edge_attr, other.edge_attr)
