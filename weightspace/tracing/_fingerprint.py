"""A digest of everything that a module's computation depends on: code, wiring, attributes, constants; not its weights.

Class, names and shapes do not determine what a module computes: heads, strides, patched methods, hooks, globals and
closures do. What cannot be digested is refused, so that modules of one digest compute one function of their weights.
"""

import enum
import hashlib
import logging
import types
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import _lru_cache_wrapper, cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from weightspace.tracing._code_names import imports_of, is_library, names_of, words_of

MAX_PARTS = 300_000
CONSTRUCTORS = ("__init__", "__new__", "__post_init__")
NO_BEHAVIOUR = frozenset(
    "__init_subclass__ __class_getitem__ __repr__ __str__ extra_repr __doc__ __module__ __dict__ __weakref__ "
    "__annotations__ __qualname__ __abstractmethods__ _abc_impl __parameters__ __orig_bases__ __slots__ "
    "__match_args__ __dataclass_fields__ __dataclass_params__ __firstlineno__ __static_attributes__ __annotate_func__ "
    "__annotations_cache__ __reduce__ __reduce_ex__ __getstate__ __setstate__ __del__ __getnewargs__".split()
).union(CONSTRUCTORS)
CALLED = ("forward", "__call__", "_call_impl", "_wrapped_call_impl", "__getattr__", "__setattr__", "train", "eval")
ANY_NAME = frozenset("getattr attrgetter methodcaller vars dir __dict__ __getattribute__ getmembers".split())
REFUSED = frozenset("globals eval exec __import__ import_module _getframe currentframe open input".split())
PLAIN = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis), type(NotImplemented))
NAMED = (
    *(torch.dtype, torch.device, torch.layout, torch.memory_format, slice, range),
    *(torch._ops.OpOverload, torch._ops.OpOverloadPacket, types.GenericAlias, types.UnionType),
)
DESCRIPTORS = (types.MethodDescriptorType, types.WrapperDescriptorType, types.GetSetDescriptorType)
CODE = (types.FunctionType, types.BuiltinFunctionType, type, *DESCRIPTORS)
MODULE_SLOTS = frozenset(
    "training _parameters _buffers _modules _non_persistent_buffers_set _forward_hooks_with_kwargs "
    "_forward_pre_hooks_with_kwargs _forward_hooks_always_called".split()
)


class NotDigestible(Exception):
    """Something on which the computation may depend cannot be digested; the message names it."""


