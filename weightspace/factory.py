"""A module named in text: `package.module:factory`, as the command line and zoo imports take it."""

import difflib
import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from weightspace.errors import ConfigurationError


def module_from(text: str) -> nn.Module:
    """Import and call a factory without arguments; the working directory is searched too.

    Args:
        text: `package.module:factory`; the factory is a function or class that returns a `torch.nn.Module`.

    Raises:
        ConfigurationError: the text, the import, the name or what the factory returns is not what it should be.

    Example:
        >>> module_from("torch.nn:Identity")
        Identity()
    """
    return call_factory(factory_from(text), text)


def factory_from(text: str) -> Callable[..., nn.Module]:
    """Import a factory; the working directory is searched too.

    Args:
        text: `package.module:factory`.

    Raises:
        ConfigurationError: the text, the import or the name is not what it should be.
    """
    factory = object_named(text)
    if not callable(factory):
        raise ConfigurationError(f"module: found a {type(factory).__name__} at {text!r}, wanted a function or class")
    return factory


def object_named(text: str) -> Any:
    """Import anything named `package.module:name`; the working directory is searched too.

    Raises:
        ConfigurationError: the text, the import or the name is not what it should be.
    """
    package, colon, name = text.partition(":")
    if not (package and colon and name):
        raise ConfigurationError(f"module: found {text!r}, wanted package.module:factory, e.g. mynets.resnet:resnet20")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(package)
    except ImportError as error:
        raise ConfigurationError(
            f"module: cannot import {package!r} of {text!r} ({error}); run where it can be imported, or install it"
        ) from error
    found = vars(module).get(name)
    if found is None:
        raise ConfigurationError(f"module: {package!r} has no factory {name!r}; {_near(name, vars(module))}")
    return found


def call_factory(factory: Callable[..., nn.Module], name: str, arguments: Mapping[str, Any] | None = None) -> nn.Module:
    """The module that a factory makes.

    Args:
        factory: function or class.
        name: of the factory, for the messages.
        arguments: keyword arguments; none by default.

    Raises:
        ConfigurationError: the factory cannot be called with these arguments, or does not return a module.
    """
    try:
        result = factory(**(arguments or {}))
    except TypeError as error:
        wanted = f"with {dict(arguments)}" if arguments else "without arguments"
        raise ConfigurationError(
            f"module: {name} must be callable {wanted} ({error}); wrap it in a function"
        ) from error
    if not isinstance(result, nn.Module):
        raise ConfigurationError(f"module: {name} returned a {type(result).__name__}, wanted a torch.nn.Module")
    return result


def example_inputs(texts: Sequence[str]) -> tuple[Tensor, ...]:
    """Example inputs of the given shapes: random numbers from a fixed seed, or 0 and 1 in turn for whole numbers.

    Args:
        texts: a shape per input, e.g. `"1,1,28,28"`; with another dtype than float32 `"int64:1,16"`.

    Raises:
        ConfigurationError: a text that is no shape, or an unknown dtype.

    Example:
        >>> [(x.shape, x.dtype) for x in example_inputs(["1,1,28,28", "int64:1,16"])]
        [(torch.Size([1, 1, 28, 28]), torch.float32), (torch.Size([1, 16]), torch.int64)]
    """
    generator = torch.Generator().manual_seed(0)
    return tuple(_example(text, generator) for text in texts)


def _example(text: str, generator: torch.Generator) -> Tensor:
    name, colon, rest = text.partition(":")
    shape = _shape(rest if colon else text)
    dtype = getattr(torch, name, None) if colon else torch.float32
    if not isinstance(dtype, torch.dtype) or dtype.is_complex:
        raise ConfigurationError(f"input: found the dtype {name!r} in {text!r}, wanted e.g. float32, int64 or bool")
    if dtype.is_floating_point:
        return torch.randn(shape, generator=generator).to(dtype)
    return (torch.arange(torch.Size(shape).numel()) % 2).reshape(shape).to(dtype)


def _shape(text: str) -> list[int]:
    try:
        shape = [int(size) for size in text.split(",")]
    except ValueError:
        shape = []
    if not shape or min(shape) < 1:
        raise ConfigurationError(f"input: found {text!r}, wanted a shape of positive numbers, e.g. 1,1,28,28")
    return shape


def _near(name: str, names: dict[str, object]) -> str:
    close = difflib.get_close_matches(name, [n for n in names if not n.startswith("_")])
    return f"did you mean {', '.join(close)}?" if close else "check the name"
