"""How a command is added to the parser."""

import argparse
from collections.abc import Callable
from typing import Any, Protocol

FORMAT = argparse.RawDescriptionHelpFormatter
Runner = Callable[[argparse.Namespace], None]


class Commands(Protocol):
    """What argparse returns for subcommands."""

    def add_parser(self, name: str, **options: Any) -> argparse.ArgumentParser:
        """A parser of a command."""
        ...


def add_command(commands: Commands, name: str, text: str, run: Runner | None) -> argparse.ArgumentParser:
    """A command with its name, what it does in a line, and what runs it."""
    parser = commands.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + ".", allow_abbrev=False, formatter_class=FORMAT
    )
    parser.set_defaults(run=run)
    return parser
