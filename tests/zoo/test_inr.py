import dataclasses

import pytest
import torch
from torch.func import functional_call, grad_and_value, vmap

import weightspace as ws
from experiments import inr_zoo as inr_zoo_experiment
from weightspace.cli import main
from weightspace.errors import ConfigurationError
from weightspace.images import ImageSet, load_images
from weightspace.zoo import InrConfig, SirenStack, Zoo, build, fit_inrs, image_coordinates, siren
from weightspace.zoo import _inr as inr_zoo
from weightspace.zoo import _inr_fit as inr_fit

SMALL = InrConfig(networks=7, steps=3, width=4)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    """Shards of three networks and stacks of two: an uneven rest of both."""
    monkeypatch.setattr(inr_fit, "SHARD", 3)
    monkeypatch.setattr(inr_zoo, "SHARD", 3)
    monkeypatch.setattr(inr_fit, "STACK", 2)


def contents(zoo):
    return [(entry.attributes, {k: v.tolist() for k, v in entry.state_dict.items()}) for entry in zoo]


@pytest.fixture
def fitted(tmp_path):
    folder = tmp_path / "zoo"
    return folder, fit_inrs(SMALL, folder, progress=False, workers=1)


# --- the stack


@pytest.mark.parametrize("size", [(5, 7), (1, 4), (8, 8)])
def test_loss_and_gradient_are_those_of_autograd(size, generator):
    images = torch.rand(3, *size, generator=generator, dtype=torch.float64)
    stack = SirenStack(images, width=5, w0=11.0)
    weights = 0.3 * torch.randn(3, stack.size, generator=generator, dtype=torch.float64)
    module, points = siren(widths=(5, 5), w0=11.0).double(), image_coordinates(*size).double()

    def loss(state, image):
        return (functional_call(module, state, (points,))[:, 0] - image.flatten()).square().mean()

    wanted, values = vmap(grad_and_value(loss))(stack.state_dicts(weights), images)
    gradient = torch.full_like(weights, float("nan"))
    torch.testing.assert_close(stack.loss_and_gradient(weights, gradient), values, rtol=1e-10, atol=1e-12)
    found = stack.state_dicts(gradient)
    for key, value in wanted.items():
        torch.testing.assert_close(found[key], value, rtol=1e-10, atol=1e-12)


def test_rows_and_state_dicts_are_inverse(generator):
    stack = SirenStack(torch.zeros(2, 3, 3), width=4)
    weights = torch.randn(2, stack.size, generator=generator)
    states = stack.state_dicts(weights)
    assert torch.equal(stack.weights_of(states), weights)
    assert {key: value.shape[1:] for key, value in states.items()} == {
        key: value.shape for key, value in siren(widths=(4, 4)).state_dict().items()
    }
    with pytest.raises(ConfigurationError, match=r"found layers \[\(4, 2\), \(4, 4\), \(1, 4\)\], wanted \[\(5, 2\)"):
        SirenStack(torch.zeros(2, 3, 3), width=5).weights_of(states)


def test_a_stacked_network_is_the_network_that_is_fitted_alone(generator):
    images = torch.rand(3, 6, 6, generator=generator, dtype=torch.float64)
    config = dataclasses.replace(SMALL, steps=20)
    together = SirenStack(images, width=4)
    start = inr_fit.initial_weights(together, config, [5, 6, 7]).double()
    weights = start.clone()
    psnr = inr_fit.fit_stack(together, weights, config)
    for i in range(3):
        alone = start[i : i + 1].clone()
        value = inr_fit.fit_stack(SirenStack(images[i : i + 1], width=4), alone, config)
        torch.testing.assert_close(alone, weights[i : i + 1], rtol=1e-8, atol=1e-10)
        torch.testing.assert_close(value, psnr[i : i + 1], rtol=1e-8, atol=1e-8)


