"""Asserts on metanets, and their conformance class."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from weightspace.graph import ParameterGraph
from weightspace.space import WeightSpace
from weightspace.testing._networks import TOLERANCE, full_state, relative_error
from weightspace.tracing import trace


def assert_invariant(
    metanet: nn.Module, space: WeightSpace, state: Mapping[str, Tensor], *, tolerance: float = TOLERANCE, seed: int = 0
) -> None:
    """A metanet that reads has one result for a network, its relabelled graph, and the network moved by the group."""
    generator = torch.Generator().manual_seed(seed)
    graph = space.to_graph(state)
    moved = space.to_graph(space.act(space.random_element(generator), state))
    with torch.no_grad():
        wanted = metanet(graph)
        for name, other in (("relabelled", graph.relabel(generator)), ("moved by the group", moved)):
            error = relative_error([metanet(other)], [wanted])
            assert error <= tolerance, (
                f"the result of the {name} network is off by {error:.1e}, allowed {tolerance:.0e}"
            )


def assert_equivariant(
    metanet: nn.Module, space: WeightSpace, state: Mapping[str, Tensor], *, tolerance: float = TOLERANCE, seed: int = 0
) -> None:
    """A metanet that edits gives the same entries for a relabelled graph, and moved ones for a moved network."""
    generator = torch.Generator().manual_seed(seed)
    graph, element = space.to_graph(state), space.random_element(generator)

    def edit(each: ParameterGraph) -> dict[str, Tensor]:
        return space.to_state_dict(metanet(each), tied="mean")

    with torch.no_grad():
        wanted = edit(graph)
        pairs = {
            "relabelled": (edit(graph.relabel(generator)), wanted),
            "moved by the group": (edit(space.to_graph(space.act(element, state))), space.act(element, wanted)),
        }
    for name, (found, right) in pairs.items():
        for key in space.parameters:
            error = relative_error([found[key]], [right[key]])
            assert error <= tolerance, (
                f"{key} of the network that was {name}: off by {error:.1e}, allowed {tolerance:.0e}"
            )


def assert_sensitive(metanet: nn.Module, space: WeightSpace, state: Mapping[str, Tensor]) -> None:
    """Every parameter of a network matters to what a metanet makes of it."""

    def run(changed: Mapping[str, Tensor]) -> list[Tensor]:
        return _numbers(metanet(space.to_graph(changed)))

    with torch.no_grad():
        before = run(state)
        for name in space.parameters:
            changed = {k: v.flip(-1) * 1.5 + 0.1 if space.tied.get(k, k) == name else v for k, v in state.items()}
            after = run(changed)
            mine = sum(not torch.equal(a, b) for a, b in zip(after, before, strict=True))
            own = int(len(before) > 1)  # an editor's graph holds the changed numbers themselves
            assert mine > own, f"{name} does not matter to the metanet"


class AbstractMetanetConformance(ABC):
    """What a metanet must get right; subclass it in a test file.

    Attributes:
        edits: whether it returns graphs (and is equivariant) or tensors with a row for each network (and is invariant).
        tolerance: relative, in float64.
    """

    edits: bool = False
    tolerance: float = TOLERANCE

    @abstractmethod
    def metanet(self) -> nn.Module:
        """The metanet; it takes a `ParameterGraph`, of one network or of several."""

    def network(self) -> tuple[nn.Module, tuple[Any, ...]]:
        """A network for it to read, and example inputs; by default convolutions with norms and a flatten."""
        net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Conv2d(4, 3, 2), nn.BatchNorm2d(3))
        return net.extend([nn.Tanh(), nn.Flatten(), nn.Linear(12, 2)]), (torch.zeros(1, 1, 5, 5),)

    def _made(self) -> tuple[nn.Module, WeightSpace, dict[str, Tensor]]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            metanet = self.metanet().double().eval()
            module, inputs = self.network()
        space = trace(module, *inputs)
        return metanet, space, full_state(space, module, torch.Generator().manual_seed(0))

    def test_symmetry(self) -> None:
        """Invariant or equivariant under the group and under relabelling."""
        metanet, space, state = self._made()
        check = assert_equivariant if self.edits else assert_invariant
        check(metanet, space, state, tolerance=self.tolerance)

    def test_a_batch_is_its_networks(self) -> None:
        """Networks in one batch get what each gets alone."""
        metanet, space, state = self._made()
        states = [{k: v * n if v.is_floating_point() else v for k, v in state.items()} for n in (1.0, 0.5, 2.0)]
        batch = space.to_graphs({key: torch.stack([s[key] for s in states]) for key in state})
        with torch.no_grad():
            together = metanet(batch)
            alone = [metanet(space.to_graph(s)) for s in states]
        for n, one in enumerate(alone):
            mine = together.unbatch(n) if isinstance(together, ParameterGraph) else together[n : n + 1]
            error = relative_error(_numbers(mine), _numbers(one))
            assert error <= self.tolerance, f"network {n} of a batch is off by {error:.1e} from itself alone"

    def test_every_parameter_matters(self) -> None:
        """No parameter of the network is overlooked."""
        assert_sensitive(*self._made())


def _numbers(result: Tensor | ParameterGraph) -> list[Tensor]:
    if isinstance(result, Tensor):
        return [result]
    return [site.x for site in result.sites] + [block.edge_attr for block in result.blocks]
