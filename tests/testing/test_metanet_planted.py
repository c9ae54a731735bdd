"""The net catches fish: metanets with a planted error fail `MetanetTests`, and the message says what is wrong."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from weightspace.graph import EdgeBlock, ParameterGraph, Site
from weightspace.metanets import GMN, GMNEditor
from weightspace.testing import MetanetTests

Graphs = ParameterGraph | Sequence[ParameterGraph]
NAMES = ("convolutions", "attention", "tied embedding")


def each(graphs: Graphs, change: Callable[[ParameterGraph], ParameterGraph]) -> Graphs:
    return change(graphs) if isinstance(graphs, ParameterGraph) else [change(graph) for graph in graphs]


def with_sites(change: Callable[[Site], Site]) -> Callable[[ParameterGraph], ParameterGraph]:
    return lambda graph: replace(graph, sites=tuple(map(change, graph.sites)))


def with_blocks(change: Callable[[EdgeBlock], EdgeBlock]) -> Callable[[ParameterGraph], ParameterGraph]:
    return lambda graph: replace(graph, blocks=tuple(map(change, graph.blocks)))


class Reader(nn.Module):
    """A GMN that sees its graphs changed, and whose outputs are changed."""

    def __init__(self, before=lambda graph: graph, after=lambda out: out) -> None:
        super().__init__()
        self.gmn, self.before, self.after = GMN(2, channels=6, layers=4), before, after

    def forward(self, graphs: Graphs) -> Tensor:
        return self.after(self.gmn(each(graphs, self.before)))


class Editor(nn.Module):
    """An editor whose edited graphs are changed."""

    def __init__(self, after=lambda edited: edited) -> None:
        super().__init__()
        self.gmn, self.after = GMNEditor(channels=6, layers=4), after

    def forward(self, graphs: Graphs) -> Graphs:
        return each(self.gmn(graphs), self.after)


@with_sites
def node_numbers_as_features(site: Site) -> Site:
    return replace(site, index=torch.arange(site.num_nodes))


@with_sites
def biases_at_an_offset(site: Site) -> Site:
    return replace(site, x=site.x.roll(1, -2)) if "bias" in site.roles else site


@with_blocks
def untyped_attention(block: EdgeBlock) -> EdgeBlock:
    return replace(block, edge_type="query", attributes={}) if block.edge_type in ("query", "key", "value") else block


@with_blocks
def taps_without_places(block: EdgeBlock) -> EdgeBlock:
    return replace(block, tap_position=torch.zeros_like(block.tap_position))


@with_blocks
def weights_without_neurons(block: EdgeBlock) -> EdgeBlock:
    """Every edge of a layer gets the mean of its weights."""
    return replace(block, edge_attr=block.edge_attr.mean(-2, keepdim=True).expand_as(block.edge_attr))


@with_sites
def inputs_and_outputs_alike(site: Site) -> Site:
    return replace(site, index=torch.full_like(site.index, -1))


@with_sites
def no_running_means(site: Site) -> Site:
    keep = torch.tensor([role != "running_mean" for role in site.roles], dtype=site.x.dtype)
    return replace(site, x=site.x * keep)


@with_blocks
def cut_gradients(block: EdgeBlock) -> EdgeBlock:
    return replace(block, edge_attr=block.edge_attr.detach())


def no_heads(graph: ParameterGraph) -> ParameterGraph:
    """Attention without the edges between heads and their features."""
    return replace(graph, blocks=tuple(b for b in graph.blocks if b.edge_type not in ("view", "reduce")))


def overwritten(graph: ParameterGraph) -> ParameterGraph:
    for site in graph.sites:
        site.x.mul_(2)
    return graph


def by_order(graph: ParameterGraph) -> ParameterGraph:
    """Adds a little to the first number of every layer: what a loose tolerance would overlook."""
    first = torch.eye(1, max(b.num_edges for b in graph.blocks), dtype=graph.sites[0].x.dtype).t() * 1e-5
    return graph.replace(edge_attr=[b.edge_attr + first[: b.num_edges] for b in graph.blocks])


class ZerosAreMissing(Reader):
    """Leaves edges out whose weights are all zero."""

    def forward(self, graphs: Graphs) -> Tensor:
        graphs = [graphs] if isinstance(graphs, ParameterGraph) else graphs
        singles = [one for graph in graphs for one in (graph.unbatch() if graph.batch_shape else [graph])]
        return self.gmn([with_blocks(self.pruned)(one) for one in singles])

    @staticmethod
    def pruned(block: EdgeBlock) -> EdgeBlock:
        kept = (block.edge_attr != 0).any(-1) if block.role else torch.ones(block.num_edges, dtype=torch.bool)
        return replace(
            block,
            edge_index=block.edge_index[:, kept],
            edge_attr=block.edge_attr[kept],
            address=block.address[kept],
        )


class LastGraphFirst(Reader):
    """Returns the rows of a list of graphs in another order."""

    def forward(self, graphs: Graphs) -> Tensor:
        return super().forward(graphs if isinstance(graphs, ParameterGraph) else [*graphs[1:], graphs[0]])


class UnusedParameters(Reader):
    def __init__(self) -> None:
        super().__init__()
        self.rest = nn.Linear(2, 2)


READERS = {
    "index leak": (
        lambda: Reader(node_numbers_as_features),
        "test_permuted_neurons",
        "convolutions: the output of netw",
    ),
    "index leak, relabelled": (
        lambda: Reader(node_numbers_as_features),
        "test_relabelled_nodes_and_edges",
        "whose nodes and edges are in another order is off by",
    ),
    "biases at an offset": (
        lambda: Reader(biases_at_an_offset),
        "test_permuted_neurons",
        r"moved by a random element of the group is off by .*, allowed 1e-10",
    ),
    "a little by order": (
        lambda: Reader(by_order),
        "test_permuted_neurons",
        r"is off by \d\.\de-0[5-9], allowed 1e-10",
    ),
    "no numbers": (
        lambda: Reader(after=lambda out: out * torch.nan),
        "test_permuted_neurons",
        "the output of networks that were moved by a random element of the group is off by inf, allowed 1e-10",
    ),
    "untyped attention": (
        lambda: Reader(untyped_attention),
        "test_exchanged_parameters",
        r"attention: exchanging query\.\w+ .* and key\.\w+ .* changes the function and moves the output by",
    ),
    "attention without heads": (
        lambda: Reader(no_heads),
        "test_neurons_across_heads",
        "attention: exchanging a neuron of .* with one of another head changes the function",
    ),
    "taps without places": (
        lambda: Reader(taps_without_places),
        "test_exchanged_taps",
        "convolutions: exchanging the first and the last of 4 taps of 0.weight",
    ),
    "weights without neurons": (
        lambda: Reader(weights_without_neurons),
        "test_neurons_of_one_parameter",
        "convolutions: shifting the neurons of .* alone changes the function and moves the output by",
    ),
    "inputs and outputs alike": (
        lambda: Reader(inputs_and_outputs_alike),
        "test_exchanged_positions",
        "exchanging places 0 and 1 of the (input|output) axis",
    ),
    "a forgotten role": (
        lambda: Reader(no_running_means),
        "test_every_parameter_matters",
        r"convolutions: other numbers in 1.running_mean \(running_mean\) move the output by 0.0e\+00, wanted more",
    ),
    "zeros are missing edges": (
        ZerosAreMissing,
        "test_zeros_are_weights",
        "of size 1e-0[69] give the output that is .* away .*: a zero is taken for a missing edge",
    ),
    "constant": (lambda: Reader(after=lambda out: out * 0 + 1), "test_networks_differ", "the metanet is constant"),
    "batch statistics": (
        lambda: Reader(after=lambda out: out - 0.5 * out.mean(0)),
        "test_a_batch_is_its_networks",
        "the output of network 0 of a batch of 4, against itself alone, is off by",
    ),
    "mixed up": (LastGraphFirst, "test_a_mixed_batch_is_its_networks", "in a call with other architectures is off by"),
    "cut gradients": (
        lambda: Reader(cut_gradients),
        "test_gradients_of_the_networks",
        "the gradient to the networks' numbers has .* along a random direction, finite differences",
    ),
    "cut output": (
        lambda: Reader(after=lambda out: out.detach()),
        "test_gradients_of_the_networks",
        "no gradient reaches the networks' numbers",
    ),
    "unused parameters": (
        UnusedParameters,
        "test_gradients_of_the_metanet",
        "2 of the metanet's .* parameters get no gradient in any architecture: rest.weight, rest.bias",
    ),
    "written into": (lambda: Reader(overwritten), "test_networks_are_left_alone", "writes into the numbers of"),
    "overflow": (
        lambda: Reader(after=lambda out: (out * 1e25).square()),
        "test_single_precision",
        "8 of 8 numbers in the output are not finite",
    ),
    "one row too few": (
        lambda: Reader(after=lambda out: out[1:]),
        "test_networks_differ",
        r"the metanet returns shape \(3, 2\) for 4 networks, wanted a tensor with a row for each",
    ),
    "a graph, unsaid": (
        lambda: GMNEditor(channels=4, layers=1),
        "test_networks_differ",
        "returns a ParameterGraph for 4 networks, wanted a tensor .* with edits = True",
    ),
}


def leaking_biases(graph: ParameterGraph) -> ParameterGraph:
    """A little of the neighbour's bias: passes at a tolerance of 1e-4."""
    return graph.replace(x=[site.x + 1e-6 * site.x.roll(1, -2) for site in graph.sites])


