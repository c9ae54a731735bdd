"""Learned inputs that are run through the networks of a batch, one architecture at a time, all its networks at once.

Legend of shape comments: P probes, B networks of one architecture, N nodes, n nodes of one site, C channels.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from weightspace.errors import ConfigurationError, WeightspaceError
from weightspace.graph import ParameterGraph
from weightspace.metanets._networks import AttachedNetworks, TracedNetwork, listed
from weightspace.metanets._node_order import node_order
from weightspace.metanets._union import Union
from weightspace.runner import Runner


def input_shapes(networks: Mapping[str, TracedNetwork] | Iterable[TracedNetwork]) -> list[list[int]]:
    """The different shapes of the networks' example inputs, batch dimension included: what probes are made for.

    Networks whose input is not one floating tensor are left out.

    Example:
        >>> import weightspace as ws
        >>> net, x = nn.Linear(2, 3), torch.zeros(1, 2)
        >>> input_shapes([TracedNetwork(ws.trace(net, x), net, (x,))])
        [[1, 2]]
    """
    shapes = {input_shape(network) for _, network in listed(networks, owner="input_shapes")}
    return [list(shape) for shape in sorted(shape for shape in shapes if shape is not None)]


def input_shape(network: TracedNetwork) -> tuple[int, ...] | None:
    """Shape of a network's example input; None where that is not one floating tensor, so that no probe is learned."""
    if len(network.inputs) != 1:
        return None
    value = network.inputs[0]
    return tuple(value.shape) if isinstance(value, Tensor) and value.is_floating_point() else None


class ProbeFeatures(nn.Module):
    """Features of the nodes from what the neurons do with learned inputs.

    Kofinas et al. 2024 (arXiv 2403.12143, "Probe features"): the values of a neuron for P learned inputs, behind a
    linear map and a LayerNorm, are added to the features of its node. Deviations: where a neuron has several values for
    one input (positions of a feature map, tokens), their mean and root mean square; one map for all sites in place of
    one per layer, so that architectures can differ. Nodes that are no activation (parameters, product nodes) get a
    learned constant, and so do all nodes of a network whose input is not one floating tensor (token numbers). Networks
    that `torch.vmap` cannot run at once (an LSTM) are refused.

    Args:
        channels: of nodes.
        probes: shapes (P, *input) of the stacks of learned inputs, one for each shape of the networks' example inputs,
            batch dimension included; see `input_shapes`.
        owner: the metanet's class, for messages.

    Shapes:
        result (N, C), rows as in `Union`.

    Raises:
        ConfigurationError: stacks of different sizes P.
    """

    def __init__(self, channels: int, probes: Sequence[Sequence[int]], *, owner: str):
        super().__init__()
        sizes = {shape[0] for shape in probes}
        if len(sizes) != 1:
            raise ConfigurationError(
                f"{owner}: found probes={[list(shape) for shape in probes]}, wanted stacks of one size: [[16, 1, 2]] "
                "is 16 probes for networks with example inputs of shape (1, 2)"
            )
        self.networks = AttachedNetworks(owner)
        self.probes = nn.ParameterDict({_key(shape[1:]): 2 * torch.rand(*shape) - 1 for shape in probes})
        self.project, self.norm = nn.Linear(2 * sizes.pop(), channels), nn.LayerNorm(channels)

    def attach(self, networks: Mapping[str, TracedNetwork] | Iterable[TracedNetwork]) -> None:
        """Make architectures known.

        Raises:
            WeightspaceError: an input of a shape that has no probes.
        """
        pairs = listed(networks, owner=self.networks.owner)
        for _, network in pairs:
            shape = input_shape(network)
            if shape is not None and _key(shape) not in self.probes:
                raise WeightspaceError(
                    f"{self.networks.owner}.attach: architecture {network.signature[:12]} takes inputs of shape "
                    f"{shape}, there are probes of {', '.join(self.probes)}; give it a stack in probes"
                )
        self.networks.add(network for _, network in pairs)

    def forward(self, union: Union) -> Tensor:
        """Features of all nodes."""
        values = {}
        for signature, members in by_architecture(union.graphs).items():
            runs = self._responses(signature, [union.graphs[g] for g in members])
            values.update({(g, j): rows for g, sites in zip(members, runs, strict=True) for j, rows in sites.items()})
        like = self.project.weight
        rows = []
        for family in union.node_families:
            for g, j in family.members:
                size = union.sizes[g] * union.graphs[g].sites[j].num_nodes
                rows.append(values[g, j] if (g, j) in values else like.new_zeros(size, like.shape[1]))
        return self.norm(self.project(torch.cat(rows)))  # (N, C)

    def _responses(self, signature: str, graphs: Sequence[ParameterGraph]) -> list[dict[int, Tensor]]:
        """For graphs of one architecture, the (B n, 2 P) responses of each site that is an activation."""
        network = self.networks[signature]
        shape = input_shape(network)
        if shape is None:
            return [{} for _ in graphs]
        probes = self.probes[_key(shape)]
        runner = self.networks.runner(signature, like=probes, example=probes[0])
        stacked, sizes = stacked_states(network, graphs, probes.dtype)
        responses = {site: _moments(value) for site, value in _activations(runner, stacked, probes).items()}
        canonical = self.networks.topology(signature, probes.device)
        result: list[dict[int, Tensor]] = []
        pieces = {site: value.split(sizes) for site, value in responses.items()}  # each (B, n, 2 P)
        for i, graph in enumerate(graphs):
            order = node_order(graph, canonical)
            mine = {site: values[i] for site, values in pieces.items()}
            if order is not None:
                mine = {site: value.index_select(1, order[site]) for site, value in mine.items()}
            result.append({site: value.flatten(0, 1) for site, value in mine.items()})
        return result


