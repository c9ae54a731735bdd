"""A zoo out of a folder of checkpoints that somebody else trained."""

import csv
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from weightspace.errors import CheckpointError, ConfigurationError
from weightspace.factory import call_factory, factory_from
from weightspace.space import WeightSpace
from weightspace.tracing import trace
from weightspace.zoo._checkpoint import SUFFIXES, fit_checkpoint, read_checkpoint
from weightspace.zoo._example_inputs import example_inputs_of
from weightspace.zoo._store import Zoo

SHARD_MODELS = 256
SHARD_BYTES = 64 << 20
FACTORY_ARGS = "factory_args"


@dataclass(frozen=True)
class ImportSummary:
    """What `import_checkpoints` did.

    Args:
        networks: in the zoo now.
        imported: by this call; the others were there already.
        architectures: in the zoo now.
        ignored: names of what the files hold beside weights, numbers and texts.
    """

    networks: int
    imported: int
    architectures: int
    ignored: tuple[str, ...]


def import_checkpoints(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    module: str | Callable[..., nn.Module],
    attributes: str | os.PathLike[str] | None = None,
    inputs: Sequence[Tensor] | None = None,
    progress: bool = True,
) -> ImportSummary:
    """Copy all checkpoints below a folder into a zoo; called again, it goes on with the files that are not in it yet.

    Weights, and numbers and texts that stand beside them in a file, become a network and its attributes; `file` is its
    path below `source`. Files are read one after the other, `weights_only=True`.

    Args:
        source: folder, searched through with its subfolders for `.pt`, `.pth`, `.th` and `.safetensors`.
        destination: folder of the zoo, made where needed.
        module: makes the architecture; a callable without arguments, or text `package.module:factory`.
        attributes: CSV file with a column `file` and one row per checkpoint; its other columns become attributes. A
            column `factory_args` (JSON objects) gives `module` keyword arguments, for folders of several architectures.
        inputs: example inputs of the module, for tracing; by default its `example_input_array`, or a guess from its
            first layer.
        progress: show a progress bar.

    Raises:
        CheckpointError: no checkpoints, or one that cannot be read safely or does not fit; names the file.
        ConfigurationError: the CSV file or `module` is not what it should be.
    """
    source = Path(source)
    files = _checkpoint_files(source)
    rows = _read_attributes(Path(attributes), source, files) if attributes is not None else {}
    architectures = _Architectures(module, inputs)
    zoo = Zoo.create(destination)
    present = {row.get("file") for row in zoo.attributes}
    missing = [path for path in files if _name(path, source) not in present]
    pending: dict[str, _Pending] = {}
    ignored: set[str] = set()
    for path in _with_progress(missing, shown=progress):
        checkpoint = read_checkpoint(path)
        row = rows.get(_name(path, source), {})
        space, wanted = architectures.of(row.get(FACTORY_ARGS))
        state = fit_checkpoint(checkpoint, wanted)
        ignored.update(checkpoint.ignored)
        key = f"{space.signature} {[str(value.dtype) for value in state.values()]}"
        stack = pending.setdefault(key, _Pending(space, [], []))
        stack.add(state, {"file": _name(path, source)} | checkpoint.scalars | row)
        if stack.full:
            pending.pop(key).write(zoo)
    for stack in pending.values():
        stack.write(zoo)
    return ImportSummary(len(zoo), len(missing), len(zoo.spaces), tuple(sorted(ignored)))


@dataclass(frozen=True)
class _Pending:
    """Networks of one architecture and one choice of dtypes that wait for their shard."""

    space: WeightSpace
    states: list[dict[str, Tensor]]
    attributes: list[dict[str, Any]]

    def add(self, state: dict[str, Tensor], attributes: dict[str, Any]) -> None:
        self.states.append(state)
        self.attributes.append(attributes)

    @property
    def full(self) -> bool:
        size = sum(value.nbytes for value in self.states[0].values())
        return len(self.states) >= SHARD_MODELS or len(self.states) * size >= SHARD_BYTES

    def write(self, zoo: Zoo) -> None:
        stacked = {key: torch.stack([state[key] for state in self.states]) for key in self.states[0]}
        zoo.append(self.space, stacked, self.attributes)


