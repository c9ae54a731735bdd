"""How a metanet learns of the architectures that it will read, where their parameter graphs alone are not enough.

A metanet that runs the networks (probes) or fixes its sizes by them (a flattened MLP) has a method `attach`, which is
called before training and after loading. What is attached is no parameter and no part of the state_dict.
"""

import copy
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from weightspace.errors import WeightspaceError
from weightspace.graph import ParameterGraph
from weightspace.runner import Runner
from weightspace.space import WeightSpace


@dataclass(frozen=True)
class TracedNetwork:
    """An architecture with what is needed to run networks of it.

    Args:
        space: what `weightspace.trace` made of the module.
        module: gives the computation; its own weights are not used.
        inputs: example inputs, as for `weightspace.trace`.

    Example:
        >>> import torch, weightspace as ws
        >>> net, x = torch.nn.Linear(2, 3), torch.zeros(1, 2)
        >>> len(TracedNetwork(ws.trace(net, x), net, (x,)).signature)
        32
    """

    space: WeightSpace
    module: nn.Module
    inputs: tuple[Any, ...]

    @property
    def signature(self) -> str:
        """Of the space."""
        return self.space.signature


@runtime_checkable
class NetworkReader(Protocol):
    """A metanet that must know the architectures beside their graphs: `isinstance(metanet, NetworkReader)`."""

    def attach(self, networks: Mapping[str, TracedNetwork] | Iterable[TracedNetwork]) -> None:
        """Make architectures known, those of earlier calls beside them.

        Args:
            networks: by their signatures, or without.

        Raises:
            WeightspaceError: a key that is not the network's signature, or a network that the metanet cannot read.
        """


class AttachedNetworks:
    """The architectures that were attached to a metanet; a plain object, so that `nn.Module` registers nothing of it.

    Args:
        owner: name of the metanet's class, for messages.
    """

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self._networks: dict[str, TracedNetwork] = {}
        self._runners: dict[tuple[str, torch.device, torch.dtype, bool], Runner] = {}
        self._topologies: dict[tuple[str, torch.device], ParameterGraph] = {}

    def add(self, networks: Mapping[str, TracedNetwork] | Iterable[TracedNetwork]) -> None:
        """Take more networks.

        Raises:
            WeightspaceError: a key that is not the network's signature.
        """
        for key, network in listed(networks, owner=self.owner):
            self._networks[key] = network
            self._runners = {known: runner for known, runner in self._runners.items() if known[0] != key}
            self._topologies = {known: graph for known, graph in self._topologies.items() if known[0] != key}

    def __getstate__(self) -> dict[str, Any]:
        """Copies make their own runners and topologies."""
        return {**self.__dict__, "_runners": {}, "_topologies": {}}

    def __iter__(self) -> Iterator[TracedNetwork]:
        return iter(self._networks.values())

    def __len__(self) -> int:
        return len(self._networks)

    def __getitem__(self, signature: str) -> TracedNetwork:
        """The network of a signature.

        Raises:
            WeightspaceError: it was not attached.
        """
        if signature not in self._networks:
            known = ", ".join(name[:12] for name in list(self._networks)[:5]) or "none"
            raise WeightspaceError(
                f"{self.owner}: found a network of architecture {signature[:12]}, which is not attached (attached: "
                f"{known}); call attach([TracedNetwork(space, module, inputs), ...]) before training and after loading"
            )
        return self._networks[signature]

    def runner(self, signature: str, *, like: Tensor, example: Tensor | None = None) -> Runner:
        """Runs networks of an attached architecture.

        Args:
            signature: of the architecture.
            like: constants of the module follow its device and dtype.
            example: an input for which activations are wanted. The module is exported for it at once, because it
                cannot be exported inside `torch.vmap`.
        """
        key = (signature, like.device, like.dtype, example is not None)
        if key not in self._runners:
            network = self[signature]
            module = copy.deepcopy(network.module).to(device=like.device, dtype=like.dtype)
            self._runners[key] = Runner(network.space, module)
            if example is not None:
                stacked = {name: value[None] for name, value in module.state_dict().items()}
                with torch.no_grad(), batched(self.owner, signature):
                    self._runners[key].activations(stacked, example.detach())
        return self._runners[key]

    def topology(self, signature: str, device: torch.device) -> ParameterGraph:
        """A graph of the architecture with nodes and edges in the order of its space, all values 0."""
        key = (signature, device)
        if key not in self._topologies:
            network = self[signature]
            zeros = {
                name: torch.zeros_like(value, device=device) for name, value in network.module.state_dict().items()
            }
            self._topologies[key] = network.space.to_graph(zeros)
        return self._topologies[key]


@contextmanager
def batched(owner: str, signature: str) -> Iterator[None]:
    """Says which architecture it is where an operation cannot be run for many networks at once.

    Raises:
        WeightspaceError: `torch.vmap` has no batching rule.
    """
    try:
        yield
    except RuntimeError as error:
        if "Batching rule not implemented" not in str(error):
            raise
        raise WeightspaceError(
            f"{owner}: networks of architecture {signature[:12]} cannot be run at once: {str(error).splitlines()[0]} "
            "Leave this architecture out, or take a metanet without probes"
        ) from error


def listed(
    networks: Mapping[str, TracedNetwork] | Iterable[TracedNetwork], *, owner: str
) -> list[tuple[str, TracedNetwork]]:
    """Signatures and networks.

    Raises:
        WeightspaceError: something that is no `TracedNetwork`, or a key that is not the network's signature.
    """
    pairs = list(networks.items()) if isinstance(networks, Mapping) else [(None, network) for network in networks]
    result = []
    for key, network in pairs:
        if not isinstance(network, TracedNetwork):
            raise WeightspaceError(
                f"{owner}.attach: found a {type(network).__name__}, wanted TracedNetwork(space, module, inputs)"
            )
        if key not in (None, network.signature):
            raise WeightspaceError(
                f"{owner}.attach: found a network of architecture {network.signature[:12]} under the key "
                f"{str(key)[:12]!r}, wanted its signature; pass a list, or {{network.signature: network}}"
            )
        result.append((network.signature, network))
    return result
