"""Positive scales and signs: dimension in closed form, function kept, what is outside the group changes it."""

from collections.abc import Callable, Iterable, Mapping

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import weightspace as ws
from tests.architectures import FAMILIES, Case, ResNet
from weightspace.runner import evaluation_call
from weightspace.symmetry import Scaling, _node_types, random_state

ALL = ("permutation", "scale", "sign")


def trace(module: nn.Module, *inputs: Tensor, symmetries: Iterable[str] = ALL) -> ws.WeightSpace:
    return ws.trace(module, *inputs, symmetries=symmetries, verify=False)


def dimensions(module: nn.Module, *inputs: Tensor) -> tuple[int, int]:
    space = trace(module, *inputs)
    return space.scale_dim, space.sign_rank


def full_state(space: ws.WeightSpace, module: nn.Module, generator: torch.Generator) -> dict[str, Tensor]:
    values = random_state(space, generator)
    return {key: values.get(space.tied.get(key, key), module.state_dict()[key]) for key in space.keys}


def error_under_scalings(
    space: ws.WeightSpace, module: nn.Module, inputs: tuple[Tensor, ...], rounds: int = 3
) -> float:
    """Largest change of the function by random scalings of a random network, relative to its largest value."""
    generator = torch.Generator().manual_seed(0)
    state = full_state(space, module, generator)
    x = tuple(
        torch.randn(i.shape, generator=generator, dtype=torch.float64) if i.is_floating_point() else i for i in inputs
    )
    wanted = evaluation_call(module, state, x, {})
    worst = 0.0
    for _ in range(rounds):
        found = evaluation_call(module, space.rescale(space.random_scaling(generator), state), x, {})
        for f, w in zip(found, wanted, strict=True):
            worst = max(worst, float((f - w).abs().max() / w.abs().max().clamp(min=1e-30)))
    return worst


def mlp(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 6), layers[0], nn.Linear(6, 5), layers[-1], nn.Linear(5, 3))


VECTOR, IMAGE, SEQUENCE = torch.zeros(2, 4), torch.zeros(1, 3, 8, 8), torch.zeros(1, 5, 4)