def by_architecture(graphs: Sequence[ParameterGraph]) -> dict[str, list[int]]:
    """Numbers of the graphs of each signature."""
    members: dict[str, list[int]] = {}
    for g, graph in enumerate(graphs):
        members.setdefault(graph.signature, []).append(g)
    return members


def stacked_states(
    network: TracedNetwork, graphs: Sequence[ParameterGraph], dtype: torch.dtype
) -> tuple[dict[str, Tensor], list[int]]:
    """The networks of graphs of one architecture as stacked tensors (B, ...), and the number of each graph's.

    Floating tensors are of the dtype. Entries that lie on several edges are averaged, as after an edit.
    """
    states = []
    for graph in graphs:
        state = network.space.to_state_dict(replace(graph, dtypes={}), tied="mean")
        states.append(state if graph.batch_shape else {key: value[None] for key, value in state.items()})
    joined = {key: torch.cat([state[key] for state in states]) for key in states[0]} if len(states) > 1 else states[0]
    stacked = {key: value.to(dtype) if value.is_floating_point() else value for key, value in joined.items()}
    return stacked, [graph.batch_shape[0] if graph.batch_shape else 1 for graph in graphs]


def run(runner: Runner, stacked: Mapping[str, Tensor], probes: Tensor) -> Tensor:
    """All floating outputs for all probes, flattened; every network runs every probe by itself.

    Shapes:
        probes (P, *input); result (B, P * outputs).
    """

    def one(probe: Tensor) -> list[Tensor]:
        leaves = torch.utils._pytree.tree_leaves(runner(stacked, probe))
        return [leaf.flatten(1) for leaf in leaves if isinstance(leaf, Tensor) and leaf.is_floating_point()]

    with _running_statistics(stacked):
        return torch.cat(torch.vmap(one)(probes), dim=2).transpose(0, 1).flatten(1)


def _activations(runner: Runner, stacked: Mapping[str, Tensor], probes: Tensor) -> dict[int, Tensor]:
    """Values of the neurons for all probes; {site: (P, B, ..., n)}."""
    with _running_statistics(stacked):
        return torch.vmap(lambda probe: runner.activations(stacked, probe))(probes)


def _running_statistics(stacked: Mapping[str, Tensor]) -> AbstractContextManager[Any]:
    """Gradients to running statistics, where some networks' numbers want gradients: torch's batch norm has none."""
    return _PlainBatchNorm() if any(value.requires_grad for value in stacked.values()) else nullcontext()


class _PlainBatchNorm(TorchFunctionMode):
    """Batch norm with running statistics, as a composition of differentiable operations."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.nn.functional.batch_norm:
            return _batch_norm(*args, **(kwargs or {}))
        if func is torch.ops.aten.batch_norm.default:
            x, weight, bias, mean, variance, training, momentum, eps, _ = args
            return _batch_norm(x, mean, variance, weight, bias, training, momentum, eps)
        return func(*args, **(kwargs or {}))


def _batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """As `torch.nn.functional.batch_norm`."""
    if training or running_mean is None or running_var is None:
        return torch.batch_norm(x, weight, bias, running_mean, running_var, training, momentum, eps, False)
    scale = (running_var + eps).rsqrt() * (1 if weight is None else weight)
    shift = (0 if bias is None else bias) - running_mean * scale
    form = (1, -1, *[1] * (x.dim() - 2))
    return x * scale.reshape(form) + shift.reshape(form)


def _moments(values: Tensor) -> Tensor:
    """Mean and root mean square over all but probes, networks and nodes; (P, B, ..., n) -> (B, n, 2 P)."""
    values = values.flatten(2, -2) if values.dim() > 3 else values.unsqueeze(2)
    mean, size = values.mean(2), (values.square().mean(2) + 1e-12).sqrt()
    return torch.cat([mean, size]).movedim(0, -1)


def _key(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
