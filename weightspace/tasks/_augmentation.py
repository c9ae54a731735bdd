"""Random changes of networks for training: symmetries, which keep the function, and noise and gaps, which do not."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from weightspace.errors import ConfigurationError
from weightspace.graph import ParameterGraph
from weightspace.metanets import TracedNetwork
from weightspace.space import WeightSpace
from weightspace.tracing import trace

SYMMETRIES = {"permutation", "scale", "sign"}


@dataclass(frozen=True)
class Augmentation:
    """What happens to each network, independently of the others and anew in every step, in this order.

    Args:
        group: a uniform element of its permutation group. Metanets that are invariant under it do not notice.
        rescale: a random sign and a random positive scale along every direction in which they keep the function, the
            logarithms of the scales uniform up to this number; 0 for none. The first batch of an architecture traces it
            once more.
        noise: normal noise on every entry, relative to the root mean square of its tensor in this network.
        dropout: share of the entries that become zero.
        seed: of what is drawn.

    Raises:
        ConfigurationError: a negative size, a share that is none.
    """

    group: bool = False
    rescale: float = 0.0
    noise: float = 0.0
    dropout: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.rescale, self.noise, self.dropout) < 0 or self.dropout >= 1:
            raise ConfigurationError(
                f"augmentation: found rescale {self.rescale:g}, noise {self.noise:g} and dropout {self.dropout:g}, "
                "wanted none negative, and a dropout below 1"
            )

    @property
    def changes(self) -> bool:
        """Whether anything happens at all."""
        return self.group or max(self.rescale, self.noise, self.dropout) > 0


class Augmenter:
    """Applies an augmentation to batches of graphs.

    Args:
        augmentation: what happens.
        network_of: the architecture of a graph.
    """

    def __init__(self, augmentation: Augmentation, network_of: Callable[[ParameterGraph], TracedNetwork]) -> None:
        self.augmentation, self._network_of = augmentation, network_of
        self._rescaled: dict[str, WeightSpace] = {}

    def __call__(self, graphs: Sequence[ParameterGraph], number: int) -> tuple[ParameterGraph, ...]:
        """Changed copies of the networks; what is drawn depends on the seed and on this number alone."""
        if not self.augmentation.changes:
            return tuple(graphs)
        result = []
        for place, graph in enumerate(graphs):
            device = graph.sites[0].x.device
            generator = torch.Generator(device).manual_seed(1_000_003 * self.augmentation.seed + 97 * number + place)
            result.append(self._changed(graph, generator))
        return tuple(result)

    def _changed(self, graph: ParameterGraph, generator: torch.Generator) -> ParameterGraph:
        network, wanted = self._network_of(graph), self.augmentation
        space, states = network.space, network.space.to_state_dict(graph)
        if wanted.group:
            states = space.act(space.random_element(generator, n=graph.batch_shape[0]), states)
        if wanted.rescale:
            states = self._rescale(network, states, generator)
        if wanted.noise or wanted.dropout:
            states = _with(
                space, states, {name: _blurred(states[name], wanted, generator) for name in space.parameters}
            )
        return space.to_graphs(states)

    def _rescale(
        self, network: TracedNetwork, states: Mapping[str, Tensor], generator: torch.Generator
    ) -> dict[str, Tensor]:
        if network.signature not in self._rescaled:
            self._rescaled[network.signature] = trace(network.module, *network.inputs, symmetries=SYMMETRIES)
        space = self._rescaled[network.signature]
        models = len(next(iter(states.values())))
        sizes = space.scalings.scales.dimension, space.scalings.signs.dimension
        scale = torch.rand(models, sizes[0], generator=generator, device=generator.device, dtype=torch.float64) * 2 - 1
        sign = torch.randint(0, 2, (models, sizes[1]), generator=generator, device=generator.device)
        rows = zip((self.augmentation.rescale * scale).cpu().numpy(), sign.cpu().numpy(), strict=True)
        elements = [space.scalings.element(*row).factors for row in rows]
        factors = {name: torch.stack([element[name] for element in elements]) for name in space.parameters}
        return _with(space, states, {name: states[name] * factor.to(states[name]) for name, factor in factors.items()})


def _with(space: WeightSpace, states: Mapping[str, Tensor], changed: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Every key, keys that share a parameter included, with changed parameters."""
    return {key: changed.get(space.tied.get(key, key), states[key]) for key in space.keys}


def _blurred(values: Tensor, wanted: Augmentation, generator: torch.Generator) -> Tensor:
    """Entries (B, ...) with noise and gaps."""
    if wanted.noise:
        size = values.square().reshape(len(values), -1).mean(1).sqrt().reshape(-1, *[1] * (values.dim() - 1))
        draw = torch.randn(values.shape, generator=generator, device=values.device, dtype=values.dtype)
        values = values + wanted.noise * size * draw
    if wanted.dropout:
        keep = torch.rand(values.shape, generator=generator, device=values.device) >= wanted.dropout
        values = values * keep
    return values
