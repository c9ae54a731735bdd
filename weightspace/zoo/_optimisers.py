"""Optimisers on a stack of models: one row per model, each row with its own learning rate and weight decay.

Every rule is that of the torch.optim class of its name (default momentum .9 for sgd, betas .9 and .999 for adam and
adamw, alpha .99 for rmsprop), written for a matrix of weights, so that a row equals the same model trained alone.

Shapes of all rules:
    weights, gradient and every entry of the state (B, P); learning_rate and weight_decay (B, 1); updates happen in
    place.
"""

from collections.abc import Callable

import torch
from torch import Tensor

MOMENTUM = 0.9
BETA1, BETA2 = 0.9, 0.999
ALPHA = 0.99
EPS = 1e-8

State = dict[str, Tensor]
Rule = Callable[[Tensor, Tensor, State, int, Tensor, Tensor], None]


def sgd(
    weights: Tensor, gradient: Tensor, state: State, step: int, learning_rate: Tensor, weight_decay: Tensor
) -> None:
    """`torch.optim.SGD(momentum=0.9)`."""
    gradient = gradient.addcmul(weights, weight_decay)
    momentum = _entry(state, "momentum", weights)
    momentum.mul_(MOMENTUM).add_(gradient)
    weights.addcmul_(momentum, learning_rate, value=-1)


def adam(
    weights: Tensor, gradient: Tensor, state: State, step: int, learning_rate: Tensor, weight_decay: Tensor
) -> None:
    """`torch.optim.Adam` (Kingma and Ba 2014, arXiv 1412.6980), weight decay added to the gradient."""
    adam_step(weights, gradient.addcmul(weights, weight_decay), state, step, learning_rate)


def adamw(
    weights: Tensor, gradient: Tensor, state: State, step: int, learning_rate: Tensor, weight_decay: Tensor
) -> None:
    """`torch.optim.AdamW` (Loshchilov and Hutter 2017, arXiv 1711.05101), weight decay decoupled."""
    weights.mul_(1 - learning_rate * weight_decay)
    adam_step(weights, gradient, state, step, learning_rate)


def rmsprop(
    weights: Tensor, gradient: Tensor, state: State, step: int, learning_rate: Tensor, weight_decay: Tensor
) -> None:
    """`torch.optim.RMSprop` without momentum."""
    gradient = gradient.addcmul(weights, weight_decay)
    square = _entry(state, "square", weights)
    square.mul_(ALPHA).addcmul_(gradient, gradient, value=1 - ALPHA)
    weights.sub_(gradient.mul_(learning_rate).div_(square.sqrt().add_(EPS)))


OPTIMISERS: dict[str, Rule] = {"sgd": sgd, "adam": adam, "adamw": adamw, "rmsprop": rmsprop}


def adam_step(
    weights: Tensor, gradient: Tensor, state: State, step: int, learning_rate: Tensor, *, beta2: float = BETA2
) -> None:
    """One step of `torch.optim.Adam` without weight decay; `learning_rate` may be per row, per column or both."""
    mean, square = _entry(state, "mean", weights), _entry(state, "square", weights)
    mean.lerp_(gradient, 1 - BETA1)
    square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    denominator = square.sqrt().div_((1 - beta2**step) ** 0.5).add_(EPS)
    weights.sub_((learning_rate / (1 - BETA1**step)) * mean / denominator)


def _entry(state: State, name: str, like: Tensor) -> Tensor:
    if name not in state:
        state[name] = torch.zeros_like(like)
    return state[name]
