"""Canonical forms: bit-equal over an orbit, idempotent, never a silent choice."""

from collections.abc import Callable, Mapping

import networkx
import pytest
import torch
from torch import Tensor, nn

import weightspace as ws
from tests.architectures import CASES, FAMILIES, Case, every_other_slow
from weightspace.symmetry import _ordering, canonicalize, random_state

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

# Architectures with groups of every form; on the others random networks are enough.
some = pytest.mark.parametrize(
    "traced",
    [make for family in ("basic", "attention", "grouped_queries") for make in FAMILIES[family] if make in CASES],
    indirect=True,
    ids=lambda case: case.__name__,
)


@pytest.fixture(scope="module", params=every_other_slow(CASES), ids=lambda case: case.__name__)
def traced(request: pytest.FixtureRequest) -> tuple[ws.WeightSpace, dict[str, Tensor]]:
    torch.manual_seed(0)
    make: Callable[[], Case] = request.param
    module, inputs, _ = make()
    space = ws.trace(module, *inputs, verify=False)
    values = random_state(space, torch.Generator().manual_seed(1), torch.float32)
    return space, {key: values.get(space.tied.get(key, key), module.state_dict()[key]) for key in space.keys}


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    """Whether all bits are equal, those of signed zeros included."""
    return list(a) == list(b) and all(a[key].dtype == b[key].dtype and bits(a[key]) == bits(b[key]) for key in a)


def bits(tensor: Tensor) -> bytes:
    return tensor.detach().contiguous().numpy().tobytes()


