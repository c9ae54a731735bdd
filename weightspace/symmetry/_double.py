"""Run a module in double precision throughout, also where it asks for less."""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_LOWER = (torch.float32, torch.float16, torch.bfloat16)


class DoublePrecision(TorchDispatchMode):
    """While it is active, what a computation casts to or creates in a lower precision is float64.

    Norms and rotary tables of language models compute in float32 whatever their input; a group keeps their function to
    seven digits only, which hides errors.

    Example:
        >>> with DoublePrecision():
        ...     torch.ones(2, dtype=torch.float64).float().dtype
        torch.float64
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Any operation, its dtype raised."""
        kwargs = dict(kwargs or {})
        if kwargs.get("dtype") in _LOWER:
            kwargs["dtype"] = torch.float64
        args = tuple(torch.float64 if isinstance(a, torch.dtype) and a in _LOWER else a for a in args)
        return func(*args, **kwargs)
