"""The key of the cache: what differs in anything that the computation depends on has another key."""

import dataclasses
import enum
import functools
import threading
import types
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from weightspace.tracing._cache import cache_key

SLOPE = 0.1
ACTIVATION = F.relu
TABLE = {"slope": 0.1}


def activate(x: torch.Tensor) -> torch.Tensor:
    return ACTIVATION(x)


def twice(x: torch.Tensor) -> torch.Tensor:
    return again(x, 1)


def again(x: torch.Tensor, depth: int) -> torch.Tensor:
    return twice(x) if depth > 1 else x * 2


@dataclasses.dataclass
class Config:
    slope: float = 0.1
    shape: tuple[int, ...] = (2, 3)


class Mode(enum.Enum):
    HARD = 1
    SOFT = 2


class Pair(NamedTuple):
    first: float
    second: float


class Net(nn.Module):
    """Whatever a test needs: its forward pass reads attributes, globals, closures and class attributes."""

    power = 1

    def __init__(self, function=F.relu, *, scale: float = 1.0, eps: float = 1e-5, mask=None, part=None) -> None:
        super().__init__()
        self.a, self.norm, self.b = nn.Linear(3, 4), nn.BatchNorm1d(4, eps=eps), nn.Linear(4, 2)
        self.function, self.scale, self.mask, self.part = function, scale, mask, part

    def forward(self, x):
        h = self.function(self.norm(self.a(x))) * self.scale
        return self.b(h if self.mask is None else h * self.mask)


class Globals(Net):
    def forward(self, x):
        return self.b(activate(F.leaky_relu(self.a(x), SLOPE))) * TABLE["slope"]


class Members(Net):
    def hidden(self, x):
        return F.relu(self.a(x))

    @property
    def exponent(self):
        return 2

    @staticmethod
    def last(x):
        return x * 3

    def forward(self, x):
        return self.last(self.b(self.hidden(x)) ** self.power + self.exponent)


class Dynamic(Net):
    def extra_layer(self, x):
        return F.relu(x)

    def forward(self, x):
        return self.b(getattr(self, "_".join(["extra", "layer"]))(self.a(x)))


class Recursive(Net):
    def forward(self, x):
        return self.b(twice(self.a(x)))


def closure(slope: float):
    return lambda x: F.leaky_relu(x, slope)


def key_of(module: nn.Module, *inputs: torch.Tensor, options=(), **kwargs) -> str | None:
    return cache_key(module, inputs or (torch.zeros(2, 3),), kwargs, options)


def patched(forward) -> nn.Module:
    net = Net()
    net.forward = types.MethodType(forward, net)
    return net


def hooked(hook, *, pre: bool = False, **options) -> nn.Module:
    net = Net()
    (net.a.register_forward_pre_hook if pre else net.a.register_forward_hook)(hook, **options)
    return net


def with_buffer(values: list[float], *, persistent: bool) -> nn.Module:
    net = Net()
    net.register_buffer("offset", torch.tensor(values), persistent=persistent)
    return net


def tied(*, tie: bool) -> nn.Module:
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    if tie:
        net[1].weight = net[0].weight
    return net


def shared(*, share: bool) -> nn.Module:
    layer = nn.ReLU()
    return nn.Sequential(nn.Linear(3, 3), layer, layer if share else nn.ReLU())


def thrice(number: int) -> nn.Module:
    layers = [nn.Linear(3, 3), nn.Linear(3, 3)]
    return nn.Sequential(*layers, layers[number])


def stride(n: int) -> nn.Module:
    return nn.Sequential(nn.Unflatten(1, (1, 3)), nn.Conv1d(1, 2, 3, stride=n, padding=2))


