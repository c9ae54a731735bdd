"""CoordinateGMN: E(3) of the coordinates times permutations of neurons, what it refuses, degenerate networks."""

import copy
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import weightspace as ws
from tests.testing._failures import failures
from weightspace.errors import ConfigurationError, GeometryError
from weightspace.metanets import (
    CoordinateGMN,
    TracedNetwork,
    fit_input_scales,
    from_pretrained,
    save_pretrained,
    set_execution,
)
from weightspace.metanets import _coordinate_frames as frames
from weightspace.metanets import _coordinate_trunk as trunk
from weightspace.metanets._coordinate_frames import centre_of
from weightspace.metanets._coordinate_layers import vector_pass
from weightspace.metanets._message_passing import Adjacency
from weightspace.testing import CoordinateMetanetTests

Architecture = tuple[nn.Module, tuple[Any, ...]]
ALL = ("scalar", "vector", "position", "tensor")


class Sine(nn.Module):
    def __init__(self, w0: float = 3.0) -> None:
        super().__init__()
        self.w0 = w0

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(self.w0 * x)


class Skip(nn.Module):
    """Reads x again in the third layer, as DeepSDF does."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(3, 5), nn.Linear(5, 4), nn.Linear(7, 4)
        self.last = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.second(self.first(x).relu()).relu()
        return self.last(self.third(torch.cat([h, x], -1)).relu())


class Field(nn.Module):
    """Density from the place, colours from the place and the direction of view, as a NeRF has them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.view = nn.Linear(3, 5), nn.Linear(5, 4), nn.Linear(7, 4)
        self.density, self.colour = nn.Linear(4, 1), nn.Linear(4, 3)

    def forward(self, x: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
        h = self.second(self.first(x).relu()).relu()
        return self.density(h), self.colour(self.view(torch.cat([h, d], -1)).relu()).sigmoid()


def mlp(*widths: int, activation: type[nn.Module] = nn.ReLU) -> Architecture:
    layers = [nn.Linear(*pair) for pair in zip(widths, widths[1:], strict=False)]
    steps = [step for layer in layers for step in (layer, activation())]
    return nn.Sequential(*steps[:-1]), (torch.zeros(1, widths[0]),)


def model(*outputs: str, **options: Any) -> CoordinateGMN:
    torch.manual_seed(0)
    return CoordinateGMN(outputs or ALL, channels=6, layers=3, edge_channels=5, vector_channels=4, **options)


class Motions(CoordinateMetanetTests):
    """What the tests below share."""

    def layers(self, name: str) -> dict[str, slice]:
        return {"skip": {"first": slice(0, 3), "third": slice(4, 7)}}.get(name, {"0": slice(0, 3)})

    def act_on_outputs(self, metanet: nn.Module, rows: Tensor, rotation: Tensor, translation: Tensor) -> Tensor:
        assert isinstance(metanet, CoordinateGMN)
        return metanet.act(rows, rotation, translation)


class TestCoordinateGMN(Motions):
    """All outputs. Exchanging two coordinates is a reflection, which vectors and tensors show."""

    def metanet(self, networks: tuple[TracedNetwork, ...]) -> nn.Module:
        return model()

    def architectures(self) -> Mapping[str, Architecture]:
        return {
            "relu": mlp(3, 6, 4, 1),
            "deep": mlp(3, 5, 4, 4, 2, activation=Sine),
            "skip": (Skip(), (torch.zeros(1, 3),)),
        }


class TestInvariants(Motions):
    """Scalars alone do not tell coordinates apart, and must not."""

    blind_to = frozenset({"positions"})

    def metanet(self, networks: tuple[TracedNetwork, ...]) -> nn.Module:
        return model("scalar", "scalar")

    def architectures(self) -> Mapping[str, Architecture]:
        return {"relu": mlp(3, 6, 4, 1), "sine": mlp(3, 4, 1, activation=Sine), "skip": (Skip(), (torch.zeros(1, 3),))}


class TestFields(Motions):
    """Positions and directions of view: the first move with the shape, the second turn only."""

    def metanet(self, networks: tuple[TracedNetwork, ...]) -> nn.Module:
        names = [site.name for site in field_graph().sites if site.node_type == "input"]
        return model(coordinates=names[:1], directions=names[1:])

    def architectures(self) -> Mapping[str, Architecture]:
        return {"field": (Field(), (torch.zeros(1, 3), torch.zeros(1, 3)))}

    def layers(self, name: str) -> dict[str, slice]:
        return {"first": slice(0, 3), "view": slice(4, 7)}

    def moves(self, name: str, layer: str) -> bool:
        return layer == "first"


class TestRotationsAlone(Motions):
    """Without biases there are no translations: the input is a direction, and the centre stays."""

    translations = False

    def metanet(self, networks: tuple[TracedNetwork, ...]) -> nn.Module:
        [name] = [site.name for site in graph_of(unbiased()).sites if site.node_type == "input"]
        return model("scalar", "vector", "tensor", coordinates=(), directions=[name])

    def architectures(self) -> Mapping[str, Architecture]:
        return {"unbiased": (unbiased(), (torch.zeros(1, 3),)), "skip": (Skip(), (torch.zeros(1, 3),))}

    def moves(self, name: str, layer: str) -> bool:
        return False

    def positions(self, name: str) -> tuple[int, ...]:
        return ()


def unbiased() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 5, bias=False), Sine(), nn.Linear(5, 1))


