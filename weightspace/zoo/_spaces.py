"""The architectures of a zoo: one JSON file per signature, no weights."""

from pathlib import Path

from weightspace.errors import WeightspaceError, ZooError
from weightspace.space import WeightSpace
from weightspace.zoo._shards import Shard, write_atomically

ARCHITECTURES = "architectures"


def write_space(folder: Path, space: WeightSpace) -> None:
    """Write the architecture, unless it is there already."""
    path = folder / ARCHITECTURES / f"{space.signature}.json"
    if not path.exists():
        write_atomically(path, lambda temporary: temporary.write_text(space.to_json(), encoding="utf-8"))


def read_space(folder: Path, shard: Shard) -> WeightSpace:
    """The architecture of a shard.

    Raises:
        ZooError: the file is missing, damaged, or of another architecture.
    """
    path = folder / ARCHITECTURES / f"{shard.signature}.json"
    if not path.is_file():
        raise ZooError(
            f"{shard.path}: its architecture {path} is not there; restore that file, or delete {shard.path.stem}.jsonl "
            "to go on without these models"
        )
    try:
        space = WeightSpace.from_json(path.read_text(encoding="utf-8"))
    except (WeightspaceError, UnicodeDecodeError) as error:
        raise ZooError(f"{path}: {error}; restore the file from a copy") from error
    if space.signature != shard.signature:
        raise ZooError(f"{path}: holds the architecture {space.signature}, wanted {shard.signature}; restore the file")
    return space
