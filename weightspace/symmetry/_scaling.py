"""Positive scales and signs that keep the function."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from weightspace.conversion import check_state_dict
from weightspace.errors import WeightspaceError
from weightspace.symmetry._entries import Ints
from weightspace.symmetry._gauge_rules import gauge_graph
from weightspace.symmetry._linear_systems import Equations, Kernel

if TYPE_CHECKING:
    from weightspace.space import WeightSpace


@dataclass(frozen=True)
class Scaling:
    """An element of a space's group of scales and signs: the factor of each entry.

    Args:
        factors: parameter -> a factor, positive or negative, for each of its entries.

    Shapes:
        factors[parameter]: the shape of the parameter.
    """

    factors: Mapping[str, Tensor]

    def compose(self, other: "Scaling") -> "Scaling":
        """Both, one after the other; the group is commutative."""
        return Scaling({name: factor * other.factors[name] for name, factor in self.factors.items()})

    def inverse(self) -> "Scaling":
        """The element that takes this one back."""
        return Scaling({name: 1 / factor for name, factor in self.factors.items()})


class ScalingGroup:
    """The scales and signs of a weight space, as far as it was traced for them.

    A positive scale may move through functions that are positively homogeneous, a sign through odd ones; norms,
    products and shared weights tie them together. See `_gauge_rules.py` for the rules.

    Args:
        space: of the networks; its `symmetries` say which of the two groups it has.
    """

    def __init__(self, space: "WeightSpace") -> None:
        self._space = space
        self.relations = gauge_graph(space)

    @cached_property
    def scales(self) -> Kernel:
        """Solutions of the equations of the logarithms; only zero where the space was not traced for scales."""
        return self._kernel(self.relations.scale, "scale")

    @cached_property
    def signs(self) -> Kernel:
        """Solutions of the equations of the parities; only zero where the space was not traced for signs."""
        return self._kernel(self.relations.sign, "sign")

    def _kernel(self, equations: Equations, wanted: str) -> Kernel:
        if wanted not in self._space.symmetries:
            equations = equations.copy()
            equations.add((np.arange(equations.count), 1))
        return Kernel(equations, 2 if wanted == "sign" else 0)

    def dimension(self, wanted: str) -> int:
        """Dimension of the scale group, or rank of the sign group; what moves no entry is divided out.

        Raises:
            WeightspaceError: the space was not traced for it.
        """
        if wanted not in self._space.symmetries:
            name = {"scale": "scale_dim", "sign": "sign_rank"}[wanted]
            raise WeightspaceError(
                f"{name}: the space was traced with symmetries={sorted(self._space.symmetries)}, wanted {wanted!r} "
                f"among them; trace(module, ..., symmetries={{'permutation', {wanted!r}}})"
            )
        relations, modulus = self.relations, 2 if wanted == "sign" else 0
        equations = (relations.sign if modulus else relations.scale).copy()
        powers = relations.parity if modulus else relations.degree
        for power in np.unique(powers):
            some = powers == power
            minus = relations.minus[some] if power else np.full(some.sum(), relations.nodes)
            pairs = np.unique(relations.plus[some] * (relations.nodes + 1) + minus)
            equations.add((pairs // (relations.nodes + 1), 1), (pairs % (relations.nodes + 1), -int(power)))
        return (self.signs if modulus else self.scales).dimension - Kernel(equations, modulus).dimension

    def random(self, generator: torch.Generator | None) -> Scaling:
        """A random element: logarithms uniform in [-1, 1] along the basis, signs uniform."""
        scale = torch.rand(self.scales.dimension, generator=generator, dtype=torch.float64) * 2 - 1
        sign = torch.randint(0, 2, (self.signs.dimension,), generator=generator)
        return self.element(scale.numpy(), sign.numpy())

    def element(self, scale: NDArray[np.float64], sign: Ints) -> Scaling:
        """The element with these coordinates."""
        relations = self.relations
        logs, parities = self.scales.combine(scale), self.signs.combine(sign)
        log = logs[relations.plus] - relations.degree * logs[relations.minus]
        odd = (parities[relations.plus] + relations.parity * parities[relations.minus]) % 2
        return Scaling(self.split(np.exp(log) * (1 - 2 * odd)))

    def split(self, values: NDArray[np.float64]) -> dict[str, Tensor]:
        """A number per entry as tensors of the parameters' shapes."""
        found, start = {}, 0
        for name, spec in self._space.parameters.items():
            found[name] = torch.from_numpy(values[start : start + spec.numel]).reshape(spec.shape)
            start += spec.numel
        return found

    def rescale(self, scaling: Scaling, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A new state_dict of the same function, every entry multiplied by its factor; differentiable.

        Args:
            scaling: from `random`.
            state_dict: of one network, or stacked tensors, which all get the same factors.

        Raises:
            StateDictError: a key is missing or unknown, or a shape does not fit.
        """
        check_state_dict(self._space, state_dict)
        scaled = {name: state_dict[name] * factor.to(state_dict[name]) for name, factor in scaling.factors.items()}
        return {key: scaled.get(self._space.tied.get(key, key), state_dict[key]) for key in self._space.keys}
