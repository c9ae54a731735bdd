"""What a metanet that edits hands back: networks of the same form, which load into their module."""

import copy

import torch
from torch import Tensor

from weightspace.graph import EdgeBlock, ParameterGraph, Site
from weightspace.testing._subjects import Subject


def assert_form_kept(subject: Subject) -> None:
    """An edited graph has the signature, topology, addresses, constants, shapes and dtypes of the graph."""
    for example in subject.examples:
        entries = example.random(2)
        for graph in (example.graph(entries[0]), example.graphs(entries)):
            with torch.no_grad():
                edited = subject.edited(subject.metanet(graph), example)
            for what, found, wanted in _form(edited, graph):
                assert found == wanted, f"{example.name}: {what} of the edited graph: found {found}, wanted {wanted}"
            for what, mine, own in _tensors(edited, graph):
                assert torch.equal(mine, own), f"{example.name}: {what} of the edited graph is not that of the graph"


def assert_edits_load(subject: Subject) -> None:
    """Edited networks load into the module, tied weights are equal there, and they can be edited again."""
    for example in subject.examples:
        entries, space = example.random(2), example.space
        with torch.no_grad():
            edited = space.to_state_dict(subject.metanet(example.graphs(entries)), tied="mean")
            state = {key: value[0] for key, value in edited.items()}
            module = copy.deepcopy(example.network.module).double()
            module.load_state_dict(state)
            loaded = module.state_dict()
            wrong = [key for key in space.keys if not torch.equal(loaded[key], state[key])]
            assert not wrong, (
                f"{example.name}: {', '.join(wrong)} of the module are not what was loaded: tied weights must stay tied"
            )
            again = subject.answers(example, example.entries(edited))
        assert bool(torch.isfinite(again).all()), f"{example.name}: the edit of edited networks is not finite"


def _form(edited: ParameterGraph, graph: ParameterGraph) -> list[tuple[str, object, object]]:
    pairs: list[tuple[str, object, object]] = [
        ("the signature", edited.signature, graph.signature),
        ("the number of sites", len(edited.sites), len(graph.sites)),
        ("the number of blocks", len(edited.blocks), len(graph.blocks)),
        ("the dtypes", dict(edited.dtypes), dict(graph.dtypes)),
        ("the names of the constants", sorted(edited.constants), sorted(graph.constants)),
    ]
    for mine, own in _parts(edited, graph):
        a, b = _numbers(mine), _numbers(own)
        pairs.append((f"shape and dtype of {own.name}", (tuple(a.shape), a.dtype), (tuple(b.shape), b.dtype)))
    return pairs


def _tensors(edited: ParameterGraph, graph: ParameterGraph) -> list[tuple[str, Tensor, Tensor]]:
    found = [(f"the constant {key}", edited.constants[key], value) for key, value in graph.constants.items()]
    for mine, own in _parts(edited, graph):
        found.append((f"the addresses of {own.name}", mine.address, own.address))
        if isinstance(mine, EdgeBlock) and isinstance(own, EdgeBlock):
            found.append((f"the edges of {own.name}", mine.edge_index, own.edge_index))
    return found


def _parts(edited: ParameterGraph, graph: ParameterGraph) -> list[tuple[Site | EdgeBlock, Site | EdgeBlock]]:
    return [*zip(edited.sites, graph.sites, strict=False), *zip(edited.blocks, graph.blocks, strict=False)]


def _numbers(part: Site | EdgeBlock) -> Tensor:
    return part.x if isinstance(part, Site) else part.edge_attr
