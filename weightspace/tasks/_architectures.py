"""The architectures of a zoo as modules that run, for tasks and metanets that need more than weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from weightspace.errors import ConfigurationError, ZooError
from weightspace.factory import example_inputs, module_from
from weightspace.metanets import TracedNetwork
from weightspace.tracing import trace
from weightspace.zoo import Zoo, example_inputs_of


@dataclass(frozen=True)
class FactoryRule:
    """The module of a zoo of one architecture that the library did not train itself.

    Args:
        module: `package.module:factory`.
        inputs: shapes of example inputs, e.g. `["1,3,32,32"]`; guessed from the first layer where none are given.
    """

    module: str
    inputs: tuple[str, ...] = ()


def traced_networks(zoo: Zoo, factory: FactoryRule | None = None) -> dict[str, TracedNetwork]:
    """Space, module and example inputs of every architecture of a zoo, by signature.

    The library's own networks are built from their attribute `architecture`; others need a factory.

    Raises:
        ConfigurationError: a factory of another architecture.
        ZooError: networks that cannot be built.
    """
    found = {}
    made = None if factory is None else _from_factory(factory, zoo)
    for signature, positions in zoo.positions.items():
        if made is not None and made.space.signature == signature:
            found[signature] = made
            continue
        first = int(positions[0])
        try:
            module = zoo.module(first)
        except ZooError as error:
            raise ZooError(f"{error}, or name its factory with data.factory.module") from error
        spec = zoo[first].attributes["architecture"]
        found[signature] = TracedNetwork(zoo.spaces[signature], module, _inputs(spec, module))
    return found


def _from_factory(factory: FactoryRule, zoo: Zoo) -> TracedNetwork:
    module = module_from(factory.module).eval()
    inputs = example_inputs(factory.inputs) if factory.inputs else example_inputs_of(module)
    signature = trace(module, *inputs).signature
    if signature not in zoo.spaces:
        raise ConfigurationError(
            f"data.factory: {factory.module!r} builds the architecture {signature[:12]}, wanted one of "
            f"{', '.join(key[:12] for key in zoo.spaces)} of the zoo; name the networks' own factory"
        )
    return TracedNetwork(zoo.spaces[signature], module, inputs)


def _inputs(spec: Mapping[str, Any], module: nn.Module) -> tuple[Tensor, ...]:
    if spec["factory"] == "small_cnn_zoo":
        return (torch.zeros(1, spec.get("in_channels", 1), 28, 28),)
    return (torch.zeros(1, *spec["image"]),) if "image" in spec else example_inputs_of(module)
