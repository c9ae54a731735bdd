"""Training many networks of one architecture at once: weights stacked along a model axis, one `vmap` over it.

Each member has its own weights, data order, labels, learning rate, weight decay and number of steps, and ends with the
numbers that it would have if it were trained alone. Members that are done leave the stack, so that the others go on
faster.

Legend of shape comments: B members, S steps, N images, P weights, b images of one mini-batch.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional as F

from weightspace.errors import ConfigurationError
from weightspace.zoo._optimisers import OPTIMISERS, State

EVALUATION_CHUNK = 500


@dataclass(frozen=True)
class Schedule:
    """What the members of a stack are trained on, and how.

    Args:
        images: shared by all members.
        labels: of every image, one row per member (members may see wrong labels).
        order: numbers of the images of each step's mini-batch.
        steps: number of steps of each member, at most S.
        optimiser: one of `OPTIMISERS`.
        learning_rate: per member.
        weight_decay: per member.

    Shapes:
        images (N, C, H, W); labels (B, N); order (B, S, b); steps, learning_rate, weight_decay (B,).
    """

    images: Tensor
    labels: Tensor
    order: Tensor
    steps: Tensor
    optimiser: str
    learning_rate: Tensor
    weight_decay: Tensor

    def __post_init__(self):
        if self.optimiser not in OPTIMISERS:
            raise ConfigurationError(f"optimiser: found {self.optimiser!r}, wanted one of {', '.join(OPTIMISERS)}")
        if int(self.steps.max()) > self.order.shape[1]:
            raise ConfigurationError(
                f"steps: found up to {int(self.steps.max())}, but order holds {self.order.shape[1]} mini-batches"
            )


class _Stack:
    """Weights of the members still in training as rows of one matrix, with a view per parameter."""

    def __init__(self, module: nn.Module, state: dict[str, Tensor]):
        self.module = module.train()
        self.names = [name for name, _ in module.named_parameters()]
        self.shapes = [state[name].shape[1:] for name in self.names]
        self.buffers = {name: state[name].clone() for name, _ in module.named_buffers()}
        self.optimiser: State = {}
        self._put(torch.cat([state[name].flatten(1) for name in self.names], 1))

    def _put(self, weights: Tensor) -> None:
        self.weights = weights  # (B, P)
        pieces = weights.split([shape.numel() for shape in self.shapes], 1)
        self.parameters = {
            name: piece.unflatten(1, shape).detach().requires_grad_()
            for name, piece, shape in zip(self.names, pieces, self.shapes, strict=True)
        }

    def keep(self, rows: Tensor) -> None:
        """Go on with these members only."""
        self.buffers = {name: value[rows] for name, value in self.buffers.items()}
        self.optimiser = {name: value[rows] for name, value in self.optimiser.items()}
        self._put(self.weights[rows])

    def gradient(self, x: Tensor, y: Tensor) -> Tensor:
        """Gradient of each member's mean cross-entropy (B, P); running statistics move in place."""

        def loss(parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
            return F.cross_entropy(functional_call(self.module, (parameters, buffers), (x,)), y)

        total = vmap(loss)(self.parameters, self.buffers, x, y).sum()
        gradients = torch.autograd.grad(total, list(self.parameters.values()))
        return torch.cat([gradient.flatten(1) for gradient in gradients], 1)

    def state(self) -> dict[str, Tensor]:
        """The stacked state_dict, detached."""
        return {name: value.detach() for name, value in (self.parameters | self.buffers).items()}


def train_population(
    module: nn.Module,
    state: dict[str, Tensor],
    schedule: Schedule,
    *,
    on_step: Callable[[int], None] | None = None,
) -> dict[str, Tensor]:
    """Train a stack of networks of one architecture and return their stacked state_dict; `state` stays as it is.

    Source: `torch.func` model ensembling (stack_module_state, functional_call, vmap). BatchNorm normalises by each
        member's own batch and moves each member's own running statistics.

    Args:
        module: the architecture; its own weights do not matter.
        state: initial state_dicts, stacked; every key of `module.state_dict()`.
        schedule: data, optimiser and hyperparameters of every member.
        on_step: called after every step with the number of members that made it.

    Shapes:
        state: name -> (B, ...).

    Raises:
        ConfigurationError: an unknown optimiser, or more steps than mini-batches.
    """
    rule = OPTIMISERS[schedule.optimiser]
    stack = _Stack(module, state)
    members = torch.arange(len(schedule.steps))
    result = {name: value.clone() for name, value in state.items()}
    done = 0
    for stop in sorted(set(schedule.steps.tolist())):
        order, labels = schedule.order[members], schedule.labels[members]
        rate, decay = schedule.learning_rate[members, None], schedule.weight_decay[members, None]
        for step in range(done, stop):
            chosen = order[:, step]  # (B, b)
            gradient = stack.gradient(schedule.images[chosen], labels.gather(1, chosen))
            with torch.no_grad():
                rule(stack.weights, gradient, stack.optimiser, step + 1, rate, decay)
            if on_step:
                on_step(len(members))
        over = schedule.steps[members] == stop
        for name, value in stack.state().items():
            result[name][members[over]] = value[over]
        stack.keep(~over)
        members, done = members[~over], stop
    return result


@torch.no_grad()
def predict_population(module: nn.Module, state: dict[str, Tensor], images: Tensor) -> Tensor:
    """Outputs of every member in eval mode on the same images.

    Member by member: on a CPU a grouped convolution over all members takes four times as long as theirs one by one.

    Shapes:
        state: name -> (B, ...); images (N, C, H, W) -> (B, N, classes).
    """
    module.eval()
    chunks = images.split(EVALUATION_CHUNK)
    members = [
        dict(zip(state, values, strict=True)) for values in zip(*(v.unbind() for v in state.values()), strict=True)
    ]
    outputs = [torch.cat([functional_call(module, member, (chunk,)) for chunk in chunks]) for member in members]
    return torch.stack(outputs)
