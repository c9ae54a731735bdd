import threading

import pytest
import torch

from weightspace.errors import ConfigurationError, ZooError
from weightspace.images import ImageSet
from weightspace.zoo import (
    Zoo,
    ZooConfig,
    build,
    draw_subpopulation,
    predict_population,
    train_subpopulation,
    train_zoo,
)

CONFIG = ZooConfig(networks=9, members=3, steps=(2, 5), families=("mlp", "resnet", "cnn"))


def contents(zoo):
    return [(entry.attributes, {k: v.tolist() for k, v in entry.state_dict.items()}) for entry in zoo]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("zoo")
    return folder, train_zoo(CONFIG, folder, progress=False, workers=1)


def test_the_same_seed_gives_the_same_zoo_on_any_number_of_workers(trained, tmp_path):
    threads = torch.get_num_threads()
    train_zoo(CONFIG, tmp_path, progress=False, workers=3)
    assert contents(Zoo(tmp_path)) == contents(Zoo(trained[0]))
    assert torch.get_num_threads() == threads


def test_another_seed_gives_another_zoo(trained):
    image = (1, 8, 8)
    assert draw_subpopulation(CONFIG, 0, image) == draw_subpopulation(CONFIG, 0, image)
    other = draw_subpopulation(ZooConfig(seed=1, members=3), 0, image)
    assert not set(other.seeds) & set(draw_subpopulation(CONFIG, 0, image).seeds)
    seeds = [seed for k in range(50) for seed in draw_subpopulation(CONFIG, k, image).seeds]
    assert len(set(seeds)) == len(seeds)


def test_the_zoo_says_what_every_network_is(trained):
    folder, summary = trained
    zoo = Zoo(folder)
    assert (summary.networks, summary.trained, summary.diverged, summary.architectures) == (9, 9, 0, 3)
    assert {row["family"] for row in zoo.attributes} == {"mlp", "resnet", "cnn"}
    assert len({row["run"] for row in zoo.attributes}) == 9
    for row in zoo.attributes:
        assert 0 <= row["test_accuracy"] <= 1 and row["steps"] in CONFIG.steps
        assert row["generalisation_gap"] == pytest.approx(row["train_accuracy"] - row["test_accuracy"], abs=1e-6)


def test_the_stored_accuracy_is_that_of_the_rebuilt_module(trained):
    from weightspace.images import load_digits

    zoo, digits = Zoo(trained[0]), load_digits()
    for i in (0, 4, 8):
        with torch.no_grad():
            accuracy = (zoo.module(i)(digits.test_x).argmax(1) == digits.test_y).float().mean()
        assert float(accuracy) == pytest.approx(zoo[i].attributes["test_accuracy"], abs=1 / 450 + 1e-6)


def test_a_second_call_trains_what_is_missing(trained, tmp_path, monkeypatch):
    full = contents(Zoo(trained[0]))
    assert train_zoo(ZooConfig(**vars(CONFIG) | {"networks": 6}), tmp_path, progress=False).trained == 6
    summary = train_zoo(CONFIG, tmp_path, progress=False)
    assert (summary.networks, summary.trained) == (9, 3)
    assert contents(Zoo(tmp_path)) == full
    next(tmp_path.glob("00001-*.jsonl")).unlink()
    assert train_zoo(CONFIG, tmp_path, progress=False).trained == 3
    assert contents(Zoo(tmp_path)) == full


def test_an_interrupted_call_stops_its_workers_and_is_resumed(trained, tmp_path, monkeypatch):
    append = Zoo.append

    def interrupt(*args, **options):
        append(*args, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Zoo, "append", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train_zoo(CONFIG, tmp_path, progress=False, workers=1)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("zoo")]
    assert len(Zoo(tmp_path)) == 3
    train_zoo(CONFIG, tmp_path, progress=False)
    assert contents(Zoo(tmp_path)) == contents(Zoo(trained[0]))


