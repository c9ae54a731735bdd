"""Weights of published models, moved into ours by name."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from weightspace.errors import CheckpointError
from weightspace.geometric._atomistic import NUM_ELEMENTS, AbstractAtomisticModel


@torch.no_grad()
def load_published(
    model: nn.Module,
    state_dict: Mapping[str, Tensor],
    names: Mapping[str, str],
    *,
    changed: Mapping[str, tuple[str, Callable[[Tensor], Tensor]]] | None = None,
    unused: Iterable[str] = (),
) -> None:
    """Copy a published state_dict into a model; every entry of either must be accounted for.

    Args:
        model: the model; references and scale, where it has them, are left alone.
        state_dict: the published entries.
        names: our module (or entry) -> theirs; an entry of ours takes the longest name that it starts with.
        changed: our entry -> their entry and what makes ours of it.
        unused: their entries that need not be there and are not copied.

    Raises:
        CheckpointError: an entry is missing, left over, or of another shape.
    """
    wanted = {key: value for key, value in model.state_dict().items() if key not in ("references", "scale")}
    changed = dict(changed or {})
    left = set(state_dict) - set(unused)
    for key, value in wanted.items():
        theirs, change = changed[key] if key in changed else (_renamed(key, names), _same)
        if theirs not in state_dict:
            if key not in changed and theirs == key and _is_constant(model, key):
                continue
            raise _error(model, f"{theirs!r} is missing, from which {key!r} is made")
        found = change(state_dict[theirs])
        if found.shape != value.shape:
            raise _error(model, f"{theirs!r} has shape {tuple(found.shape)}, wanted {tuple(value.shape)} for {key!r}")
        value.copy_(found)
        left.discard(theirs)
    if left:
        raise _error(model, f"{sorted(left)[0]!r} ({len(left)} in all) has no place in the model")


def submodule_count(state_dict: Mapping[str, Tensor], prefix: str) -> int:
    """How many numbered modules stand behind a prefix.

    Args:
        state_dict: of a published model.
        prefix: what comes before the number, without the dot.
    """
    numbers = {key.removeprefix(prefix).lstrip("._").split(".")[0] for key in state_dict if key.startswith(prefix)}
    return len({number for number in numbers if number.isdigit()})


def embedded_elements(state_dict: Mapping[str, Tensor], key: str) -> list[int]:
    """Atomic numbers of the rows of an embedding whose row z stands for element z (row 0 and rows above 118 for none).

    Args:
        state_dict: of a published model.
        key: of the embedding.

    Raises:
        CheckpointError: the key is not there.
    """
    if key not in state_dict:
        raise CheckpointError(f"published weights: {key!r} is missing; wanted the state_dict of the model itself")
    return list(range(1, min(len(state_dict[key]), NUM_ELEMENTS + 1)))


def per_element(model: AbstractAtomisticModel) -> Callable[[Tensor], Tensor]:
    """What picks the model's elements from a table whose row z stands for element z."""
    return lambda table: table[list(model.elements)]


def _renamed(key: str, names: Mapping[str, str]) -> str:
    for mine in sorted(names, key=len, reverse=True):
        if key == mine or key.startswith(f"{mine}."):
            return names[mine] + key[len(mine) :]
    return key


def _is_constant(model: nn.Module, key: str) -> bool:
    return key in dict(model.named_buffers())


def _same(value: Tensor) -> Tensor:
    return value


def _error(model: nn.Module, words: Any) -> CheckpointError:
    return CheckpointError(
        f"{type(model).__name__} from published weights: {words}; hand in the state_dict of the model named in the "
        "function's documentation, without prefixes"
    )
