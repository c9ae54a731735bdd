"""`weightspace bench`: runs the speed comparisons of a folder, each in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from weightspace.errors import ConfigurationError


def run_benchmarks(
    folder: str | os.PathLike[str], *, smoke: bool = False, tell: Callable[[str], None] | None = None
) -> None:
    """Run every script of a folder in turn; each prints and writes its JSON.

    Args:
        folder: holds the scripts; files whose names begin with an underscore are no benchmarks.
        smoke: a few repetitions, in seconds.
        tell: takes a line of text per script.

    Raises:
        ConfigurationError: no scripts there, or one that failed.
    """
    scripts = sorted(path for path in Path(folder).glob("*.py") if not path.name.startswith("_"))
    if not scripts:
        raise ConfigurationError(
            f"{folder}: holds no benchmarks; run in a clone of the repository, or give their folder"
        )
    for script in scripts:
        if tell:
            tell(f"== {script.name}")
        result = subprocess.run([sys.executable, str(script), *["--smoke"] * smoke], check=False)
        if result.returncode:
            raise ConfigurationError(f"{script}: ended with exit code {result.returncode}; its output above says why")
