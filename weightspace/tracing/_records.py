"""What a traced operation leaves behind, in our own words: the input of the graph's planner and of the signature.

Values are named by number, so that neither the names that torch.export gives nor its order of placeholders matter.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from weightspace.axes import Axis


@dataclass
class Value:
    """A tensor of the computation.

    Args:
        number: counts the values in the order of their creation.
        axes: one axis per dimension.
        parameter: its name in the state_dict where it is a floating entry of it.
        origin: `"parameter"`, `"input"`, `"constant"` or `"operation"`.
        label: for inputs their number, for constants a digest of their content.
        call: number of the exported operation that made it, or -1 - k for input k.
        operation: name of that operation.
        content: of a constant.
        seen: of a parameter or a view of it, a tensor without memory that shares the parameter's storage.
        offset, strides: of the entries that a parameter's value consists of.
        parts: where runs along a dimension have axes of their own: the dimension and (start, size, value) of each.
        derived: of a weight that is computed from parameters, how; it takes part as a tensor only where it has to.
        is_made: whether it does.
    """

    number: int
    axes: list[Axis]
    parameter: str | None = None
    origin: str = "operation"
    label: str = ""
    call: int | None = None
    operation: str = ""
    content: Tensor | None = None
    seen: Tensor | None = None
    offset: int = 0
    strides: tuple[int, ...] = ()
    parts: "tuple[int, list[tuple[int, int, Value]]] | None" = None
    derived: "Derived | None" = None
    is_made: bool = False

    @property
    def place(self) -> tuple[str | None, int, tuple[int, ...]]:
        """Which entries of which parameter it consists of."""
        return self.parameter, self.offset, self.strides


@dataclass(frozen=True)
class Derived:
    """How a weight is computed: the operation, its attributes, and the values that it reads."""

    op: str
    attributes: Mapping[str, Any]
    inputs: tuple[Value, ...]


@dataclass
class Use:
    """A parameter's part in an operation.

    Args:
        dims: what each dimension of the parameter is to the operation: `"target"`, `"source"`, `"kernel"` or `"tap"`.
    """

    value: Value
    role: str
    dims: tuple[str, ...]


@dataclass
class Record:
    """One operation.

    Args:
        kind: `"contract"` (sums over products: each dimension of each input has a letter),
            `"alias"` (a view: the same neurons), `"function"` (acts on each neuron alone), `"site"` (makes neurons
            of its own),
            `"reduce"` (dimensions disappear), `"hub"` (an operation whose structure is not known).
        op: name in our vocabulary.
        attributes: of the operation, JSON values; those that change the function and are not visible in the axes.
        inputs: values in the order of their arguments; each is tied to the output neuron by neuron.
        output: the value that is made.
        edge_type: of the structural edges from the inputs.
        uses: parameters on edges and nodes.
        source: the value that edge parameters are contracted with, and its dimension.
        dim: the output's dimension that the operation is about (features, concatenated dimension).
        letters: for `"contract"` a text for each input, one letter per dimension, and then the output's; a dimension of
            size 1 that is stretched has `"_"`.
        types: for `"contract"` an edge type for each input.
        carry: for `"function"` the input's dimension that each output dimension is, None for new ones.
        runs: number of equal runs of the first of these dimensions that are told apart, if they are.
        places: for `"cat"` where each input's elements stand, one after the other by default.
        scope: dimensions of the output over which the operation normalises, and the axis that tells the groups apart.
    """

    kind: str
    op: str
    output: Value
    attributes: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[Value, ...] = ()
    edge_type: str = ""
    uses: tuple[Use, ...] = ()
    source: tuple[Value, int] | None = None
    dim: int | None = None
    scope: tuple[tuple[int, ...], Axis] | None = None
    runs: int = 0
    letters: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    carry: tuple[int | None, ...] | None = None
    places: tuple[tuple[int, ...], ...] = ()
    where: str = ""