class _Architectures:
    """Spaces and state_dicts of the modules that a factory makes, each made once."""

    def __init__(self, module: str | Callable[..., nn.Module], inputs: Sequence[Tensor] | None):
        self.factory = factory_from(module) if isinstance(module, str) else module
        self.name = module if isinstance(module, str) else getattr(module, "__name__", type(module).__name__)
        self.inputs = inputs
        self.known: dict[str, tuple[WeightSpace, dict[str, Tensor]]] = {}

    def of(self, arguments: Mapping[str, Any] | None) -> tuple[WeightSpace, dict[str, Tensor]]:
        """Space and state_dict of the module that the factory makes with these arguments."""
        key = json.dumps(arguments, sort_keys=True)
        if key not in self.known:
            made = call_factory(self.factory, self.name, arguments)
            inputs = example_inputs_of(made) if self.inputs is None else tuple(self.inputs)
            self.known[key] = trace(made, *inputs), made.state_dict()
        return self.known[key]


def _checkpoint_files(source: Path) -> list[Path]:
    files = sorted(path for path in source.rglob("*") if path.suffix in SUFFIXES and path.is_file())
    if not files:
        raise CheckpointError(
            f"{source}: found no {', '.join(SUFFIXES)} file in it or its subfolders; give the folder of the checkpoints"
        )
    return files


def _name(path: Path, source: Path) -> str:
    return path.relative_to(source).as_posix()


def _read_attributes(path: Path, source: Path, files: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """File -> attributes.

    Raises:
        ConfigurationError: no such file, no column `file`, or rows and checkpoints that do not match one to one.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigurationError(f"{path}: cannot be read as CSV ({error})") from error
    if not table or "file" not in table[0]:
        columns = list(table[0]) if table else "no rows"
        raise ConfigurationError(f"{path}: found {columns}, wanted a column 'file' with paths below {source}")
    names = [_name(file, source) for file in files]
    listed = [row["file"] for row in table]
    problems = {
        "listed twice": sorted(name for name, count in Counter(listed).items() if count > 1),
        "listed, but not in the folder": sorted(set(listed) - set(names)),
        "in the folder, but not listed": sorted(set(names) - set(listed)),
    }
    for what, wrong in problems.items():
        if wrong:
            raise ConfigurationError(
                f"{path}: {len(wrong)} files are {what}, e.g. {', '.join(wrong[:3])}; "
                f"wanted one row per checkpoint below {source}"
            )
    return {row["file"]: _attributes(row, path) for row in table}


def _attributes(row: Mapping[str, Any], path: Path) -> dict[str, Any]:
    if None in row or None in row.values():
        raise ConfigurationError(f"{path}: the row of {row['file']} has more or fewer cells than the header")
    values = {key: _value(text) for key, text in row.items() if key not in ("file", FACTORY_ARGS) and text != ""}
    if text := row.get(FACTORY_ARGS):
        try:
            arguments = json.loads(text)
        except ValueError as error:
            raise ConfigurationError(f"{path}: {FACTORY_ARGS} of {row['file']} is no JSON ({error})") from error
        if not isinstance(arguments, dict):
            raise ConfigurationError(
                f'{path}: {FACTORY_ARGS} of {row["file"]} is {text}, wanted an object like {{"depth": 20}}'
            )
        values[FACTORY_ARGS] = arguments
    return values


def _value(text: str) -> Any:
    """A whole number, a finite number, or the text itself."""
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        return number if number - number == 0 else text
    return text


def _with_progress(files: Sequence[Path], *, shown: bool) -> Iterator[Path]:
    if not shown or not files:
        return iter(files)
    from tqdm import tqdm

    return iter(tqdm(files, desc="importing", unit=" networks"))