def test_the_plain_schedule_is_adam_of_torch(generator):
    images = torch.rand(1, 5, 5, generator=generator, dtype=torch.float64)
    config = InrConfig(schedule="plain", steps=12, width=4)
    stack = SirenStack(images, width=4)
    weights = inr_fit.initial_weights(stack, config, [3]).double()
    module, points = siren(widths=(4, 4)).double(), image_coordinates(5, 5).double()
    module.load_state_dict({key: value[0] for key, value in stack.state_dicts(weights).items()})
    optimiser = torch.optim.Adam(module.parameters(), lr=5e-4)
    for _ in range(12):
        optimiser.zero_grad()
        (module(points)[:, 0] - images.flatten()).square().mean().backward()
        optimiser.step()
    inr_fit.fit_stack(stack, weights, config)
    for key, value in stack.state_dicts(weights).items():
        torch.testing.assert_close(value[0], module.state_dict()[key], rtol=1e-8, atol=1e-10)


def test_initial_weights_are_distributed_as_those_of_a_new_module():
    config = InrConfig(width=32)
    stack = SirenStack(torch.zeros(1, 4, 4))
    found = stack.state_dicts(inr_fit.initial_weights(stack, config, list(range(40))))
    modules = [siren().state_dict() for _ in range(40)]
    for key, value in found.items():
        wanted = torch.stack([module[key] for module in modules])
        bound = wanted.abs().max()
        assert float(value.abs().max()) == pytest.approx(float(bound), rel=0.15, abs=1e-12)
        assert float(value.std()) == pytest.approx(float(wanted.std()), rel=0.2, abs=1e-12)


# --- the network


def test_the_weight_space_of_an_inr():
    space = ws.trace(siren(), torch.zeros(1, 2), symmetries={"permutation", "sign"})
    assert [(group.size, group.kind) for group in space.groups] == [(32, "symmetric"), (32, "symmetric")]
    assert space.sign_rank == 64 and not space.frozen
    assert list(siren().state_dict()) == [f"seq.{i}.{kind}" for i in range(3) for kind in ("weight", "bias")]


def test_the_module_computes_what_the_stack_fits():
    data = load_images("digits")
    images = data.pixels(data.train_x[:2])
    assert float(images.min()) == 0 and float(images.max()) == 1
    stack = SirenStack(images)
    config = InrConfig(steps=150)
    weights = inr_fit.initial_weights(stack, config, [1, 2])
    psnr = inr_fit.fit_stack(stack, weights, config)
    assert float(psnr.min()) > 30
    module = build(config.architecture)
    for i in range(2):
        module.load_state_dict({key: value[i] for key, value in stack.state_dicts(weights).items()})
        with torch.no_grad():
            error = (module(image_coordinates(8, 8)).view(8, 8) - images[i]).square().mean()
        assert float(-10 * error.log10()) == pytest.approx(float(psnr[i]), abs=1e-3)


# --- the zoo


def test_the_same_seed_gives_the_same_zoo_on_any_number_of_workers(fitted, tmp_path):
    threads = torch.get_num_threads()
    fit_inrs(SMALL, tmp_path / "other", progress=True, workers=3)
    assert contents(Zoo(tmp_path / "other")) == contents(Zoo(fitted[0]))
    assert torch.get_num_threads() == threads


def test_the_zoo_says_what_every_network_is(fitted):
    folder, summary = fitted
    zoo, data = Zoo(folder), load_images("digits")
    assert (summary.networks, summary.trained, summary.diverged, summary.architectures) == (7, 7, 0, 1)
    assert [len(shard) for shard in zoo._shards] == [3, 3, 1]
    assert len({row["run"] for row in zoo.attributes}) == 7 and {row["init"] for row in zoo.attributes} == {0}
    for i, row in enumerate(zoo.attributes):
        x, y = (data.train_x, data.train_y) if row["split"] == "train" else (data.test_x, data.test_y)
        assert row["label"] == int(y[row["image"]])
        with torch.no_grad():
            shown = zoo.module(i)(image_coordinates(8, 8)).view(8, 8)
        error = (shown - data.pixels(x[row["image"]][None])[0]).square().mean()
        assert float(-10 * error.log10()) == pytest.approx(row["psnr"], abs=1e-3)