@pytest.mark.parametrize(
    ("activation", "wanted"),
    [
        (nn.ReLU(), (11, 0)),
        (nn.LeakyReLU(0.1), (11, 0)),
        (nn.PReLU(), (11, 0)),
        (nn.Tanh(), (0, 11)),
        (nn.Identity(), (11, 11)),
        (nn.Hardtanh(), (0, 11)),
        (nn.ReLU6(), (0, 0)),
        (nn.GELU(), (0, 0)),
        (nn.SiLU(), (0, 0)),
        (nn.Sigmoid(), (0, 0)),
        (nn.Softmax(-1), (0, 0)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_activations(activation, wanted):
    assert dimensions(mlp(activation), VECTOR) == wanted


class Function(nn.Module):
    """A two-layer network with any function in its middle."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.b, self.function = nn.Linear(4, 6), nn.Linear(6, 3), function

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.function(self.a(x)))


@pytest.mark.parametrize(
    ("function", "wanted"),
    [
        (torch.sin, (0, 6)),
        (torch.cos, (0, 6)),
        (torch.abs, (6, 6)),
        (torch.square, (6, 6)),
        (lambda x: x**3, (6, 6)),
        (lambda x: x**1.5, (0, 0)),
        (lambda x: 3 * x / 2, (6, 6)),
        (lambda x: x + 1, (0, 0)),
        (lambda x: 1 / x, (6, 6)),
        (lambda x: x.clamp(min=0), (6, 0)),
        (lambda x: x.clamp(-2, 2), (0, 6)),
        (lambda x: x.clamp(-2, 3), (0, 0)),
        (lambda x: x * x, (6, 6)),
        (lambda x: x * torch.sigmoid(x), (0, 0)),
        (lambda x: x - torch.relu(x), (6, 0)),
        (lambda x: torch.maximum(x, 2 * x), (6, 0)),
        (lambda x: torch.relu(x).exp(), (0, 0)),
        (lambda x: x / (1 + x.abs()), (0, 6)),
        (lambda x: x * x.mean(-1, keepdim=True), (1, 1)),
        (lambda x: x + x.mean(-1, keepdim=True), (1, 1)),
    ],
)
def test_functions(function, wanted):
    module = Function(function)
    space = trace(module, VECTOR)
    assert (space.scale_dim, space.sign_rank) <= wanted
    assert (space.scale_dim, space.sign_rank) == wanted or wanted == (1, 1)
    assert error_under_scalings(space, module, (VECTOR,)) < 1e-10


def conv(*after: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 6, 3), *after, nn.Conv2d(6, 2, 3))


@pytest.mark.parametrize(
    ("layers", "wanted"),
    [
        ((nn.ReLU(),), (6, 0)),
        ((nn.BatchNorm2d(6), nn.ReLU()), (12, 6)),
        ((nn.BatchNorm2d(6), nn.Tanh()), (6, 12)),
        ((nn.BatchNorm2d(6, affine=False), nn.ReLU()), (6, 0)),
        ((nn.BatchNorm2d(6, track_running_stats=False), nn.ReLU()), (6, 6)),
        ((nn.InstanceNorm2d(6, affine=True), nn.ReLU()), (6, 6)),
        ((nn.InstanceNorm2d(6), nn.ReLU()), (0, 0)),
        ((nn.GroupNorm(2, 6), nn.ReLU()), (6, 2)),
        ((nn.GroupNorm(1, 6), nn.GELU()), (0, 1)),
        ((nn.LayerNorm([6, 6, 6]), nn.ReLU()), (6, 1)),
        ((nn.MaxPool2d(2), nn.ReLU()), (6, 0)),
        ((nn.AvgPool2d(2), nn.Tanh()), (0, 6)),
        ((nn.BatchNorm2d(6), nn.Conv2d(6, 6, 1, groups=6), nn.ReLU()), (18, 12)),
        ((nn.Conv2d(6, 6, 1, groups=2), nn.ReLU()), (12, 6)),
        ((nn.ReLU(), nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6), nn.SiLU()), (12, 6)),
    ],
)
def test_convolutions_and_norms(layers, wanted):
    """A channel has one scale (and one sign) before a batch norm, and one behind it."""
    module = conv(*layers)
    space = trace(module, IMAGE)
    assert (space.scale_dim, space.sign_rank) == wanted
    assert error_under_scalings(space, module, (IMAGE,)) < 1e-10


@pytest.mark.parametrize("norm", [nn.LayerNorm(6), nn.RMSNorm(6)])
def test_norms_over_features(norm):
    """Centring ties all signs before it together; a root mean square leaves them apart."""
    module = nn.Sequential(nn.Linear(4, 6), norm, nn.ReLU(), nn.Linear(6, 3))
    assert dimensions(module, VECTOR) == (6, 1 if isinstance(norm, nn.LayerNorm) else 6)


def test_flattened_channels_keep_one_scale_for_all_pixels():
    module = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(180, 4), nn.ReLU(), nn.Linear(4, 2))
    assert dimensions(module, IMAGE) == (9, 0)


class Residual(nn.Module):
    """A stream that several branches read and add to: they share its scale."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 3)
        self.inner = nn.ModuleList(nn.Linear(6, 7) for _ in range(blocks))
        self.outer = nn.ModuleList(nn.Linear(7, 6) for _ in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        for inner, outer in zip(self.inner, self.outer, strict=True):
            h = h + outer(F.relu(inner(h)))
        return self.last(h)


@pytest.mark.parametrize("blocks", [1, 3])
def test_residual_networks_share(blocks):
    assert dimensions(Residual(blocks), VECTOR) == (6 + 7 * blocks, 6)


def test_resnet20():
    """Before each of 21 batch norms a scale and a sign per channel, behind it one scale, which each stream shares."""
    torch.manual_seed(0)
    space = trace(ResNet(3, (16, 32, 64)), torch.zeros(1, 3, 32, 32))
    assert space.scale_dim == 11 * 16 + 11 * 32 + 11 * 64
    assert space.sign_rank == 7 * 16 + 7 * 32 + 7 * 64


class Attention(nn.Module):
    """Heads of width 3."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(6, 3)
        self.way = way

    def forward(self, x: Tensor) -> Tensor:
        if self.way == "one":
            scores = torch.einsum("bid,bjd->bij", self.q(x), self.k(x))
            return self.o(scores.softmax(-1) @ self.v(x))
        q, k, v = (f(x).unflatten(-1, (2, 3)).transpose(1, 2) for f in (self.q, self.k, self.v))
        return self.o(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


@pytest.mark.parametrize("way", ["one", "heads"])
def test_attention(way):
    """Queries and keys: one per coordinate, k divides by what q is multiplied with; values and the output: another."""
    module = Attention(way)
    assert dimensions(module, SEQUENCE) == (12, 12)
    assert error_under_scalings(trace(module, SEQUENCE), module, (SEQUENCE,)) < 1e-10


class Gated(nn.Module):
    """Gated linear unit; its gate may be anything."""

    def __init__(self, gate: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.b, self.c, self.gate = nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(6, 3), gate

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.a(x) * self.gate(self.b(x)))


def test_gated_linear_units():
    module = nn.Sequential(nn.Linear(4, 12), nn.GLU(), nn.Linear(6, 3))
    assert dimensions(module, VECTOR) == (6, 6)
    assert error_under_scalings(trace(module, VECTOR), module, (VECTOR,)) < 1e-10


@pytest.mark.parametrize(
    ("gate", "wanted"),
    [(torch.sigmoid, (6, 6)), (F.silu, (6, 6)), (F.relu, (12, 6)), (torch.tanh, (6, 12)), (lambda x: x, (12, 12))],
)
def test_gates(gate, wanted):
    """Degrees add up in a product."""
    assert dimensions(Gated(gate), VECTOR) == wanted


class SqueezeExcite(nn.Module):
    """The gate is a function of all channels, so what it reads has its own scales."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.out = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Conv2d(6, 2, 1)
        self.down, self.up = nn.Linear(6, 4), nn.Linear(4, 6)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.norm(self.conv(x)))
        gate = torch.sigmoid(self.up(F.relu(self.down(h.mean((2, 3))))))
        return self.out(h * gate[:, :, None, None])


def test_squeeze_and_excite():
    """Before and behind the batch norm, and in the gate's hidden layer."""
    assert dimensions(SqueezeExcite(), IMAGE) == (6 + 6 + 4, 6)


class Recurrent(nn.Module):
    """A recurrent layer between two linear ones."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.a, self.layer, self.b = nn.Linear(4, 3), layer, nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.layer(self.a(x))[0])


@pytest.mark.parametrize(
    ("layer", "wanted"),
    [
        (nn.RNN(3, 5, batch_first=True), (3, 8)),
        (nn.RNN(3, 5, nonlinearity="relu", batch_first=True), (8, 3)),
        (nn.GRU(3, 5, batch_first=True), (3, 8)),
        (nn.LSTM(3, 5, batch_first=True), (3, 8)),
    ],
    ids=["tanh", "relu", "gru", "lstm"],
)
@pytest.mark.filterwarnings("ignore:The tensor attributes:UserWarning")
def test_recurrent_layers(layer, wanted):
    """The unit before has both; a hidden unit of tanh a sign, one of ReLU a scale."""
    module = Recurrent(layer)
    space = trace(module, SEQUENCE)
    assert (space.scale_dim, space.sign_rank) == wanted
    assert error_under_scalings(space, module, (SEQUENCE,)) < 1e-10


class Shared(nn.Module):
    """One layer twice: its rows and columns have one scale."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(F.relu(self.b(F.relu(self.b(F.relu(self.a(x)))))))


def test_shared_layers():
    assert dimensions(Shared(), VECTOR) == (6, 0)


class Mixing(nn.Module):
    """A bias along one dimension of a map is the same for all elements of the other: these have no scale."""

    def __init__(self, *, bias: bool) -> None:
        super().__init__()
        self.features, self.tokens = nn.Linear(4, 6, bias=False), nn.Linear(5, 7, bias=bias)
        self.last = nn.Linear(42, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.relu(self.tokens(self.features(x).transpose(1, 2))).flatten(1))


def test_what_lies_beside_a_bias_has_no_scale():
    module = Mixing(bias=True)
    space = trace(module, SEQUENCE)
    assert space.scale_dim == 7
    assert error_under_scalings(space, module, (SEQUENCE,)) < 1e-10
    module = Mixing(bias=False)
    assert error_under_scalings(trace(module, SEQUENCE), module, (SEQUENCE,)) < 1e-10


class Outer(nn.Module):
    """The outer product of two layers, whose columns are then mixed."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.mix, self.last = nn.Linear(4, 3), nn.Linear(4, 5), nn.Linear(5, 6), nn.Linear(18, 2)

    def forward(self, x: Tensor) -> Tensor:
        pairs = self.a(x)[:, :, None] * self.b(x)[:, None, :]
        return self.last(F.relu(self.mix(pairs)).flatten(1))


def test_outer_products():
    module = Outer()
    assert error_under_scalings(trace(module, VECTOR), module, (VECTOR,)) < 1e-10


# --- all architectures: sound

CASES = [make for family in FAMILIES.values() for make in family]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.__name__)
def traced(request: pytest.FixtureRequest) -> tuple[ws.WeightSpace, nn.Module, tuple[Tensor, ...]]:
    torch.manual_seed(0)
    make: Callable[[], Case] = request.param
    module, inputs, _ = make()
    return trace(module, *inputs), module, inputs


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_random_scalings_keep_the_function(traced):
    space, module, inputs = traced
    assert error_under_scalings(space, module, inputs) < 1e-10
    assert space.scale_dim >= 0 and space.sign_rank >= 0


WANTED = {
    "mlp": (6, 8), "cnn_flatten": (14, 4), "resnet": (60, 36), "grouped_groupnorm": (20, 4), "nested_blocks": (20, 12),
    "grouped_input": (6, 0), "depthwise": (34, 26), "dense_block": (24, 6), "siamese": (5, 0),
    "squeeze_excite": (10, 7), "unknown": (6, 0), "tied": (1, 0), "pre_activation": (6, 0), "conv1d": (4, 5),
    "conv3d": (5, 5), "scalars": (1, 7), "shuffle": (16, 0), "option_a": (16, 8), "gated_linear": (7, 7),
    "siren": (0, 18), "lstm": (0, 10), "gru": (0, 6), "rnn": (0, 10), "rnn_relu": (6, 0),
}  # fmt: skip


@pytest.mark.parametrize("name", WANTED)
@pytest.mark.filterwarnings("ignore:The tensor attributes:UserWarning")
def test_dimensions_of_the_architectures(name):
    make = next(make for make in CASES if make.__name__ == name)
    module, inputs, _ = make()
    assert dimensions(module, *inputs) == WANTED[name]


# --- elements


def test_scalings_form_a_group(generator):
    module = conv(nn.BatchNorm2d(6), nn.ReLU())
    space = trace(module, IMAGE)
    state = full_state(space, module, generator)
    a, b = space.random_scaling(generator), space.random_scaling(generator)
    both = space.rescale(a.compose(b), state)
    twice = space.rescale(a, space.rescale(b, state))
    back = space.rescale(a.inverse(), space.rescale(a, state))
    for key in state:
        torch.testing.assert_close(both[key], twice[key], rtol=1e-12, atol=0)
        torch.testing.assert_close(back[key], state[key], rtol=1e-12, atol=0)
    assert any(bool((factor < 0).any()) for factor in a.factors.values())
    assert torch.equal(space.rescale(a, state)["1.running_var"], state["1.running_var"])
    assert torch.equal(space.rescale(a, state)["1.num_batches_tracked"], state["1.num_batches_tracked"])


def test_only_what_was_asked_for(generator):
    module = mlp(nn.Tanh(), nn.ReLU())
    for wanted in ("scale", "sign"):
        space = trace(module, VECTOR, symmetries={"permutation", wanted})
        factors = torch.cat([f.flatten() for f in space.random_scaling(generator).factors.values()])
        assert bool((factors < 0).any()) == (wanted == "sign")
        assert bool((factors.abs() != 1).any()) == (wanted == "scale")
        assert ws.WeightSpace.from_json(space.to_json()).symmetries == ("permutation", wanted)
        assert space.signature == trace(module, VECTOR, symmetries={"permutation"}).signature
    with pytest.raises(ws.WeightspaceError, match=r"scale_dim.*wanted 'scale'.*trace\(module"):
        trace(module, VECTOR, symmetries={"permutation", "sign"}).scale_dim  # noqa: B018
    with pytest.raises(ws.ConfigurationError, match="symmetries"):
        trace(module, VECTOR, symmetries={"scale"})


def test_rescaling_is_differentiable_and_takes_stacks(generator):
    module = mlp(nn.ReLU())
    space = trace(module, VECTOR)
    state = full_state(space, module, generator)
    scaling = space.random_scaling(generator)
    stacked = space.rescale(scaling, {key: torch.stack([value, 2 * value]) for key, value in state.items()})
    alone = space.rescale(scaling, {key: value.requires_grad_() for key, value in state.items()})
    sum(value.sum() for value in alone.values()).backward()
    for key, value in state.items():
        assert torch.equal(stacked[key][0], alone[key])
        assert torch.equal(value.grad, scaling.factors[key])


def test_factors_outside_the_group_change_the_function(generator):
    """The check of this file sees a factor on any one entry of a parameter that a scaling moves."""
    module, inputs = conv(nn.BatchNorm2d(6), nn.ReLU()), (torch.randn(2, 3, 8, 8, dtype=torch.float64),)
    space = trace(module, IMAGE)
    state = full_state(space, module, generator)
    (wanted,) = evaluation_call(module, state, inputs, {})
    scaling = space.random_scaling(generator)
    for name in scaling.factors:
        wrong = Scaling({k: f.clone() for k, f in scaling.factors.items()})
        wrong.factors[name].view(-1)[0] *= 1.5
        (found,) = evaluation_call(module, space.rescale(wrong, state), inputs, {})
        assert float((found - wanted).abs().max()) > 1e-6, name


def test_verification_sees_a_wrong_rule(monkeypatch):
    """A sigmoid that counts as homogeneous."""
    monkeypatch.setattr(_node_types, "HOMOGENEOUS", _node_types.HOMOGENEOUS | {"sigmoid"})
    module = mlp(nn.Sigmoid())
    assert trace(module, VECTOR).scale_dim == 11
    with pytest.raises(ws.VerificationError, match=r"scales and signs \(on .*0.weight.*changes the function by"):
        ws.trace(module, VECTOR, symmetries=ALL)


# --- canonical forms


def assert_close(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> None:
    assert list(a) == list(b)
    for key, value in a.items():
        torch.testing.assert_close(value, b[key], rtol=1e-10, atol=0)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_canonical_forms_agree_on_an_orbit(traced, generator):
    space, module, _ = traced
    state = full_state(space, module, generator)
    form, (element, scaling) = space.canonicalize(state, return_element=True)
    assert_close(form, space.rescale(scaling, space.act(element, state)))
    assert_close(form, space.canonicalize(form))
    for _ in range(2):
        moved = space.rescale(space.random_scaling(generator), state)
        assert_close(form, space.canonicalize(space.act(space.random_element(generator), moved)))


@pytest.mark.parametrize("symmetries", [("permutation", "scale"), ("permutation", "sign")])
def test_canonical_forms_of_one_group_alone(symmetries, generator):
    module = conv(nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 1), nn.BatchNorm2d(4), nn.Tanh(), nn.Conv2d(4, 6, 1))
    space = trace(module, IMAGE, symmetries=symmetries)
    state = full_state(space, module, generator)
    moved = space.act(space.random_element(generator), space.rescale(space.random_scaling(generator), state))
    assert_close(space.canonicalize(state), space.canonicalize(moved))
    assert any(not torch.allclose(space.canonicalize(state)[key], moved[key]) for key in state)


def test_canonical_forms_of_stacks_and_of_zeros(generator):
    module = mlp(nn.Tanh(), nn.ReLU())
    space = trace(module, VECTOR)
    state = full_state(space, module, generator)
    sparse = {key: torch.where(torch.rand(v.shape, generator=generator) < 0.4, 0, v) for key, v in state.items()}
    stacked = {key: torch.stack([state[key], sparse[key]]) for key in state}
    form, pairs = space.canonicalize(stacked, return_element=True)
    assert len(pairs) == 2
    assert_close({key: value[1] for key, value in form.items()}, space.canonicalize(sparse))
    moved = space.act(space.random_element(generator), space.rescale(space.random_scaling(generator), sparse))
    assert_close(space.canonicalize(sparse), space.canonicalize(moved))


def test_neurons_that_are_equal_up_to_scale_and_sign(generator):
    """Ties that the search settles: three copies of a neuron of tanh, with other signs."""
    module = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2))
    space = trace(module, torch.zeros(1, 3))
    state = full_state(space, module, generator)
    signs = torch.tensor([1.0, -1, -1, 1, 1], dtype=torch.float64)
    copies = torch.tensor([0, 0, 0, 3, 4])
    state["0.weight"] = state["0.weight"][copies] * signs[:, None]
    state["0.bias"] = state["0.bias"][copies] * signs
    state["2.weight"] = state["2.weight"][:, copies] * signs
    for _ in range(5):
        moved = space.act(space.random_element(generator), space.rescale(space.random_scaling(generator), state))
        assert_close(space.canonicalize(state), space.canonicalize(moved))


def test_canonical_scales_need_double_precision_and_refuse_close_ties(generator):
    module = mlp(nn.ReLU())
    space = trace(module, VECTOR)
    with pytest.raises(ws.StateDictError, match=r"0.weight.*torch.float32.*\.double\(\)"):
        space.canonicalize(module.state_dict())
    state = full_state(space, module, generator)
    for key in ("0.weight", "0.bias"):
        state[key][1] = state[key][0]
    state["2.weight"][:, 1] = state["2.weight"][:, 0] * (1 + 3e-10)
    with pytest.raises(ws.CanonicalizationError, match="rounding would decide"):
        space.canonicalize(state)
