"""What is known of a parameter (floating entry of a state_dict) and of a neuron group."""

from dataclasses import dataclass

import torch

from weightspace.axes import Axis


@dataclass(frozen=True)
class Part:
    """Positions `start` to `start + size` of dimension `dim` of a parameter, with axes of their own.

    The packed `in_proj_weight` of cross-attention has two: the query's rows, whose columns are those of one stream,
    and the rows of keys and values, whose columns are those of another.
    """

    dim: int
    start: int
    size: int
    axes: tuple[Axis, ...]


@dataclass(frozen=True)
class ParameterSpec:
    """A floating entry of the state_dict: its shape, one axis per dimension, and what it is to its operation.

    Args:
        parts: where parts have axes of their own; `axes` then holds a `Case` for a dimension in which they differ.
    """

    shape: tuple[int, ...]
    axes: tuple[Axis, ...]
    role: str
    parts: tuple[Part, ...] = ()

    @property
    def numel(self) -> int:
        """Number of entries."""
        return torch.Size(self.shape).numel()

    @property
    def all_parts(self) -> tuple[Part, ...]:
        """The parts; the whole parameter where it has one axis per dimension throughout."""
        return self.parts or (Part(0, 0, self.shape[0] if self.shape else 1, self.axes),)


@dataclass(frozen=True)
class NeuronGroup:
    """Neurons that may be permuted together.

    Args:
        name: of the axis.
        size: number of neurons.
        kind: `"symmetric"`, or `"fibre"` where each value of the base has a permutation of its own (a wreath product).
        over: names of the base's axes.
        members: (parameter, dimension) that the group acts on.
    """

    name: str
    size: int
    kind: str
    over: tuple[str, ...]
    members: tuple[tuple[str, int], ...]
