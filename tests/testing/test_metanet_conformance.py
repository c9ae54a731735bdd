"""The conformance class of metanets on the library's own, and on broken ones."""

import pytest
import torch
from torch import nn

from tests.testing._failures import failures
from weightspace.metanets import GMN, DeepSets, GMNEditor
from weightspace.testing import AbstractMetanetConformance


class TestGMN(AbstractMetanetConformance):
    def metanet(self):
        return GMN(2, channels=6, edge_channels=5, layers=3)


class TestGMNEditor(AbstractMetanetConformance):
    edits = True

    def metanet(self):
        return GMNEditor(channels=6, edge_channels=5, layers=3)


class TestDeepSets(AbstractMetanetConformance):
    def metanet(self):
        return DeepSets(2, channels=6)


def sums(graph, power=2):
    """Sums of powers over each site's and block's numbers; one row per network."""
    values = [part.flatten(-2) for part in ([s.x for s in graph.sites] + [b.edge_attr for b in graph.blocks])]
    rows = torch.stack([(value**power).sum(-1) for value in values], -1)
    return rows if graph.batch_shape else rows[None]


class Good(nn.Module):
    def forward(self, graph):
        return sums(graph)


class ReadsTheOrder(nn.Module):
    """Weighs nodes by their number."""

    def forward(self, graph):
        return sums(graph) + (graph.sites[0].x * torch.arange(graph.sites[0].num_nodes)[:, None]).sum()


class ForgetsNodes(nn.Module):
    """Reads edges alone: biases and norms are overlooked."""

    def forward(self, graph):
        return sums(graph)[:, len(graph.sites) :]


class MixesNetworks(nn.Module):
    """Takes the mean of the batch off."""

    def forward(self, graph):
        rows = sums(graph)
        return rows - rows.mean(0) + rows[:1] * 0.5


class LoosePrecision(nn.Module):
    """Rounds to single precision and depends on the order in its last digits."""

    def forward(self, graph):
        first = max(graph.blocks, key=lambda block: block.edge_attr.numel()).edge_attr
        return sums(graph) + 1e-7 * first[..., :1, :1].sum()


class GoodEditor(nn.Module):
    """Multiplies every number by one that is made of all of them."""

    def forward(self, graph):
        factor = sums(graph).mean(-1).view(*graph.batch_shape, 1, 1)
        return graph.replace(
            x=[s.x * factor for s in graph.sites], edge_attr=[b.edge_attr * factor for b in graph.blocks]
        )


class EditsByNumber(nn.Module):
    """Adds a number to the first edge of each block."""

    def forward(self, graph):
        def first(value):
            return torch.cat([value[..., :1, :] + 1, value[..., 1:, :]], -2)

        return graph.replace(x=[s.x for s in graph.sites], edge_attr=[first(b.edge_attr) for b in graph.blocks])


def subject(kind: type[nn.Module], *, editor: bool = False) -> AbstractMetanetConformance:
    class Subject(AbstractMetanetConformance):
        edits = editor

        def metanet(self):
            return kind()

    return Subject()


@pytest.mark.parametrize(
    ("kind", "editor", "wanted"),
    [
        (Good, False, set()),
        (GoodEditor, True, set()),
        (ReadsTheOrder, False, {"test_symmetry", "test_a_batch_is_its_networks"}),
        (ForgetsNodes, False, {"test_every_parameter_matters"}),
        (MixesNetworks, False, {"test_a_batch_is_its_networks"}),
        (LoosePrecision, False, {"test_symmetry"}),
        (EditsByNumber, True, {"test_symmetry"}),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_the_net_catches_fish(kind, editor, wanted):
    found = failures(subject(kind, editor=editor))
    assert wanted <= found and bool(found) == bool(wanted)
