"""One foreign checkpoint file: read as untrusted input, unwrapped, and fitted to the module that should take it."""

import math
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from weightspace.errors import CheckpointError

SUFFIXES = (".pt", ".pth", ".th", ".safetensors")
WRAPPERS = ("state_dict", "model_state_dict", "model", "net")
PREFIXES = ("module.", "_orig_mod.")  # of DataParallel and of torch.compile
COUNTER = "num_batches_tracked"
ARCHITECTURE = "architecture"  # of networks that the library trained: what zoo._architectures.build takes
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds.

    Args:
        path: of the file.
        state_dict: the weights.
        scalars: numbers and texts that stood beside them, and the specification `architecture` where there is one.
        ignored: names of what else stood beside them (an optimiser's state, for example).
    """

    path: Path
    state_dict: dict[str, Tensor]
    scalars: dict[str, Any]
    ignored: tuple[str, ...]


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a `.pt`, `.pth`, `.th` or `.safetensors` file; `weights_only=True`, so nothing in it is run.

    A state_dict may be the whole file or an entry `state_dict`, `model_state_dict`, `model` or `net` of a dictionary.

    Raises:
        CheckpointError: a damaged file, a pickle that needs a class, or no state_dict in it.
    """
    content = _load_safetensors(path) if path.suffix == ".safetensors" else _load_pickle(path)
    if isinstance(content, Mapping):
        for name in WRAPPERS:
            if _is_state_dict(content.get(name)):
                beside = {key: value for key, value in content.items() if key != name}
                return Checkpoint(path, dict(content[name]), *_scalars(beside))
        tensors = {key: value for key, value in content.items() if isinstance(value, Tensor)}
        if _is_state_dict(tensors):
            return Checkpoint(path, tensors, *_scalars({k: v for k, v in content.items() if k not in tensors}))
    found = f"keys {list(content)[:8]}" if isinstance(content, Mapping) else f"a {type(content).__name__}"
    raise CheckpointError(
        f"{path}: found {found}, wanted a state_dict (name -> tensor), alone or under one of {', '.join(WRAPPERS)}; "
        "save it again with torch.save(model.state_dict(), path)"
    )


def fit_checkpoint(checkpoint: Checkpoint, wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The checkpoint's tensors under the module's keys, in the module's order; prefixes of wrappers are taken off.

    BatchNorm's counters, which files of torch before 0.4.1 lack, are taken from `wanted` if the file has none at all.

    Args:
        checkpoint: what was read.
        wanted: state_dict of the module that should take it.

    Raises:
        CheckpointError: missing or extra keys, shapes, kinds of numbers, or values that are not finite; nothing is
            dropped.
    """
    state = _without_prefix(checkpoint.state_dict, wanted)
    if not any(key.endswith(COUNTER) for key in state):
        state |= {key: value for key, value in wanted.items() if key.endswith(COUNTER)}
    missing, extra = [k for k in wanted if k not in state], [k for k in state if k not in wanted]
    shapes = [
        f"{k} has shape {tuple(state[k].shape)}, wanted {tuple(wanted[k].shape)}"
        for k in wanted
        if k in state and state[k].shape != wanted[k].shape
    ]
    kinds = [
        f"{k} has dtype {state[k].dtype}, wanted one like {wanted[k].dtype}"
        for k in wanted
        if k in state and state[k].is_floating_point() != wanted[k].is_floating_point()
    ]
    listed = [f"missing {_some(missing)}"] * bool(missing) + [f"extra {_some(extra)}"] * bool(extra)
    if wrong := listed + shapes[:5] + kinds[:5]:
        raise CheckpointError(
            f"{checkpoint.path}: does not fit the module: {'; '.join(wrong)}; give the module that these weights were "
            "trained with, or move the file out of the folder"
        )
    bad = [key for key in wanted if state[key].is_floating_point() and not bool(state[key].isfinite().all())]
    if bad:
        raise CheckpointError(
            f"{checkpoint.path}: {_some(bad)} hold values that are not finite, wanted finite weights; "
            "this network diverged or the file is damaged: move it out of the folder"
        )
    return {key: state[key] for key in wanted}


def _load_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a whole safetensors file ({error}); copy it again") from error


def _load_pickle(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        names = _classes(path) or _GLOBAL.findall(str(error))
        if names:
            raise CheckpointError(
                f"{path}: the pickle needs {', '.join(names)}, and loading it would run code, so it is refused; where "
                "that code is at hand and trusted, load the file there and torch.save(model.state_dict(), path)"
            ) from error
        raise CheckpointError(
            f"{path}: not a checkpoint of tensors ({_first_line(error)}); save a state_dict"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError, IndexError, TypeError) as error:
        raise CheckpointError(
            f"{path}: the file is damaged or no checkpoint of torch.save ({_first_line(error)}); copy it again, or "
            "move it out of the folder"
        ) from error


def _classes(path: Path) -> list[str]:
    """Classes that the pickle names and that are not allowed; empty where the file is of the old format."""
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except (RuntimeError, ValueError, OSError, pickle.UnpicklingError, EOFError, IndexError, KeyError):
        return []


def _is_state_dict(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(key, str) and isinstance(entry, Tensor) for key, entry in value.items())
        and any(entry.ndim for entry in value.values())
    )


def _scalars(entries: Mapping[Any, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Numbers and texts, and the names of everything else; a number that is not finite becomes None."""
    scalars, ignored = {}, []
    for key, value in entries.items():
        if isinstance(value, Tensor) and value.ndim == 0:
            value = value.item()
        if isinstance(value, float) and not math.isfinite(value):
            value = None
        if value is None or isinstance(value, bool | int | float | str) or (key == ARCHITECTURE and _is_plain(value)):
            scalars[str(key)] = value
        else:
            ignored.append(str(key))
    return scalars, tuple(ignored)


def _is_plain(value: Any) -> bool:
    """Whether a value is JSON as it stands."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(part) for key, part in value.items())
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value))


def _without_prefix(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    state = dict(state)
    while prefix := next((p for p in PREFIXES if all(k.startswith(p) for k in state)), None):
        if all(key.startswith(prefix) for key in wanted):
            break
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
