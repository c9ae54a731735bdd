"""Run a whole stack of networks at once, differentiably: `torch.func.functional_call` under `torch.vmap`."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.export.graph_signature import InputKind
from torch.nn.attention import SDPBackend, sdpa_kernel

from weightspace.axes import pieces
from weightspace.conversion import check_state_dict
from weightspace.errors import WeightspaceError
from weightspace.exporting import evaluation_mode, exported, plain_attention
from weightspace.topology import SitePlan

if TYPE_CHECKING:
    from weightspace.space import WeightSpace


def evaluation_call(
    module: nn.Module, state: Mapping[str, Tensor], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> list[Tensor]:
    """Tensors of a module's result, run in evaluation mode with other weights; the module is left as it is."""
    with evaluation_mode(module), plain_attention():
        result = torch.func.functional_call(module, dict(state), args, dict(kwargs))
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
        >>> seen = runner.activations(stacked, torch.zeros(5, 2))
        >>> [(space.sites[i].node_type, tuple(h.shape)) for i, h in sorted(seen.items())]
        [('linear>tanh', (2, 5, 3)), ('input', (2, 5, 2)), ('linear>output', (2, 5, 1))]
    """

    def __init__(self, space: "WeightSpace", module: nn.Module) -> None:
        self.space = space
        self.module = module
        self._programs: dict[Any, torch.export.ExportedProgram] = {}

    def __call__(self, stacked: Mapping[str, Tensor], *inputs: Tensor, shared: bool = True) -> Any:
        """Outputs of every network, in evaluation mode.

        Args:
            stacked: tensors (B, ...) of B networks.
            *inputs: for all networks, or with `shared=False` with a leading dimension B.
            shared: whether all networks get the same inputs.

        Raises:
            StateDictError: the stack does not fit the space.
        """
        self._check(stacked)

        def one(state: dict[str, Tensor], *args: Tensor) -> Any:
            return torch.func.functional_call(self.module, state, args)

        with evaluation_mode(self.module), plain_attention(), _batched_attention():
            return torch.vmap(one, in_dims=(0, *[None if shared else 0] * len(inputs)))(dict(stacked), *inputs)

    def activations(
        self, stacked: Mapping[str, Tensor], *inputs: Tensor, shared: bool = True, sites: Sequence[int] | None = None
    ) -> dict[int, Tensor]:
        """Values of the neurons at sites, behind the functions that their node type names; differentiable.

        Args:
            stacked: tensors (B, ...) of B networks.
            *inputs: as in a call.
            shared: whether all networks get the same inputs.
            sites: numbers of sites of the graph; by default every site that is an activation.

        Shapes:
            result[site]: (B, other dimensions of the activation ..., n), n nodes in the order of the site; where the
            site's axis has taps (pixels that a linear layer unfolds), they are the dimension before the last.

        Raises:
            StateDictError: the stack does not fit the space.
            WeightspaceError: a site that is no activation, or the module is exported otherwise than when it was traced.
        """
        self._check(stacked)
        plans = self._plans(sites)
        single = inputs if shared else tuple(value[0] for value in inputs)
        program = self._program(single)
        wanted = {plan.activation.call for plan in plans.values() if plan.activation}

        def one(state: dict[str, Tensor], *args: Tensor) -> dict[int, Tensor]:
            recorder = _Recorder(program, wanted)
            recorder.run(*_placeholders(program, state, args))
            return {i: self._at(plan, recorder.seen) for i, plan in plans.items()}

        self._compare(program, plans)
        with _batched_attention():
            return torch.vmap(one, in_dims=(0, *[None if shared else 0] * len(inputs)))(dict(stacked), *inputs)

    def _check(self, stacked: Mapping[str, Tensor]) -> None:
        if check_state_dict(self.space, stacked) is None:
            raise WeightspaceError(
                "Runner: found one state_dict, wanted stacked tensors (B, ...); stack with value[None] for one network"
            )

    def _plans(self, sites: Sequence[int] | None) -> dict[int, SitePlan]:
        known = {i: plan for i, plan in enumerate(self.space.sites) if plan.activation is not None}
        wrong = [i for i in sites or () if i not in known]
        if wrong:
            raise WeightspaceError(
                f"Runner.activations: sites {wrong} are no activations; those of this space are {sorted(known)}"
            )
        return known if sites is None else {i: known[i] for i in sites}

    def _program(self, inputs: tuple[Any, ...]) -> torch.export.ExportedProgram:
        key = tuple((tuple(value.shape), value.dtype) for value in inputs)
        if key not in self._programs:
            self._programs[key] = exported(self.module, inputs)
        return self._programs[key]

    def _compare(self, program: torch.export.ExportedProgram, plans: Mapping[int, SitePlan]) -> None:
        calls = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
        for plan in plans.values():
            at = plan.activation
            if at is not None and at.call >= 0 and (at.call >= len(calls) or calls[at.call] != at.operation):
                raise WeightspaceError(
                    f"Runner.activations: operation {at.call} is {calls[at.call : at.call + 1] or 'missing'}, wanted "
                    f"{at.operation}; the module is not the one that was traced, or another torch: trace it again"
                )

    def _at(self, plan: SitePlan, seen: Mapping[int, Tensor]) -> Tensor:
        at = plan.activation
        assert at is not None
        size_of = self.space.group.atoms
        piece = pieces(at.axis, lambda name: size_of[name].size)[at.piece]
        values = seen[at.call]
        rows = values.index_select(at.dim, piece.positions.reshape(-1).to(values.device))
        values = rows.movedim(at.dim, -1).unflatten(-1, piece.positions.shape or (1,))
        names = list(piece.atoms)
        first = values.dim() - max(1, len(names))
        nodes = [first + names.index(name) for name in plan.atoms]
        taps = [d for d in range(first, values.dim()) if d not in nodes] if names else []
        values = values.permute(*range(first), *taps, *nodes) if names else values
        if nodes:
            values = values.flatten(first + len(taps))
        elif names:
            values = values.unsqueeze(-1)
        return values.flatten(first, first + len(taps) - 1) if len(taps) > 1 else values


def _batched_attention() -> AbstractContextManager[None]:
    """Attention as matrix products: the fused kernels have no rule for `vmap` and would run network by network."""
    return sdpa_kernel(SDPBackend.MATH)


class _Recorder(torch.fx.Interpreter):
    """Runs an exported graph and keeps the results of some of its operations."""

    def __init__(self, program: torch.export.ExportedProgram, wanted: set[int]) -> None:
        super().__init__(program.graph_module)
        self.seen: dict[int, Tensor] = {}
        self._wanted, self._calls, self._inputs = wanted, 0, 0
        self._user_inputs = set(program.graph_signature.user_inputs)

    def run_node(self, n: torch.fx.Node) -> Any:
        """Run a node; in-place operations that follow must not change what is kept."""
        result = super().run_node(n)
        if n.op == "call_function":
            number, self._calls = self._calls, self._calls + 1
        elif n.op == "placeholder" and n.name in self._user_inputs:
            self._inputs += 1
            number = -self._inputs
        else:
            return result
        if number in self._wanted:
            self.seen[number] = result.clone()
        return result


def _placeholders(program: torch.export.ExportedProgram, state: Mapping[str, Tensor], args: Sequence[Any]) -> list[Any]:
    rest = iter(torch.utils._pytree.tree_leaves(args))
    known = {**program.state_dict, **program.constants, **state}
    specs = program.graph_signature.input_specs
    return [next(rest) if spec.kind == InputKind.USER_INPUT else known[spec.target or ""] for spec in specs]
