"""One operation as its rule sees it: arguments by name, the verbs of the axis algebra, and the record that it
leaves.
"""

from collections.abc import Sequence
from typing import Any

from weightspace.axes import Axis, Product
from weightspace.tracing._records import Derived, Record, Use, Value
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
        used: which of several results anything reads.
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
        self.used: set[int] = {0}
        self.record: Record | None = None
        self.records: list[Record] = []
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

    def alias(
        self,
        axes: Sequence[Axis],
        *,
        op: str = "alias",
        carry: Sequence[int | None] | None = None,
        **attributes: Any,
    ) -> list[Axis]:
        """Leave the record of a view: the neurons of the first argument, differently arranged.

        Args:
            axes: of the result.
            op: `"same"` for copies of the same numbers in the same places.
            carry: the argument's dimension that each dimension of the result is, None for new ones.
            attributes: of a slice its `dim`, `start`, `step`, and whether it `drops` the dimension.
        """
        fields: dict[str, Any] = {"attributes": attributes, "carry": None if carry is None else tuple(carry)}
        self.record = Record("alias", op, self.output, inputs=(self.input,), **fields)
        return list(axes)

    def function(
        self,
        op: str,
        *,
        of: Value | None = None,
        axes: Sequence[Axis] | None = None,
        carry: Sequence[int | None] | None = None,
        **attributes: Any,
    ) -> list[Axis]:
        """Leave the record of a function that acts on each neuron of the first argument (or of `of`) alone."""
        of = of or self.input
        fields: dict[str, Any] = {"edge_type": "function", "carry": None if carry is None else tuple(carry)}
        self.record = Record("function", op, self.output, attributes=attributes, inputs=(of,), **fields)
        return list(of.axes if axes is None else axes)

    def site(self, op: str, *, axes: Sequence[Axis], **record: Any) -> list[Axis]:
        """Leave the record of an operation that makes neurons of its own; the rest as in `Record`."""
        self.record = Record("site", op, self.output, **record)
        return list(axes)

    def hub(self, op: str, *, axes: Sequence[Axis], inputs: Sequence[Value], **attributes: Any) -> list[Axis]:
        """Leave the record of an operation whose axes are known but whose parts are tied through one node."""
        self.record = Record("hub", op, self.output, attributes=attributes, inputs=tuple(inputs), edge_type="other")
        return list(axes)

    def derive(self, op: str, axes: Sequence[Axis], inputs: Sequence[Value], **attributes: Any) -> list[Axis]:
        """Say that the result is a weight computed from parameters; it is a tensor only for those who need one."""
        self.output.derived = Derived(op, attributes, tuple(inputs))
        return list(axes)

    def emit(self, kind: str, op: str, *, axes: Sequence[Axis], **record: Any) -> Value:
        """Leave the record of a step, for operations that consist of several; its result.

        A rule that leaves such records returns its results as a list of values.
        """
        value = Value(-1, list(axes))
        self.records.append(Record(kind, op, value, **record))
        return value

    def contract(
        self,
        op: str,
        operands: Sequence[Value],
        letters: Sequence[str],
        *,
        types: Sequence[str] = (),
        **attributes: Any,
    ) -> Value:
        """Leave the record of a sum over products, in einsum's notation; its result.

        Args:
            op: name of the operation.
            operands: the factors.
            letters: one text for each operand, one letter for each of its dimensions, and then the result's.
            types: an edge type for each operand, by default their argument position tells them apart.
            attributes: what else the operation is told (a scale).
        """
        found: dict[str, Axis] = {}
        texts = []
        sizes = {
            letter: max(
                self.solver.size(axis)
                for v, t in zip(operands, letters, strict=False)
                for axis, a in zip(v.axes, t, strict=True)
                if a == letter
            )
            for letter in set("".join(letters[:-1]))
        }
        for value, text in zip(operands, letters, strict=False):
            if value.parameter is not None:
                self._let_depend(value, text, letters[-1])
        for value, text in zip(operands, letters, strict=False):
            mine = ""
            for axis, letter in zip(value.axes, text, strict=True):
                stretched = self.solver.size(axis) != sizes[letter]
                mine += "_" if stretched else letter
                if not stretched and letter in found:
                    self.unify(found[letter], axis)
                elif not stretched:
                    found[letter] = axis
            texts.append(mine)
        axes = [found[letter] for letter in letters[-1]]
        types = tuple(types) or ("multiply",) * len(operands)
        return self.emit(
            "contract",
            op,
            axes=axes,
            inputs=tuple(operands),
            letters=(*texts, letters[-1]),
            types=types,
            attributes=attributes,
        )

    def _let_depend(self, value: Value, text: str, out: str) -> None:
        """Later dimensions of a parameter may be permuted otherwise for each coordinate of earlier ones."""
        order = list(dict.fromkeys(letter for letter in (*out, *text) if letter in text))
        found = dict(zip(text, value.axes, strict=True))
        for number, letter in enumerate(order):
            for base in order[:number]:
                self.solver.depend(found[letter], found[base])

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
