"""Elements of the group of scales and signs, their verification, and canonical forms."""

import pytest
import torch
from torch import nn

import weightspace as ws
from weightspace.runner import evaluation_call
from weightspace.symmetry import Scaling, _node_types

from ._scaling import ALL, IMAGE, VECTOR, assert_close, conv, full_state, mlp, trace


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
