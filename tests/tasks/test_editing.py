"""Tasks that edit networks: what they return, what they are judged by, and their errors."""

import inspect
import json
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.house._source import ROOT
from weightspace.errors import ConfigurationError
from weightspace.images import ImageEdit, load_digits, rotate
from weightspace.metanets import GMN, METANETS, GMNEditor
from weightspace.reports import build_report
from weightspace.tasks import DomainAdaptation, GraphBatch, InrEditing, PruneMask, SplitRule, ZooData, run_lightning
from weightspace.tasks._prune_mask import prunable, pruned_by_layer, straight_through_mask
from weightspace.zoo import InrConfig, ZooConfig, fit_inrs, image_coordinates, train_zoo

CONFIGS = ROOT / "experiments" / "configs"
THIRDS = SplitRule(fractions=(0.4, 0.3, 0.3))


@pytest.fixture(scope="module")
def inr_path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inrs")
    fit_inrs(InrConfig(networks=14, steps=60, width=8), folder, progress=False)
    return folder


@pytest.fixture(scope="module")
def classifier_path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifiers")
    config = ZooConfig(networks=12, members=4, steps=(60,), families=("mlp", "resnet"), optimisers=("adam",))
    train_zoo(config, folder, progress=False)
    return folder


def editor(**options):
    torch.manual_seed(0)
    return GMNEditor(**{"channels": 8, "layers": 1} | options)


def ready(task, path, **options):
    """The task with its data, as the trainer would leave it; and a batch of all networks, in double precision."""
    data = ZooData(path, targets=(), split=THIRDS, **options)
    task.prepare(data)
    task.fit_inputs(data)
    graphs = []
    for signature, positions in data.zoo.positions.items():
        stacked = data.zoo.stacked(positions).items()
        doubled = {key: value.double() if value.is_floating_point() else value for key, value in stacked}
        graphs.append(data.zoo.spaces[signature].to_graphs(doubled))
    return task.double(), GraphBatch(tuple(graphs), {}, torch.cat(list(data.zoo.positions.values()))), data


class Unchanged(nn.Module):
    def forward(self, graphs):
        return list(graphs)


class Turned(nn.Module):
    """Edits INRs as a rotation of their images by a right angle asks for: it turns the first layer's weights."""

    def __init__(self, space, quarters):
        super().__init__()
        self.space, angle = space, math.radians(90 * quarters)
        self.matrix = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]).double()

    def forward(self, graphs):
        edited = []
        for graph in graphs:
            state = self.space.to_state_dict(graph)
            state["seq.0.weight"] = state["seq.0.weight"] @ self.matrix
            edited.append(self.space.to_graphs(state))
        return edited


def loads(task, batch, data):
    """Every edited network in a module of its own: (position, module)."""
    for graph, stacked in zip(batch.graphs, task(batch.graphs), strict=True):
        places = [i for i in batch.index.tolist() if data.zoo[i].signature == graph.signature]
        for row, i in enumerate(places):
            module = data.zoo.module(i).double()
            module.load_state_dict({key: value[row] for key, value in stacked.items()}, strict=True)
            yield i, module


# --- images of INRs


def test_edited_inrs_load_and_show_what_was_rendered(inr_path):
    task, batch, data = ready(InrEditing(editor(), ImageEdit("dilate")), inr_path)
    shown = task.render(batch.graphs, task(batch.graphs))
    for i, module in loads(task, batch, data):
        with torch.no_grad():
            image = module(image_coordinates(8, 8).double()).view(8, 8)
        torch.testing.assert_close(image, shown[i], rtol=1e-10, atol=1e-10)


