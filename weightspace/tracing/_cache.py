"""Spaces of architectures that were traced before: an architecture is exported once, however often it is built."""

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from weightspace import __version__
from weightspace.space import WeightSpace
from weightspace.tracing import _registry
from weightspace.tracing._code_names import is_library
from weightspace.tracing._fingerprint import Fingerprint, NotDigestible

MAX_SPACES = 64


def cache_key(
    module: nn.Module, inputs: Sequence[Any], kwargs: Mapping[str, Any] | None, options: Iterable[Any]
) -> str | None:
    """A digest of everything that `trace` depends on; None where it cannot be told, so that nothing is reused.

    In it are: for every submodule its class, the code that its forward may run (methods, hooks, patches, functions and
    other globals that the code names, closures, defaults), its attributes, the shapes of weights, the values of all
    other tensors; shapes and dtypes of the inputs; options; the rules; versions; torch's global modes.

    Args:
        module: to be traced.
        inputs, kwargs: its example arguments.
        options: of the call of `trace`.

    Example:
        >>> one, same, other = nn.LeakyReLU(0.1), nn.LeakyReLU(0.1), nn.LeakyReLU(0.2)
        >>> keys = [cache_key(net, [torch.zeros(1)], None, []) for net in (one, same, other)]
        >>> keys[0] == keys[1], keys[0] == keys[2]
        (True, False)
    """
    if torch.nn.modules.module._has_any_global_hook() or _intercepted():
        return None
    weights = [value for value in module.state_dict(keep_vars=True).values() if _is_floating(value)]
    fingerprint = Fingerprint(weights)
    try:
        fingerprint.add((__version__, torch.__version__, _modes(), _RULES.generation(), tuple(options)))
        for name, function in _patches():
            fingerprint.add((name, function.__module__, function.__qualname__, _identity(function)))
        leaves, structure = torch.utils._pytree.tree_flatten((tuple(inputs), dict(kwargs or {})))
        fingerprint.add(str(structure))
        for leaf in leaves:
            if isinstance(leaf, Tensor):
                fingerprint.shape(leaf)
            else:
                fingerprint.add(leaf)
        fingerprint.add(module)
        return fingerprint.hexdigest()
    except (NotDigestible, RecursionError):
        return None


def _is_floating(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _intercepted() -> bool:
    """Whether a mode of torch sees operations before torch does; the one that sets the default device is known."""
    functions = torch.overrides._get_current_function_mode_stack()
    known = all(isinstance(mode, torch.utils._device.DeviceContext) for mode in functions)
    return not known or bool(torch.utils._python_dispatch._get_current_dispatch_mode_stack())


def _patches() -> Iterator[tuple[str, Any]]:
    """Functions of somebody else's in the place of torch's own, which its modules call as well."""
    for owner in (torch, torch.nn.functional, Tensor):
        for name, value in vars(owner).items():
            if isinstance(value, FunctionType) and not is_library(value.__globals__.get("__name__")):
                yield f"{owner.__name__}.{name}", value


_PATCHES: dict[int, Any] = {}


def _identity(function: Any) -> int:
    """Number of a function of this process; it is kept, so that no other one gets its number."""
    _PATCHES.setdefault(id(function), function)
    return id(function)


def _modes() -> tuple[Any, ...]:
    return (
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_grad_enabled(),
        torch.is_autocast_enabled(),
        torch.backends.mha.get_fastpath_enabled(),
    )


class _Rules:
    """Counts the states of the registry of rules."""

    def __init__(self) -> None:
        self._known: dict[str, Any] = {}
        self._generation = 0

    def generation(self) -> int:
        """Another number whenever any rule is another one than at the last call."""
        if self._known != _registry._RULES:
            self._known = dict(_registry._RULES)
            self._generation += 1
        return self._generation


@dataclass
class _Known:
    """A space without the index tensors that it may have made, the one that is in use, and whether it was verified."""

    plain: WeightSpace
    in_use: "weakref.ref[WeightSpace]"
    verified: bool


class SpaceCache:
    """The spaces used last.

    A space that somebody still holds is handed out again; otherwise a copy, so that the cache keeps no index tensors
    of graphs alive.

    Args:
        size: number of spaces kept.
    """

    def __init__(self, size: int = MAX_SPACES) -> None:
        self._size = size
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._lock = threading.Lock()

    def get(
        self, key: str | None, make: Callable[[], WeightSpace], verify: Callable[[WeightSpace], None] | None
    ) -> WeightSpace:
        """The space of a key, made where it is not known, verified where that is asked for and was not done before.

        Args:
            key: of `cache_key`; with None the space is made and not kept.
            make: traces the module.
            verify: checks its group, or None; what fails is not kept.
        """
        if key is None:
            space = make()
            if verify is not None:
                verify(space)
            return space
        known = self._known.get(key)
        found = make() if known is None else (known.in_use() or replace(known.plain))
        verified = known is not None and known.verified
        if verify is not None and not verified:
            verify(found)
        with self._lock:
            plain = replace(found) if known is None else known.plain
            self._known[key] = _Known(plain, weakref.ref(found), verified or verify is not None)
            self._known.move_to_end(key)
            while len(self._known) > self._size:
                self._known.popitem(last=False)
        return found

    def clear(self) -> None:
        """Forget all spaces."""
        with self._lock:
            self._known.clear()


_RULES = _Rules()
SPACES = SpaceCache()
