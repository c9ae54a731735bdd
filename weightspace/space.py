"""The weight space of an architecture: named axes, neuron groups, the symmetry group, and the way to graphs
and back.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from weightspace.axes import FREE, AtomSpec, atoms_of
from weightspace.block_stream import MAX_EDGES, check_edge_count, iter_blocks
from weightspace.conversion import GraphLayout, check_state_dict, check_tied
from weightspace.describe_space import describe_space
from weightspace.errors import WeightspaceError
from weightspace.graph import EdgeBlock, ParameterGraph
from weightspace.group import EntryAction, GroupElement, PermutationGroup
from weightspace.parameters import NeuronGroup, ParameterSpec
from weightspace.permutation_spec import PermutationSpec, permutation_spec
from weightspace.space_json import space_fields, space_text
from weightspace.topology import BlockPlan, SitePlan

__all__ = ["NeuronGroup", "ParameterSpec", "WeightSpace"]


@dataclass(frozen=True)
class WeightSpace:
    """What is known of an architecture's weights; made by `weightspace.trace`, holds no weights.

    Args:
        parameters: name -> `ParameterSpec`, in state_dict order; floating buffers included.
        atoms: name -> what is known of the atom.
        sites, blocks: the plan of the parameter graph.
        signature: digest of names, shapes, axes, operations and attributes.
        operations: the normalised description of the computation, a line each.
        keys: every key of the state_dict, in order.
        tied: keys that share another key's tensor -> that key.
        symmetries: what the space was traced for: `"permutation"`, and on request `"sign"` and `"scale"`.
        max_edges: graphs with more edges are not built in one piece.
    """

    parameters: Mapping[str, ParameterSpec]
    atoms: Mapping[str, AtomSpec]
    sites: tuple[SitePlan, ...]
    blocks: tuple[BlockPlan, ...]
    signature: str
    operations: tuple[str, ...]
    keys: tuple[str, ...]
    tied: Mapping[str, str] = field(default_factory=dict)
    symmetries: tuple[str, ...] = ("permutation",)
    max_edges: int = field(default=MAX_EDGES, compare=False)

    # --- symmetry

    @cached_property
    def _acting(self) -> dict[str, list[tuple[str, int]]]:
        members: dict[str, list[tuple[str, int]]] = {}
        for parameter, spec in self.parameters.items():
            for dim, axis in enumerate(spec.axes):
                for name in dict.fromkeys(atoms_of(axis)):
                    if self.atoms[name].kind == FREE and self.atoms[name].size > 1:
                        members.setdefault(name, []).append((parameter, dim))
        return members

    @cached_property
    def group(self) -> PermutationGroup:
        """The effective permutation group."""
        return PermutationGroup(self.atoms, list(self._acting))

    @cached_property
    def groups(self) -> tuple[NeuronGroup, ...]:
        """Neuron groups: name, size, kind, base, and the parameter dimensions that each acts on."""
        return tuple(
            NeuronGroup(name, spec.size, "fibre" if spec.over else "symmetric", spec.over, tuple(members))
            for name, members in self._acting.items()
            for spec in [self.atoms[name]]
        )

    @property
    def log10_order(self) -> float:
        """log10 of the order of the permutation group."""
        return self.group.log10_order

    @property
    def frozen(self) -> dict[str, str]:
        """Axis -> the operation that froze it; empty where every axis found its rule."""
        return {name: spec.reason for name, spec in self.atoms.items() if spec.kind == "frozen"}

    def identity(self) -> GroupElement:
        """The element that moves nothing."""
        return self.group.identity()

    def random_element(self, generator: torch.Generator | None = None, n: int | None = None) -> GroupElement:
        """Uniform over the group; with n a batch of elements, one per model of a stack."""
        return self.group.random(generator, n)

    def compose(self, g: GroupElement, h: GroupElement) -> GroupElement:
        """The element that acts as h, then as g: `act(compose(g, h), s) == act(g, act(h, s))`."""
        return self.group.compose(g, h)

    def inverse(self, g: GroupElement) -> GroupElement:
        """The element that takes g back."""
        return self.group.inverse(g)

    @cached_property
    def _actions(self) -> dict[str, EntryAction]:
        return {name: EntryAction(spec, self.group) for name, spec in self.parameters.items()}

    def act(self, g: GroupElement, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A new state_dict of the same function: every key, entries moved; differentiable.

        Args:
            g: one element, or a batch of n.
            state_dict: of one network, or stacked tensors (n, ...) of n networks, moved model by model.

        Raises:
            StateDictError: a key is missing or unknown, a shape or the number of models does not fit.
        """
        stacked = check_state_dict(self, state_dict, models=g.n)
        moved = {
            name: action(g, state_dict[name], stacked=stacked is not None) for name, action in self._actions.items()
        }
        lead = () if g.n is None or stacked is not None else (g.n,)
        result = {}
        for key in self.keys:
            known = moved.get(self.tied.get(key, key))
            result[key] = state_dict[key].expand((*lead, *state_dict[key].shape)) if known is None else known
        return result

    def canonicalize(self, state_dict: Mapping[str, Tensor], budget: int = 1000, return_element: bool = False) -> Any:
        """One state_dict for all that the group takes into each other; see `weightspace.symmetry.canonicalize`."""
        from weightspace.symmetry import canonicalize

        return canonicalize(self, state_dict, budget, return_element=return_element)

    @cached_property
    def scalings(self) -> Any:
        """The `weightspace.symmetry.ScalingGroup` of positive scales and signs that the space was traced for."""
        from weightspace.symmetry import ScalingGroup

        return ScalingGroup(self)

    @property
    def scale_dim(self) -> int:
        """Dimension of the group of positive scales that keep the function."""
        return self.scalings.dimension("scale")

    @property
    def sign_rank(self) -> int:
        """Rank of the group of sign changes that keep the function."""
        return self.scalings.dimension("sign")

    def random_scaling(self, generator: torch.Generator | None = None) -> Any:
        """A random `weightspace.symmetry.Scaling`: a factor for each entry; together they keep the function."""
        return self.scalings.random(generator)

    def rescale(self, scaling: Any, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A new state_dict of the same function: every entry times its factor; differentiable."""
        return self.scalings.rescale(scaling, state_dict)

    def verify(
        self,
        module: nn.Module,
        *inputs: Any,
        example_kwargs: Mapping[str, Any] | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        """Check the derived group on random weights; see `weightspace.symmetry.verify`."""
        from weightspace.symmetry import verify

        verify(self, module, *inputs, example_kwargs=example_kwargs, dtype=dtype)

    # --- graphs

    @cached_property
    def layout(self) -> GraphLayout:
        """Index tensors of the parameter graph, made once."""
        check_edge_count(self)
        return GraphLayout(self)

    def to_graph(self, state_dict: Mapping[str, Tensor]) -> ParameterGraph:
        """The parameter graph of one network.

        Raises:
            StateDictError: a key is missing or unknown, a shape is wrong, a value is not finite, tied keys differ.
            WeightspaceError: the graph has more than `max_edges` edges; the message says how many, and what to do.
        """
        if check_state_dict(self, state_dict, finite=True) is not None:
            raise WeightspaceError(
                "to_graph: found stacked tensors of several networks, wanted one state_dict; use to_graphs(stacked)"
            )
        return self.layout.graph(state_dict, ())

    def to_graphs(self, stacked: Mapping[str, Tensor]) -> ParameterGraph:
        """One graph with a leading model dimension for stacked tensors (B, ...); materialised, no view of them.

        Raises:
            StateDictError: as in `to_graph`.
        """
        models = check_state_dict(self, stacked, finite=True)
        if models is None:
            raise WeightspaceError(
                "to_graphs: found one state_dict, wanted stacked tensors (B, ...); use to_graph(state_dict)"
            )
        return self.layout.graph(stacked, (models,))

    def iter_blocks(self, state_dict: Mapping[str, Tensor], *, numbers: int = 2**22) -> Iterator[EdgeBlock]:
        """The edge blocks of one network's graph one after the other, made when asked for and not kept.

        For networks whose graph does not fit in memory. Node numbers are those of `to_graph`; a large block comes in
        several pieces, by its targets.

        Args:
            state_dict: of one network.
            numbers: entries, addresses and indices that a piece holds, about; a target's edges stay together.

        Raises:
            StateDictError: as in `to_graph`.
        """
        if check_state_dict(self, state_dict, finite=True) is not None:
            raise WeightspaceError(
                "iter_blocks: found stacked tensors of several networks, wanted one state_dict; take one of them first"
            )
        check_tied(self, state_dict)
        return iter_blocks(self, state_dict, numbers=numbers)

    def to_state_dict(self, graph: ParameterGraph, tied: str = "check") -> dict[str, Tensor]:
        """The way back: every key, bit for bit, whatever the order of nodes and edges.

        Args:
            graph: of this space (one network, or a batch: then tensors are stacked).
            tied: entries that lie on several edges must agree (`"check"`), or are averaged (`"mean"`, after an edit).

        Raises:
            StateDictError: the graph is of another space, an entry lies nowhere, or tied entries differ.
        """
        return self.layout.state_dict(graph, tied)

    # --- text

    def to_permutation_spec(self) -> PermutationSpec:
        """The group in the form of Git Re-Basin, lossy: a warning names what it cannot hold, which is left out whole.

        Sums, products (heads, channels behind a flatten) and fibres cannot be written; a group that occurs in one is
        fixed everywhere, so what is written is a symmetry still. `weightspace.tracing.from_permutation_spec` reads it.
        """
        return permutation_spec(self)

    def to_json(self) -> str:
        """The space as JSON text."""
        return space_text(self)

    @classmethod
    def from_json(cls, text: str) -> "WeightSpace":
        """Inverse of `to_json`.

        Raises:
            WeightspaceError: the text is not a weight space of this format.
        """
        return cls(**space_fields(text))

    def describe(self, *, everything: bool = False) -> str:
        """A table for people: parameters with their axes, groups, order, and what is frozen and why.

        Args:
            everything: a line for each parameter; by default repeated layers of large networks share lines.
        """
        return describe_space(self, everything=everything)

    def __repr__(self) -> str:
        total = sum(spec.numel for spec in self.parameters.values())
        size = f"{len(self.parameters)} parameters, {total:,} entries"
        return f"WeightSpace({size}, log10 order {self.log10_order:.2f}, {self.signature[:12]})"
