"""Energies, forces and stresses of a model of atoms."""

import torch
from torch import Tensor, nn

from weightspace.geometric._atomistic import AbstractAtomisticModel, PointCloud
from weightspace.geometric._compiled import CompiledForces, Outputs, strained, stress_of


class ForceField(nn.Module):
    """A model of atoms with forces = -dE/dpos, and stress = dE/dstrain / volume where there is a cell.

    Forces are exact derivatives of the energy (conservative). In training mode they carry a graph, so a loss on forces
    trains; in evaluation mode, or where the caller has gradients switched off, no graph is kept; it works inside
    `torch.no_grad()` and `torch.inference_mode()`.

    Args:
        model: gives the energy.
        compile: whether energies and forces run through `torch.compile`, both passes in one graph, so that force
            training (a derivative of forces) works, too. The first batch (of each mode, and again until one has forces
            that are not zero) runs compiled and eager, and the two must agree.
        backend: of `torch.compile`.

    Shapes:
        as the model's, and forces (N, 3); with cell, stress (G, 3, 3), symmetric, in energy per volume, positive where
        the energy grows under tension (ASE's sign), zero for a graph whose cell has no volume.

    Raises:
        GeometryError: as the model.
        CompilationMismatchError: compiled and eager energies, forces, stresses, or gradients of a force loss differ.

    Example:
        >>> from weightspace.geometric import SchNet
        >>> field = ForceField(SchNet(channels=8, layers=1)).eval()
        >>> field(torch.tensor([1, 8]), torch.eye(3)[:2])["forces"].sum(0).abs().max().item() < 1e-5
        True
    """

    def __init__(self, model: AbstractAtomisticModel, *, compile: bool = False, backend: str = "inductor"):
        super().__init__()
        self.model = model
        self._compiled = CompiledForces(model, forces_of, backend=backend) if compile else None

    def forward(
        self,
        z: Tensor,
        pos: Tensor,
        batch: Tensor | None = None,
        edge_index: Tensor | None = None,
        cell: Tensor | None = None,
        edge_shift: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """The model's outputs with forces (N, 3) and, with a cell, stress (G, 3, 3)."""
        keep_graph = self.training and torch.is_grad_enabled()
        with torch.inference_mode(False), torch.enable_grad():
            inputs = [_outside_inference(tensor) for tensor in (z, pos, batch, edge_index, cell, edge_shift)]
            cloud = self.model.cloud(*inputs)  # type: ignore[arg-type]
            if self._compiled is not None:
                return self._compiled(cloud, keep_graph=keep_graph)
            return forces_of(self.model.outputs, cloud, keep_graph=keep_graph)


def forces_of(outputs: Outputs, cloud: PointCloud, *, keep_graph: bool) -> dict[str, Tensor]:
    """What `outputs` makes of a cloud, with forces and stress.

    Args:
        outputs: cloud -> dict with "interaction_energy", as `AbstractAtomisticModel.outputs`.
        cloud: the atoms and their edges; energies are computed anew from its pos and cell.
        keep_graph: whether results can be differentiated again; otherwise they are detached.
    """
    pos = cloud.pos if cloud.pos.requires_grad else cloud.pos.detach().requires_grad_()
    strain = None if cloud.cell is None else torch.zeros_like(cloud.cell).requires_grad_()
    found = outputs(strained(cloud, pos, strain))
    inputs = [pos] if strain is None else [pos, strain]
    slope, *pull = _slopes(found, inputs, keep_graph=keep_graph)
    found["forces"] = -slope
    if cloud.cell is not None:
        found["stress"] = stress_of(pull[0], cloud.cell)
    return found if keep_graph else {name: value.detach() for name, value in found.items()}


def _slopes(found: dict[str, Tensor], inputs: list[Tensor], *, keep_graph: bool) -> tuple[Tensor, ...]:
    energy = found["interaction_energy"].sum()
    if not energy.requires_grad:
        return tuple(torch.zeros_like(each) for each in inputs)
    return torch.autograd.grad(energy, inputs, create_graph=keep_graph, materialize_grads=True)


def _outside_inference(tensor: Tensor | None) -> Tensor | None:
    """A tensor that autograd may save, also inside `torch.inference_mode()`."""
    return tensor.clone() if isinstance(tensor, Tensor) and tensor.is_inference() else tensor
