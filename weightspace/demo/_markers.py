"""Stages that run once: the result of a finished one is read from its marker."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from weightspace.errors import ConfigurationError
from weightspace.tasks import write_json

SETTINGS = "settings.json"


class Stages:
    """Runs stages in order and tells one line about each.

    Args:
        out: markers go to its folder `stages/`.
        total: number of stages.
        tell: takes a line of text.
    """

    def __init__(self, out: Path, total: int, tell: Callable[[str], None]):
        self.out, self.total, self.tell = out, total, tell
        self.seconds: dict[str, float] = {}

    def run(self, name: str, what: str, work: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """The result of a stage: of `work`, or of its marker where it is done.

        Args:
            name: of the marker.
            what: the stage does, for people.
            work: returns JSON values; `line` says what came out.
        """
        number = len(self.seconds) + 1
        marker = self.out / "stages" / f"{number}-{name}.json"
        if marker.is_file():
            found = json.loads(marker.read_text(encoding="utf-8"))
            self.tell(f"[{number}/{self.total}] {what}: done before. {found['line']}")
        else:
            self.tell(f"[{number}/{self.total}] {what}")
            start = time.perf_counter()
            found = dict(work())
            found["seconds"] = time.perf_counter() - start
            write_json(marker, found)
            self.tell(f"      {found['line']} ({found['seconds']:.0f} s)")
        self.seconds[name] = found["seconds"]
        return found


def claim(out: Path, settings: Mapping[str, Any]) -> None:
    """Note a folder's settings at the first start; refuse others later.

    Raises:
        ConfigurationError: the folder was started with other settings.
    """
    path = out / SETTINGS
    if not path.is_file():
        write_json(path, settings)
        return
    found = json.loads(path.read_text(encoding="utf-8"))
    for key, value in settings.items():
        if found.get(key) != value:
            raise ConfigurationError(
                f"{out}: holds a demo with {key} {found.get(key)!r}, wanted {value!r}; "
                "choose another folder with --out, or remove this one"
            )
