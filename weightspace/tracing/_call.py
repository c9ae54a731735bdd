"""One operation as its rule sees it: arguments by name, the verbs of the axis algebra, and the record that it
leaves.
"""

from collections.abc import Sequence
from typing import Any

from weightspace.axes import Axis, Product
from weightspace.tracing._records import Record, Use, Value
from weightspace.tracing._solver import AxisSolver


class Call:
    """A call of an operation during tracing.

    Args:
        target: name of the overload, e.g. `"aten.linear.default"`.
        where: path of the module that made the call.
        arguments: by the names of the operation's schema; tensors are `Value`s.
        shape: of the result.
        solver: the axis algebra.

    Attributes:
        number: which of several results the rule is asked about; it is asked once for each.
    """

    def __init__(
        self, target: str, where: str, *, arguments: dict[str, Any], shape: Sequence[int], solver: AxisSolver
    ) -> None:
        self.target = target
        self.where = where
        self.arguments = arguments
        self.shape = tuple(shape)
        self.solver = solver
        self.number = 0
        self.record: Record | None = None
        self._output = Value(-1, [])

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def get(self, name: str, default: Any = None) -> Any:
        """An argument that not every overload has."""
        return self.arguments.get(name, default)

    @property
    def input(self) -> Value:
        """The first argument."""
        return next(iter(self.arguments.values()))

    @property
    def output(self) -> Value:
        """The result; its axes are filled in when the rule returns."""
        return self._output

    @property
    def reason(self) -> str:
        """The operation and its place, as a reason for freezing."""
        return f"{self.target} at '{self.where}'" if self.where else self.target

    def unify(self, a: Axis, b: Axis) -> bool:
        """Make two axes one; where that is impossible they freeze and the answer is False."""
        return self.solver.unify(a, b, self.reason)

    def new(self, size: int, *, over: Axis | None = None) -> Axis:
        """A new free atom, a fibre over `over` where given."""
        return self.solver.atom(size, over=self.solver.atoms(over) if over is not None else ())

    def spatial(self, axes: Sequence[Axis]) -> None:
        """Fix axes whose order is their meaning: kernel and image positions."""
        for axis in axes:
            self.solver.freeze(axis, self.reason, kind="spatial")

    def fixed(self, sizes: Sequence[int]) -> list[Axis]:
        """New fixed axes, for positions of a result."""
        return [
            self.solver.atom(size, kind="spatial", reason=self.reason, label=f"p{k}") for k, size in enumerate(sizes)
        ]

    def alias(self, axes: Sequence[Axis]) -> list[Axis]:
        """Leave the record of a view: the neurons of the first argument, differently arranged."""
        self.record = Record("alias", "alias", self.output, inputs=(self.input,))
        return list(axes)

    def function(
        self, op: str, *, of: Value | None = None, axes: Sequence[Axis] | None = None, **attributes: Any
    ) -> list[Axis]:
        """Leave the record of a function that acts on each neuron of the first argument (or of `of`) alone."""
        of = of or self.input
        self.record = Record("function", op, self.output, attributes=attributes, inputs=(of,), edge_type="function")
        return list(of.axes if axes is None else axes)

    def site(self, op: str, *, axes: Sequence[Axis], **record: Any) -> list[Axis]:
        """Leave the record of an operation that makes neurons of its own; the rest as in `Record`."""
        self.record = Record("site", op, self.output, **record)
        return list(axes)

    def hub(self, op: str, *, axes: Sequence[Axis], inputs: Sequence[Value], **attributes: Any) -> list[Axis]:
        """Leave the record of an operation whose axes are known but whose parts are tied through one node."""
        self.record = Record("hub", op, self.output, attributes=attributes, inputs=tuple(inputs), edge_type="other")
        return list(axes)

    def constant(self, axes: Sequence[Axis], label: str) -> Value:
        """A tensor of one value everywhere, e.g. the zeros that padding adds."""
        return Value(-1, list(axes), origin="constant", label=label)

    def parameters_are(self, *values: Value | None) -> bool:
        """Whether each of the values is missing or an entry of the state_dict, so that it can lie on edges and
        nodes.
        """
        return all(value is None or value.parameter is not None for value in values)

    def broadcast(self, values: Sequence[Value]) -> list[Axis]:
        """Axes of an element-wise operation on several tensors: dimensions are aligned from the right and unified."""
        rank = len(self.shape)
        result: list[Axis] = []
        for position in range(rank):
            here = [v.axes[position - rank] for v in values if len(v.axes) >= rank - position]
            wide = [axis for axis in here if self.solver.size(axis) == self.shape[position]]
            for other in wide[1:]:
                self.unify(wide[0], other)
            result.append(wide[0] if wide else Product(()))
        return result


def node_uses(*pairs: tuple[Value | None, str]) -> tuple[Use, ...]:
    """Uses of parameters with one number per neuron, missing ones skipped."""
    return tuple(Use(value, role, ("target",)) for value, role in pairs if value is not None)
