"""The conformance class of traced networks."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from weightspace.space import WeightSpace
from weightspace.testing._isomorphism import assert_isomorphic
from weightspace.testing._networks import (
    TOLERANCE,
    assert_control,
    assert_entries_covered,
    assert_function_kept,
    assert_group_laws,
    assert_json_round_trip,
    assert_order,
    assert_round_trip,
    assert_same_signature,
    full_state,
)
from weightspace.tracing import trace

MAX_EDGES_TO_COMPARE = 20_000


class AbstractTracingConformance(ABC):
    """What `weightspace.trace` must get right for an architecture; subclass it in a test file.

    Attributes:
        log10_order: of the group in closed form, where it is known.
        tolerance: relative, of results in float64.

    Example:
        >>> class TestMLP(AbstractTracingConformance):
        ...     log10_order = 0.7781512503836436  # 3!
        ...     def network(self):
        ...         return nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)), (torch.zeros(1, 2),)
        >>> TestMLP().test_function_is_kept()
    """

    log10_order: float | None = None
    tolerance: float = TOLERANCE

    @abstractmethod
    def network(self) -> tuple[nn.Module, tuple[Any, ...]]:
        """The module and its example inputs."""

    def _made(self) -> tuple[WeightSpace, nn.Module, tuple[Any, ...]]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            module, inputs = self.network()
        return trace(module, *inputs, verify=False), module, inputs

    def _state(self) -> tuple[WeightSpace, dict[str, Tensor]]:
        space, module, _ = self._made()
        return space, full_state(space, module, torch.Generator().manual_seed(0))

    def test_function_is_kept(self) -> None:
        """Random elements of the group keep the function."""
        space, module, inputs = self._made()
        assert_function_kept(space, module, inputs, tolerance=self.tolerance)

    def test_what_is_not_in_the_group_changes_the_function(self) -> None:
        """The negative control."""
        space, module, inputs = self._made()
        assert_control(space, module, inputs)

    def test_order(self) -> None:
        """The group has the order in closed form."""
        if self.log10_order is not None:
            assert_order(self._made()[0], self.log10_order)

    def test_round_trip(self) -> None:
        """The module's state_dict and a random one come back from their graphs bit for bit."""
        space, module, _ = self._made()
        assert_round_trip(space, module.state_dict())
        assert_round_trip(space, self._state()[1])

    def test_every_entry_is_on_the_graph(self) -> None:
        """Every key is known, and every entry lies on an edge or a node, buffers included."""
        space, module, _ = self._made()
        assert_entries_covered(space, module)

    def test_json_round_trip(self) -> None:
        """The space as text, and back."""
        assert_json_round_trip(*self._state())

    def test_signature(self) -> None:
        """Other weights have the same signature."""
        _, module, inputs = self._made()
        assert_same_signature(module, inputs)

    def test_group_laws(self) -> None:
        """Composition, inverse, identity."""
        assert_group_laws(*self._state())

    def test_moved_networks_have_isomorphic_graphs(self) -> None:
        """What computes the same has the same graph; large graphs are left out."""
        space, state = self._state()
        if space.to_graph(state).num_edges <= MAX_EDGES_TO_COMPARE:
            assert_isomorphic(space, state)
