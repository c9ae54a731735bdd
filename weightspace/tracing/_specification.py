"""Weight spaces by hand, for what cannot be traced: one axis expression for each dimension of each parameter."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from torch import Tensor, nn

from weightspace.axes import Atom, AtomSpec, Axis, Product, Sum, atoms_of, axis_size, axis_text
from weightspace.errors import SpecificationError
from weightspace.parameters import ParameterSpec
from weightspace.space import WeightSpace
from weightspace.tracing._axis_text import parse_axis
from weightspace.tracing._description import signature_of
from weightspace.tracing._export import canonical_state
from weightspace.tracing._specified_graph import plan_graph

Expression = str | Axis | None
Shape = Sequence[int] | Tensor
FIXED = "constant"
REASON = "specified as fixed"


def specify(
    parameters: nn.Module | Mapping[str, Shape],
    axes: Mapping[str, Sequence[Expression]],
    *,
    sizes: Mapping[str, int] | None = None,
    fixed: Collection[str] = (),
    roles: Mapping[str, str] | None = None,
) -> WeightSpace:
    """A weight space by hand, the last resort where `weightspace.trace` fails or freezes too much.

    Nothing checks that the axes are true of the network: `space.verify(module, *inputs)` does. Neurons of one name are
    one site of the parameter graph, whatever activations they stand for; functions and structural operations are not
    on it. So graphs of a specified space tell less than those of a traced one, but the group, the way to the graph and
    the exact way back are the same.

    Args:
        parameters: the module, or its state_dict, or shapes by name. What is not floating point is carried along.
        axes: for every floating entry one expression per dimension: a name for a group of neurons that may be
            permuted, None for a fixed dimension, `"head*dim"` for a row-major product, `"a + b"` for a concatenation,
            a whole number for a fixed part (`"channel*49"` behind a flatten). The factors to the left of a name are
            its base: each of their values has a permutation of its own, unless the name stands without them elsewhere.
        sizes: of names that no dimension determines (`"head*dim"` alone does not).
        fixed: names whose elements are not permuted but known by their position (classes, pixels, a vocabulary).
        roles: parameter -> role in `weightspace.vocabulary.ROLES`; guessed from its dimensions and name by default.

    Raises:
        SpecificationError: an unknown or a missing parameter, an expression that cannot be read, or sizes that differ.

    Example:
        >>> import torch, weightspace as ws
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
        >>> axes = {"0.weight": ("h", None), "0.bias": ("h",), "2.weight": (None, "h"), "2.bias": (None,)}
        >>> space = ws.specify(net, axes)
        >>> space.verify(net, torch.zeros(1, 4))
        >>> [(group.name, group.size) for group in space.groups], space.to_graph(net.state_dict()).num_nodes
        ([('h', 3)], 11)
    """
    state, tied, keys = shapes_of(parameters)
    axes = _without_ties(axes, tied)
    _check_names(state, axes)
    specs: dict[str, AtomSpec] = {}
    parsed = {name: _axes_of(name, shape, axes[name], specs) for name, shape in state.items()}
    _check_given(fixed, sizes or {}, {name for dims in parsed.values() for axis in dims for name in atoms_of(axis)})
    known = _sizes(state, parsed, {name: spec.size for name, spec in specs.items()} | dict(sizes or {}))
    specs |= _named_atoms(known, fixed, _bases(parsed.values(), known.keys() - specs.keys()), specs)
    made = {
        name: ParameterSpec(shape, parsed[name], (roles or {}).get(name) or _role(name, shape, parsed[name], specs))
        for name, shape in state.items()
    }
    sites, blocks, specs = plan_graph(made, specs)
    operations = tuple(
        f"specified {name}({', '.join(axis_text(axis) for axis in spec.axes)}; {spec.role})"
        for name, spec in made.items()
    )
    signature = signature_of(made, specs, operations, keys, tied)
    return WeightSpace(made, specs, sites, blocks, signature, operations, keys, tied)


def shapes_of(
    parameters: nn.Module | Mapping[str, Shape],
) -> tuple[dict[str, tuple[int, ...]], dict[str, str], tuple[str, ...]]:
    """Shapes of the floating entries, tied keys, all keys."""
    if isinstance(parameters, nn.Module):
        state, tied = canonical_state(parameters)
        return {name: tuple(t.shape) for name, t in state.items()}, tied, tuple(parameters.state_dict())
    if not isinstance(parameters, Mapping) or not parameters:
        raise SpecificationError(
            f"specify: found a {type(parameters).__name__} of parameters, wanted a module, its state_dict, or shapes "
            "by name"
        )
    shapes: dict[str, tuple[int, ...]] = {}
    same: dict[str, str] = {}
    first: dict[int, str] = {}
    for name, value in parameters.items():
        if isinstance(value, Tensor):
            if id(value) in first:
                same[name] = first[id(value)]
                continue
            first[id(value)] = name
            if not value.is_floating_point():
                continue
            value = value.shape
        shapes[name] = tuple(int(size) for size in value)
    return shapes, same, tuple(parameters)


def _without_ties(
    axes: Mapping[str, Sequence[Expression]], tied: Mapping[str, str]
) -> dict[str, tuple[Expression, ...]]:
    """Axes of the keys that count; a tied key may be left out or repeat its twin."""
    found = {
        name: (given,) if given is None or isinstance(given, (str, Axis)) else tuple(given)
        for name, given in axes.items()
    }
    for name, twin in tied.items():
        mine = found.pop(name, None)
        if mine is not None and found.setdefault(twin, mine) != mine:
            raise SpecificationError(
                f"specify: '{name}' and '{twin}' are one tensor, but their axes differ ({_text(mine)}, "
                f"{_text(found[twin])}); give one of them"
            )
    return found


def _check_names(state: Mapping[str, Any], axes: Mapping[str, Sequence[Expression]]) -> None:
    unknown, missing = [n for n in axes if n not in state], [n for n in state if n not in axes]
    if unknown:
        raise SpecificationError(
            f"specify: unknown parameter {_some(unknown)}; floating entries of the state_dict are {_some(list(state))}"
        )
    if missing:
        raise SpecificationError(
            f"specify: no axes for {_some(missing)}; every floating entry needs one expression per dimension, None "
            "for a fixed one"
        )
    for name, shape in state.items():
        if len(shape) != len(axes[name]):
            raise SpecificationError(
                f"specify: '{name}' has shape {shape}, found {len(axes[name])} axes {_text(axes[name])}, wanted "
                f"{len(shape)}: one expression per dimension"
            )


def _axes_of(
    name: str, shape: Sequence[int], given: Sequence[Expression], specs: dict[str, AtomSpec]
) -> tuple[Axis, ...]:
    """Axes of a parameter; fixed dimensions and numbers become atoms of their own."""
    found: list[Axis] = []
    for dim, (size, expression) in enumerate(zip(shape, given, strict=True)):
        if expression is None:
            own = f"{name}:{dim}"
            if size != 1:
                specs[own] = AtomSpec(size, FIXED, neuron=False, reason=REASON)
            found.append(Product(()) if size == 1 else Atom(own))
        elif isinstance(expression, str):
            found.append(_own_numbers(parse_axis(expression, f"'{name}'[{dim}]"), f"{name}:{dim}", specs))
        else:
            found.append(expression)
    return tuple(found)


def _own_numbers(axis: Axis, where: str, specs: dict[str, AtomSpec]) -> Axis:
    if isinstance(axis, Atom):
        if not axis.name.startswith("#"):
            return axis
        own = f"{where}.{sum(name.startswith(where + '.') for name in specs)}"
        specs[own] = AtomSpec(int(axis.name[1:]), FIXED, neuron=False, reason=REASON)
        return Atom(own)
    if isinstance(axis, Product):
        return Product(tuple(_own_numbers(factor, where, specs) for factor in axis.factors))
    return Sum(tuple(_own_numbers(term, where, specs) for term in axis.terms)) if isinstance(axis, Sum) else axis


# --- sizes


def _sizes(
    state: Mapping[str, Sequence[int]], axes: Mapping[str, Sequence[Axis]], known: dict[str, int]
) -> dict[str, int]:
    """Sizes of all atoms: each dimension with one unknown name determines it, until nothing is unknown."""
    origin = dict.fromkeys(known, "given")
    left = [(name, dim) for name, dims in axes.items() for dim in range(len(dims))]
    while left:
        waiting = []
        for name, dim in left:
            axis, size = axes[name][dim], state[name][dim]
            unknown = sorted({atom for atom in atoms_of(axis) if atom not in known})
            if len(unknown) > 1:
                waiting.append((name, dim))
                continue
            solved = _solve(axis, size, known, unknown[0]) if unknown else None
            if unknown and solved is not None:
                known[unknown[0]], origin[unknown[0]] = solved, f"by '{name}'[{dim}]"
            if solved is None and (unknown or axis_size(axis, known.__getitem__) != size):
                raise _size_error(name, dim, axis, size, known, origin)
        if len(waiting) == len(left):
            raise SpecificationError(_undetermined(waiting, axes, known))
        left = waiting
    return known


def _solve(axis: Axis, size: int, known: Mapping[str, int], name: str) -> int | None:
    """The size of `name` that gives the axis `size` elements; sizes grow with it, so at most one fits."""
    low, high = 1, size
    while low <= high:
        middle = (low + high) // 2
        found = axis_size(axis, {**known, name: middle}.__getitem__)
        if found == size:
            return middle
        low, high = (middle + 1, high) if found < size else (low, middle - 1)
    return None


def _size_error(
    name: str, dim: int, axis: Axis, size: int, known: Mapping[str, int], origin: Mapping[str, str]
) -> SpecificationError:
    atoms = dict.fromkeys(atoms_of(axis))
    parts = ", ".join(f"{atom} has {known[atom]} ({origin[atom]})" for atom in atoms if atom in known)
    unknown = [atom for atom in atoms if atom not in known]
    wanted = f"no size of {unknown[0]!r} gives that" if unknown else f"wanted {axis_size(axis, known.__getitem__)}"
    return SpecificationError(
        f"specify: '{name}' dimension {dim} has {size} elements, its axis is {axis_text(axis)!r}; {wanted}, as "
        f"{parts}. Groups that are not one need names of their own"
    )


def _undetermined(
    waiting: Sequence[tuple[str, int]], axes: Mapping[str, Sequence[Axis]], known: Mapping[str, int]
) -> str:
    name, dim = waiting[0]
    unknown = sorted({atom for atom in atoms_of(axes[name][dim]) if atom not in known})
    return (
        f"specify: '{name}' dimension {dim}: {axis_text(axes[name][dim])!r} does not tell the sizes of "
        f"{' and '.join(unknown)}; give all but one, e.g. sizes={{{unknown[0]!r}: 4}}"
    )


def _check_given(fixed: Collection[str], sizes: Mapping[str, int], used: Collection[str]) -> None:
    if isinstance(fixed, str):
        raise SpecificationError(f"specify: fixed={fixed!r} is a text, wanted several names: fixed=({fixed!r},)")
    for option, names in (("fixed", fixed), ("sizes", sizes)):
        if strange := [name for name in names if name not in used]:
            raise SpecificationError(f"specify: {option} names {_some(strange)}, which no axis contains")


# --- fibres


def _named_atoms(
    sizes: Mapping[str, int],
    fixed: Collection[str],
    bases: Mapping[str, tuple[str, ...]],
    numbers: Mapping[str, AtomSpec],
) -> dict[str, AtomSpec]:
    """What is known of each name; whole numbers and unnamed dimensions have their atoms already."""
    atoms = {name: AtomSpec(size, FIXED, reason=REASON, label=name) for name, size in sizes.items() if name in fixed}
    rest = {name: size for name, size in sizes.items() if name not in numbers and name not in fixed}
    return atoms | {name: AtomSpec(size, over=bases.get(name, ())) for name, size in rest.items()}


def _bases(parameters: Collection[Sequence[Axis]], names: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Name -> names to its left in products, where each of them stands beside it in every parameter."""
    tensors = [[list(_terms(axis)) for axis in axes] for axes in parameters]
    lefts: dict[str, dict[str, None]] = {}
    for dims in tensors:
        for term in (term for terms in dims for term in terms):
            for position, name in enumerate(term):
                lefts.setdefault(name, {}).update(dict.fromkeys(b for b in term[:position] if b in names))
    found = {
        name: tuple(base for base in left if base != name and _tells(base, name, tensors))
        for name, left in lefts.items()
    }
    return {name: tuple(b for b in bases if name not in found[b]) for name, bases in found.items()}