PAIRS = {
    "activation": lambda: (Net(F.relu), Net(F.tanh)),
    "builtin": lambda: (Net(torch.relu), Net(torch.tanh)),
    "layer": lambda: (nn.Sequential(nn.Linear(3, 3), nn.ReLU()), nn.Sequential(nn.Linear(3, 3), nn.Tanh())),
    "stride": lambda: (stride(1), stride(2)),
    "eps": lambda: (Net(), Net(eps=1e-3)),
    "number": lambda: (Net(scale=1.0), Net(scale=2.0)),
    "kind of number": lambda: (Net(scale=1.0), Net(scale=1)),
    "closure": lambda: (Net(closure(0.1)), Net(closure(0.2))),
    "partial": lambda: (Net(functools.partial(F.leaky_relu, negative_slope=s)) for s in (0.1, 0.2)),
    "default": lambda: (Net(lambda x, s=0.1: F.leaky_relu(x, s)), Net(lambda x, s=0.2: F.leaky_relu(x, s))),
    "constant in the code": lambda: (Net(lambda x: x * 2), Net(lambda x: x * 3)),
    "nested code": lambda: (Net(lambda x: [v * 2 for v in [x]][0]), Net(lambda x: [v * 3 for v in [x]][0])),
    "mask": lambda: (Net(mask=torch.tensor([0.0, 1, 1, m])) for m in (0.0, 1.0)),
    "mask in a list": lambda: (Net(part=[torch.tensor([m])]) for m in (0.0, 1.0)),
    "non-persistent buffer": lambda: (with_buffer([v], persistent=False) for v in (0.0, 1.0)),
    "module in a list": lambda: (Net(part=[nn.ReLU()]), Net(part=[nn.Tanh()])),
    "dataclass": lambda: (Net(part=Config(0.1)), Net(part=Config(0.2))),
    "dictionary": lambda: (Net(part={"a": 1}), Net(part={"a": 2})),
    "set": lambda: (Net(part={"a", "b"}), Net(part={"a", "c"})),
    "named tuple": lambda: (Net(part=Pair(1.0, 2.0)), Net(part=Pair(1.0, 3.0))),
    "enum": lambda: (Net(part=Mode.HARD), Net(part=Mode.SOFT)),
    "dtype": lambda: (Net(part=torch.float16), Net(part=torch.float32)),
    "patched instance": lambda: (Net(), patched(lambda self, x: self.b(self.a(x)))),
    "patched instance, other code": lambda: (
        patched(lambda s, x: s.b(s.a(x)) * 2),
        patched(lambda s, x: s.b(s.a(x)) * 3),
    ),
    "hook": lambda: (Net(), hooked(lambda module, args, out: out * 2)),
    "code of a hook": lambda: (hooked(lambda m, a, o: o * 2), hooked(lambda m, a, o: o * 3)),
    "pre-hook": lambda: (hooked(lambda m, a: a, pre=True), hooked(lambda m, a: (a[0] * 2,), pre=True)),
    "hook with kwargs": lambda: (hooked(lambda *a: None), hooked(lambda *a: None, with_kwargs=True)),
    "tied": lambda: (tied(tie=True), tied(tie=False)),
    "shared module": lambda: (shared(share=True), shared(share=False)),
    "which module is shared": lambda: (thrice(0), thrice(1)),
    "shape": lambda: (nn.Linear(3, 4), nn.Linear(3, 5)),
    "bias": lambda: (nn.Linear(3, 4), nn.Linear(3, 4, bias=False)),
    "double": lambda: (nn.Linear(3, 4), nn.Linear(3, 4).double()),
    "name": lambda: (nn.ModuleDict({"a": nn.Linear(3, 3)}), nn.ModuleDict({"b": nn.Linear(3, 3)})),
    "meta": lambda: (Net(mask=torch.zeros(4)), Net(mask=torch.zeros(4, device="meta"))),
}


@pytest.mark.parametrize("make", PAIRS.values(), ids=PAIRS.keys())
def test_what_differs_has_another_key(make):
    one, other = make()
    assert None not in (key_of(one), key_of(other)) and key_of(one) != key_of(other)


@pytest.mark.parametrize("make", PAIRS.values(), ids=PAIRS.keys())
def test_what_is_built_twice_has_one_key(make):
    for one, other in zip(make(), make(), strict=True):
        assert key_of(one) == key_of(other)


@pytest.mark.parametrize(
    ("name", "value"),
    [("SLOPE", 0.2), ("ACTIVATION", F.tanh), ("activate", lambda x: x), ("TABLE", {"slope": 0.2})],
)
def test_a_changed_global(name, value, monkeypatch):
    before = key_of(Globals())
    monkeypatch.setitem(globals(), name, value)
    assert None not in (before, key_of(Globals())) and key_of(Globals()) != before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hidden", lambda self, x: self.a(x)),
        ("last", staticmethod(lambda x: x)),
        ("exponent", property(lambda self: 3)),
        ("power", 2),
        ("forward", lambda self, x: x),
    ],
)
def test_a_patched_class(name, value, monkeypatch):
    before = key_of(Members())
    monkeypatch.setattr(Members, name, value)
    assert None not in (before, key_of(Members())) and key_of(Members()) != before


def test_a_method_that_is_looked_up_by_a_computed_name(monkeypatch):
    before = key_of(Dynamic())
    monkeypatch.setattr(Dynamic, "extra_layer", lambda self, x: x)
    assert None not in (before, key_of(Dynamic())) and key_of(Dynamic()) != before