def test_images_of_both_parts_with_several_initialisations(tmp_path):
    config = dataclasses.replace(SMALL, networks=12, inits=3, steps=1)
    fit_inrs(config, tmp_path / "zoo", progress=False)
    rows = Zoo(tmp_path / "zoo").attributes
    assert [row["init"] for row in rows] == [0, 1, 2] * 4
    assert len({row["run"] for row in rows}) == 4 and len({row["seed"] for row in rows}) == 12
    assert {row["split"] for row in rows} == {"train", "test"}


def test_a_second_call_fits_what_is_missing(fitted, tmp_path):
    folder, _ = fitted
    full = contents(Zoo(folder))
    assert fit_inrs(dataclasses.replace(SMALL, networks=6), tmp_path / "b", progress=False).trained == 6
    assert fit_inrs(SMALL, tmp_path / "b", progress=False).trained == 1
    assert contents(Zoo(tmp_path / "b")) == full
    next((tmp_path / "b").glob("00001-*.jsonl")).unlink()
    assert fit_inrs(SMALL, tmp_path / "b", progress=False).trained == 3
    assert contents(Zoo(tmp_path / "b")) == full


def test_networks_that_are_not_finite_are_left_out(monkeypatch):
    x = torch.rand(6, 1, 3, 3)
    x[4] = float("nan")
    data = ImageSet("tiny", 6, x[:4], torch.arange(4), x[4:], torch.arange(4, 6))
    config = dataclasses.replace(SMALL, networks=3, inits=3)
    monkeypatch.setattr(torch, "randperm", lambda *args, **options: torch.tensor([4, 0, 1, 2, 3, 5]))
    stack = inr_fit.fit_shard(config, data, 0)
    assert stack.diverged == 3 and stack.attributes == [] and len(stack.stacked["seq.0.bias"]) == 0


def test_a_folder_holds_one_configuration(fitted):
    with pytest.raises(ConfigurationError, match="seed: found 0, wanted 1.*train into another folder"):
        fit_inrs(dataclasses.replace(SMALL, seed=1), fitted[0], progress=False)
    with pytest.raises(ConfigurationError, match="a zoo of 7 networks, wanted 9; a zoo grows from a multiple of 3"):
        fit_inrs(dataclasses.replace(SMALL, networks=9), fitted[0], progress=False)


def test_a_wrong_configuration_is_refused(tmp_path):
    for options, words in {
        "data=svhn": "data: found 'svhn', wanted one of digits",
        "schedule=slow": "schedule: found 'slow', wanted one of fast, plain",
        "networks=0": "networks: found 0, wanted a whole number of at least 1",
        "steps=0": "steps: found 0, wanted a whole number",
        "w0=-1": "w0: found -1, wanted a positive number",
    }.items():
        key, value = options.split("=")
        with pytest.raises(ConfigurationError, match=words):
            InrConfig(**{key: int(value) if value.lstrip("-").isdigit() else value})
    with pytest.raises(
        ConfigurationError, match="found 1798 for 1797 images of digits with inits=1, wanted at most 1797"
    ):
        fit_inrs(InrConfig(networks=1798), tmp_path / "zoo", progress=False)


def test_the_experiment(capsys):
    result = inr_zoo_experiment.main(["--smoke"])
    assert [row.config.schedule for row in result.rows] == ["fast", "plain"]
    assert all(row.psnr > 0 and len(row.spread) == 6 for row in result.rows)
    assert "| published | | | | | | .0628 / .0183 / .1179 | .0213 / .0110 / .0999 |" in capsys.readouterr().out


def test_the_command(tmp_path, capsys):
    words = ["zoo", "train", "inr", str(tmp_path / "zoo"), "--networks", "2", "--steps", "1", "--no-progress"]
    assert main(words) == 0
    assert "2 networks of 1 architectures" in capsys.readouterr().out
    assert main([*words, "--schedule", "plain"]) == 1
    assert "schedule: found 'fast', wanted 'plain'" in capsys.readouterr().err
