"""Constants that are exact in every precision: computed once in float64, handed out in the inputs' dtype and device."""

import torch
from torch import Tensor


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
        self._exact = tensors
        self._rounded: dict[tuple[str, torch.dtype, torch.device], Tensor] = {}

    def like(self, name: str, x: Tensor) -> Tensor:
        """The constant in the dtype and on the device of `x`; index tensors keep their dtype."""
        exact = self._exact[name]
        dtype = x.dtype if exact.is_floating_point() else exact.dtype
        key = (name, dtype, x.device)
        if key not in self._rounded:
            with torch.inference_mode(False):
                self._rounded[key] = exact.to(device=x.device, dtype=dtype)
        return self._rounded[key]
