"""Nearest neighbours among embedded networks, and how often they are related to what was asked for."""

from dataclasses import dataclass
from math import comb

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from weightspace.errors import ConfigurationError


@dataclass(frozen=True)
class Neighbours:
    """The networks nearest to each query, nearest first.

    Args:
        index: their positions among what was searched, or in the zoo where `Embeddings` was asked.
        similarity: cosine of the angle between the embeddings.

    Shapes:
        index, similarity (Q, k).
    """

    index: Tensor
    similarity: Tensor


@dataclass(frozen=True)
class Embeddings:
    """Embedded networks of a zoo.

    Args:
        vectors: of length 1.
        index: positions in the zoo.

    Shapes:
        vectors (N, D); index (N,).

    Example:
        >>> found = Embeddings(torch.eye(3)[:, :2], torch.tensor([7, 8, 9])).nearest(torch.tensor([[0.6, 0.8]]), k=1)
        >>> found.index.tolist()
        [[8]]
    """

    vectors: Tensor
    index: Tensor

    def nearest(self, query: Tensor, k: int = 5) -> Neighbours:
        """The k networks nearest to each query.

        Args:
            query: embeddings, such as `NetworkEmbedding` gives them for graphs.
            k: how many.

        Shapes:
            query (Q, D).
        """
        found = nearest(query, self.vectors, k)
        return Neighbours(self.index.to(found.index.device)[found.index], found.similarity)


def nearest(query: Tensor, gallery: Tensor, k: int, *, itself: Tensor | None = None) -> Neighbours:
    """The k rows of a gallery with the largest cosine to each query.

    Args:
        query: embeddings that are asked for.
        gallery: embeddings that are searched.
        k: how many.
        itself: the row of the gallery that is each query itself, which is left out.

    Shapes:
        query (Q, D); gallery (N, D); itself (Q,).

    Raises:
        ConfigurationError: fewer than k networks to find.

    Example:
        >>> points = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
        >>> nearest(points, points, 1, itself=torch.arange(3)).index.tolist()
        [[1], [0], [1]]
    """
    most = len(gallery) - (itself is not None)
    if not 0 < k <= most:
        raise ConfigurationError(f"nearest: found k={k} and {most} networks to search, wanted k from 1 to {most}")
    similarity = F.normalize(query, dim=1) @ F.normalize(gallery, dim=1).t()  # (Q, N)
    if itself is not None:
        similarity = similarity.scatter(1, itself[:, None].to(similarity.device), -torch.inf)
    found = similarity.topk(k, dim=1)
    return Neighbours(found.indices, found.values)


def recalls(found: Tensor, kinds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each query of which a related network is there: whether one of its neighbours is related, and the chance that
    one of as many networks drawn at random is.

    Args:
        found: neighbours of every network among all the others.
        kinds: networks with the same number are related.

    Shapes:
        found (N, k); kinds (N,).

    Returns:
        Two arrays of the same length, at most N.

    Example:
        >>> hit, chance = recalls(torch.tensor([[1], [0], [0]]), np.array([0, 0, 1]))
        >>> hit.tolist(), chance.tolist()
        ([1.0, 1.0], [0.5, 0.5])
    """
    neighbours = found.cpu().numpy()
    count = np.bincount(kinds)[kinds] - 1
    asked = count > 0
    hit = (kinds[neighbours] == kinds[:, None]).any(1)[asked].astype(float)
    others, k = len(kinds) - 1, neighbours.shape[1]
    chance = np.array([1 - comb(others - int(c), k) / comb(others, k) for c in count[asked]])
    return hit, chance


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Normalised temperature-scaled cross-entropy: each view has to find the other view of the same network.

    Source: Chen et al. 2020, "A Simple Framework for Contrastive Learning", arXiv 2002.05709, equation 1.

    Args:
        first: one view of each network.
        second: the other.
        temperature: of the softmax.

    Shapes:
        first, second (B, D).

    Example:
        >>> views = torch.eye(3)
        >>> bool(nt_xent(views, views, 0.1) < nt_xent(views, views.roll(1, 0), 0.1))
        True
    """
    views = F.normalize(torch.cat([first, second]).float(), dim=1)
    logits = views @ views.t() / temperature
    logits = logits.masked_fill(torch.eye(len(views), dtype=torch.bool, device=views.device), -torch.inf)
    partner = torch.arange(len(views), device=views.device).roll(len(first))
    return F.cross_entropy(logits, partner)
