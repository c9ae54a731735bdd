"""Imports point down, and heavy libraries stay in their rooms."""

from pathlib import Path

import pytest

from ._rooms import ALLOWED, UPWARD
from ._source import LIBRARY, ROOT, files, imports, package_of, room_of


def upward_imports(room: str, text: str, package: str) -> list[str]:
    """Imports of `room`'s source text that the table of rooms forbids, each as `room -> other (line n)`."""
    found = []
    for statement in imports(text, package):
        parts = statement.module.split(".")
        if parts[0] != "weightspace" or len(parts) < 2 or parts[1].startswith("__"):
            continue
        other = parts[1]
        if other not in ALLOWED[room] | {room} and (room, statement.function, other) not in UPWARD:
            found.append(f"{room} -> {other} (line {statement.line})")
    return found


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path):
    if path == LIBRARY / "__init__.py":
        text = path.read_text()
        assert not [s for s in imports(text, "weightspace") if s.module.startswith("weightspace")], (
            "the top level imports lazily"
        )
        return
    room = room_of(path)
    assert room in ALLOWED, f"{room} is in no level of tests/house/_rooms.py: add it where its imports allow"
    assert upward_imports(room, path.read_text(), package_of(path)) == []


@pytest.mark.parametrize(
    ("room", "text", "wanted"),
    [
        ("graph", "from weightspace.tracing import trace", ["graph -> tracing (line 1)"]),
        ("graph", "import weightspace.zoo", ["graph -> zoo (line 1)"]),
        ("metanets", "from weightspace import zoo", ["metanets -> zoo (line 1)"]),
        ("symmetry", "from ..tracing import trace", ["symmetry -> tracing (line 1)"]),
        ("zoo", "def f():\n    from weightspace.tasks import main", ["zoo -> tasks (line 2)"]),
        ("space", "def verify(self):\n    from weightspace.symmetry import verify", []),
        ("space", "def other(self):\n    from weightspace.symmetry import verify", ["space -> symmetry (line 2)"]),
        ("zoo", "from weightspace.tracing import trace\nfrom ._shards import read", []),
    ],
)
def test_the_net_catches_fish(room, text, wanted):
    assert upward_imports(room, text, f"weightspace.{room}") == wanted


@pytest.mark.parametrize(
    ("library", "rooms"),
    [("lightning", {"tasks"}), ("matplotlib", {"reports"}), ("torchvision", set()), ("timm", set())],
)
def test_heavy_libraries_stay_in_their_rooms(library, rooms):
    users = {
        room_of(path)
        for path in files()
        for s in imports(path.read_text(), package_of(path))
        if s.module.split(".")[0] == library
    }
    assert users <= rooms
