"""Weight spaces by hand, and the permutation specifications of Git Re-Basin."""

from math import factorial, log10

import networkx
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import weightspace as ws
from tests.architectures import ResNet, log_factorial
from weightspace.permutation_spec import PermutationSpec, PermutationSpecWarning
from weightspace.symmetry import random_state
from weightspace.tracing import from_permutation_spec


class Block(nn.Module):
    """Attention of 3 heads of 2 features by hand, with a temperature per head, and a gate on a concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(6, 4))
        self.embed, self.gate, self.last = nn.Linear(3, 4), nn.Linear(3, 5), nn.Linear(9, 2)
        self.temperature = nn.Parameter(torch.ones(3))
        self.position = nn.Parameter(torch.randn(1, 7, 4))

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x) + self.position
        q, k, v = (part(h).unflatten(-1, (3, 2)).transpose(1, 2) for part in (self.q, self.k, self.v))
        weights = (q @ k.transpose(-1, -2) * self.temperature[:, None, None]).softmax(-1)
        h = h + self.o((weights @ v).transpose(1, 2).flatten(-2))
        return self.last(torch.cat([h, torch.tanh(self.gate(x))], -1))


BLOCK = {
    **{f"{name}.weight": ("head*qk", "stream") for name in "qk"},
    **{f"{name}.bias": ("head*qk",) for name in "qk"},
    "v.weight": ("head*value", "stream"),
    "v.bias": ("head*value",),
    "o.weight": ("stream", "head*value"),
    "o.bias": ("stream",),
    "embed.weight": ("stream", None),
    "embed.bias": ("stream",),
    "gate.weight": ("gate", None),
    "gate.bias": ("gate",),
    "last.weight": ("class", "stream + gate"),
    "last.bias": ("class",),
    "temperature": ("head",),
    "position": (None, None, "stream"),
}


def block() -> tuple[ws.WeightSpace, nn.Module, Tensor]:
    torch.manual_seed(0)
    net = Block()
    return ws.specify(net, BLOCK, fixed=("class",), sizes={"head": 3}), net, torch.zeros(2, 7, 3)


def conv() -> tuple[ws.WeightSpace, nn.Module, Tensor]:
    net = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 4, 2))
    axes = {
        "0.weight": ("c", None, None, None),
        "0.bias": "c",
        **{f"1.{name}": ("c",) for name in ("weight", "bias", "running_mean", "running_var")},
        "4.weight": (None, "c*4"),
        "4.bias": (None,),
    }
    return ws.specify(net, axes), net, torch.zeros(2, 3, 4, 4)


@pytest.fixture(params=[block, conv], ids=["block", "conv"])
def specified(request: pytest.FixtureRequest) -> tuple[ws.WeightSpace, nn.Module, Tensor]:
    return request.param()


def test_orders_have_closed_forms():
    space, _, _ = block()
    wanted = factorial(3) * factorial(2) ** 6 * factorial(4) * factorial(5)
    assert space.log10_order == pytest.approx(log10(wanted), rel=1e-12)
    assert conv()[0].log10_order == pytest.approx(log10(factorial(5)), rel=1e-12)


def test_the_group_keeps_the_function(specified):
    space, net, x = specified
    space.verify(net, x)


def test_the_way_back_is_exact(specified, generator):
    space, net, _ = specified
    state = net.state_dict()
    back = space.to_state_dict(space.to_graph(state).relabel(generator))
    assert list(back) == list(state) and all(torch.equal(back[key], value) for key, value in state.items())
    stacked = {key: torch.stack([value, value + 1]) for key, value in state.items()}
    again = space.to_state_dict(space.to_graphs(stacked))
    assert all(torch.equal(again[key], value) for key, value in stacked.items())


def test_json(specified):
    space, _, _ = specified
    assert ws.WeightSpace.from_json(space.to_json()) == space


def test_a_specified_and_a_traced_space_have_one_group():
    _, net, x = conv()
    assert conv()[0].log10_order == pytest.approx(ws.trace(net, x).log10_order, rel=1e-12)
    assert conv()[0].signature != ws.trace(net, x).signature


def test_moved_networks_have_isomorphic_graphs(specified, generator):
    space, _, _ = specified
    state = random_state(space, generator)
    state |= {key: torch.zeros((), dtype=torch.long) for key in space.keys if key not in state}
    graphs = [space.to_graph(s).to_networkx() for s in (state, space.act(space.random_element(generator), state))]
    assert networkx.is_isomorphic(*graphs, node_match=same, edge_match=same_edges)


def test_automorphisms_of_the_topology_are_the_group():
    """Counted where no number tells nodes and edges apart: heads of 2 features with a shared value projection."""
    space = ws.specify({"q": (4, 2), "o": (2, 4)}, {"q": ("head*d", None), "o": (None, "head*d")}, sizes={"head": 2})
    graph = space.to_graph({"q": torch.zeros(4, 2), "o": torch.zeros(2, 4)}).to_networkx()
    matcher = networkx.isomorphism.MultiDiGraphMatcher(graph, graph, node_match=same, edge_match=same_edges)
    assert sum(1 for _ in matcher.isomorphisms_iter()) == round(10**space.log10_order) == 8


def test_an_axis_with_itself(generator):
    space = ws.specify({"w": (3, 3), "b": (3,)}, {"w": ("h", "h"), "b": ("h",)})
    state = {"w": torch.randn(3, 3), "b": torch.randn(3)}
    graph = space.to_graph(state)
    assert graph.num_nodes == 3 and graph.num_edges == 9
    source, target = graph.blocks[0].edge_index
    assert torch.equal(graph.blocks[0].edge_attr[:, 0], state["w"][target, source])
    assert torch.equal(space.to_state_dict(graph.relabel(generator))["w"], state["w"])


def test_a_fibre_brings_its_base_along():
    space = ws.specify({"q": (4, 3), "w": (2, 2)}, {"q": ("head*d", None), "w": ("head", "d")}, sizes={"head": 2})
    assert space.log10_order == pytest.approx(log10(2 * 2**2))
    assert [site.atoms for site in space.sites if "d" in site.atoms] == [("head", "d")]
    assert space.to_graph({"q": torch.zeros(4, 3), "w": torch.zeros(2, 2)}).num_edges == 4 * 3 + 4 + 4


def test_three_groups_meet_at_product_nodes(generator):
    space = ws.specify({"w": (2, 3, 4), "u": (2, 5)}, {"w": ("a", "b", "c"), "u": ("a", None)})
    assert [len(site.atoms) for site in space.sites] == [2, 1, 1, 1, 1]
    state = {"w": torch.randn(2, 3, 4), "u": torch.randn(2, 5)}
    moved = space.act(space.random_element(generator), state)
    back = space.to_state_dict(space.to_graph(moved).relabel(generator))
    assert all(torch.equal(back[key], moved[key]) for key in state)
    assert not torch.equal(moved["w"], state["w"]) and space.log10_order == pytest.approx(log10(2 * 6 * 24))


@pytest.mark.parametrize(
    ("axes", "order"),
    [
        ({"q": ("head*d",), "n": ("d",)}, 2 * 6),  # one permutation of d for all heads
        ({"q": ("head*d",), "n": ("head",)}, 2 * 6**2),
        ({"q": ("2*d",), "n": (None,)}, 6),  # a number is no base
        ({"q": ("d*2",), "n": ("d",)}, 6),
        ({"q": ("a + b",), "n": ("a",)}, 6 * 6),
        ({"q": ("a + a",), "n": ("a",)}, 6),
        ({"q": ("(a + a)",), "n": ("a",)}, 6),
    ],
)
def test_what_an_expression_means(axes, order):
    shapes = {"q": (6,), "n": (2 if axes["n"] == ("head",) else 3,)}
    assert 10 ** ws.specify(shapes, axes).log10_order == pytest.approx(order, rel=1e-9)


def test_a_fixed_name_is_one_site_of_known_nodes():
    space = ws.specify({"w": (3, 4), "b": (3,)}, {"w": ("class", "h"), "b": ("class",)}, fixed=("class",))
    graph = space.to_graph({"w": torch.zeros(3, 4), "b": torch.zeros(3)})
    assert [(s.num_nodes, s.index.tolist()) for s in graph.sites] == [(3, [0, 1, 2]), (4, [-1] * 4)]
    assert [group.name for group in space.groups] == ["h"]


def test_tied_keys_need_axes_once():
    net = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    net[1].weight = net[0].weight
    space = ws.specify(net, {"0.weight": ("h", "h")})
    assert space.tied == {"1.weight": "0.weight"}
    assert ws.specify(net, {"0.weight": ("h", "h"), "1.weight": ("h", "h")}) == space
    with pytest.raises(ws.SpecificationError, match=r"'1\.weight' and '0\.weight' are one tensor, but their axes diff"):
        ws.specify(net, {"0.weight": ("h", "h"), "1.weight": ("h", None)})


def test_a_wrong_specification_is_caught():
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    axes = {"0.weight": ("a", None), "0.bias": ("a",), "2.weight": ("b", "a"), "2.bias": ("b",)}
    right = axes | {"4.weight": (None, "b"), "4.bias": (None,)}
    ws.specify(net, right).verify(net, torch.zeros(1, 3))
    wrong = axes | {"4.weight": (None, "a"), "4.bias": (None,)}
    with pytest.raises(ws.VerificationError, match=r"permuting '[ab]' .* changes the function"):
        ws.specify(net, wrong).verify(net, torch.zeros(1, 3))


SHAPES = {"w": (4, 6), "b": (4,)}


@pytest.mark.parametrize(
    ("axes", "options", "words"),
    [
        ({"w": ("h", None), "b": ("h",), "c": ("h",)}, {}, r"unknown parameter 'c'; floating entries .* are 'w', 'b'"),
        ({"w": ("h", None)}, {}, r"no axes for 'b'; every floating entry needs one expression per dimension, None"),
        ({"w": ("h",), "b": ("h",)}, {}, r"'w' has shape \(4, 6\), found 1 axes \('h'\), wanted 2"),
        (
            {"w": ("h", "h"), "b": ("h",)},
            {},
            r"'w' dimension 1 has 6 elements, its axis is 'h'; wanted 4, as h has 4 \(by 'w'\[0\]\)\. Groups that are",
        ),
        ({"w": ("h", "h*d"), "b": ("h",)}, {}, r"'w' dimension 1 has 6 .*no size of 'd' gives that, as h has 4 \(by"),
        ({"w": ("h", "a*d"), "b": ("h",)}, {}, r"dimension 1: 'a\*d' does not tell the sizes of a and d; .*'a': 4"),
        ({"w": ("h", "5"), "b": ("h",)}, {}, r"'w' dimension 1 has 6 .*; wanted 5"),
        ({"w": ("h", "d"), "b": ("h",)}, {"sizes": {"d": 3}}, r"wanted 3, as d has 3 \(given\)"),
        ({"w": ("h", "d"), "b": ("h",)}, {"sizes": {"x": 3}}, "sizes names 'x', which no axis contains"),
        ({"w": ("h", "d"), "b": ("h",)}, {"fixed": ("x",)}, "fixed names 'x', which no axis contains"),
        ({"w": ("h", "d"), "b": ("h",)}, {"fixed": "h"}, r"fixed='h' is a text, wanted several names: fixed=\('h',\)"),
        ({"w": ("h", "d -"), "b": ("h",)}, {}, r"'w'\[1\]: found the axis 'd -', in which '-' is not understood"),
        ({"w": ("h", "d +"), "b": ("h",)}, {}, "a name or a number is missing at the end"),
        ({"w": ("h", "(d"), "b": ("h",)}, {}, "a parenthesis is not closed"),
        ({"w": ("h", "d e"), "b": ("h",)}, {}, "nothing may follow before 'e'"),
        ({"w": ("h", "0"), "b": ("h",)}, {}, "'0' stands where a name or a number should"),
        ({"w": ("h", ""), "b": ("h",)}, {}, "a name or a number is missing"),
    ],
)
def test_errors(axes, options, words):
    with pytest.raises(ws.SpecificationError, match=words):
        ws.specify(SHAPES, axes, **options)


def test_no_parameters():
    with pytest.raises(ws.SpecificationError, match="found a dict of parameters, wanted a module, its state_dict"):
        ws.specify({}, {})


def test_a_name_twice_at_product_nodes():
    with pytest.raises(ws.SpecificationError, match="'w': a stands twice among the dimensions that one node has"):
        ws.specify({"w": (3, 3, 4)}, {"w": ("a", "a", "b")})


# --- permutation specifications


def mlp() -> tuple[nn.Module, Tensor]:
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2)), torch.zeros(1, 4)


def vgg() -> tuple[nn.Module, Tensor]:
    layers: list[nn.Module] = []
    for width_in, width in ((3, 4), (4, 6), (6, 6)):
        layers += [nn.Conv2d(width_in, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)]
    return nn.Sequential(*layers, *head), torch.zeros(1, 3, 8, 8)


def resnet() -> tuple[nn.Module, Tensor]:
    return ResNet(1, (4, 6, 8)), torch.zeros(1, 3, 8, 8)


@pytest.mark.parametrize("make", [mlp, vgg, resnet])
def test_permutation_specs_lose_nothing_of_plain_networks(make):
    net, x = make()
    traced = ws.trace(net, x)
    spec = traced.to_permutation_spec()
    again = from_permutation_spec(spec, net)
    assert again.log10_order == pytest.approx(traced.log10_order, rel=1e-12) and traced.log10_order > 0
    assert again.to_permutation_spec() == spec
    assert set(spec.axes_to_perm) == set(traced.parameters)
    again.verify(net, x)


def test_the_form_of_a_permutation_spec():
    net, x = mlp()
    spec = ws.trace(net, x).to_permutation_spec()
    assert spec.axes_to_perm == {
        "0.weight": ("0.weight:0", None),
        "0.bias": ("0.weight:0",),
        "2.weight": ("2.weight:0", "0.weight:0"),
        "2.bias": ("2.weight:0",),
        "4.weight": (None, "2.weight:0"),
        "4.bias": (None,),
    }
    assert spec.perm_to_axes["0.weight:0"] == [("0.weight", 0), ("0.bias", 0), ("2.weight", 1)]


def test_the_published_mlp_spec():
    """`mlp_permutation_spec(3)` of the published code, kernels as torch has them."""
    axes: dict[str, tuple[str | None, ...]] = {"d0.weight": ("P_0", None), "d0.bias": ("P_0",)}
    axes |= {"d1.weight": ("P_1", "P_0"), "d1.bias": ("P_1",), "d2.weight": (None, "P_1"), "d2.bias": (None,)}
    places: dict[str, list[tuple[str, int]]] = {}
    for name, perms in axes.items():
        for dim, perm in enumerate(perms):
            if perm is not None:
                places.setdefault(perm, []).append((name, dim))
    shapes = {"d0.weight": (8, 4), "d0.bias": (8,), "d1.weight": (8, 8), "d1.bias": (8,), "d2.weight": (2, 8)}
    space = from_permutation_spec(PermutationSpec(places, axes), shapes | {"d2.bias": (2,)})
    assert space.log10_order == pytest.approx(2 * log_factorial(8), rel=1e-12)
    assert space.to_permutation_spec() == PermutationSpec(places, axes)


def test_what_cannot_be_written_is_named_and_left_out():
    space, net, x = block()
    with pytest.warns(PermutationSpecWarning) as caught:
        spec = space.to_permutation_spec()
    (text,) = [str(w.message) for w in caught]
    assert "'head' (3 neurons): 'q.weight' dimension 0 is head*qk" in text
    assert "'qk' (2 neurons): a permutation of its own for each of head" in text
    assert "'stream' (4 neurons): 'last.weight' dimension 1 is stream + gate" in text
    assert "'gate' (5 neurons): 'last.weight' dimension 1 is stream + gate" in text
    assert f"log10 order {space.log10_order:.2f}, of which 0.00 is kept" in text
    assert not spec.perm_to_axes and all(perm is None for perms in spec.axes_to_perm.values() for perm in perms)


def test_a_lossy_spec_is_a_symmetry_still():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c, self.d = nn.Linear(3, 4), nn.Linear(4, 5), nn.Linear(4, 6), nn.Linear(11, 2)

        def forward(self, x: Tensor) -> Tensor:
            h = F.relu(self.a(x))
            return self.d(torch.cat([F.relu(self.b(h)), torch.tanh(self.c(h))], -1))

    net, x = Net(), torch.zeros(1, 3)
    space = ws.trace(net, x)
    with pytest.warns(PermutationSpecWarning, match=rf"of which {log_factorial(4):.2f} is kept"):
        spec = space.to_permutation_spec()
    assert list(spec.perm_to_axes) == ["a.weight:0"]
    assert spec.axes_to_perm["d.weight"] == (None, None) and spec.axes_to_perm["b.weight"] == (None, "a.weight:0")
    from_permutation_spec(spec, net).verify(net, x)


def test_frozen_axes_are_told():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(torch.cumsum(self.a(x), -1))

    with pytest.warns(PermutationSpecWarning, match=r"'frozen a\.weight:0': it is fixed by aten\.cumsum"):
        spec = ws.trace(Net(), torch.zeros(1, 3)).to_permutation_spec()
    assert spec.perm_to_axes == {}
    assert set(spec.axes_to_perm) == {"a.weight", "a.bias", "b.weight", "b.bias"}
    assert all(set(axes) == {None} for axes in spec.axes_to_perm.values())


def test_other_symmetries_are_told():
    net, x = mlp()
    space = ws.trace(net, x, symmetries={"permutation", "scale"})
    with pytest.warns(PermutationSpecWarning, match="'scale': permutations are all that can be written"):
        assert space.to_permutation_spec() == ws.trace(net, x).to_permutation_spec()


def test_tied_keys_are_both_written():
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3))
    net.register_parameter("twin", net[2].weight)
    spec = ws.trace(net, torch.zeros(1, 3)).to_permutation_spec()
    assert spec.axes_to_perm["twin"] == spec.axes_to_perm["2.weight"] == (None, "0.weight:0")
    assert from_permutation_spec(spec, net).to_permutation_spec() == spec


def test_errors_of_permutation_specs():
    shapes = {"a": (3, 2), "b": (4, 3)}
    spec = PermutationSpec({"P": [("a", 0), ("b", 1)]}, {"a": ("P", None), "b": (None, None)})
    with pytest.raises(ws.SpecificationError, match="perm_to_axes lets 'P' act on 'b' dimension 1, axes_to_perm does"):
        from_permutation_spec(spec, shapes)
    spec = PermutationSpec({"P": [("a", 0)]}, {"a": ("P", None), "b": (None, "P")})
    with pytest.raises(ws.SpecificationError, match="axes_to_perm lets 'P' act on 'b' dimension 1, perm_to_axes does"):
        from_permutation_spec(spec, shapes)
    spec = PermutationSpec({"P": [("a", 0), ("b", 0)]}, {"a": ("P", None), "b": ("P", None)})
    with pytest.raises(ws.SpecificationError, match=r"'b' dimension 0 has 4 .*wanted 3, as P has 3 \(by 'a'\[0\]\)"):
        from_permutation_spec(spec, shapes)
    with pytest.raises(ws.SpecificationError, match="unknown parameter 'c'"):
        from_permutation_spec(PermutationSpec({}, {"c": (None,)}), shapes)
    assert from_permutation_spec(PermutationSpec({}, {"a": (None, None)}), shapes).log10_order == 0


def same(a: dict, b: dict) -> bool:
    return without(a) == without(b)


def without(attributes: dict) -> dict:
    return {key: value for key, value in attributes.items() if not key.endswith("address")}


def same_edges(a: dict, b: dict) -> bool:
    return sorted(repr(without(e)) for e in a.values()) == sorted(repr(without(e)) for e in b.values())
