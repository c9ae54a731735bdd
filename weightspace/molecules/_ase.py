"""The optional package ase, imported where it is needed."""

from importlib import import_module
from typing import Any

from weightspace.errors import ConfigurationError
from weightspace.extras import MOL


def ase_module(name: str, wanted_by: str) -> Any:
    """A module of ase.

    Args:
        name: such as "ase.units".
        wanted_by: what needs it, for the message.

    Raises:
        ConfigurationError: ase is not installed.

    Example:
        >>> round(ase_module("ase.units", "the example").kB, 9)
        8.6173e-05
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise ConfigurationError(
            f"{wanted_by}: needs the package ase, which cannot be imported ({error}); {MOL}"
        ) from error
