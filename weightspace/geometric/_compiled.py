"""Energies and forces through `torch.compile`, checked against the eager ones."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from weightspace.errors import CompilationMismatchError
from weightspace.geometric._atomistic import AbstractAtomisticModel, PointCloud, point_cloud
from weightspace.geometric._take import take

Outputs = Callable[[PointCloud], dict[str, Tensor]]


class Forces(Protocol):
    """How forces are made of a model's outputs, eagerly."""

    def __call__(self, outputs: Outputs, cloud: PointCloud, *, keep_graph: bool) -> dict[str, Tensor]:
        """Outputs with forces and, for a periodic cloud, stress."""


class CompiledForces:
    """Outputs, forces and stress of a cloud by one compiled graph, in training and in evaluation mode.

    A compiled energy cannot be differentiated twice (AOTAutograd refuses), and where a graph breaks between energy and
    force, published codes return forces that are zero. So one function that returns energy *and* forces (its derivative
    by `torch.func.grad`, inside) is compiled as one graph without breaks; force training then needs a first derivative
    of that graph only. The first batch of each kind (periodic or open, training or evaluation) runs eagerly, too, and
    so does each further one until forces were not zero; a batch without edges runs eagerly.

    Args:
        model: gives energies.
        forces: makes forces of them, eagerly.
        backend: of `torch.compile`.

    Raises:
        CompilationMismatchError: results, or in training their gradients, differ, or the model cannot be compiled.
    """

    def __init__(self, model: AbstractAtomisticModel, forces: Forces, *, backend: str):
        self.model, self.forces, self.backend = model, forces, backend
        self._checked: set[tuple[Any, ...]] = set()
        self._run = torch.compile(_together(_Outputs(model)), backend=backend, dynamic=True, fullgraph=True)

    def __call__(self, cloud: PointCloud, *, keep_graph: bool) -> dict[str, Tensor]:
        """As `forces(model.outputs, cloud, keep_graph=keep_graph)`."""
        if not cloud.edge_index.shape[1]:
            return self.forces(self.model.outputs, cloud, keep_graph=keep_graph)
        state = {**dict(self.model.named_parameters()), **dict(self.model.named_buffers())}
        tensors = _tensors(cloud)
        if not keep_graph:
            state, tensors = ({name: tensor.detach() for name, tensor in each.items()} for each in (state, tensors))
        kind = (cloud.cell is not None, self.model.training, keep_graph, cloud.pos.dtype, cloud.pos.device)
        if kind not in self._checked:
            wanted = self.forces(self.model.outputs, cloud, keep_graph=keep_graph)
            self._compare(self._first(state, tensors), wanted, keep_graph=keep_graph)
            if bool(wanted["forces"].abs().max() > 0):
                self._checked.add(kind)
        return self._run(state, tensors)

    def _first(self, state: dict[str, Tensor], tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        try:
            return self._run(state, tensors)
        except RuntimeError as error:
            raise CompilationMismatchError(
                f"{type(self.model).__name__}: energy and forces do not compile to one graph with backend "
                f"{self.backend!r} ({error}); use ForceField(model) without compile=True"
            ) from error

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
        scale = wanted.detach().abs().max()
        error = torch.full_like(scale, torch.inf) if found is None else (found - wanted).detach().abs().max()
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


def _together(module: _Outputs) -> Callable[[dict[str, Tensor], dict[str, Tensor]], dict[str, Tensor]]:
    """The function that is compiled: parameters and inputs to outputs, forces and stress."""

    def run(state: dict[str, Tensor], tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        named = {f"model.{name}": tensor for name, tensor in state.items()}
        cloud = _cloud(tensors)

        def energy(pos: Tensor, strain: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            found = torch.func.functional_call(module, named, (strained(cloud, pos, strain),))
            return found["interaction_energy"].sum(), found

        strain = cloud.pos.new_zeros(cloud.num_graphs, 3, 3)
        if cloud.cell is None:
            slope, (_, found) = torch.func.grad_and_value(energy, has_aux=True)(cloud.pos, strain)
            return {**found, "forces": -slope}
        (slope, pull), (_, found) = torch.func.grad_and_value(energy, argnums=(0, 1), has_aux=True)(cloud.pos, strain)
        return {**found, "forces": -slope, "stress": stress_of(pull, cloud.cell)}

    return run


def strained(cloud: PointCloud, pos: Tensor, strain: Tensor | None) -> PointCloud:
    """The cloud at `pos`, positions and cells under the symmetric part of a strain (G, 3, 3) where there are cells."""
    if cloud.cell is None or strain is None:
        return cloud.at(pos)
    symmetric = 0.5 * (strain + strain.mT)
    moved = pos + torch.einsum("nd,nde->ne", pos, take(symmetric, 0, cloud.batch))
    return cloud.at(moved, cloud.cell + cloud.cell @ symmetric)


def stress_of(pull: Tensor, cell: Tensor) -> Tensor:
    """Derivatives of energies to strains over volumes (G, 3, 3); zero where a cell has no volume."""
    volume = torch.linalg.det(cell).abs()[:, None, None]
    return torch.where(volume > 0, pull / volume.masked_fill(volume == 0, 1), 0)


def _tensors(cloud: PointCloud) -> dict[str, Tensor]:
    """What a cloud is made of; the number of graphs as a length."""
    graphs = cloud.pos.new_zeros(cloud.num_graphs)
    names = ("z", "species", "pos", "batch", "edge_index", "cell", "edge_shift", "pair_edge", "edge_pair")
    found = {name: getattr(cloud, name) for name in names}
    return {"graphs": graphs, **{name: tensor for name, tensor in found.items() if tensor is not None}}


def _cloud(tensors: dict[str, Tensor]) -> PointCloud:
    pairs = (tensors["pair_edge"], tensors["edge_pair"]) if "pair_edge" in tensors else None
    return point_cloud(
        tensors["z"],
        tensors["pos"],
        species=tensors["species"],
        batch=tensors["batch"],
        num_graphs=tensors["graphs"].shape[0],
        edges=(tensors["edge_index"], tensors.get("edge_shift")),
        cell=tensors.get("cell"),
        pairs=pairs,
    )


def _gradients(found: dict[str, Tensor], parameters: list[nn.Parameter]) -> tuple[Tensor, ...]:
    """Of a loss that weighs every force component differently."""
    forces = found["forces"]
    weights = torch.linspace(0.5, 1.5, forces.numel(), dtype=forces.dtype, device=forces.device).view_as(forces)
    loss = (forces.square() * weights).sum() + found["interaction_energy"].square().sum()
    if not loss.requires_grad:
        return tuple(torch.zeros_like(parameter) for parameter in parameters)
    return torch.autograd.grad(loss, parameters, materialize_grads=True)
