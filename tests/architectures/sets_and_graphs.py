"""Networks on sets and graphs."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.architectures.cases import Case, log_factorial


class DeepSets(nn.Module):
    """A sum over the elements between two networks (Zaheer et al. 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.each = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 5))
        self.all = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.all(self.each(x).sum(-2))


class PointNet(nn.Module):
    """A maximum over points, given back to every point (Qi et al. 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm, self.b = nn.Conv1d(3, 5, 1), nn.BatchNorm1d(5), nn.Conv1d(5, 7, 1)
        self.c, self.last = nn.Conv1d(12, 6, 1), nn.Conv1d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        local = F.relu(self.norm(self.a(x)))
        whole = torch.max(self.b(local), 2, keepdim=True)[0].repeat(1, 1, x.shape[2])
        return self.last(F.relu(self.c(torch.cat([local, whole], 1)))).log_softmax(1)


class Equivariant(nn.Module):
    """Layers of their own argument and of the set's mean, with the number of elements kept."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 6), nn.Linear(3, 6, bias=False)
        self.c, self.d = nn.Linear(6, 2), nn.Linear(6, 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.a(x) - self.b(x.mean(1, keepdim=True)))
        return self.c(x) - self.d(x.amax(dim=1, keepdim=True))


class Pooled(nn.Module):
    """Pooling by attention of learned seeds (Lee et al. 2019), then a layer on the seeds in their order."""

    def __init__(self, flattened: bool) -> None:
        super().__init__()
        self.seeds, self.embed = nn.Parameter(torch.randn(1, 3, 6)), nn.Linear(4, 5)
        self.q, self.k, self.v = nn.Linear(6, 6), nn.Linear(5, 6), nn.Linear(5, 6)
        self.mix, self.norm, self.last = nn.Linear(6, 6), nn.LayerNorm(6), nn.Linear(18 if flattened else 6, 2)
        self.flattened = flattened

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.embed(x))
        q = self.q(self.seeds.expand(len(x), -1, -1)).view(len(x), 3, 2, 3).transpose(1, 2)
        k, v = (layer(x).view(len(x), -1, 2, 3).transpose(1, 2) for layer in (self.k, self.v))
        y = (torch.softmax(q @ k.transpose(-1, -2) / 3**0.5, -1) @ v).transpose(1, 2).flatten(2)
        y = self.norm(y + torch.relu(self.mix(y)))
        return self.last(y.flatten(1) if self.flattened else y.sum(1))


class MessagePassing(nn.Module):
    """Messages of both ends and the distance, added at the target; a gated update (Gilmer et al. 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.message, self.send = nn.Embedding(5, 4), nn.Linear(9, 6), nn.Linear(6, 7)
        self.update, self.last = nn.Linear(11, 4), nn.Linear(4, 1)

    def forward(self, kind: Tensor, places: Tensor, edges: Tensor) -> Tensor:
        source, target = edges[0], edges[1]
        x = self.embed(kind)
        distance = (places[source] - places[target]).square().sum(-1, keepdim=True)
        sent = self.send(F.silu(self.message(torch.cat([x[source], x[target], distance], -1))))
        received = torch.zeros(len(x), 7, dtype=sent.dtype).index_add(0, target, sent)
        return self.last(x + F.silu(self.update(torch.cat([x, received], -1)))).sum(0)


class Adjacency(nn.Module):
    """Layers with a dense, normalised adjacency matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.last = nn.Linear(3, 6), nn.Linear(6, 5, bias=False), nn.Linear(5, 2)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        x = torch.relu(adjacency @ self.a(x))
        return self.last(torch.relu(torch.matmul(adjacency, self.b(x))).mean(0))


class Convolved(nn.Module):
    """Two layers of torch-geometric and a pooling."""

    def __init__(self, first: nn.Module, second: nn.Module, width: int) -> None:
        super().__init__()
        self.first, self.second, self.last = first, second, nn.Linear(width, 2)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        x = torch.relu(self.first(x, edges))
        return self.last(torch.relu(self.second(x, edges)).mean(0))


