"""What the house tests read: the library's files and their syntax trees."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "weightspace"


class Import(NamedTuple):
    """One import statement: the module it names and the function that holds it (`""` at module level)."""

    module: str
    function: str
    line: int


def files(folder: Path = LIBRARY) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def room_of(path: Path, library: Path = LIBRARY) -> str:
    """Name of the room that a file of the library stands in: `weightspace/zoo/_shards.py` -> `zoo`."""
    first = path.relative_to(library).parts[0]
    return first.removesuffix(".py")


def imports(text: str, package: str) -> list[Import]:
    """Every import of a source text, relative ones resolved against `package`."""
    return list(_walk(ast.parse(text), package, ""))


def _walk(node: ast.AST, package: str, function: str) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, function, child.lineno) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            base = _resolve(child, package)
            yield from (
                Import(f"{base}.{alias.name}" if base else alias.name, function, child.lineno) for alias in child.names
            )
        inside = child.name if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) else function
        yield from _walk(child, package, inside)


def _resolve(statement: ast.ImportFrom, package: str) -> str:
    if not statement.level:
        return statement.module or ""
    parts = package.split(".")
    kept = parts[: len(parts) - statement.level + 1]
    return ".".join([*kept, statement.module] if statement.module else kept)


def package_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).parts[:-1])