def field_graph() -> ws.ParameterGraph:
    return graph_of(Field(), (torch.zeros(1, 3), torch.zeros(1, 3)))


def graph_of(module: nn.Module, inputs: tuple[Any, ...] = (torch.zeros(1, 3),)) -> ws.ParameterGraph:
    module = copy.deepcopy(module).double()
    return ws.trace(module, *(x.double() for x in inputs)).to_graph(module.state_dict())


# --- the net catches fish


def test_a_frame_without_a_centre_fails(monkeypatch):
    monkeypatch.setattr(frames, "centre_of", lambda planes: planes[0][0].new_zeros(len(planes[0][0]), 3))
    found = failures(fresh(TestCoordinateGMN))
    assert {"test_rigid_motions", "test_reflections"} <= found and "test_permuted_neurons" not in found


def test_coordinates_that_are_told_apart_fail(monkeypatch):
    monkeypatch.setattr(trunk, "_coordinates", lambda union, framed: torch.zeros_like(union.index, dtype=torch.bool))
    assert failures(fresh(TestInvariants)) == set()  # lengths are shared by the three: the index alone shows nothing
    plain = frames.frame
    monkeypatch.setattr(trunk, "frame", lambda graph, axes, scales: with_plain(plain(graph, axes, scales), graph))
    assert "test_rigid_motions" in failures(fresh(TestInvariants))


def with_plain(framed, graph):
    return frames.replace(framed, plain=graph)


def test_a_product_that_knows_left_from_right_fails(monkeypatch):
    honest = trunk.bounded

    def twisted(vectors):
        return honest(vectors) + torch.linalg.cross(honest(vectors), honest(vectors).roll(1, 2), dim=1)

    monkeypatch.setattr(trunk, "bounded", twisted)
    found = failures(fresh(TestCoordinateGMN))
    assert "test_reflections" in found and "test_rigid_motions" not in found


def fresh(kind: type[Motions]) -> Motions:
    """The tests of a class with a metanet of its own."""
    return type(f"Broken{kind.__name__}", (kind,), {})()


# --- parts


def test_the_vector_pass_equals_a_loop_with_gradients(generator):
    ends = torch.randint(6, (2, 15), generator=generator)
    c, p, q = (
        torch.randn(*shape, generator=generator, dtype=torch.float64, requires_grad=True)
        for shape in ((15, 4), (6, 3, 4), (6, 3, 4))
    )
    adjacency = Adjacency.from_edge_index(ends, 6)
    ahead, back = torch.zeros_like(p), torch.zeros_like(p)
    for edge, (source, target) in enumerate(ends.t().tolist()):
        ahead = ahead.index_add(0, torch.tensor([target]), (c[edge] * p[source])[None])
        back = back.index_add(0, torch.tensor([source]), (c[edge] * q[target])[None])
    wanted = [
        value / degree.clamp(min=1).double().sqrt()[:, None, None]
        for value, degree in ((ahead, adjacency.in_degree), (back, adjacency.out_degree))
    ]
    for found, right in zip(vector_pass(adjacency, c, p, q), wanted, strict=True):
        torch.testing.assert_close(found, right, rtol=1e-10, atol=1e-12)
    assert torch.autograd.gradcheck(lambda *values: vector_pass(adjacency, *values), (c, p, q), fast_mode=True)