def test_a_folder_holds_one_configuration(trained, tmp_path):
    with pytest.raises(ConfigurationError, match="seed: found 0, wanted 1.*train into another folder"):
        train_zoo(ZooConfig(**vars(CONFIG) | {"seed": 1}), trained[0], progress=False)
    (tmp_path / "something").write_text("")
    with pytest.raises(ConfigurationError, match="is not empty and holds no trained zoo"):
        train_zoo(CONFIG, tmp_path, progress=False)
    (tmp_path / "training.json").write_text("{")
    with pytest.raises(ZooError, match="training.json: not a configuration"):
        train_zoo(CONFIG, tmp_path, progress=False)


def test_a_wrong_configuration_is_refused():
    with pytest.raises(ConfigurationError, match="unknown key network; the keys are data, networks"):
        ZooConfig.from_mapping({"network": 5})
    assert ZooConfig.from_mapping({"steps": [3], "seed": 2}) == ZooConfig(steps=(3,), seed=2)
    with pytest.raises(ConfigurationError, match=r"families: found \['vit'\], wanted some of cnn"):
        ZooConfig(families=("cnn", "vit"))
    with pytest.raises(ConfigurationError, match="optimisers: found nothing"):
        ZooConfig(optimisers=())
    with pytest.raises(ConfigurationError, match="data: found .*imagenet"):
        ZooConfig(data="imagenet")
    with pytest.raises(ConfigurationError, match=r"networks: found \[0\], wanted whole numbers"):
        ZooConfig(networks=0)


@pytest.fixture
def tiny(generator):
    x = torch.randn(60, 1, 8, 8, generator=generator)
    y = torch.randint(0, 10, (60,), generator=generator)
    return ImageSet("tiny", 10, x[:40], y[:40], x[40:], y[40:])


def test_label_noise_and_fraction_are_what_was_drawn(tiny):
    from weightspace.zoo._subpopulation import _member_data

    sub = draw_subpopulation(ZooConfig(members=20, steps=(7,)), 0, (1, 8, 8))
    data = _member_data(sub, tiny, [torch.Generator().manual_seed(seed) for seed in sub.seeds])
    for j in range(20):
        count = int(data.seen[j].sum())
        assert count == min(40, max(sub.batch_size, round(sub.train_fraction[j] * 40)))
        wrong = data.labels[j] != tiny.train_y
        assert int(wrong.sum()) == round(sub.label_noise[j] * count) and not (wrong & ~data.seen[j]).any()
        assert data.seen[j][data.order[j].unique()].all()


def test_diverged_members_are_left_out_and_counted(tiny):
    config = ZooConfig(members=3, steps=(30,), optimisers=("sgd",), activations=("relu",))
    sub = draw_subpopulation(config, 0, (1, 8, 8))
    wild = type(sub)(**vars(sub) | {"learning_rate": (1e30, 0.01, 1e30)})
    stack = train_subpopulation(wild, tiny, run="t")
    assert stack.diverged == 2 and [row["run"] for row in stack.attributes] == ["t-0000-01"]
    assert all(len(value) == 1 and value.isfinite().all() for value in stack.stacked.values())


def test_training_learns():
    from weightspace.images import load_digits

    digits = load_digits()
    sub = draw_subpopulation(ZooConfig(members=2, steps=(150,), optimisers=("adam",), families=("mlp",)), 0, (1, 8, 8))
    good = {
        "learning_rate": (0.01,) * 2,
        "label_noise": (0.0,) * 2,
        "train_fraction": (1.0,) * 2,
        "weight_decay": (0.0,) * 2,
    }
    stack = train_subpopulation(type(sub)(**vars(sub) | good | {"init_scale": (1.0,) * 2}), digits, run="t")
    assert min(row["test_accuracy"] for row in stack.attributes) > 0.9
    outputs = predict_population(build(sub.architecture), stack.stacked, digits.test_x)
    accuracy = (outputs.argmax(2) == digits.test_y).float().mean(1)
    assert accuracy.tolist() == pytest.approx([row["test_accuracy"] for row in stack.attributes])
