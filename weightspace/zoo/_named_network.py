"""A network that a command line names: a factory, or a checkpoint with or without one."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from weightspace.errors import CheckpointError, ZooError
from weightspace.factory import example_inputs, module_from
from weightspace.zoo._checkpoint import ARCHITECTURE, SUFFIXES, Checkpoint, fit_checkpoint, read_checkpoint
from weightspace.zoo._example_inputs import example_inputs_of
from weightspace.zoo._rebuild import rebuild


@dataclass(frozen=True)
class NamedNetwork:
    """What a name stands for.

    Args:
        module: the network.
        inputs: example inputs.
        state_dict: its weights; None where it has none (it is on the meta device).
    """

    module: nn.Module
    inputs: tuple[Tensor, ...]
    state_dict: Mapping[str, Tensor] | None


def named_network(
    name: str, *, module: str | None = None, inputs: Sequence[str] = (), meta: bool = False
) -> NamedNetwork:
    """The network that a text names.

    Args:
        name: `package.module:factory`, or the path of a checkpoint (.pt .pth .th .safetensors).
        module: factory of the checkpoint's network; without it the file has to hold the specification
            `architecture` that the library writes for networks of its own.
        inputs: shapes of example inputs; by default a guess from the module, as in `import_checkpoints`.
        meta: build the module on the meta device, without memory for its weights.

    Raises:
        CheckpointError: the file cannot be read safely, does not fit the module, or does not say what it belongs to.
        ConfigurationError: the factory or a shape is not what it should be.
    """
    path = Path(name)
    if path.suffix in SUFFIXES:
        checkpoint = read_checkpoint(_existing(path))
        made = _module_of(checkpoint, module, meta)
        state: Mapping[str, Tensor] | None = fit_checkpoint(checkpoint, made.state_dict())
    else:
        made = _build(name, meta)
        state = None if meta else made.state_dict()
    found = example_inputs(inputs) if inputs else example_inputs_of(made)
    on_meta = any(value.is_meta for value in (*made.parameters(), *made.buffers()))
    return NamedNetwork(made, tuple(x.to("meta") for x in found) if on_meta else found, state)


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; give a checkpoint, or package.module:factory")
    return path


def _build(factory: str, meta: bool) -> nn.Module:
    with torch.device("meta") if meta else nullcontext():
        return module_from(factory)


def _module_of(checkpoint: Checkpoint, module: str | None, meta: bool) -> nn.Module:
    if module is not None:
        return _build(module, meta)
    spec = checkpoint.scalars.get(ARCHITECTURE)
    if not isinstance(spec, Mapping):
        shapes = [f"'{key}' {tuple(value.shape)}" for key, value in checkpoint.state_dict.items()]
        more = f" and {len(shapes) - 3} more" if len(shapes) > 3 else ""
        raise CheckpointError(
            f"{checkpoint.path}: found weights ({', '.join(shapes[:3])}{more}), but weights do not say how they are "
            "wired; give the factory of their module: --module package.module:factory"
        )
    try:
        return rebuild(spec, checkpoint.state_dict, 0)
    except ZooError as error:
        raise CheckpointError(
            f"{checkpoint.path}: its specification {ARCHITECTURE!r} does not build a module that fits ({error}); give "
            "--module package.module:factory"
        ) from error
