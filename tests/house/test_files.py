"""Rules that hold for every file: size, no printing, no catch-all names, a card for every data set."""

import ast
from pathlib import Path

import pytest

import weightspace

from ._source import LIBRARY, ROOT, files

SOURCES = [path for folder in ("weightspace", "tests", "experiments") for path in files(ROOT / folder)]
CATCH_ALL = {"utils", "common", "core", "base", "helpers", "misc"}


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_a_file_has_at_most_400_lines(path: Path):
    lines = len(path.read_text().splitlines())
    assert lines <= 400, f"{relative(path)} has {lines} lines: split it"


@pytest.mark.parametrize("path", files(), ids=relative)
def test_functions_are_short(path: Path):
    tree = ast.parse(path.read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = {f.name: n for f in functions if (n := code_lines(f)) > 60}
    assert not long, f"functions over 60 lines in {relative(path)}: {long}"


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from the signature to the end, the docstring left out."""
    first = function.body[0]
    docstring = (
        isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    )
    total = (function.end_lineno or function.lineno) - function.lineno + 1
    return total - ((first.end_lineno or first.lineno) - first.lineno + 1 if docstring else 0)


@pytest.mark.parametrize("path", [p for p in files() if LIBRARY / "cli" not in p.parents], ids=relative)
def test_the_library_does_not_print(path: Path):
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    assert not [f"line {c.lineno}" for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"]


def test_no_file_is_named_after_nothing():
    assert not [relative(path) for path in files() if path.stem.strip("_") in CATCH_ALL]


def test_implementation_files_of_rooms_are_private():
    public = [
        relative(p) for p in files() if p.parent != LIBRARY and not p.name.startswith("_") and not _in_private_folder(p)
    ]
    assert not public


def _in_private_folder(path: Path) -> bool:
    return any(part.startswith("_") or part == "rules" for part in path.relative_to(LIBRARY).parts[:-1])


def test_the_top_level_is_small_and_complete():
    assert len([name for name in weightspace.__all__ if not name.startswith("__")]) <= 30
    for name in weightspace.__all__:
        assert getattr(weightspace, name) is not None


def test_every_data_set_has_a_card_and_is_small():
    folders = [path for path in (ROOT / "datasets").glob("*") if path.is_dir()]
    assert folders, "datasets/ holds one folder per data set"
    for folder in folders:
        assert (folder / "CARD.md").is_file(), (
            f"{relative(folder)} has no CARD.md: source, licence, units, splits, checksum"
        )
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        assert size < 100_000, f"{relative(folder)} has {size} bytes; samples stay under 100 kB"
