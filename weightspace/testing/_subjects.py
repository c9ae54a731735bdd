"""A metanet under test: random networks of its example architectures, and what it makes of them, as plain numbers."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from weightspace.graph import ParameterGraph
from weightspace.metanets import TracedNetwork
from weightspace.runner import evaluation_call
from weightspace.space import WeightSpace
from weightspace.symmetry import random_state
from weightspace.symmetry._double import DoublePrecision
from weightspace.testing._networks import random_inputs, relative_error
from weightspace.tracing import trace

MOVED = 1e-6


@dataclass(frozen=True)
class Example:
    """An architecture, and random networks of it as rows of numbers.

    Args:
        name: for messages.
        network: the architecture.

    Shapes:
        entries: (B, P), the floating entries of B networks in the order of their addresses.
    """

    name: str
    network: TracedNetwork

    @property
    def space(self) -> WeightSpace:
        """The architecture's weight space."""
        return self.network.space

    def random(self, count: int, *, seed: int = 0) -> Tensor:
        """Entries (B, P) of random networks in float64: every floating entry, variances positive."""
        generator = torch.Generator().manual_seed(seed)
        buffers = dict(self.network.module.named_buffers())
        return self.entries(_stack([random_state(self.space, generator, like=buffers) for _ in range(count)]))

    def entries(self, stacked: Mapping[str, Tensor]) -> Tensor:
        """Entries (B, P) of stacked states."""
        return torch.cat([stacked[name].flatten(1) for name in self.space.parameters], dim=1)

    def states(self, entries: Tensor) -> dict[str, Tensor]:
        """Stacked states (B, ...) with every key; differentiable."""
        specs = self.space.parameters
        columns = entries.split([spec.numel for spec in specs.values()], dim=1)
        values = {
            name: column.reshape(len(entries), *spec.shape)
            for (name, spec), column in zip(specs.items(), columns, strict=True)
        }
        own = self.network.module.state_dict()
        rest = {key: own[key].expand(len(entries), *own[key].shape) for key in self.space.keys}
        return {key: values.get(self.space.tied.get(key, key), rest[key]) for key in self.space.keys}

    def graphs(self, entries: Tensor) -> ParameterGraph:
        """One graph of B networks."""
        return self.space.to_graphs(self.states(entries))

    def graph(self, entries: Tensor) -> ParameterGraph:
        """The graph of one network, without a model dimension; entries (P,)."""
        return self.space.to_graph({key: value[0] for key, value in self.states(entries[None]).items()})

    def function_changes(self, before: Tensor, after: Tensor) -> bool:
        """Whether two networks, (P,) each, differ on random inputs."""
        args = random_inputs(self.network.inputs, torch.Generator().manual_seed(1))
        module = copy.deepcopy(self.network.module).double()
        results = []
        with torch.no_grad(), DoublePrecision():
            for entries in (before, after):
                state = {key: value[0] for key, value in self.states(entries[None]).items()}
                results.append(evaluation_call(module, state, args, {}))
        return relative_error(results[1], results[0]) > MOVED


@dataclass(frozen=True)
class Subject:
    """A metanet with the architectures that it is tested on.

    Args:
        metanet: in float64 and in evaluation mode.
        edits: whether it returns graphs.
        examples: the architectures.
    """

    metanet: nn.Module
    edits: bool
    examples: tuple[Example, ...]

    def answers(self, example: Example, entries: Tensor) -> Tensor:
        """What the metanet makes of networks, a row (B, F) for each: its outputs, or the edit of every entry."""
        return self.numbers(self.metanet(example.graphs(entries)), example, entries)

    def numbers(self, result: Any, example: Example, entries: Tensor) -> Tensor:
        """A result of the metanet as a row (B, F) for each network.

        Raises:
            AssertionError: it has another form.
        """
        models = len(entries)
        if self.edits:
            edited = example.space.to_state_dict(self.edited(result, example), tied="mean")
            edited = edited if result.batch_shape else {key: value[None] for key, value in edited.items()}
            return example.entries(edited) - entries
        assert isinstance(result, Tensor) and result.dim() > 0 and len(result) == models, (
            f"{example.name}: the metanet returns {_form(result)} for {models} networks, wanted a tensor with a row "
            "for each (or a graph, with edits = True)"
        )
        return result.flatten(1)

    def edited(self, result: Any, example: Example) -> ParameterGraph:
        """The graph that a metanet returns.

        Raises:
            AssertionError: it returns something else.
        """
        assert isinstance(result, ParameterGraph), (
            f"{example.name}: the metanet returns a {type(result).__name__}, wanted a ParameterGraph (edits = True)"
        )
        return result


def make_subject(
    metanet: Any, architectures: Mapping[str, tuple[nn.Module, tuple[Any, ...]]], *, edits: bool, symmetries: Any
) -> Subject:
    """Trace the architectures, and make the metanet for them.

    Args:
        metanet: takes the traced networks, makes the metanet.
        architectures: name -> module and example inputs.
        edits: whether the metanet returns graphs.
        symmetries: that the spaces are traced for.
    """
    examples = tuple(
        Example(name, TracedNetwork(trace(module, *inputs, symmetries=symmetries), module, inputs))
        for name, (module, inputs) in architectures.items()
    )
    made = metanet(tuple(example.network for example in examples))
    return Subject(made.double().eval(), edits, examples)


def difference(found: Tensor, wanted: Tensor) -> float:
    """The largest difference of two tables of answers, relative to the largest of what is wanted."""
    return relative_error([found], [wanted])


def _stack(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {key: torch.stack([state[key] for state in states]) for key in states[0]}


def _form(result: Any) -> str:
    return f"shape {tuple(result.shape)}" if isinstance(result, Tensor) else f"a {type(result).__name__}"
