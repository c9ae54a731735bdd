"""README and docs tell the truth: their Python runs, the output that they show comes out, their commands exist."""

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest

from weightspace.cli import LIGHTNING_COMMANDS, _parser, _with_long_names

from ._source import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(text: str) -> list[tuple[str, str]]:
    return [(match[1], match[2]) for match in BLOCK.finditer(text)]


def run_page(text: str) -> list[tuple[str, str]]:
    """(found, wanted) output of every Python block before a text block; the blocks of a page share their names."""
    names: dict[str, object] = {"__name__": "page"}
    compared = []
    found = blocks(text)
    for (language, code), (after, shown) in zip(found, [*found[1:], ("", "")], strict=False):
        if language == "python":
            output = io.StringIO()
            with contextlib.redirect_stdout(output):
                exec(compile(code, "page", "exec"), names)
            if after == "text":
                compared.append((output.getvalue().strip(), shown.strip()))
            else:
                assert not output.getvalue(), "a block that prints shows its output in a text block after it"
    return compared


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_code_runs_and_its_output_is_right(page: Path):
    for found, wanted in run_page(page.read_text()):
        assert found == wanted


def test_a_wrong_output_is_noticed():
    [(found, wanted)] = run_page("```python\nprint(1 + 1)\n```\n\n```text\n3\n```\n")
    assert (found, wanted) == ("2", "3")


def test_the_readme_shows_an_example_of_at_most_15_lines():
    codes = [code for language, code in blocks((ROOT / "README.md").read_text()) if language == "python"]
    assert codes and all(len(code.splitlines()) <= 15 for code in codes)


def commands(text: str) -> list[str]:
    """Lines of a page's bash blocks that start `weightspace`."""
    lines = [line for language, code in blocks(text) if language == "bash" for line in code.splitlines()]
    return [line for line in lines if shlex.split(line, comments=True)[:1] == ["weightspace"]]


def refused(line: str) -> bool:
    """Whether the command line does not know a command, or one option (those of Lightning are not looked at)."""
    words = shlex.split(line, comments=True)[1:]
    if words[:1] and words[0] in LIGHTNING_COMMANDS[:3]:
        return False
    try:
        _parser().parse_args(_with_long_names(words))
    except SystemExit as stop:
        return stop.code != 0
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_exist(page: Path):
    assert [line for line in commands(page.read_text()) if refused(line)] == []


def test_a_wrong_command_is_noticed():
    assert commands("```bash\nweightspace demo  # minutes\nmake demo\n```\n") == ["weightspace demo  # minutes"]
    assert sum(len(commands(page.read_text())) for page in PAGES) > 10
    assert refused("weightspace demoo") and refused("weightspace demo --ot x") and refused("weightspace")
    assert not refused("weightspace demo --out x") and not refused("weightspace --help")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_local_links_and_pictures_exist(page: Path):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} points to {target}"
