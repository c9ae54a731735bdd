"""One shard on disk: a stacked safetensors file and a JSONL sidecar with a row per model.

The shard is written to a temporary name, flushed to the disk and renamed; then the sidecar in the same way. The sidecar
is the mark of
validity: a shard without one was interrupted and does not count. What is read is untrusted: header, shapes and rows are
    checked.
"""

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from weightspace.errors import ZooError
from weightspace.space import WeightSpace

FORMAT = "weightspace-zoo-1"
SIGNATURE_IN_NAME = 12
_SIDECAR_NAME = re.compile(rf"(\d{{5,}})-([0-9a-f]{{{SIGNATURE_IN_NAME}}})\.jsonl")
_SIGNATURE = re.compile(r"[0-9a-f]{12,128}")


@dataclass(frozen=True)
class Shard:
    """A valid shard: models of one architecture.

    Args:
        path: of the safetensors file.
        number: position among the zoo's shards.
        signature: of the architecture.
        attributes: one dictionary per model.
    """

    path: Path
    number: int
    signature: str
    attributes: tuple[dict[str, Any], ...]

    def __len__(self) -> int:
        return len(self.attributes)

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """Stacked tensors (models, ...), mapped from the file and read as they are used; not to be written to."""
        with _opened(self.path) as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (no mapping)


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` make a temporary file beside `path`, flush it to the disk, then rename it to `path`."""
    temporary = path.with_name(f".{path.name}.part")
    write(temporary)
    _flush(temporary)
    os.replace(temporary, path)
    _flush(path.parent)


def write_shard(
    folder: Path,
    number: int,
    space: WeightSpace,
    stacked: Mapping[str, Tensor],
    attributes: Sequence[Mapping[str, Any]],
) -> Shard:
    """Write one shard, then its sidecar; remains of an interrupted shard of the same number are removed first.

    Raises:
        ZooError: an attribute that JSON cannot hold.
    """
    stem = f"{number:05d}-{space.signature[:SIGNATURE_IN_NAME]}"
    text = "".join(_row(row, i) + "\n" for i, row in enumerate(attributes))
    for orphan in folder.glob(f"{number:05d}-*.safetensors"):
        if not orphan.with_suffix(".jsonl").exists():
            orphan.unlink()
    path = folder / f"{stem}.safetensors"
    # Tied keys may share memory, which the file format refuses: every key is a tensor of its own.
    tensors = {key: value.detach().cpu().clone(memory_format=torch.contiguous_format) for key, value in stacked.items()}
    metadata = {"format": FORMAT, "signature": space.signature}
    write_atomically(path, lambda temporary: temporary.write_bytes(save(tensors, metadata)))
    write_atomically(path.with_suffix(".jsonl"), lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return Shard(path, number, space.signature, tuple(json.loads(line) for line in text.splitlines()))


def read_shards(folder: Path) -> list[Shard]:
    """All valid shards of a folder, in order of their names.

    Raises:
        ZooError: a sidecar without shard, a damaged file, or rows that do not fit; names the file and the way out.
    """
    names = sorted(path.name for path in folder.glob("*.jsonl"))
    found = [match for name in names if (match := _SIDECAR_NAME.fullmatch(name))]
    return [_read_shard(folder / match[0], int(match[1]), match[2]) for match in sorted(found, key=lambda m: int(m[1]))]


def check_against(space: WeightSpace, shard: Shard) -> None:
    """Compare a shard's header with the architecture that it belongs to.

    Raises:
        ZooError: keys or shapes differ.
    """
    models = len(shard)
    with _opened(shard.path) as file:
        found = set(file.keys())
        if found != set(space.keys):
            missing, extra = sorted(set(space.keys) - found), sorted(found - set(space.keys))
            raise ZooError(f"{shard.path}: missing keys {missing}, unknown keys {extra}; {_way_out(shard.path)}")
        for key in space.keys:
            spec = space.parameters.get(space.tied.get(key, key))
            shape = tuple(file.get_slice(key).get_shape())
            wanted = (models, *spec.shape) if spec else (models, *shape[1:])
            if shape != wanted:
                raise ZooError(f"{shard.path}: {key} has shape {shape}, wanted {wanted}; {_way_out(shard.path)}")


def _read_shard(sidecar: Path, number: int, start: str) -> Shard:
    path = sidecar.with_suffix(".safetensors")
    if not path.is_file():
        raise ZooError(
            f"{sidecar}: a sidecar without shard, {path.name} is not there; restore it, or delete the sidecar to go on "
            "without these models"
        )
    attributes = _read_rows(sidecar)
    with _opened(path) as file:
        metadata = file.metadata() or {}
        keys = list(file.keys())
        shapes = {key: file.get_slice(key).get_shape() for key in keys}
    signature = metadata.get("signature", "")
    if metadata.get("format") != FORMAT or not _SIGNATURE.fullmatch(signature) or not signature.startswith(start):
        raise ZooError(
            f"{path}: found format {metadata.get('format')!r} and signature {signature!r}, wanted {FORMAT!r} and one "
            f"that begins with {start}; this file was not written by a zoo: {_way_out(path)}"
        )
    for key, shape in shapes.items():
        if not shape or shape[0] != len(attributes):
            raise ZooError(
                f"{path}: {key} has shape {tuple(shape)}, but {sidecar.name} has {len(attributes)} rows, "
                f"wanted one per model; {_way_out(path)}"
            )
    return Shard(path, number, signature, attributes)


def _read_rows(sidecar: Path) -> tuple[dict[str, Any], ...]:
    rows = []
    with sidecar.open(encoding="utf-8", errors="replace") as file:
        for i, line in enumerate(file, 1):
            try:
                row = json.loads(line, parse_constant=_refuse_constant)
            except (ValueError, RecursionError) as error:
                raise ZooError(f"{sidecar}: line {i} is not JSON ({error}); {_way_out(sidecar)}") from error
            if not isinstance(row, dict):
                raise ZooError(
                    f"{sidecar}: line {i} holds a {type(row).__name__}, wanted an object; {_way_out(sidecar)}"
                )
            rows.append(row)
    return tuple(rows)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise ZooError(f"{path}: the shard is truncated or damaged ({error}); {_way_out(path)}") from error


def _way_out(path: Path) -> str:
    return f"restore it from a copy, or delete {path.with_suffix('.jsonl').name} to go on without its models"


def _row(attributes: Mapping[str, Any], i: int) -> str:
    try:
        return json.dumps(dict(attributes), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ZooError(
            f"attributes of model {i} cannot be written as JSON ({error}); wanted text, finite numbers, true or false, "
            "null, and lists and dictionaries of them"
        ) from error


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