def test_the_centre_of_planes_through_a_point_is_that_point(generator):
    w, c = torch.randn(2, 7, 3, generator=generator).double(), torch.randn(2, 3, generator=generator).double()
    heights = -(w @ c[:, :, None])[..., 0]
    found = centre_of([(w[:, :4], heights[:, :4]), (w[:, 4:], heights[:, 4:])])
    torch.testing.assert_close(found, c, rtol=1e-10, atol=1e-12)
    w, b = w.requires_grad_(), torch.randn(2, 7, generator=generator).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda w, b: centre_of([(w, b)]), (w, b))


def test_where_the_planes_span_no_more_than_a_plane_the_centre_stays_in_it(generator):
    w = torch.randn(1, 6, 3, generator=generator).double()
    w[..., 2] = 0
    b = torch.randn(1, 6, generator=generator).double()
    found = centre_of([(w, b)])
    torch.testing.assert_close(found[:, :2], torch.linalg.lstsq(w[..., :2], -b[..., None]).solution[..., 0])
    assert found[0, 2] == 0
    zero = torch.zeros(1, 6, 3).double()
    assert centre_of([(zero, b)]).tolist() == [[0.0, 0.0, 0.0]]


def degenerate() -> dict[str, Tensor]:
    w = torch.randn(6, 3, generator=torch.Generator().manual_seed(1)).double()
    line = torch.outer(w[:, 0], w[0])
    plane = w - torch.outer(w @ w[0], w[0]) / w[0].square().sum()
    return {"zero": 0 * w, "line": line, "plane": plane, "rows": w * (torch.arange(6) > 3)[:, None], "one": w[:1] * 0}


@pytest.mark.parametrize("kind", ["zero", "line", "plane", "rows"])
def test_degenerate_first_layers_are_finite_with_finite_gradients_and_follow_rotations(kind):
    net = mlp(3, 6, 4, 1)[0].double()
    net[0].weight.data = degenerate()[kind]
    space = ws.trace(net, torch.zeros(1, 3).double())
    state = {k: v.detach().clone().requires_grad_() for k, v in net.state_dict().items()}
    metanet = model().double()
    rows = metanet(space.to_graph(state))
    rows.square().sum().backward()
    assert rows.isfinite().all() and all(v.grad is not None and v.grad.isfinite().all() for v in state.values())
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(2)).double())[0]
    moved = {**net.state_dict(), "0.weight": net[0].weight.data @ turn.T}
    found = metanet(space.to_graph(moved))
    torch.testing.assert_close(found, metanet.act(rows, turn, torch.zeros(3).double()), rtol=1e-9, atol=1e-10)


def test_invariants_of_a_flat_network_follow_translations():
    """Where the first layer spans a plane only, what does not depend on where the centre is stays exact."""
    net = mlp(3, 6, 4, 1)[0].double()
    net[0].weight.data = degenerate()["plane"]
    space, shift = ws.trace(net, torch.zeros(1, 3).double()), torch.tensor([0.3, -0.2, 0.5]).double()
    state = net.state_dict()
    moved = {**state, "0.bias": state["0.bias"] - state["0.weight"] @ shift}
    metanet = model("scalar", "vector", "tensor").double()
    torch.testing.assert_close(metanet(space.to_graph(moved)), metanet(space.to_graph(state)), rtol=1e-9, atol=1e-10)


def test_fresh_and_stacked_networks_in_single_precision():
    net, inputs = mlp(3, 6, 4, 1)
    space = ws.trace(net, *inputs)
    stacked = {k: torch.stack([v, v * 0.5]) for k, v in net.state_dict().items()}
    rows = model()(space.to_graphs(stacked))
    assert rows.shape == (2, 16) and rows.dtype == torch.float32 and rows.isfinite().all()