def test_the_loss_is_the_error_to_the_edited_original(inr_path):
    task, batch, data = ready(InrEditing(editor(), ImageEdit("erode")), inr_path)
    digits = load_digits()
    pixels = {"train": digits.pixels(digits.train_x), "test": digits.pixels(digits.test_x)}
    originals = torch.stack([pixels[row["split"]][row["image"]] for row in data.attributes])
    wanted = -F.max_pool2d(-originals[:, None].double(), 3, stride=1, padding=1)[:, 0]
    shown = task.render(batch.graphs, task(batch.graphs))
    loss = task.loss(batch).detach()
    torch.testing.assert_close(loss, (shown - wanted[batch.index]).square().mean().detach(), rtol=1e-7, atol=0)
    with torch.no_grad():
        kept = task.evaluate(batch)
    scores, summary = task.scores(kept), task.summary(kept)
    assert scores["mse_x100"] == pytest.approx(100 * float(loss), rel=1e-5)
    assert scores["mse_x100"] == pytest.approx(summary["scores"]["mse_x100"][0], rel=1e-6)
    assert len(summary["images"]["wanted"]) == 10 and summary["edit"] == "erode by 3x3"
    assert summary["images"]["wanted"][3] == (wanted[batch.index[3]] * 255).round().int().tolist()
    assert {len(column) for column in task.columns(kept).values()} == {14}


@pytest.mark.parametrize("quarters", [1, -1, 2])
def test_turning_the_first_layer_turns_the_image(inr_path, quarters):
    edit = ImageEdit("rotate", degrees=90.0 * quarters)
    task, batch, data = ready(InrEditing(Unchanged(), edit, truth="rendering", image_size=(9, 9)), inr_path)
    [space] = data.zoo.spaces.values()
    task.metanet = Turned(space, quarters)
    assert float(task.loss(batch).detach()) < 1e-12
    kept = task.evaluate(batch)
    assert float(kept["unedited"].min()) > 1e-3
    torch.testing.assert_close(
        task.render(batch.graphs, task(batch.graphs)),
        rotate(task.render(batch.graphs, [space.to_state_dict(batch.graphs[0])]), 90.0 * quarters),
    )


def test_edits_follow_the_group(inr_path, generator):
    task, batch, data = ready(InrEditing(editor(gain=0.5), ImageEdit("dilate")), inr_path)
    [space] = data.zoo.spaces.values()
    element = space.random_element(generator=generator, n=14)
    moved = space.to_graphs(space.act(element, space.to_state_dict(batch.graphs[0])))
    before = task.render(batch.graphs, task(batch.graphs))
    after = task.render((moved,), task((moved,)))
    torch.testing.assert_close(before, after, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("metanet", [m for m in METANETS if m.__name__.endswith("Editor")], ids=lambda m: m.__name__)
def test_every_editor_takes_part(metanet, inr_path, classifier_path):
    torch.manual_seed(0)
    little = {"channels": 8, "layers": 1, "features": 8, "heads": 2}
    options = {key: value for key, value in little.items() if key in inspect.signature(metanet).parameters}
    for task, path in (
        (InrEditing(metanet(**options), ImageEdit("dilate")), inr_path),
        (PruneMask(metanet(**options), 0.5, images_per_step=8), classifier_path),
    ):
        task, batch, _ = ready(task, path)
        loss = task.loss(batch)
        loss.backward()
        assert loss.isfinite() and any(p.grad is not None and bool(p.grad.any()) for p in task.parameters())


def test_an_edit_learns(inr_path):
    task, batch, _ = ready(InrEditing(editor(gain=0.05), ImageEdit("invert")), inr_path)
    optimiser = torch.optim.Adam(task.parameters(), 0.02)
    losses = []
    for _ in range(25):
        optimiser.zero_grad()
        loss = task.loss(batch)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


# --- classifiers


def test_an_edit_that_changes_nothing_changes_no_accuracy(classifier_path, monkeypatch):
    task, batch, data = ready(DomainAdaptation(Unchanged(), ImageEdit("invert"), images_per_score=100), classifier_path)
    monkeypatch.setattr(type(task), "trainer", FakeTrainer(testing=True))
    scores = task.scores(task.evaluate(batch))
    assert scores["accuracy"] == scores["unedited_accuracy"] < scores["source_accuracy"]
    digits = load_digits()
    inverted = ((1 - digits.pixels(digits.test_x[:100]))[:, None] - digits.mean) / digits.spread
    kept = task.evaluate(batch)
    for i, module in loads(task, batch, data):
        row = batch.index.tolist().index(i)
        for name, x in (("source_accuracy", digits.test_x[:100]), ("accuracy", inverted)):
            with torch.no_grad():
                right = (module(x.double()).argmax(1) == digits.test_y[:100]).float().mean()
            assert float(kept[name][row]) == pytest.approx(float(right), abs=1e-6)
    assert [name for name, _ in task.summary(kept)["methods"]][0] == "edited, shifted images"


def test_validation_and_test_see_images_that_no_step_sees(classifier_path):
    task, _, _ = ready(DomainAdaptation(editor(), ImageEdit("noise"), images_per_score=50), classifier_path)
    parts = task._images
    assert [len(parts[name].labels) for name in ("train", "validation", "test")] == [1078, 50, 50]
    digits = load_digits()
    assert torch.equal(parts["train"].x, digits.train_x[:1078])
    assert torch.equal(parts["validation"].x, digits.train_x[1078:1128])
    assert torch.equal(parts["test"].x, digits.test_x[:50])
    assert not torch.equal(parts["test"].shifted, parts["test"].x)


def test_each_step_draws_images_of_its_own_and_the_same_again(classifier_path, monkeypatch):
    task, batch, _ = ready(DomainAdaptation(editor(), ImageEdit("rotate"), images_per_step=5), classifier_path)
    losses = {}
    for step in (0, 1, 0):
        monkeypatch.setattr(type(task), "global_step", step)
        losses.setdefault(step, []).append(float(task.loss(batch).detach()))
    assert losses[0][0] == losses[0][1] != losses[1][0]


def test_an_adaptation_learns(classifier_path):
    task, batch, _ = ready(
        DomainAdaptation(editor(gain=0.05), ImageEdit("rotate", degrees=60), images_per_step=256),
        classifier_path,
        where={"family": "mlp"},
    )
    optimiser = torch.optim.Adam(task.parameters(), 0.02)
    losses = []
    for _ in range(15):
        optimiser.zero_grad()
        loss = task.loss(batch)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]


