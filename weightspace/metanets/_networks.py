"""How a metanet learns of the architectures that it will read, where their parameter graphs alone are not enough.

A metanet that runs the networks (probes) or fixes its sizes by them (a flattened MLP) has a method `attach`, which is
called before training and after loading. What is attached is no parameter and no part of the state_dict.
"""

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from weightspace.errors import WeightspaceError
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
        self._runners: dict[tuple[str, torch.device, torch.dtype], Runner] = {}

    def add(self, networks: Mapping[str, TracedNetwork] | Iterable[TracedNetwork]) -> None:
        """Take more networks.

        Raises:
            WeightspaceError: a key that is not the network's signature.
        """
        for key, network in listed(networks, owner=self.owner):
            self._networks[key] = network
            self._runners = {known: runner for known, runner in self._runners.items() if known[0] != key}

    def __getstate__(self) -> dict[str, Any]:
        """Copies make their own runners."""
        return {**self.__dict__, "_runners": {}}

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

    def runner(self, signature: str, *, device: torch.device, dtype: torch.dtype) -> Runner:
        """Runs networks of an attached architecture; constants of its own are on the device, of the dtype."""
        key = (signature, device, dtype)
        if key not in self._runners:
            network = self[signature]
            module = copy.deepcopy(network.module).to(device=device, dtype=dtype)
            self._runners[key] = Runner(network.space, module)
        return self._runners[key]


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