def _terms(axis: Axis) -> Iterator[tuple[str, ...]]:
    """Names of each piece of an axis."""
    if isinstance(axis, Atom):
        yield (axis.name,)
    elif isinstance(axis, Product):
        for choice in product(*map(_terms, axis.factors)):
            yield tuple(name for part in choice for name in part)
    else:
        for term in axis.terms:
            yield from _terms(term)


def _tells(base: str, name: str, tensors: Sequence[Sequence[Sequence[tuple[str, ...]]]]) -> bool:
    """Whether a parameter with the name always has one value of the base beside it: in the same product, or in the
    only other dimension that has it.
    """
    for dims in tensors:
        for number, terms in enumerate(dims):
            others = [other for k, other in enumerate(dims) if k != number and any(base in term for term in other)]
            elsewhere = len(others) == 1 and len(others[0]) == 1 and others[0][0].count(base) == 1
            for term in terms:
                if name in term and term.count(base) != 1 and not (base not in term and elsewhere):
                    return False
    return True


# --- words


def _role(name: str, shape: Sequence[int], axes: Sequence[Axis], specs: Mapping[str, AtomSpec]) -> str:
    last = name.rpartition(".")[2]
    if last in ("running_mean", "running_var", "bias"):
        return last
    wide = [size for size in shape if size > 1]
    if len(wide) > 1:
        return "weight"
    return "norm_weight" if last == "weight" else "scalar" if not wide else "buffer"


def _text(axes: Sequence[Expression]) -> str:
    return f"({', '.join('None' if a is None else repr(a if isinstance(a, str) else axis_text(a)) for a in axes)})"


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:5])
    return shown + (f" and {len(names) - 5} more" if len(names) > 5 else "")