# --- masks


def test_a_mask_has_the_wanted_zeros_and_keeps_what_it_keeps(classifier_path):
    task, batch, data = ready(PruneMask(editor(), 0.7), classifier_path)
    for graph, stacked in zip(batch.graphs, task(batch.graphs), strict=True):
        space = task.space(graph)
        old, keys = space.to_state_dict(graph), prunable(task.space(graph))
        assert keys and all(".bn" not in key and "bias" not in key for key in keys)
        zeros = torch.cat([(stacked[key] == 0).flatten(1) for key in keys], 1)
        assert (zeros.sum(1) == round(0.7 * zeros.shape[1])).all()
        for key, value in old.items():
            assert torch.equal(stacked[key], torch.where(stacked[key] == 0, stacked[key], value)) or key not in keys
            assert key in keys or torch.equal(stacked[key], value)
    assert len(list(loads(task, batch, data))) == 12


def test_without_an_edit_the_largest_weights_stay(classifier_path):
    task, batch, _ = ready(PruneMask(Unchanged(), 0.6), classifier_path)
    for graph, stacked in zip(batch.graphs, task(batch.graphs), strict=True):
        old, keys = task.space(graph).to_state_dict(graph), prunable(task.space(graph))
        for row in range(len(stacked[keys[0]])):
            sizes = torch.cat([old[key][row].abs().flatten() for key in keys])
            kept = torch.cat([stacked[key][row].flatten() != 0 for key in keys])
            assert sizes[kept].min() >= sizes[~kept].max()
        layerwise = pruned_by_layer(task.space(graph), old, 0.6)
        for key in keys:
            share = (layerwise[key] == 0).flatten(1).double().mean(1)
            assert float((share - 0.6).abs().max()) <= 0.5 / old[key][0].numel() + 1e-12


def test_gradients_pass_the_mask():
    scores = torch.tensor([[2.0, 1.0, 0.5, -1.0]], dtype=torch.float64, requires_grad=True)
    mask = straight_through_mask(scores, 0.5, 0.7)
    assert mask.tolist() == [[1.0, 1.0, 0.0, 0.0]]
    mask.sum().backward()
    soft = torch.sigmoid((scores.detach() - 1.0) / 0.7)
    torch.testing.assert_close(scores.grad, soft * (1 - soft) / 0.7, rtol=1e-10, atol=0)


