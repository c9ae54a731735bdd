"""Self-supervised embeddings: the loss and the retrieval against slow twins, and neighbours that are related."""

import math

import numpy as np
import pytest
import torch

from weightspace.errors import ConfigurationError
from weightspace.metanets import GMN
from weightspace.tasks import (
    Augmentation,
    Embeddings,
    NetworkEmbedding,
    Optimisation,
    SplitRule,
    ZooData,
    nearest,
    train_in,
)
from weightspace.tasks._retrieval import nt_xent, recalls
from weightspace.zoo import Zoo


def test_nt_xent_is_its_formula():
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(4, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    z = torch.nn.functional.normalize(torch.cat([first, second]), dim=1)
    total = 0.0
    for i in range(8):
        others = [math.exp(float(z[i] @ z[j]) / 0.3) for j in range(8) if j != i]
        total -= math.log(math.exp(float(z[i] @ z[(i + 4) % 8]) / 0.3) / sum(others))
    assert nt_xent(first, second, 0.3).item() == pytest.approx(total / 8, rel=1e-6)


def test_recall_and_its_chance():
    generator = np.random.default_rng(0)
    kinds = generator.integers(0, 5, 40)
    kinds[0] = 9  # alone: not asked for
    points = torch.from_numpy(generator.normal(size=(40, 3)))
    found = nearest(points, points, 3, itself=torch.arange(40)).index
    hit, chance = recalls(found, kinds)
    draws = [
        [
            any(kinds[j] == kinds[i] for j in generator.choice([j for j in range(40) if j != i], 3, replace=False))
            for _ in range(300)
        ]
        for i in range(1, 40)
    ]
    assert len(hit) == 39 and abs(np.mean(draws) - chance.mean()) < 0.02
    for i in range(1, 40):
        near = sorted(
            (j for j in range(40) if j != i), key=lambda j: -torch.cosine_similarity(points[i], points[j], 0)
        )[:3]
        assert hit[i - 1] == any(kinds[j] == kinds[i] for j in near)


def test_nearest_refuses_more_than_there_are():
    with pytest.raises(ConfigurationError, match="found k=3 and 2 networks to search, wanted k from 1 to 2"):
        nearest(torch.eye(3), torch.eye(3), 3, itself=torch.arange(3))


@pytest.fixture(scope="module")
def runs_path(zoo_path, tmp_path_factory):
    """Networks in pairs: two noisy copies of each."""
    generator = torch.Generator().manual_seed(1)
    source, copies = Zoo(zoo_path), Zoo.create(tmp_path_factory.mktemp("zoos") / "pairs")
    for signature, positions in source.positions.items():
        chosen = positions[:24].repeat(2)
        stacked = {
            name: value + 0.05 * torch.randn(value.shape, generator=generator)
            for name, value in source.stacked(chosen).items()
        }
        rows = [source[int(i)].attributes | {"run": f"{signature}-{int(i)}"} for i in chosen]
        space = source.spaces[signature]
        copies.append(space, space.act(space.random_element(generator, n=48), stacked), rows)
    return copies.path


def task(**options):
    torch.manual_seed(0)
    metanet = GMN(16, channels=8, layers=1)
    return NetworkEmbedding(metanet, Optimisation(learning_rate=0.01), features=16, neighbours=3, **options)


def test_copies_of_a_network_are_its_neighbours(tmp_path, runs_path):
    data = ZooData(runs_path, targets=[], batch_size=32, split=SplitRule(fractions=(0.4, 0.2, 0.4)))
    embedding = task(augmentation=Augmentation(group=True, noise=0.1))
    train_in(tmp_path, embedding, data, epochs=6, progress=False)
    assert embedding.history[-1]["val_loss"] < embedding.history[0]["val_loss"]
    found = embedding.embed(data, "test")
    assert torch.allclose(found.vectors.norm(dim=1), torch.ones(len(found.vectors)))
    assert found.index.sort().values.tolist() == data.split.test.tolist()
    kept = {"embedding": found.vectors, "index": found.index}
    embedding.trainer.datamodule = data
    results = embedding.summary(kept)
    relations = {row["relation"]: row for row in results["retrieval"]["relations"]}
    assert set(relations) == {"run", "architecture"}, "the others are in no network, or the same in all"
    assert relations["run"]["recall"][0] > 0.8 > 0.2 > relations["run"]["random"]
    assert results["scores"]["run_recall_at_3"] == relations["run"]["recall"]
    graph = data.zoo.batch([int(found.index[0])]).graphs
    near = found.nearest(embedding.eval()(graph), k=1)
    assert near.index.tolist() == [[int(found.index[0])]] and near.similarity.item() == pytest.approx(1, abs=1e-5)


def test_an_invariant_metanet_gets_nothing_from_group_elements(runs_path):
    data = ZooData(runs_path, targets=[], batch_size=32)
    embedding = task(augmentation=Augmentation(group=True))
    embedding.prepare(data)
    first, second = embedding._views(next(iter(data.train_dataloader())), 0)
    assert (first - second).abs().max() < 1e-4 * first.abs().max()


def test_embeddings_know_their_networks():
    found = Embeddings(torch.eye(3), torch.tensor([4, 5, 6])).nearest(torch.tensor([[0.0, 1.0, 0.5]]), k=2)
    assert found.index.tolist() == [[5, 6]]


def test_wrong_settings(runs_path):
    with pytest.raises(ConfigurationError, match="augmentation without any change"):
        task(augmentation=Augmentation())
    wrong = NetworkEmbedding(GMN(3, channels=8, layers=1), features=16)
    graph = Zoo(runs_path).batch([0]).graphs
    with pytest.raises(ConfigurationError, match="found 3 outputs of GMN, wanted 16; set model.features"):
        wrong(graph)