def some_graph(width: int = 3) -> tuple[Tensor, Tensor]:
    """Features of five nodes, and eight edges."""
    return torch.zeros(5, width), torch.tensor([[0, 1, 2, 3, 4, 1, 3, 0], [1, 2, 3, 4, 0, 0, 1, 4]])


def deep_sets() -> Case:
    """6 and the summed 5 inside, 4 outside."""
    return DeepSets(), (torch.zeros(1, 7, 3),), sum(log_factorial(n) for n in (6, 5, 4))


def point_net() -> Case:
    """The local 5, the global 7, and 6 behind both."""
    return PointNet(), (torch.zeros(1, 3, 8),), sum(log_factorial(n) for n in (5, 7, 6))


def equivariant_sets() -> Case:
    """The hidden 6."""
    return Equivariant(), (torch.zeros(1, 7, 3),), log_factorial(6)


def set_transformer() -> Case:
    """Three seeds with 6 features; 5 of the set; two heads, 3 of queries and keys inside each.

    The heads' values are the stream that the residual reads: heads and values, S_3 wr S_2, are its 6 and nothing more.
    """
    heads = log_factorial(2) + 2 * log_factorial(3) + 2 * log_factorial(3)
    return Pooled(flattened=False), (torch.zeros(1, 7, 4),), sum(log_factorial(n) for n in (3, 6, 5)) + heads


def set_transformer_flattened() -> Case:
    """The same where the last layer reads every seed by itself: the seeds move still, with its columns."""
    return Pooled(flattened=True), (torch.zeros(1, 7, 4),), set_transformer()[2]


def message_passing() -> Case:
    """The atoms' 4, which stand twice in the messages' argument, 6 and the sent 7."""
    places = torch.zeros(5, 3)
    inputs = (torch.tensor([0, 3, 1, 4, 2]), places, some_graph()[1])
    return MessagePassing(), inputs, sum(log_factorial(n) for n in (4, 6, 7))


def adjacency() -> Case:
    """Widths 6 and 5."""
    return Adjacency(), (torch.zeros(5, 3), torch.zeros(5, 5)), log_factorial(6) + log_factorial(5)


def gcn() -> Case:
    """Widths 6 and 5 (Kipf and Welling 2017)."""
    layers = pytest.importorskip("torch_geometric.nn")
    first, second = (layers.GCNConv(*widths, add_self_loops=False) for widths in ((3, 6), (6, 5)))
    net = Convolved(first, second, 5)
    return net, some_graph(), log_factorial(6) + log_factorial(5)


def gin() -> Case:
    """In both layers a hidden one, 6 and 4, and a result, 5 and 7 (Xu et al. 2019)."""
    layers = pytest.importorskip("torch_geometric.nn")
    first = nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 5))
    second = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 7))
    net = Convolved(layers.GINConv(first, train_eps=True), layers.GINConv(second), 7)
    return net, some_graph(), sum(log_factorial(n) for n in (6, 5, 4, 7))


def gat() -> Case:
    """Three heads of 4, concatenated: S_4 wr S_3; then two heads, averaged, whose 5 features are one (Velickovic 2018).

    The second layer's heads move as blocks, and their mean ties the features of all: S_2 and S_5.
    """
    layers = pytest.importorskip("torch_geometric.nn")
    first = layers.GATConv(3, 4, heads=3, add_self_loops=False)
    net = Convolved(first, layers.GATConv(12, 5, heads=2, concat=False, add_self_loops=False), 5)
    order = log_factorial(3) + 3 * log_factorial(4) + log_factorial(2) + log_factorial(5)
    return net, some_graph(), order


def sage() -> Case:
    """Widths 6 and 5, each on the layer of the node and that of its neighbours (Hamilton et al. 2017)."""
    layers = pytest.importorskip("torch_geometric.nn")
    net = Convolved(layers.SAGEConv(3, 6), layers.SAGEConv(6, 5, aggr="max"), 5)
    return net, some_graph(), log_factorial(6) + log_factorial(5)


CASES: tuple[Callable[[], Case], ...] = (
    deep_sets, point_net, equivariant_sets, set_transformer, set_transformer_flattened, message_passing, adjacency,
    gcn, gin, gat, sage,
)  # fmt: skip