@pytest.mark.parametrize("keep", ["labels", "outputs"])
def test_the_loss_of_a_mask_reaches_the_metanet(classifier_path, keep):
    task, batch, _ = ready(PruneMask(editor(), 0.5, keep=keep), classifier_path)
    task.loss(batch).backward()
    assert float(task.metanet.gain.grad.abs()) > 0


class FakeTrainer:
    def __init__(self, *, testing):
        self.testing, self.predicting = testing, False


# --- the command line


def little(path, folder, config):
    quick = ["--model.metanet.channels", "8", "--model.metanet.layers", "1", "--data.batch_size", "4"]
    quiet = ["--trainer.enable_progress_bar", "false", "--trainer.default_root_dir", str(folder)]
    return ["--config", str(CONFIGS / config), "--data.path", str(path), *quick, *quiet]


@pytest.mark.parametrize(
    ("config", "heading", "measure"),
    [
        pytest.param("inr_dilation.yaml", "Edited images", "mse_x100", marks=pytest.mark.slow),
        pytest.param("inr_rotation.yaml", "Edited images", "mse_x100", marks=pytest.mark.slow),
        pytest.param("domain_adaptation.yaml", "Beside each other", "accuracy", marks=pytest.mark.slow),
        ("prune.yaml", "Beside each other", "accuracy"),
    ],
)
def test_every_configuration_from_fit_to_report(config, heading, measure, inr_path, classifier_path, tmp_path):
    path = inr_path if config.startswith("inr") else classifier_path
    words = little(path, tmp_path, config)
    split = ["--data.split.fractions", "[0.4, 0.3, 0.3]"]
    if config.startswith("inr"):
        split = ["--data.split", '{"fractions": [0.4, 0.3, 0.3]}']
    assert "best model" in run_lightning(["fit", *words, *split, "--trainer.max_epochs", "1"])
    best = ["--ckpt_path", str(tmp_path / "checkpoints" / "best.ckpt")]
    assert measure in run_lightning(["test", *words, *split, *best])
    assert run_lightning(["predict", *words, *split, *best]).endswith("predictions.csv")
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["scores"][measure][0] == pytest.approx(results["scores"][measure][0])
    assert heading in build_report(tmp_path).read_text()


# --- errors


def test_what_cannot_be_edited_is_refused(inr_path, classifier_path, zoo_path):
    task, batch, _ = ready(InrEditing(GMN(3, channels=8, layers=1), ImageEdit("dilate")), inr_path)
    with pytest.raises(ConfigurationError, match="InrEditing: GMN gives Tensor, wanted graphs; use an editor such as"):
        task.loss(batch)
    with pytest.raises(ConfigurationError, match="found image None and split None.*use truth: rendering"):
        ready(InrEditing(editor(), ImageEdit("dilate")), classifier_path)
    with pytest.raises(ConfigurationError, match="attribute 'data' of the networks: found None, wanted one of digits"):
        ready(DomainAdaptation(editor(), ImageEdit("invert")), zoo_path)
    with pytest.raises(ConfigurationError, match="found the edit 'noise', wanted one that an image determines"):
        InrEditing(editor(), ImageEdit("noise"))
    with pytest.raises(ConfigurationError, match="found truth 'rendering' and image_size None"):
        InrEditing(editor(), ImageEdit("dilate"), truth="rendering")
    with pytest.raises(ConfigurationError, match="found sparsity 1, keep 'labels' and temperature 0.5"):
        PruneMask(editor(), 1.0)


def test_an_image_that_is_not_there_is_named(inr_path, monkeypatch):
    from weightspace.tasks._inr_editing import _original_images

    rows = [{"image": 5, "split": "test", "data": "digits"}, {"image": 450, "split": "test", "data": "digits"}]
    with pytest.raises(ConfigurationError, match="network 1 of the zoo: found image 450, wanted one of the 450 test"):
        _original_images(rows, None)
