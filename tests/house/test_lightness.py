"""What starts quickly: the import and every help page. No clock is read: the tests look at loaded modules."""

import json
import subprocess
import sys

import pytest

from weightspace.cli import COMMANDS

HEAVY = [
    "torch",
    "lightning",
    "e3nn",
    "matplotlib",
    "torch_geometric",
    "sklearn",
    "scipy",
    "networkx",
    "jsonargparse",
    "safetensors",
]


def loaded_after(code: str) -> set[str]:
    """Heavy modules in `sys.modules` after `code` ran in a fresh interpreter."""
    program = (
        f"import sys, json\n{code}\nprint()\nprint(json.dumps([m for m in {[*HEAVY, 'numpy']!r} if m in sys.modules]))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(json.loads(result.stdout.splitlines()[-1]))


def test_importing_weightspace_imports_nothing_heavy():
    assert loaded_after("import weightspace; dir(weightspace); weightspace.__version__") == set()


def test_public_names_still_load():
    assert "torch" in loaded_after("import weightspace; weightspace.ParameterGraph")


@pytest.mark.parametrize(
    "command", [[], *[name.split() for name in COMMANDS]], ids=lambda c: " ".join(c) or "weightspace"
)
def test_help_pages_import_nothing_heavy(command):
    call = f"main({[*command, '--help']!r})"
    code = f"from weightspace.cli import main\ntry:\n    {call}\nexcept SystemExit as stop:\n    assert not stop.code"
    assert loaded_after(code) == set()
