"""Models of moving particles: symmetry, the published EGNN, plain loops, gradients, saving."""

import pytest
import torch
from torch.nn.functional import silu

from weightspace.errors import CheckpointError, GeometryError
from weightspace.geometric import (
    DYNAMICS_MODELS,
    EGNNDynamics,
    LinearDynamics,
    PonitaDynamics,
    SteerableDynamics,
    egnn_dynamics_from_published,
    orientation_grid,
)

from ._published import published

TIGHT = {"rtol": 1e-10, "atol": 1e-10}
SMALL = {
    EGNNDynamics: [{"channels": 6, "layers": 3}, {"channels": 6, "layers": 2, "accumulate": True}],
    SteerableDynamics: [{"channels": 6, "layers": 3}],
    PonitaDynamics: [{"grid": "lebedev-6", "shape": {"channels": 6, "layers": 2, "basis_channels": 5}}],
    LinearDynamics: [{}],
}
CASES = [(cls, sizes) for cls, cases in SMALL.items() for sizes in cases]


def built(cls, sizes):
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        model = cls(**sizes).double()
        for parameter in model.parameters():
            if float(parameter.detach().abs().max()) < 0.05:
                torch.nn.init.normal_(parameter, std=0.3)  # starts next to zero
        return model


def particles(sizes=(5, 4, 1), seed=0):
    generator = torch.Generator().manual_seed(seed)
    count = sum(sizes)
    pos, velocities = torch.randn(2, count, 3, dtype=torch.float64, generator=generator)
    charges = torch.where(torch.rand(count, 1, generator=generator) < 0.5, -1.0, 1.0).double()
    return pos, velocities, charges, torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))


def rotation(seed):
    return torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(seed)).double())[0]


def test_every_model_of_the_room_is_tested_here():
    assert set(DYNAMICS_MODELS) == set(SMALL)


@pytest.mark.parametrize(("cls", "sizes"), CASES)
def test_predictions_turn_and_move_with_the_system(cls, sizes):
    model, (pos, velocities, charges, batch) = built(cls, sizes), particles()
    found = model(pos, velocities, charges, batch)
    turns = orientation_grid("lebedev-6").symmetries()[::9] if cls is PonitaDynamics else [rotation(1), -rotation(2)]
    for turn in turns:
        turned = model(pos @ turn.T + 2.0, velocities @ turn.T, charges, batch)
        torch.testing.assert_close(turned, found @ turn.T + 2.0, **TIGHT)
    assert (found - pos).abs().min() > 1e-6


@pytest.mark.parametrize(("cls", "sizes"), CASES)
def test_systems_do_not_see_each_other_and_particles_have_no_order(cls, sizes):
    model, (pos, velocities, charges, batch) = built(cls, sizes), particles()
    found = model(pos, velocities, charges, batch)
    for system in range(3):
        mine = batch == system
        alone = model(pos[mine], velocities[mine], charges[mine])
        torch.testing.assert_close(alone, found[mine], **TIGHT)
    order = torch.cat([torch.tensor([3, 0, 4, 1, 2]), torch.arange(5, 10)])
    torch.testing.assert_close(model(pos[order], velocities[order], charges[order], batch), found[order], **TIGHT)


@pytest.mark.parametrize(("cls", "sizes"), CASES)
def test_every_parameter_has_a_gradient_and_every_input_matters(cls, sizes):
    model, (pos, velocities, charges, batch) = built(cls, sizes), particles()
    inputs = [pos.requires_grad_(), velocities.requires_grad_(), charges.requires_grad_()]
    model(*inputs, batch).square().sum().backward()
    # a constant over all orientations is no vector: what PONITA adds everywhere last cannot be seen
    unseen = {f"cloud.trunk.{name}.bias" for name in ("readouts.0", "readouts.1", "blocks.1.linear_2")}
    seen = {name: p.grad for name, p in model.named_parameters() if name not in unseen}
    assert all(grad is not None and grad.abs().max() > 0 for grad in seen.values())
    used = inputs[:2] if cls is LinearDynamics else inputs
    assert all(x.grad is not None and torch.isfinite(x.grad).all() and x.grad.abs().max() > 0 for x in used)


@pytest.mark.parametrize(("cls", "sizes"), CASES)
def test_a_saved_model_predicts_the_same(cls, sizes, tmp_path):
    model, (pos, velocities, charges, batch) = built(cls, sizes), particles()
    again = cls.from_pretrained(model.float().save_pretrained(tmp_path / "model")).double()
    model = model.double()
    torch.testing.assert_close(again(pos, velocities, charges, batch), model(pos, velocities, charges, batch), **TIGHT)
    assert again.config == model.config


def test_published_predictions():
    weights, found = published("egnn_dynamics")
    model = egnn_dynamics_from_published(weights).double()
    batch = torch.arange(2).repeat_interleave(5)
    future = model(found["pos"], found["velocities"], found["charges"], batch)
    torch.testing.assert_close(future, found["future_pos"], rtol=0, atol=1e-6)  # weights are read as float32
    assert (future - found["pos"]).abs().max() > 0.1


@pytest.mark.parametrize("accumulate", [True, False])
def test_a_loop_over_particles_gives_the_same(accumulate):
    model, (pos, velocities, charges, _) = built(EGNNDynamics, SMALL[EGNNDynamics][0]), particles((5,))
    model.accumulate = accumulate
    x, v = pos, velocities
    h = model.embedding(velocities.norm(dim=1, keepdim=True))
    for layer in model.layers:
        push, messages = torch.zeros_like(x), torch.zeros_like(h)
        for i in range(5):
            for j in range(5):
                if i != j:
                    apart, first = x[i] - x[j], pos[i] - pos[j]
                    inputs = torch.stack([apart @ apart, (charges[i] * charges[j])[0], first @ first])
                    hidden = layer.edge_target(h[i]) + layer.edge_source(h[j]) + layer.edge_inputs(inputs)
                    message = silu(layer.edge_out(silu(hidden)))
                    push[i] = push[i] + apart * layer.push(message) / 4
                    messages[i] = messages[i] + message
        step = layer.keep(h) * v + push
        x, v = x + step, step if accumulate else v
        h = h if layer.node is None else h + layer.node(torch.cat([h, messages], dim=1))
    torch.testing.assert_close(model(pos, velocities, charges), x, **TIGHT)


def test_messages():
    model, (pos, velocities, charges, batch) = LinearDynamics(), particles()
    with pytest.raises(GeometryError, match=r"LinearDynamics: charges has shape \(10,\), wanted \(10, 1\)"):
        model(pos, velocities, charges[:, 0], batch)
    with pytest.raises(GeometryError, match="found pos torch.float64, velocities torch.float32 .* one floating dtype"):
        model(pos, velocities.float(), charges, batch)
    with pytest.raises(GeometryError, match="batch is not ascending; sort particles by system"):
        model(pos, velocities, charges, batch.flip(0))
    with pytest.raises(CheckpointError, match="wanted the state_dict of its EGNN_vel"):
        egnn_dynamics_from_published({})
