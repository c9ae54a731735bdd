"""The demo: end to end in a few minutes."""

from weightspace.demo._run import run_demo

__all__ = ["run_demo"]
