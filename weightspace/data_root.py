"""Where full data sets lie: an argument, or the environment variable `WEIGHTSPACE_DATA`."""

import os
from pathlib import Path

from weightspace.errors import ConfigurationError


def data_folder(name: str, pattern: str, root: str | Path | None = None) -> Path:
    """The folder `root/name`, or `root` itself, that holds a file like `pattern`.

    Raises:
        ConfigurationError: no root is given, or neither folder holds such a file.
    """
    root = root or os.environ.get("WEIGHTSPACE_DATA")
    if not root:
        raise ConfigurationError(
            f"{name}: no data folder; give its path (root=..., --data-root on the command line) or set "
            f"WEIGHTSPACE_DATA to a folder that holds {name}/ (datasets/{name}/CARD.md says where the files come from)"
        )
    for folder in (Path(root) / name, Path(root)):
        if any(folder.glob(pattern)):
            return folder
    raise ConfigurationError(
        f"{name}: found no {pattern} in {Path(root) / name} or {root}; "
        f"datasets/{name}/CARD.md says where the files come from"
    )
