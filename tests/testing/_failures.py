"""Which methods of a conformance class fail."""

import inspect
from typing import Any

import weightspace as ws


def failures(subject: Any) -> set[str]:
    """Names of the methods of a conformance class that fail."""
    found = set()
    for name, method in inspect.getmembers(subject, inspect.ismethod):
        if name.startswith("test_"):
            try:
                method()
            except (AssertionError, ws.WeightspaceError, KeyError, RuntimeError):
                found.add(name)
    return found