@pytest.mark.parametrize("training", [False, True])
def test_checkpointed_layers_are_the_same_function(training):
    net, inputs = mlp(3, 6, 4, 1)
    graph = graph_of(net, inputs)
    metanet = model().double().train(training)
    wanted = metanet(graph)
    gradients = torch.autograd.grad(wanted.square().sum(), list(metanet.parameters()), allow_unused=True)
    again = set_execution(metanet, checkpointed=True)(graph)
    torch.testing.assert_close(again, wanted, rtol=1e-12, atol=1e-12)
    others = torch.autograd.grad(again.square().sum(), list(metanet.parameters()), allow_unused=True)
    for f, w in zip(others, gradients, strict=True):
        assert (f is None) == (w is None)
        if f is not None and w is not None:
            torch.testing.assert_close(f, w, rtol=1e-10, atol=1e-12)


def test_outputs_are_unpacked_and_saved(tmp_path):
    graph = graph_of(mlp(3, 6, 4, 1)[0])
    metanet = CoordinateGMN(
        ALL, channels=6, layers=2, vector_channels=4, input_scales=fit_input_scales([graph])
    ).double()  # fmt: skip
    rows = metanet(graph)
    scalar, vector, position, tensor = metanet.unpack(rows)
    assert [tuple(p.shape) for p in (scalar, vector, position, tensor)] == [(1,), (1, 3), (1, 3), (1, 3, 3)]
    torch.testing.assert_close(tensor, tensor.mT)
    again = from_pretrained(save_pretrained(metanet, tmp_path)).double()
    torch.testing.assert_close(again(graph), rows, rtol=1e-5, atol=1e-6)


# --- what is refused


class Encoded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(9, 4), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(torch.cat([x, x.sin(), x.cos()], -1)).relu())


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x).relu()) + x.square().sum(-1, keepdim=True)


class Shifted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 3), nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(x + self.first(x).relu())


def weight_normed() -> nn.Module:
    first = torch.nn.utils.parametrizations.weight_norm(nn.Linear(3, 4))
    return nn.Sequential(first, nn.ReLU(), nn.Linear(4, 1))


@pytest.mark.parametrize(
    ("module", "inputs", "words"),
    [
        (Encoded(), (torch.zeros(1, 3),), "go through .* before the first layer .as positional encodings do."),
        (Normed(), (torch.zeros(1, 3),), "inputs of three numbers|go through|wanted linear layers and concatenations"),
        (Shifted(), (torch.zeros(1, 3),), "go into 'add' .*wanted linear layers and concatenations alone"),
        (weight_normed(), (torch.zeros(1, 3),), "wanted a linear layer with weight and bias"),
        (unbiased(), (torch.zeros(1, 3),), "reads positions without a bias.*declare its input a direction"),
        (mlp(2, 4, 1)[0], (torch.zeros(1, 2),), "found 0 inputs of three numbers .none., wanted one"),
        (Field(), (torch.zeros(1, 3), torch.zeros(1, 3)), "found 2 inputs of three numbers .* name the sites"),
    ],
    ids=["encoded", "normed", "shifted", "weight norm", "unbiased", "plane", "two inputs"],
)
def test_what_no_motion_of_the_weights_can_follow_is_refused(module, inputs, words):
    with pytest.raises(GeometryError, match=words):
        model("scalar").double()(graph_of(module, inputs))


def test_wrong_arguments_are_refused():
    with pytest.raises(ConfigurationError, match="found output 'volume', wanted a sequence of scalar, vector"):
        CoordinateGMN(["volume"])
    with pytest.raises(ConfigurationError, match="found output 'nothing'"):
        CoordinateGMN([])
    with pytest.raises(ConfigurationError, match="positions for networks that read directions alone, wanted 'vector'"):
        CoordinateGMN(["position"], coordinates=[], directions=["1:input"])
    with pytest.raises(GeometryError, match="found no input of three numbers called 'x' .there are: 1:input."):
        model("scalar", coordinates=["x"]).double()(graph_of(mlp(3, 6, 4, 1)[0]))


def test_the_finder_keeps_what_it_found_and_copies_find_anew():
    metanet, graph = model("scalar").double(), graph_of(mlp(3, 6, 4, 1)[0])
    finder = metanet.trunk.finder
    assert finder(graph) is finder(graph)
    assert len(copy.deepcopy(finder)._known) == 0
    relabelled = graph.relabel(torch.Generator().manual_seed(0))
    assert finder(relabelled) is not finder(graph)