def test_a_patched_class_of_torch(monkeypatch):
    before = key_of(nn.Sequential(nn.ReLU()))
    monkeypatch.setattr(nn.ReLU, "forward", lambda self, x: torch.tanh(x))
    assert key_of(nn.Sequential(nn.ReLU())) != before


@pytest.mark.parametrize("owner", [F, torch.Tensor], ids=["functional", "Tensor"])
def test_a_patched_function_of_torch(owner, monkeypatch):
    before = key_of(nn.Sequential(nn.ReLU()))
    keys = []
    for factor in (2, 3):
        monkeypatch.setattr(owner, "relu", lambda x, inplace=False, factor=factor: x * factor)
        keys.append(key_of(nn.Sequential(nn.ReLU())))
    assert None not in (before, *keys) and len({before, *keys}) == 3


def test_modes_of_torch_are_not_digested():
    class Mode(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            return function(*args, **(kwargs or {}))

    with Mode():
        assert key_of(Net()) is None
    with torch.device("cpu"):
        assert key_of(Net()) is not None


def test_a_method_of_a_subclass_that_the_library_calls(monkeypatch):
    class Convolution(nn.Conv1d):
        def _conv_forward(self, x, weight, bias):
            return super()._conv_forward(x, weight, bias)

    before = key_of(Convolution(1, 1, 1))
    monkeypatch.setattr(Convolution, "_conv_forward", lambda self, x, weight, bias: x)
    assert None not in (before, key_of(Convolution(1, 1, 1))) and key_of(Convolution(1, 1, 1)) != before


ours = types.ModuleType("ours")


@pytest.mark.parametrize("make", [lambda: Net(lambda x: ours.act(x)), lambda: within(ours)], ids=["global", "closure"])
def test_a_function_of_another_python_module(make):
    exec("def act(x):\n    return x * 2", vars(ours))
    before = key_of(make())
    exec("def act(x):\n    return x * 3", vars(ours))
    assert None not in (before, key_of(make())) and key_of(make()) != before


def within(module: types.ModuleType) -> nn.Module:
    return Net(lambda x: module.act(x))


def test_recursive_functions_are_finite():
    assert key_of(Recursive()) == key_of(Recursive()) is not None


def test_what_nobody_calls_does_not_matter(monkeypatch):
    monkeypatch.setattr(Members, "report", lambda self: open("/dev/null"), raising=False)
    assert key_of(Members()) is not None


@pytest.mark.parametrize(
    "make",
    [
        lambda: Net(part=threading.Lock()),
        lambda: Net(part=torch.Generator()),
        lambda: Net(part=iter([1])),
        lambda: Net(lambda x: eval("x")),
        lambda: Net(lambda x: x * globals()["SLOPE"]),
        lambda: Net(part=torch.zeros(2, 2).to_sparse()),
    ],
    ids=["lock", "generator", "iterator", "eval", "globals", "sparse"],
)
def test_what_cannot_be_digested_has_no_key(make):
    assert key_of(make()) is None


def test_inputs_options_and_modes_are_part_of_the_key():
    net = Net()
    keys = {
        key_of(net),
        key_of(net, torch.zeros(3, 3)),
        key_of(net, torch.zeros(2, 3, dtype=torch.float64)),
        key_of(net, torch.zeros(2, 3), torch.zeros(1)),
        key_of(net, torch.zeros(2, 3), flag=True),
        key_of(net, torch.zeros(2, 3), flag=False),
        key_of(net, options=("raise",)),
    }
    with torch.no_grad():
        keys.add(key_of(net))
    assert len(keys) == 8 and None not in keys
    assert key_of(net, torch.ones(2, 3)) == key_of(net)


def test_global_hooks_are_not_digested():
    handle = nn.modules.module.register_module_forward_hook(lambda module, args, out: out * 2)
    try:
        assert key_of(Net()) is None
    finally:
        handle.remove()


def test_a_digest_has_a_bound(monkeypatch):
    monkeypatch.setattr("weightspace.tracing._fingerprint.MAX_PARTS", 100)
    assert key_of(Net()) is None


def test_methods_that_a_package_adds_to_modules_do_not_matter(monkeypatch):
    def smart(self):
        import math

        return math.pi

    before = key_of(Net())
    monkeypatch.setattr(nn.Module, "smart", smart, raising=False)
    assert key_of(Net()) == before is not None


def test_a_patched_function_of_torch_by_a_package_that_cannot_be_followed(monkeypatch):
    plain = torch.select

    def select(*args):
        import math

        return plain(*args) * math.pi

    before = key_of(Net())
    monkeypatch.setattr(torch, "select", select)
    assert key_of(Net()) not in (None, before)
