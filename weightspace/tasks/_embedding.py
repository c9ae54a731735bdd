"""The task "embed networks so that similar ones are near each other", without labels."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from weightspace.errors import ConfigurationError
from weightspace.graph import ParameterGraph
from weightspace.measures import bootstrap_mean
from weightspace.tasks._attributes import three
from weightspace.tasks._augmentation import Augmentation, Augmenter
from weightspace.tasks._data import AbstractNetworkData, GraphBatch
from weightspace.tasks._optimisation import Optimisation
from weightspace.tasks._retrieval import Embeddings, nearest, nt_xent, recalls
from weightspace.tasks._task import AbstractMetanetTask, Monitor

SHOWN = 8  # queries in the report
HELD_OUT_VIEWS = 10**9  # numbers of the views of validation networks, which no training step has


class NetworkEmbedding(AbstractMetanetTask):
    """Trains any metanet to embed networks: two changed copies of a network have to find each other in a batch.

    Source: the loss and the projection head of Chen et al. 2020 (SimCLR), arXiv 2002.05709; views of weights as in
    Schuerholt et al. 2021, "Self-Supervised Representation Learning on Neural Network Weights", arXiv 2110.15288, who
    permute, add noise and erase. Deviates: a metanet that is invariant under the permutation group gives both copies
    the same embedding whatever permutes them, so that for it noise, gaps and `Augmentation.rescale` make the task;
    group elements teach the symmetry to metanets that lack it. Batches may mix architectures.

    The best epoch has the smallest loss on copies of the validation networks, all in one batch. After a test, `results`
    tells how often one of the k nearest test networks is related to a network, beside the chance for k random ones.

    Args:
        metanet: takes a sequence of parameter graphs and returns (B, features), the embedding.
        optimisation: AdamW and its schedule.
        features: outputs of the metanet.
        augmentation: how the two copies are made.
        temperature: of the loss.
        neighbours: k.
        relations: attributes; networks with the same value are related. Those that no network has are left out.
    """

    def __init__(
        self,
        metanet: nn.Module,
        optimisation: Optimisation | None = None,
        *,
        features: int = 64,
        augmentation: Augmentation | None = None,
        temperature: float = 0.1,
        neighbours: int = 5,
        relations: Sequence[str] = ("run", "label", "architecture", "activation", "optimiser"),
    ):
        super().__init__(metanet, optimisation)
        chosen = Augmentation(group=True, noise=0.2, dropout=0.1) if augmentation is None else augmentation
        if not chosen.changes:
            raise ConfigurationError(
                "NetworkEmbedding: found an augmentation without any change, so that every two copies are equal; "
                "wanted some noise, dropout, group or rescale"
            )
        self.augmenter = Augmenter(chosen, self._network)
        self.temperature, self.neighbours, self.relations = temperature, neighbours, tuple(relations)
        self.projection = nn.Sequential(nn.Linear(features, features), nn.ReLU(), nn.Linear(features, features))

    @property
    def monitor(self) -> Monitor:
        """Loss on the validation networks."""
        return Monitor("loss", "min", "loss")

    def forward(self, graphs: ParameterGraph | Sequence[ParameterGraph]) -> Tensor:
        """Embeddings (B, features) of length 1, in the order of graphs, then networks."""
        return F.normalize(self._features(graphs), dim=1)

    def embed(self, data: AbstractNetworkData, part: str = "test") -> Embeddings:
        """Embeddings of the networks of a part, in evaluation mode and without gradients."""
        training = self.training
        self.eval()
        with torch.no_grad():
            batches = [(self(batch.graphs), batch.index) for batch in data.whole(part)]
        self.train(training)
        vectors, index = (torch.cat(column) for column in zip(*batches, strict=True))
        return Embeddings(vectors, index)

    def loss(self, batch: GraphBatch) -> Tensor:
        """NT-Xent of two views of the batch."""
        return nt_xent(*self._views(batch, self.global_step), self.temperature)

    def evaluate(self, batch: GraphBatch) -> dict[str, Tensor]:
        """Embeddings, and projections of two views that are the same in every epoch."""
        first, second = self._views(batch, HELD_OUT_VIEWS + int(batch.index[0]))
        return {"embedding": self(batch.graphs), "first": first, "second": second}

    def scores(self, kept: Mapping[str, Tensor]) -> dict[str, float]:
        """Loss, and the share of networks whose other copy is the nearest of all."""
        first, second = F.normalize(kept["first"], dim=1), F.normalize(kept["second"], dim=1)
        found = (first @ second.t()).argmax(1) == torch.arange(len(first))
        return {"loss": float(nt_xent(first, second, self.temperature)), "found": float(found.double().mean())}

    def summary(self, kept: Mapping[str, Tensor]) -> dict[str, Any]:
        """How often a neighbour is related, and some networks with their neighbours."""
        vectors, index = kept["embedding"], kept["index"]
        found = nearest(vectors, vectors, self.neighbours, itself=torch.arange(len(vectors)))
        rows = [self.data.attributes[i] for i in index.tolist()]
        related = [
            {"relation": name, **_recall(found.index, kinds)}
            for name in self.relations
            if (kinds := _kinds(rows, name)) is not None
        ]
        scores = {f"{row['relation']}_recall_at_{self.neighbours}": row["recall"] for row in related}
        retrieval = {
            "neighbours": self.neighbours,
            "relations": related,
            "examples": _examples(found.index, found.similarity, index, rows, [row["relation"] for row in related]),
            "plane": _plane(vectors).tolist(),
            "colour": _colours(rows, [row["relation"] for row in related]),
        }
        return {"scores": scores, "retrieval": retrieval}

    def columns(self, kept: Mapping[str, Tensor]) -> dict[str, Sequence[Any]]:
        """The embedding, a column per feature."""
        return {f"embedding_{i}": column.tolist() for i, column in enumerate(kept["embedding"].t())}

    def _features(self, graphs: ParameterGraph | Sequence[ParameterGraph]) -> Tensor:
        features, wanted = self.metanet(graphs), self.projection[0].in_features
        if features.shape[1] != wanted:
            raise ConfigurationError(
                f"NetworkEmbedding: found {features.shape[1]} outputs of {type(self.metanet).__name__}, wanted "
                f"{wanted}; set model.features and model.metanet.out_features to the same number"
            )
        return features

    def _views(self, batch: GraphBatch, number: int) -> tuple[Tensor, Tensor]:
        copies = (*self.augmenter(batch.graphs, 2 * number), *self.augmenter(batch.graphs, 2 * number + 1))
        first, second = self.projection(self._features(copies)).chunk(2)
        return first, second


def _kinds(rows: Sequence[Mapping[str, Any]], name: str) -> np.ndarray | None:
    """A number per network, equal where the attribute is; none where that relates no two networks, or all."""
    if not all(name in row for row in rows):
        return None
    names = [json.dumps(row[name], sort_keys=True) for row in rows]
    kinds = np.unique(names, return_inverse=True)[1]
    return kinds if 1 < kinds.max() + 1 < len(rows) else None


def _recall(found: Tensor, kinds: np.ndarray) -> dict[str, Any]:
    hit, chance = recalls(found, kinds)
    return {
        "recall": three(bootstrap_mean(hit)),
        "random": float(chance.mean()),
        "gain": three(bootstrap_mean(hit - chance)),
        "queries": len(hit),
        "kinds": int(kinds.max()) + 1,
    }


def _examples(
    found: Tensor, similarity: Tensor, index: Tensor, rows: Sequence[Mapping[str, Any]], relations: Sequence[str]
) -> list[dict[str, Any]]:
    """Some networks with their neighbours, evenly over the test networks."""
    chosen = torch.linspace(0, len(rows) - 1, min(SHOWN, len(rows))).long().tolist()

    def described(place: int) -> dict[str, Any]:
        return {"network": int(index[place])} | {name: _text(rows[place][name]) for name in relations}

    return [
        described(i)
        | {
            "neighbours": [
                described(j) | {"similarity": round(float(s), 4)}
                for j, s in zip(found[i].tolist(), similarity[i].tolist(), strict=True)
            ]
        }
        for i in chosen
    ]


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join("-".join(map(str, v)) if isinstance(v, list) else str(v) for v in value.values())
    return str(value)


def _plane(vectors: Tensor) -> Tensor:
    """The two directions of largest variance (N, 2)."""
    centred = vectors.double() - vectors.double().mean(0)
    _, _, directions = torch.linalg.svd(centred, full_matrices=False)
    return (centred @ directions[:2].t()).float()


def _colours(rows: Sequence[Mapping[str, Any]], relations: Sequence[str]) -> dict[str, Any]:
    """The relation with the fewest kinds, as the name of each network's kind."""
    names = {name: [_text(row[name]) for row in rows] for name in relations}
    name = min(names, key=lambda key: len(set(names[key])), default="")
    return {"name": name, "values": names.get(name, ["network"] * len(rows))}
