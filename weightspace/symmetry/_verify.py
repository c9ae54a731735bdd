"""Verify a derived group on random weights, with a negative control.

On given weights a check is blind: with fresh batch norms a group that forgets all of their vectors passes, and
zero-initialised branches let
anything pass. So every floating entry gets a random value (variances positive), in float64.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from weightspace.errors import VerificationError
from weightspace.group import GroupElement
from weightspace.space import WeightSpace
from weightspace.symmetry._double import DoublePrecision

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3}
MOVED = 1e-6


def random_state(
    space: WeightSpace,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float64,
    like: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Random values for every floating entry, scaled so that signals neither vanish nor explode; variances positive.

    Args:
        space: of the networks.
        generator: draws the values.
        dtype: of the values.
        like: a buffer whose values here are all positive (a variance of the user's own) gets positive values.
    """
    positive = {name for name, value in (like or {}).items() if value.numel() and bool((value > 0).all())}
    state = {}
    for name, spec in space.parameters.items():
        values = torch.randn(spec.shape, generator=generator, dtype=torch.float64)
        if spec.role == "running_var" or (spec.role in ("buffer", "unused") and name in positive):
            values = torch.rand(spec.shape, generator=generator, dtype=torch.float64) + 0.5
        elif spec.role == "norm_weight":
            values = 1 + 0.3 * values
        elif spec.role == "slope":
            values = 0.25 + 0.1 * values
        elif len(spec.shape) > 1:
            values = values * 1.4 / max(1, prod(spec.shape[1:])) ** 0.5
        else:
            values = values * 0.5
        state[name] = values.to(dtype)
    return state


def verify(
    space: WeightSpace,
    module: nn.Module,
    *inputs: Any,
    example_kwargs: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float64,
) -> None:
    """Check that the group keeps the function, and that what is not in the group changes it.

    Where the module cannot run in `dtype` (constants of its own in another), it runs in float32 at a tolerance of 1e-3.

    Args:
        space: of the module.
        module: left as it is; it runs on random weights through `torch.func.functional_call`.
        *inputs: example inputs; floating ones are replaced by random numbers of their shape.
        example_kwargs: keyword arguments.
        dtype: of the check.

    Raises:
        VerificationError: names the neuron group, its parameters and their operation, or what a scaling moves.
    """
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        run, dtype = _runner(space, module, inputs, dict(example_kwargs or {}), dtype, generator)
        state = random_state(space, generator, dtype, dict(module.named_buffers()))
        wanted = run(state)
        if not all(bool(torch.isfinite(w).all()) for w in wanted):
            raise VerificationError(
                "verify: the module gives values that are not finite on random weights, so the check cannot "
                "tell; use verify=False"
            )
        element = space.random_element(generator)
        if _difference(run(_apply(space, element, state)), wanted) > TOLERANCE[dtype]:
            _blame(space, state, run=run, wanted=wanted, tolerance=TOLERANCE[dtype])
        for group in space.groups:
            _control(space, group.name, state, run=run, wanted=wanted)
        if set(space.symmetries) != {"permutation"}:
            _check_scaling(space, state, generator, run=run, wanted=wanted, tolerance=TOLERANCE[dtype])


def _check_scaling(
    space: WeightSpace,
    state: Mapping[str, Tensor],
    generator: torch.Generator,
    *,
    run: Callable[[Mapping[str, Tensor]], list[Tensor]],
    wanted: Sequence[Tensor],
    tolerance: float,
) -> None:
    """A random scaling stands for all: those that keep the function are a subgroup, which a generic element of a
    larger group misses.
    """
    scaling = space.random_scaling(generator)
    error = _difference(run({name: value * scaling.factors[name].to(value) for name, value in state.items()}), wanted)
    if error > tolerance:
        moved = [name for name, factor in scaling.factors.items() if bool((factor != 1).any())]
        raise VerificationError(
            f"verify: a random element of the scales and signs (on {', '.join(moved)}) changes the function by "
            f"{error:.1e}, allowed {tolerance:.0e}. A rule is wrong; trace with symmetries={{'permutation'}} alone"
        )


