"""How an experiment is run from the command line: errors and interruptions as one line each."""

import sys
from collections.abc import Callable

from weightspace.errors import WeightspaceError


def run(main: Callable[[], object], *, interrupted: str) -> None:
    """Call `main`; an error of weightspace ends the process with its words, Ctrl-C with what it left behind."""
    try:
        main()
    except WeightspaceError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    except KeyboardInterrupt:
        sys.exit(f"interrupted; {interrupted}")
