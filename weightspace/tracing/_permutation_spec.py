"""Weight spaces from the permutation specifications of Git Re-Basin."""

from collections.abc import Mapping

from torch import nn

from weightspace.axes import Atom
from weightspace.errors import SpecificationError
from weightspace.permutation_spec import PermutationSpec
from weightspace.space import WeightSpace
from weightspace.tracing._specification import Expression, Shape, shapes_of, specify


def from_permutation_spec(spec: PermutationSpec, parameters: nn.Module | Mapping[str, Shape]) -> WeightSpace:
    """The weight space of a permutation specification (Ainsworth et al. 2023, arXiv 2209.04836).

    Dimensions without a permutation, and parameters that the specification leaves out, are fixed. As in `specify`,
    nothing here knows the network: `space.verify(module, *inputs)` finds specifications that are wrong.

    Args:
        spec: a `PermutationSpec`, or anything with its two fields.
        parameters: the module, its state_dict, or shapes by name.

    Raises:
        SpecificationError: the two fields contradict each other, or do not fit the parameters.

    Example:
        >>> spec = PermutationSpec({"P": [("a.weight", 0), ("b.weight", 1)]}, {"a.weight": ("P", None),
        ...     "b.weight": (None, "P")})
        >>> space = from_permutation_spec(spec, {"a.weight": (4, 3), "b.weight": (2, 4)})
        >>> space.groups[0].members, space.to_permutation_spec() == spec
        ((('a.weight', 0), ('b.weight', 1)), True)
    """
    _check_fields(spec)
    shapes, tied, _ = shapes_of(parameters)
    axes: dict[str, tuple[Expression, ...]] = {name: (None,) * len(shape) for name, shape in shapes.items()}
    for name, perms in spec.axes_to_perm.items():
        axes[name] = tuple(None if perm is None else Atom(perm) for perm in perms)
    for name, twin in tied.items():
        if name in spec.axes_to_perm and twin not in spec.axes_to_perm:
            axes.pop(twin)
    return specify(parameters, axes)


def _check_fields(spec: PermutationSpec) -> None:
    """Both fields say the same."""
    found = {(perm, name, dim) for perm, places in spec.perm_to_axes.items() for name, dim in places}
    wanted = {
        (perm, name, dim)
        for name, perms in spec.axes_to_perm.items()
        for dim, perm in enumerate(perms)
        if perm is not None
    }
    for more, less, places in (
        ("perm_to_axes", "axes_to_perm", found - wanted),
        ("axes_to_perm", "perm_to_axes", wanted - found),
    ):
        if places:
            perm, name, dim = min(places)
            raise SpecificationError(
                f"from_permutation_spec: {more} lets '{perm}' act on '{name}' dimension {dim}, {less} does not; "
                f"{len(places)} such entries: mend the specification"
            )