def _runner(
    space: WeightSpace,
    module: nn.Module,
    inputs: Sequence[Any],
    options: dict[str, Any],
    dtype: torch.dtype,
    generator: torch.Generator,
) -> tuple[Callable[[Mapping[str, Tensor]], list[Tensor]], torch.dtype]:
    from weightspace.runner import evaluation_call

    def prepared(kind: torch.dtype) -> Callable[[Mapping[str, Tensor]], list[Tensor]]:
        """A run of the module on random inputs of a dtype."""
        args, kwargs = torch.utils._pytree.tree_map(
            lambda x: _random_like(x, kind, generator), (tuple(inputs), options)
        )
        precision = DoublePrecision if kind == torch.float64 else nullcontext

        def run(state: Mapping[str, Tensor]) -> list[Tensor]:
            with precision():
                return evaluation_call(module, _convert_rest(module, state, kind), args, kwargs)

        return run

    first = prepared(dtype)
    try:
        first(random_state(space, torch.Generator().manual_seed(1), dtype, dict(module.named_buffers())))
    except (RuntimeError, TypeError):
        return prepared(torch.float32), torch.float32
    return first, dtype


def _random_like(value: Any, dtype: torch.dtype, generator: torch.Generator) -> Any:
    if isinstance(value, Tensor) and value.is_floating_point():
        return torch.randn(value.shape, generator=generator, dtype=torch.float64).to(dtype)
    return value.cpu() if isinstance(value, Tensor) else value


def _convert_rest(module: nn.Module, state: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Every parameter and buffer of the module in one dtype: those of the state as given, the others converted."""
    named = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    rest = {
        name: t.detach().cpu().to(dtype) if t.is_floating_point() else t.cpu()
        for name, t in named.items()
        if name not in state
    }
    return {**rest, **state}


def _difference(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
    pairs = [(f.double(), w.double()) for f, w in zip(found, wanted, strict=True) if w.numel()]
    scale = max((float(w.abs().max()) for _, w in pairs), default=1.0) or 1.0
    return max((float((f - w).abs().max()) for f, w in pairs), default=0.0) / scale


def _apply(
    space: WeightSpace, element: GroupElement, state: Mapping[str, Tensor], only: str | None = None
) -> dict[str, Tensor]:
    actions = space._actions
    return {
        name: actions[name](element, value, stacked=False) if only in (None, name) else value
        for name, value in state.items()
    }


def _blame(
    space: WeightSpace,
    state: Mapping[str, Tensor],
    *,
    run: Callable[[Mapping[str, Tensor]], list[Tensor]],
    wanted: Sequence[Tensor],
    tolerance: float,
) -> None:
    for group in space.groups:
        error = _difference(run(_apply(space, _cycle(space, group.name), state)), wanted)
        if error > tolerance:
            members = ", ".join(f"{parameter}[{dim}]" for parameter, dim in group.members)
            lines = [line for line in space.operations if any(parameter in line for parameter, _ in group.members)]
            raise VerificationError(
                f"verify: permuting '{group.name}' (on {members}) changes the function by {error:.1e}, allowed "
                f"{tolerance:.0e}. "
                f"A rule is wrong; the operations that read it: {'; '.join(lines[:4])}"
            )
    raise VerificationError(
        "verify: a random group element changes the function, though each neuron group alone keeps it; a fibre "
        "has the wrong base"
    )


def _cycle(space: WeightSpace, name: str) -> GroupElement:
    """The element that shifts one neuron group by one, for every value of its base."""
    element = space.identity()
    shifted = {k: v.roll(1, -1) if k == name else v for k, v in element.permutations.items()}
    return GroupElement(shifted)


def _control(
    space: WeightSpace,
    name: str,
    state: Mapping[str, Tensor],
    *,
    run: Callable[[Mapping[str, Tensor]], list[Tensor]],
    wanted: Sequence[Tensor],
) -> None:
    """A group's shift on one of its parameters alone is no symmetry, so one of these shifts must change the function.

    Some change nothing by themselves (biases before a mean is subtracted, keys' biases), some groups never do (what is
    averaged at once); then shuffling all entries of a parameter must, or the parameters must not matter at all.
    """
    group = next(g for g in space.groups if g.name == name)
    parameters = sorted({parameter for parameter, _ in group.members}, key=lambda p: -space.parameters[p].numel)
    if len(parameters) < 2:
        return

    def moves(changed: Mapping[str, Tensor]) -> bool:
        return _difference(run({**state, **changed}), wanted) > MOVED

    shifted = _apply(space, _cycle(space, name), {p: state[p] for p in parameters})
    shuffled = {p: state[p].flatten()[_order(state[p].numel())].view_as(state[p]) for p in parameters}
    if any(moves({p: new[p]}) for new in (shifted, shuffled) for p in parameters):
        return
    if moves({p: torch.where(shifted[p] == state[p], state[p], 1.5 * state[p] + 0.1) for p in parameters}):
        raise VerificationError(
            f"verify: permuting '{name}' on a single one of {', '.join(parameters)} changes nothing, so the check has "
            "no power here; hand in other example inputs, or use verify=False"
        )


def _order(n: int) -> Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed(n))
