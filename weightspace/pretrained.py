"""Models on disk: `model.safetensors` beside a readable `config.json`; no pickle.

A model that can be saved has an attribute `config`, a mapping of its constructor's arguments to JSON values, from
which the class builds it again.
"""

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from weightspace.errors import CheckpointError, ConfigurationError

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
_CLASS_KEY = "model_class"

Model = TypeVar("Model", bound=nn.Module)


class Configured(Protocol):
    """What `save_pretrained` needs beside an `nn.Module`."""

    config: Mapping[str, Any]


def save_pretrained(model: nn.Module, directory: str | Path) -> Path:
    """Write a model's tensors and configuration into a directory, which is made where it is missing.

    Args:
        model: an `nn.Module` with a `config`.
        directory: where `config.json` and `model.safetensors` go; files of these names are replaced.

    Returns:
        The directory.

    Raises:
        ConfigurationError: a configuration that is not JSON, or a key that the model's constructor does not take.

    Example:
        >>> import tempfile
        >>> from weightspace.metanets import GMN
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     model = from_pretrained(save_pretrained(GMN(1, channels=8, layers=1), directory), GMN)
        >>> model.config["channels"]
        8
    """
    directory = Path(directory)
    arguments = cast(Configured, model).config
    config = {_CLASS_KEY: type(model).__name__, **arguments}
    _check_keys(arguments, type(model), directory / CONFIG_FILE)
    try:
        text = json.dumps(config, indent=2, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{type(model).__name__}.config: {error}; wanted JSON values only") from error
    directory.mkdir(parents=True, exist_ok=True)
    save_file(_tensors(model), directory / WEIGHTS_FILE)
    (directory / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")
    return directory


def from_pretrained(directory: str | Path, *classes: type[Model]) -> Model:
    """The model that `save_pretrained` wrote, in evaluation mode, on the CPU.

    Args:
        directory: holds `config.json` and `model.safetensors`.
        classes: what the model may be; the configuration names one of them.

    Raises:
        CheckpointError: a file is missing or damaged, the model is none of `classes`, or tensors do not fit it.
        ConfigurationError: an unknown key.
    """
    directory = Path(directory)
    config = _read_config(directory / CONFIG_FILE)
    name = config.pop(_CLASS_KEY, None)
    known = {cls.__name__: cls for cls in classes}
    if name not in known:
        raise CheckpointError(f"{directory / CONFIG_FILE}: found {_CLASS_KEY} {name!r}, wanted {' or '.join(known)}")
    cls = known[name]
    _check_keys(config, cls, directory / CONFIG_FILE)
    model = cls(**config)
    tensors = _read_tensors(directory / WEIGHTS_FILE)
    _check_tensors(tensors, _tensors(model), directory / WEIGHTS_FILE)
    model.load_state_dict({**model.state_dict(), **tensors})
    return model.eval()


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    state = {key: value for key, value in model.state_dict().items() if isinstance(value, Tensor)}
    return {key: value.detach().cpu().contiguous().clone() for key, value in state.items()}


def _check_keys(config: Mapping[str, Any], cls: type, file: Path) -> None:
    known = list(inspect.signature(cls).parameters)
    for key in config:
        if key not in known:
            raise ConfigurationError(f"{file}: found unknown key {key!r}; {cls.__name__} takes {', '.join(known)}")


def _read_config(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise CheckpointError(f"{file}: not found; wanted a directory that save_pretrained wrote")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{file}: not readable as JSON ({error}); write it again with save_pretrained") from error
    if not isinstance(config, dict):
        raise CheckpointError(
            f"{file}: found a JSON {type(config).__name__}, wanted an object of constructor arguments"
        )
    return config


def _read_tensors(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise CheckpointError(f"{file}: not found; wanted a directory that save_pretrained wrote")
    try:
        return load_file(file)
    except SafetensorError as error:
        size = file.stat().st_size
        raise CheckpointError(f"{file}: not readable as safetensors ({size} bytes: {error}); copy it again") from error


def _check_tensors(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], file: Path) -> None:
    missing, extra = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
    if missing or extra:
        words = [
            f"{what} {keys[0]!r} ({len(keys)} in all)"
            for what, keys in (("lacks", missing), ("has unknown", extra))
            if keys
        ]
        raise CheckpointError(
            f"{file}: {' and '.join(words)}; {CONFIG_FILE} describes another model than the one whose tensors these are"
        )
    for key, value in wanted.items():
        if found[key].shape != value.shape:
            raise CheckpointError(
                f"{file}: {key!r} has shape {tuple(found[key].shape)}, wanted {tuple(value.shape)} from {CONFIG_FILE}"
            )
        if not torch.isfinite(found[key]).all():
            raise CheckpointError(
                f"{file}: {key!r} holds values that are not finite; the model was saved after it diverged"
            )