def floats(state: Mapping[str, Tensor], change: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    return {key: change(value) if value.is_floating_point() else value for key, value in state.items()}


def check(space: ws.WeightSpace, state: Mapping[str, Tensor], generator: torch.Generator, rounds: int = 3) -> None:
    """The form is that of every moved network, its own form, and what the returned element makes of the network."""
    form, element = space.canonicalize(state, return_element=True)
    assert same(form, space.act(element, state))
    assert same(form, space.canonicalize(form))
    for _ in range(rounds):
        moved = space.act(space.random_element(generator), state)
        assert same(form, space.canonicalize(moved))


def test_random_networks(traced, generator):
    check(*traced, generator)


@some
def test_networks_with_few_different_values(traced, generator):
    """Many neurons agree in many entries: refinement needs several rounds, or a search."""
    space, state = traced

    def coarse(value: Tensor) -> Tensor:
        return torch.randint(0, 2, value.shape, generator=generator).to(value) * (value > 0.6)

    for _ in range(3):
        check(space, floats(state, coarse), generator, rounds=2)


@pytest.mark.slow
@some
def test_networks_of_zeros(traced, generator):
    space, state = traced
    check(space, floats(state, torch.zeros_like), generator, rounds=1)
    check(space, floats(state, lambda v: torch.zeros_like(v).bernoulli_(0.3, generator=generator)), generator)


@some
def test_two_networks_have_two_forms(traced, generator):
    space, state = traced
    if not space.groups:
        pytest.skip("nothing moves")
    name = next(iter(space.parameters))
    other = dict(state)
    other[name] = state[name].clone()
    other[name].view(-1)[0] += 1
    for key, first in space.tied.items():
        other[key] = other[first]
    assert not same(space.canonicalize(state), space.canonicalize(other))


def mlp(*widths: int) -> tuple[ws.WeightSpace, dict[str, Tensor]]:
    torch.manual_seed(0)
    layers = [layer for a, b in zip(widths, widths[1:], strict=False) for layer in (nn.Linear(a, b), nn.ReLU())]
    net = nn.Sequential(*layers[:-1])
    return ws.trace(net, torch.zeros(1, widths[0]), verify=False), net.state_dict()


def test_duplicated_neurons_need_no_search(generator):
    space, state = mlp(4, 12, 3)
    for key, dim in (("0.weight", 0), ("0.bias", 0), ("2.weight", 1)):
        state[key] = state[key].index_select(dim, torch.tensor([0, 1, 1, 1, 1, 1, 6, 7, 0, 0, 0, 11]))
    check(space, state, generator)
    assert same(space.canonicalize(state, budget=0), space.canonicalize(state))


def test_duplicated_paths_are_found_by_search(generator):
    """Two copies of a block that meet only in the output: exchanging one neuron alone changes the function."""
    space, state = mlp(3, 4, 4, 2)
    state = floats(state, torch.zeros_like)
    state["0.weight"] = torch.arange(6.0).view(2, 3).repeat(2, 1)
    state["2.weight"] = torch.block_diag(*[torch.tensor([[1.0, 2.0], [2.0, 1.0]])] * 2)
    state["4.weight"] = torch.ones(2, 4)
    check(space, state, generator, rounds=8)


def test_zeros_of_different_sign_are_different(generator):
    space, state = mlp(2, 6, 2)
    state = floats(state, torch.zeros_like)
    state["0.bias"] = torch.tensor([0.0, -0.0, 0.0, -0.0, -0.0, -0.0])
    check(space, state, generator)
    assert torch.signbit(space.canonicalize(state)["0.bias"]).sum() == 4


def test_identical_heads_with_channels_in_different_orders(generator):
    """Wreath product: heads that agree up to the order inside them."""
    net = nn.Sequential(nn.Conv2d(2, 12, 1), nn.GroupNorm(4, 12), nn.ReLU(), nn.Conv2d(12, 2, 1))
    space = ws.trace(net, torch.zeros(1, 2, 3, 3), verify=False)
    state = {key: torch.zeros_like(value) for key, value in net.state_dict().items()}
    state["0.bias"] = torch.tensor([0.0, 1, 2, 2, 0, 1, 1, 2, 0, 5, 6, 6])
    check(space, state, generator, rounds=8)
    assert space.canonicalize(state)["0.bias"].view(4, 3).diff(dim=1).ge(0).all()


@pytest.mark.slow
def test_heads_with_ties_inside_that_are_no_twins(generator):
    """Inside each head a bipartite cycle of 6 channels, all of them alike; two heads differ from the other three."""
    net = nn.Sequential(nn.Conv2d(1, 15, 1), nn.Conv2d(15, 15, 1, groups=5), nn.Conv2d(15, 1, 1))
    space = ws.trace(net, torch.zeros(1, 1, 3, 3), verify=False)
    state = {key: torch.zeros_like(value) for key, value in net.state_dict().items()}
    cycle = torch.tensor([[1.0, 1, 0], [0, 1, 1], [1, 0, 1]])
    state["1.weight"] = torch.cat([cycle, cycle[[1, 2, 0]], cycle * 2, cycle[[2, 1, 0]], cycle[[2, 0, 1]] * 2])[
        ..., None, None
    ]
    check(space, state, generator, rounds=3)
    state["1.weight"][:3, :, 0, 0] = torch.tensor([[1.0, 1, 0], [1, 1, 0], [0, 0, 2]])
    check(space, state, generator, rounds=3)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_dtypes(dtype, generator):
    space, state = mlp(3, 5, 5, 2)
    state = {key: value.to(dtype) for key, value in state.items()}
    form = space.canonicalize(state)
    moved = space.canonicalize(space.act(space.random_element(generator), state))
    assert all(form[key].dtype == dtype and torch.equal(form[key], moved[key]) for key in form)


def test_stacked_networks_model_by_model(generator):
    space, state = mlp(3, 5, 5, 2)
    stacked = {key: torch.stack([value, value.sin(), value.cos()]) for key, value in state.items()}
    form, element = space.canonicalize(stacked, return_element=True)
    assert element.n == 3 and same(form, space.act(element, stacked))
    for i in range(3):
        alone = {key: value[i] for key, value in stacked.items()}
        assert same({key: value[i] for key, value in form.items()}, space.canonicalize(alone))


def test_the_form_is_differentiable():
    space, state = mlp(3, 5, 2)
    leaves = {key: value.clone().requires_grad_() for key, value in state.items()}
    form = space.canonicalize(leaves)
    sum((value * i).sum() for i, value in enumerate(form.values(), start=1)).backward()
    assert all((leaf.grad == i).all() for i, leaf in enumerate(leaves.values(), start=1))


class Recurrent(nn.Module):
    """A relation among the neurons of one group."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(1, width), nn.Linear(width, width, bias=False), nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.a(x))
        return self.c(torch.tanh(self.b(torch.tanh(self.b(h)))))


def relation(graph: networkx.Graph) -> tuple[ws.WeightSpace, dict[str, Tensor]]:
    """A recurrent network whose hidden weights are the adjacency matrix of a graph, all other weights equal."""
    module = Recurrent(len(graph))
    space = ws.trace(module, torch.zeros(1, 1), verify=False)
    state = {key: torch.zeros_like(value) for key, value in module.state_dict().items()}
    state["b.weight"] = torch.from_numpy(networkx.to_numpy_array(graph)).float()
    return space, state


def shrikhande() -> networkx.Graph:
    steps = [(0, 1), (0, 3), (1, 0), (3, 0), (1, 1), (3, 3)]
    nodes = [(i, j) for i in range(4) for j in range(4)]
    return networkx.Graph([((i, j), ((i + a) % 4, (j + b) % 4)) for i, j in nodes for a, b in steps])


GRAPHS = {
    "cycle": networkx.cycle_graph(9),
    "petersen": networkx.petersen_graph(),
    "rook": networkx.line_graph(networkx.complete_bipartite_graph(4, 4)),
    "shrikhande": shrikhande(),
    "cube": networkx.hypercube_graph(4),
    "triangles": networkx.disjoint_union_all([networkx.cycle_graph(3)] * 5),
    "complete": networkx.complete_graph(30),
    "random": networkx.random_regular_graph(3, 14, seed=0),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_vertex_transitive_relations(name, generator):
    check(*relation(GRAPHS[name]), generator, rounds=3)


def test_relations_that_refinement_cannot_tell_apart():
    """Strongly regular graphs with the same parameters; a cycle and two of half its length."""
    for one, other in (
        (GRAPHS["rook"], GRAPHS["shrikhande"]),
        (networkx.cycle_graph(12), networkx.disjoint_union(*[networkx.cycle_graph(6)] * 2)),
    ):
        (space, a), (_, b) = relation(one), relation(other)
        assert not same(space.canonicalize(a), space.canonicalize(b))


def test_a_small_budget_is_an_error_and_names_the_tie():
    space, state = relation(GRAPHS["petersen"])
    with pytest.raises(ws.CanonicalizationError, match=r"10 neurons of 'a.weight:0' are tied.*budget=2.*raise budget"):
        space.canonicalize(state, budget=2)


def test_values_that_are_not_finite_are_refused():
    space, state = mlp(3, 5, 2)
    state["0.bias"][1] = torch.nan
    with pytest.raises(ws.StateDictError, match="not finite"):
        space.canonicalize(state)


def test_the_net_catches_fish(monkeypatch, generator):
    """A refinement that overlooks a parameter takes neurons for twins that are none."""
    space, state = mlp(3, 6, 2)
    state = floats(state, torch.zeros_like)
    state["2.weight"] = torch.arange(12.0).view(2, 6)
    everything = _ordering.entry_blocks
    monkeypatch.setattr(_ordering, "entry_blocks", lambda s: [b for b in everything(s) if b.parameter != "2.weight"])
    with pytest.raises(AssertionError):
        check(space, state, generator)


def test_the_function_and_the_method_agree():
    space, state = mlp(3, 5, 2)
    assert same(canonicalize(space, state), space.canonicalize(state))
