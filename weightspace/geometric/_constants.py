"""Constants that are exact in every precision: computed once in float64, handed out in the inputs' dtype and device."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def exact_tables() -> Iterator[None]:
    """Where tables are made: float64 (e3nn rounds to the default dtype), on the CPU whatever the default device, and
    outside inference mode, so that what is kept can be trained with later.

    Example:
        >>> with torch.device("meta"), exact_tables():
        ...     torch.ones(2)
        tensor([1., 1.])
    """
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode(False), torch.device("cpu"):
            yield
    finally:
        torch.set_default_dtype(default)


class ExactConstants:
    """Named constant tensors, kept in float64 and rounded once for each dtype and device that asks.

    Buffers would be rounded by `module.float()` and stay rounded after `module.double()`; these do not, so that a
    product is exact to 1e-14 on float64 inputs whatever was done to the module before.

    Example:
        >>> constants = ExactConstants(third=torch.tensor(1 / 3, dtype=torch.float64))
        >>> constants.like("third", torch.zeros(2)).dtype
        torch.float32
    """

    def __init__(self, **tensors: Tensor) -> None:
        with torch.inference_mode(False):  # modules built in inference mode can be trained afterwards
            self._exact = {name: each.clone() if each.is_inference() else each for name, each in tensors.items()}
        self._rounded: dict[tuple[str, torch.dtype, torch.device], Tensor] = {}

    def like(self, name: str, x: Tensor) -> Tensor:
        """The constant in the dtype and on the device of `x`; index tensors keep their dtype."""
        exact = self._exact[name]
        dtype = x.dtype if exact.is_floating_point() else exact.dtype
        if torch.compiler.is_compiling():  # nothing that belongs to one graph is kept
            return exact.to(device=x.device, dtype=dtype)
        key = (name, dtype, x.device)
        if key not in self._rounded:
            with torch.inference_mode(False):
                self._rounded[key] = exact.to(device=x.device, dtype=dtype)
        return self._rounded[key]
