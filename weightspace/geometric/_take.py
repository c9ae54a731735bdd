"""Rows of tensors by index, in a way that every supported torch can compile."""

import torch
from torch import Tensor


def take_by_brackets(x: Tensor, dim: int, index: Tensor) -> Tensor:
    """`torch.index_select`, by brackets where it is compiled.

    Of torch 2.11, `torch.compile` with changing sizes stops in the derivative of `index_select` (github.com/pytorch,
    pytorch, issue 171537); of brackets it does not. Outside, `index_select` is the faster of the two.

    Args:
        x: any shape.
        dim: not negative.
        index: (K,).

    Example:
        >>> take_by_brackets(torch.arange(6).view(2, 3), 1, torch.tensor([2, 0])).tolist()
        [[2, 0], [5, 3]]
    """
    if torch.compiler.is_compiling():
        return x[(slice(None),) * dim + (index,)]
    return x.index_select(dim, index)


take = torch.index_select if torch.__version__ >= "2.13" else take_by_brackets
