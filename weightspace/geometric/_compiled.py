"""Energies and forces through `torch.compile`, checked against the eager ones."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from weightspace.errors import CompilationMismatchError
from weightspace.geometric._atomistic import AbstractAtomisticModel, PointCloud, point_cloud

Outputs = Callable[[PointCloud], dict[str, Tensor]]


class Forces(Protocol):
    """How forces are made of a model's outputs."""

    def __call__(self, outputs: Outputs, cloud: PointCloud, *, keep_graph: bool) -> dict[str, Tensor]:
        """Outputs with forces and, for a periodic cloud, stress."""


class CompiledForces:
    """Outputs, forces and stress of a cloud by one compiled graph, in training and in evaluation mode.

    torch.compile of an energy cannot be differentiated twice, and a graph break between energy and force has led
    published codes to forces that are zero. So the function that returns energy *and* forces is traced once to plain
    operations (`make_fx`, symbolic sizes), and that graph is compiled; its own derivative, which force training needs,
    is then a first derivative. The first batch of each kind (periodic or open, training or evaluation) runs eagerly,
    too, and so does each further one until forces were not zero.

    Args:
        model: gives energies.
        forces: makes forces of them.
        backend: of `torch.compile`.

    Raises:
        CompilationMismatchError: results, or in training their gradients, differ, or the model cannot be traced.
    """

    def __init__(self, model: AbstractAtomisticModel, forces: Forces, *, backend: str):
        self.model, self.forces, self.backend = model, forces, backend
        self._graphs: dict[tuple[Any, ...], Callable[..., dict[str, Tensor]]] = {}
        self._checked: set[tuple[Any, ...]] = set()

    def __call__(self, cloud: PointCloud, *, keep_graph: bool) -> dict[str, Tensor]:
        """As `forces(model.outputs, cloud, keep_graph=keep_graph)`."""
        kind = (cloud.cell is not None, self.model.training, cloud.pos.dtype, cloud.pos.device)
        state = {**dict(self.model.named_parameters()), **dict(self.model.named_buffers())}
        tensors = _tensors(cloud)
        if not len(cloud.z) or not cloud.edge_index.shape[1]:
            return self.forces(self.model.outputs, cloud, keep_graph=keep_graph)  # sizes of zero compile to constants
        if kind not in self._graphs:
            self._graphs[kind] = self._compile(state, tensors)
        if not keep_graph:
            state = {name: tensor.detach() for name, tensor in state.items()}
            tensors = {name: tensor.detach() for name, tensor in tensors.items()}
        found = self._run(kind, state, tensors)
        if (*kind, keep_graph) not in self._checked:
            wanted = self.forces(self.model.outputs, cloud, keep_graph=keep_graph)
            self._compare(found, wanted, keep_graph=keep_graph)
            if bool(wanted["forces"].abs().max() > 0):
                self._checked.add((*kind, keep_graph))
        return found

    def _compile(self, state: dict[str, Tensor], tensors: dict[str, Tensor]) -> Callable[..., dict[str, Tensor]]:
        module = _Outputs(self.model)

        def run(state: dict[str, Tensor], tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            named = {f"model.{name}": tensor for name, tensor in state.items()}

            def outputs(cloud: PointCloud) -> dict[str, Tensor]:
                return torch.func.functional_call(module, named, (cloud,))

            return self.forces(outputs, _cloud(tensors), keep_graph=True)

        try:
            traced = make_fx(run, tracing_mode="symbolic")(
                {name: tensor.detach().requires_grad_(tensor.requires_grad) for name, tensor in state.items()},
                {name: tensor.detach() for name, tensor in tensors.items()},
            )
        except RuntimeError as error:
            raise CompilationMismatchError(
                f"{type(self.model).__name__}: energy and forces cannot be traced to one graph ({error}); "
                "use ForceField(model) without compile=True"
            ) from error
        return torch.compile(traced, backend=self.backend, dynamic=True)

    def _run(self, kind: tuple[Any, ...], state: dict[str, Tensor], tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return self._graphs[kind](state, tensors)

    def _compare(self, found: dict[str, Tensor], wanted: dict[str, Tensor], *, keep_graph: bool) -> None:
        for name in ("energy", "interaction_energy", "forces", "stress"):
            if name in wanted:
                self._close(name, found.get(name), wanted[name])
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        if keep_graph and parameters:
            for p, mine, eager in zip(
                parameters, _gradients(found, parameters), _gradients(wanted, parameters), strict=True
            ):
                self._close(f"the gradient of a force loss to a parameter of shape {tuple(p.shape)}", mine, eager)

    def _close(self, name: str, found: Tensor | None, wanted: Tensor) -> None:
        loose = 1e-3 if wanted.dtype != torch.float64 else 1e-8
        scale = wanted.abs().max()
        error = torch.full_like(scale, torch.inf) if found is None else (found - wanted).abs().max()
        if not bool(error <= loose * scale + 1e-2 * loose):
            raise CompilationMismatchError(
                f"{type(self.model).__name__} compiled with backend {self.backend!r}: {name} differs from the eager "
                f"one by {float(error):.3g} where its largest value is {float(scale):.3g}; "
                "use ForceField(model) without compile=True, or another backend"
            )


class _Outputs(nn.Module):
    """`model.outputs` as a forward, which `functional_call` asks for."""

    def __init__(self, model: AbstractAtomisticModel):
        super().__init__()
        self.model = model

    def forward(self, cloud: PointCloud) -> dict[str, Tensor]:
        return self.model.outputs(cloud)


def _tensors(cloud: PointCloud) -> dict[str, Tensor]:
    """What a cloud is made of; the number of graphs as a length."""
    graphs = cloud.pos.new_zeros(cloud.num_graphs)
    names = ("z", "species", "pos", "batch", "edge_index", "cell", "edge_shift", "pair_edge", "edge_pair")
    found = {name: getattr(cloud, name) for name in names}
    return {"graphs": graphs, **{name: tensor for name, tensor in found.items() if tensor is not None}}


def _cloud(tensors: dict[str, Tensor]) -> PointCloud:
    rest = dict(tensors)
    pairs = (rest.pop("pair_edge"), rest.pop("edge_pair")) if "pair_edge" in rest else None
    edges = rest.pop("edge_index"), rest.pop("edge_shift", None)
    return point_cloud(num_graphs=rest.pop("graphs").shape[0], edges=edges, pairs=pairs, **rest)


def _gradients(found: dict[str, Tensor], parameters: list[nn.Parameter]) -> tuple[Tensor, ...]:
    """Of a loss that weighs every force component differently."""
    forces = found["forces"]
    weights = torch.linspace(0.5, 1.5, forces.numel(), dtype=forces.dtype, device=forces.device).view_as(forces)
    loss = (forces.square() * weights).sum() + found["interaction_energy"].square().sum()
    return torch.autograd.grad(loss, parameters, retain_graph=True, materialize_grads=True)
