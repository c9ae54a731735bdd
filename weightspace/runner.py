"""Run a whole stack of networks at once, differentiably: `torch.func.functional_call` under `torch.vmap`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from weightspace.conversion import check_state_dict
from weightspace.errors import WeightspaceError

if TYPE_CHECKING:
    from weightspace.space import WeightSpace


def evaluation_call(
    module: nn.Module, state: Mapping[str, Tensor], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> list[Tensor]:
    """Tensors of a module's result, run in evaluation mode with other weights; the module is left as it is."""
    before = {part: part.training for part in module.modules()}
    module.eval()
    try:
        result = torch.func.functional_call(module, dict(state), args, dict(kwargs))
    finally:
        for part, training in before.items():
            part.training = training
    return [leaf for leaf in torch.utils._pytree.tree_leaves(result) if isinstance(leaf, Tensor)]


class Runner:
    """Stacked states in, outputs (and activations at sites) out.

    Args:
        space: of the module.
        module: gives the computation; its own weights are not used.

    Example:
        >>> import torch, weightspace as ws
        >>> net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))
        >>> space = ws.trace(net, torch.zeros(1, 2))
        >>> stacked = {name: torch.stack([value, 2 * value]) for name, value in net.state_dict().items()}
        >>> runner = ws.Runner(space, net)
        >>> runner(stacked, torch.zeros(5, 2)).shape
        torch.Size([2, 5, 1])
        >>> {site: tuple(h.shape) for site, h in runner.activations(stacked, torch.zeros(5, 2)).items()}
        {'0': (2, 5, 3), '1': (2, 5, 3), '2': (2, 5, 1)}
    """

    def __init__(self, space: "WeightSpace", module: nn.Module) -> None:
        self.space = space
        self.module = module

    def __call__(self, stacked: Mapping[str, Tensor], *inputs: Tensor, shared: bool = True) -> Any:
        """Outputs of every network, in evaluation mode.

        Args:
            stacked: tensors (B, ...) of B networks.
            *inputs: for all networks, or with `shared=False` with a leading dimension B.

        Raises:
            StateDictError: the stack does not fit the space.
        """
        return self._run(stacked, inputs, shared=shared, capture=False)[0]

    def activations(self, stacked: Mapping[str, Tensor], *inputs: Tensor, shared: bool = True) -> dict[str, Tensor]:
        """Results of every leaf module (path -> (B, ...)), in the order of the computation; what functional
        calls make is not seen.
        """
        return self._run(stacked, inputs, shared=shared, capture=True)[1]

    def _run(
        self, stacked: Mapping[str, Tensor], inputs: tuple[Tensor, ...], *, shared: bool, capture: bool
    ) -> tuple[Any, dict[str, Tensor]]:
        if check_state_dict(self.space, stacked) is None:
            raise WeightspaceError(
                "Runner: found one state_dict, wanted stacked tensors (B, ...); stack with value[None] for a "
                "single network"
            )

        def one(state: dict[str, Tensor], *args: Tensor) -> tuple[Any, dict[str, Tensor]]:
            seen: dict[str, Tensor] = {}
            handles = self._hooks(seen) if capture else []
            try:
                return torch.func.functional_call(self.module, state, args), seen
            finally:
                for handle in handles:
                    handle.remove()

        before = {part: part.training for part in self.module.modules()}
        self.module.eval()
        try:
            return torch.vmap(one, in_dims=(0, *[None if shared else 0] * len(inputs)))(dict(stacked), *inputs)
        finally:
            for part, training in before.items():
                part.training = training

    def _hooks(self, seen: dict[str, Tensor]) -> list[torch.utils.hooks.RemovableHandle]:
        def hook(path: str) -> Any:
            def keep(module: nn.Module, args: Any, result: Any) -> None:
                if isinstance(result, Tensor):
                    seen[path] = result

            return keep

        return [
            part.register_forward_hook(hook(path))
            for path, part in self.module.named_modules()
            if not list(part.children())
        ]