class Fingerprint:
    """A running digest: `add` what matters, then read `hexdigest()`.

    What occurs twice is digested once and then named by its number: cycles stay finite, and shared parts differ from
    equal ones. Methods and class attributes count as soon as any of the code names them.

    Args:
        weights: tensors of which only the shape matters; all others are constants, and digested with their values.

    Example:
        >>> def digest(module):
        ...     fingerprint = Fingerprint(module.parameters())
        ...     fingerprint.add(module)
        ...     return fingerprint.hexdigest()
        >>> two, four = nn.MultiheadAttention(8, 2), nn.MultiheadAttention(8, 4)
        >>> digest(two) == digest(nn.MultiheadAttention(8, 2)), digest(two) == digest(four)
        (True, False)
    """

    def __init__(self, weights: Iterable[Tensor]) -> None:
        self._weights = {id(weight): weight for weight in weights}
        self._classes: dict[int, type] = {}
        self._hash = hashlib.sha256()
        self._parts = 0
        self._seen: dict[int, tuple[int, Any]] = {}  # objects are kept, so that no id is used twice
        self._names: set[str] = set()
        self._members: dict[tuple[int, str], Any] = {}
        self._added: set[tuple[int, str]] = set()
        self._kinds: tuple[tuple[Any, Callable[[Any], None]], ...] = (
            (nn.Module, self._module),
            (Tensor, self._tensor),
            (types.FunctionType, self._function),
            (types.MethodType, lambda value: self._all("method", value.__func__, value.__self__)),
            (type, self._class),
            ((list, dict), self._container),
            (types.BuiltinFunctionType | types.MethodWrapperType, self._builtin),
            (types.CodeType, self._code),
            (enum.Enum, lambda value: self._all("enum", type(value), value.name, value.value)),
            (partial, lambda value: self._all("partial", value.func, value.args, value.keywords)),
            (np.ndarray, self._array),
            (np.generic, lambda value: self._array(np.asarray(value))),
            (logging.Logger, lambda value: self._emit("logger", value.name)),
            (torch.nn.modules.module._WrappedHook, lambda hook: self._all("hook", hook.hook, hook.with_module)),
            ((staticmethod, classmethod), lambda value: self.add(value.__func__)),
            (property, lambda value: self._all("property", value.fget, value.fset, value.fdel)),
            (cached_property, lambda value: self.add(value.func)),
            (_lru_cache_wrapper, lambda value: self.add(value.__wrapped__)),
            (DESCRIPTORS, lambda value: self._emit("descriptor", value.__qualname__)),
        )

    def hexdigest(self) -> str:
        """The digest, with the methods and class attributes that the code names.

        Raises:
            NotDigestible: one of them cannot be digested.
        """
        while ready := [key for key in self._members if self._is_named(key[1], added=key in self._added)]:
            for key in ready:
                self._emit("member", key[1])
                self.add(self._members.pop(key))
        return self._hash.hexdigest()

    def _is_named(self, name: str, *, added: bool) -> bool:
        """Whether some code may ask for a member; what a package has added to a library's class it asks for by name."""
        special = name == "forward" or name.startswith("__") and name.endswith("__")
        return special or name in self._names or not added and not self._names.isdisjoint(ANY_NAME)

    def _emit(self, kind: str, content: str | bytes = b"") -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise NotDigestible(f"more than {MAX_PARTS} parts")
        if isinstance(content, str):
            content = content.encode("utf-8", "surrogatepass")
        self._hash.update(f"{kind}:{len(content)}:".encode())
        self._hash.update(content)

    def _all(self, kind: str, *values: Any) -> None:
        self._emit(kind, str(len(values)))
        for value in values:
            self.add(value)

    def add(self, value: Any) -> None:
        """Digest a value: plain ones, containers, tensors, functions, classes, modules, objects of plain classes.

        Raises:
            NotDigestible: it is none of these.
        """
        kind = type(value)
        if kind in PLAIN:
            self._emit(kind.__name__, value if isinstance(value, bytes) else repr(value))
        elif kind in (set, frozenset):
            self._set(value)
        elif isinstance(value, tuple):
            self._container(value)
        elif isinstance(value, NAMED):
            self._emit(kind.__name__, repr(value))
        elif id(value) in self._seen:
            self._emit("again", str(self._seen[id(value)][0]))
        else:
            self._seen[id(value)] = (len(self._seen), value)
            next((digest for known, digest in self._kinds if isinstance(value, known)), self._object)(value)

    # --- data

    def _container(self, value: Any) -> None:
        kind = type(value)
        named = issubclass(kind, tuple) and getattr(kind, "_fields", None) and not getattr(value, "__dict__", None)
        if kind not in (tuple, list, dict, OrderedDict, defaultdict, torch.Size) and not named:
            raise NotDigestible(f"a {kind.__module__}.{kind.__qualname__}")
        self._register(kind)
        if isinstance(value, dict):
            self._all("items", *(part for pair in value.items() for part in pair))
            self.add(getattr(value, "default_factory", None))
        else:
            self._all("items", *value)

    def _set(self, value: Any) -> None:
        if any(type(part) not in PLAIN for part in value):
            raise NotDigestible("a set of objects")
        self._emit("set", repr(sorted(f"{type(part).__name__} {part!r}" for part in value)))

    def _array(self, value: np.ndarray) -> None:
        if type(value) is not np.ndarray or value.dtype.hasobject:
            raise NotDigestible(f"a {type(value).__qualname__} of {value.dtype}")
        self._emit("array", f"{value.dtype.str} {value.shape}")
        self._emit("values", np.ascontiguousarray(value).tobytes())

    def shape(self, value: Tensor) -> None:
        """Digest what a weight or an input is to a computation: shape and dtype, not its values.

        Raises:
            NotDigestible: a sparse tensor, or one of a class of its own.
        """
        if type(value) not in (Tensor, nn.Parameter) and not isinstance(value, nn.Buffer):
            raise NotDigestible(f"a tensor of type {type(value).__qualname__}")
        if value.layout != torch.strided or value.is_quantized:
            raise NotDigestible(f"a tensor of layout {value.layout} and dtype {value.dtype}")
        stride = "" if value.is_contiguous() else value.stride()
        self._emit("tensor", f"{tuple(value.shape)} {value.dtype} {value.device.type} {value.requires_grad} {stride}")

    def _tensor(self, value: Tensor) -> None:
        self.shape(value)
        if id(value) not in self._weights and value.device.type != "meta":
            flat = value.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
            self._emit("values", flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b"")

    def _object(self, value: Any) -> None:
        """An object of a class written in Python that leaves pickling alone: its class and its attributes."""
        kind = type(value)
        name = f"{kind.__module__}.{kind.__qualname__}"
        if kind.__module__ == "typing":
            self._emit("typing", repr(value))
            return
        own = [m for m in ("__reduce_ex__", "__reduce__", "__getstate__") if getattr(kind, m) is not getattr(object, m)]
        try:
            if own:
                raise TypeError
            reduced = tuple(object.__reduce_ex__(value, 2))
        except TypeError as error:
            raise NotDigestible(f"a {name}") from error
        self._register(kind)
        self._all("object", tuple(reduced[1][1:]), reduced[2])

    # --- modules

    def _module(self, module: nn.Module) -> None:
        if isinstance(module, torch.jit.ScriptModule):
            raise NotDigestible(f"the compiled module {type(module).__qualname__}")
        self._register(type(module))
        counted = type(module).__module__ == "torch.nn.modules.batchnorm"  # only training reads the counter
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            self._emit("entry", f"{name} {name in module._non_persistent_buffers_set}")
            if not (counted and name == "num_batches_tracked" and tensor is not None):
                self.add(tensor)
        for name, value in vars(module).items():
            if name.endswith("_hooks") and isinstance(value, dict):
                if value:
                    self._hooks(name, value, module)
            elif name not in MODULE_SLOTS:
                self._emit("attribute", name)
                self.add(value)
        for name, child in module._modules.items():
            self._emit("child", name)
            self.add(child)

    def _hooks(self, name: str, hooks: Mapping[Any, Any], module: nn.Module) -> None:
        """Hooks in their order; the numbers under which they are kept mean nothing."""
        sets = [value for slot, value in vars(module).items() if slot.startswith(name + "_") and slot in MODULE_SLOTS]
        self._emit(name, str(len(hooks)))
        for key, hook in hooks.items():
            self._all("hook", hook, *(key in options for options in sets))

    # --- code

    def _function(self, function: types.FunctionType) -> None:
        self._emit("function", f"{function.__module__}.{function.__qualname__}")
        self._code(function.__code__)
        self._all("defaults", function.__defaults__, function.__kwdefaults__, dict(vars(function)))
        names = names_of(function.__code__)
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            self._cell(name, cell, names)
        if not is_library(function.__globals__.get("__name__")):
            self._read_names(function, names)

    def _cell(self, name: str, cell: Any, names: tuple[str, ...]) -> None:
        self._emit("cell", name)
        try:
            value = cell.cell_contents
        except ValueError:
            self._emit("empty")
            return
        if name == "__class__":  # what super() asks for; nothing calls it
            self._register(value)
        else:
            self._read(value, names)

    def _code(self, code: types.CodeType) -> None:
        self._emit("code", code.co_code)
        counts = (code.co_flags, code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount)
        self._emit("names", repr((counts, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)))
        self._emit("exceptions", getattr(code, "co_exceptiontable", b""))
        self._all("constants", *code.co_consts)

    def _read_names(self, function: types.FunctionType, names: tuple[str, ...]) -> None:
        """Values of the globals that the code names, and of what it names on Python modules."""
        if refused := REFUSED.intersection(names):
            raise NotDigestible(f"{function.__qualname__}, which calls {min(refused)}")
        self._names.update(names, words_of(function.__code__))
        for name in names:
            if name in function.__globals__:
                self._emit("global", name)
                self._read(function.__globals__[name], names)
        for module in imports_of(function.__code__):
            if module is None:
                raise NotDigestible(f"{function.__qualname__}, which imports something when it runs")
            self._read(module, names)

    def _read(self, value: Any, names: tuple[str, ...], visited: set[int] | None = None) -> None:
        """What a name stands for in code that names `names`; of a Python module these attributes."""
        if not isinstance(value, types.ModuleType):
            self.add(value)
            return
        self._emit("python module", value.__name__)
        visited = set() if visited is None else visited
        if id(value) in visited:
            return
        visited.add(id(value))
        own, library = vars(value), is_library(value.__name__)
        if "__getattr__" in own and not library:
            raise NotDigestible(f"the Python module {value.__name__}, which has a __getattr__")
        for name in (name for name in names if name in own):
            self._emit("of module", name)
            if library and not isinstance(own[name], (*CODE, *PLAIN, *NAMED, types.ModuleType)):
                self._emit("library object", f"{type(own[name]).__module__}.{type(own[name]).__qualname__}")
            else:
                self._read(own[name], names, visited)

    def _builtin(self, function: Any) -> None:
        owner = function.__self__
        self._emit("builtin", f"{getattr(function, '__module__', None)}.{function.__qualname__}")
        if owner is None or isinstance(owner, types.ModuleType):
            if not is_library((function.__module__ or "builtins").lstrip("_")):
                raise NotDigestible(f"the function {function.__module__}.{function.__qualname__}")
        elif not (isinstance(owner, type) and is_library(owner.__module__)):
            self.add(owner)

    def _class(self, kind: type) -> None:
        """A class as a value, which the code may call."""
        self._register(kind)
        for base in () if is_library(kind.__module__) else kind.__mro__:
            for name in () if is_library(base.__module__) else CONSTRUCTORS:
                if name in vars(base):
                    self._emit("constructor", name)
                    self.add(vars(base)[name])

    def _register(self, kind: type) -> None:
        """A class by its name. Its members wait until some code names them; the functions of library classes, which
        are digested at once, may name them, too.
        """
        self._emit("class", f"{kind.__module__}.{kind.__qualname__}")
        for base in kind.__mro__:
            if id(base) in self._classes:
                continue
            self._classes[id(base)] = base
            functions = [value for value in vars(base).values() if isinstance(value, types.FunctionType)]
            if not is_library(base.__module__):
                waiting = {(id(base), n): value for n, value in vars(base).items() if n not in NO_BEHAVIOUR}
                self._members.update(waiting)
            elif issubclass(kind, nn.Module):
                added = {name: value for name, value in vars(base).items() if _is_added(name, value)}
                self._members.update({(id(base), name): value for name, value in added.items()})
                self._added.update((id(base), name) for name in added)
                functions = [function for function in functions if function not in added.values()]
                self._all("code", *functions)
                if base is not nn.Module:
                    self._names.update(*(set(names_of(f.__code__)) - ANY_NAME for f in functions))


def _is_added(name: str, value: Any) -> bool:
    """Whether somebody has given a library's class a method that no call of a module goes through by itself."""
    foreign = isinstance(value, types.FunctionType) and not is_library(value.__globals__.get("__name__"))
    return foreign and name not in CALLED