def cut_ties(graph: ParameterGraph) -> ParameterGraph:
    """The last of the blocks that share addresses gets those of another one."""
    seen: set[int] = set()
    blocks = []
    for block in graph.blocks:
        own = set(block.address.flatten().tolist())
        blocks.append(replace(block, address=block.address.flip(0)) if own & seen else block)
        seen |= own
    return replace(graph, blocks=tuple(blocks))


def rounded(graph: ParameterGraph) -> ParameterGraph:
    return graph.to(torch.float32)


def signed(graph: ParameterGraph) -> ParameterGraph:
    return replace(graph, signature="mine")


def counting(graph: ParameterGraph) -> ParameterGraph:
    return replace(graph, constants={key: value + 1 for key, value in graph.constants.items()})


EDITORS = {
    "leaking biases": (
        lambda: Editor(leaking_biases),
        "test_permuted_neurons",
        r"convolutions: the edit of networks that were moved .* is off by .* in \S+\.?bias, allowed 1e-10",
    ),
    "cut ties": (
        lambda: Editor(cut_ties),
        "test_edits_keep_the_form",
        "tied embedding: the addresses of .* of the edited graph is not that of the graph",
    ),
    "single precision": (lambda: Editor(rounded), "test_edits_keep_the_form", "shape and dtype of .*float32.*wanted"),
    "another signature": (
        lambda: Editor(signed),
        "test_edits_keep_the_form",
        "the signature of the edited graph: found mine, wanted",
    ),
    "other constants": (
        lambda: Editor(counting),
        "test_edits_keep_the_form",
        "convolutions: the constant 1.num_batches_tracked of the edited graph is not that of the graph",
    ),
    "no edit": (nn.Identity, "test_networks_differ", "the edit of random networks 0 and 1 differ by 0.0e"),
    "a tensor, unsaid": (
        lambda: GMN(2, channels=4, layers=1),
        "test_networks_differ",
        r"returns a Tensor, wanted a ParameterGraph \(edits = True\)",
    ),
}


def subject(make: Callable[[], nn.Module], *, editor: bool = False) -> MetanetTests:
    class Subject(MetanetTests):
        edits = editor

        def metanet(self, networks):
            return make()

        def architectures(self):
            return {name: MetanetTests.architectures(self)[name] for name in NAMES}

    return Subject()


@pytest.mark.parametrize("name", READERS)
def test_a_reader_with_a_planted_error(name):
    make, check, words = READERS[name]
    with pytest.raises(AssertionError, match=words):
        getattr(subject(make), check)()


@pytest.mark.parametrize("name", EDITORS)
def test_an_editor_with_a_planted_error(name):
    make, check, words = EDITORS[name]
    with pytest.raises(AssertionError, match=words):
        getattr(subject(make, editor=True), check)()


@pytest.mark.parametrize("make", [Reader, Editor])
def test_without_the_error_nothing_fails(make):
    editor = make is Editor
    healthy = subject(make, editor=editor)
    failing = {}
    for check in {check for _, check, _ in (EDITORS if editor else READERS).values()}:
        try:
            getattr(healthy, check)()
        except AssertionError as error:
            failing[check] = str(error)
    assert failing == {}
