"""A trained model as a calculator of ASE. This file needs ase; `weightspace.molecules` loads it at first use."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from weightspace import pretrained
from weightspace.errors import ConfigurationError, MoleculeError
from weightspace.factory import factory_from
from weightspace.geometric import MODELS, AbstractAtomisticModel, ForceField
from weightspace.molecules._calculator_checks import checked_edges, finite_positions, known_elements


class WeightspaceCalculator(Calculator):
    """Energy, forces and stress of a trained model, in eV, eV/Å and eV/Å^3, for everything that ASE does with them.

    The energy is the sum of interaction and references, added in float64; `energies` (per atom) sum to it. Stress
    (Voigt order, positive under tension) needs three periodic directions; two or one give energy and forces. The
    neighbour list is found anew at each step: reusing one with a skin saves at most its share, measured at 2-4 % of a
    step with TensorNet and 5-10 % with SchNet on molecules, 1-6 % on crystals of 8-216 atoms.

    Args:
        model: a model, of which a copy is taken, or the folder that its `save_pretrained` wrote, or a run's folder
            (read in the default dtype).
        device: where it runs; None stays where the model is.
        dtype: float64 by default, in which energies are conserved and finite differences true; float32 is faster.
        compile: whether energies and forces run through `torch.compile`.
        model_class: of a folder whose model is not one of `weightspace.geometric.MODELS`: a class or its path,
            "package.module:Class".
        allow_isolated: whether an atom of several may have no neighbour within the cutoff.

    Raises:
        CheckpointError: a folder that is not what it should be.
        ConfigurationError: `model_class` is not a model of atoms, or the device cannot be used.
        MoleculeError: in calculations: an element that the model was not trained on, positions that are not finite,
            overlapping atoms, an atom without neighbours, a periodic direction without cell vector.

    Example:
        >>> from ase.build import molecule
        >>> from weightspace.geometric import SchNet
        >>> ethanol = molecule("CH3CH2OH", calculator=WeightspaceCalculator(SchNet(channels=8, layers=1)))
        >>> ethanol.get_forces().shape
        (9, 3)
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "energies", "forces", "stress"]  # type: ignore[misc]

    def __init__(
        self,
        model: AbstractAtomisticModel | str | Path,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float64,
        compile: bool = False,
        model_class: type[AbstractAtomisticModel] | str | None = None,
        allow_isolated: bool = False,
    ):
        super().__init__()
        model = copy.deepcopy(model) if isinstance(model, torch.nn.Module) else load_model(model, model_class)
        try:
            self.model = model.to(device=device, dtype=dtype).requires_grad_(False).eval()
        except (RuntimeError, AssertionError, TypeError) as error:  # of torch, for devices it does not know or have
            raise ConfigurationError(
                f"device: found {str(device)!r} for {dtype}, which cannot be used here ({error}); leave it out for the "
                "CPU"
            ) from error
        self.allow_isolated = allow_isolated
        self._field = ForceField(self.model, compile=compile).eval()

    def calculate(
        self, atoms: Atoms | None = None, properties: Sequence[str] = ("energy",), system_changes: Any = all_changes
    ) -> None:
        """Fill `results`; ASE calls this."""
        super().calculate(atoms, list(properties), system_changes)
        cell = lattice_of(self.atoms)
        if "stress" in properties and not self.atoms.pbc.all():
            raise PropertyNotImplementedError(
                f"stress: found pbc={self.atoms.pbc.tolist()}, wanted three periodic directions; stress is energy per "
                "volume of a cell"
            )
        known_elements(self.model, self.atoms.numbers.tolist())
        like = self.model.references
        pos = torch.as_tensor(self.atoms.get_positions(wrap=cell is not None)).to(like)
        finite_positions(pos)
        cell = None if cell is None else cell.to(like)
        edges = checked_edges(pos, cutoff=self.model.cutoff, cell=cell, allow_isolated=self.allow_isolated)
        z = torch.as_tensor(self.atoms.numbers, device=like.device).long()
        found = self._field(z, pos, None, edges[0], cell, edges[1])
        references = like.double()[z]
        atomic = (found["node_energy"] - like[z]).double() + references
        self.results = {
            "energy": float(found["interaction_energy"].double().sum() + references.sum()),
            "energies": atomic.cpu().numpy(),
            "forces": found["forces"].double().cpu().numpy(),
        }
        self.results["free_energy"] = self.results["energy"]
        if self.atoms.pbc.all():
            self.results["stress"] = full_3x3_to_voigt_6_stress(found["stress"][0].double().cpu().numpy())


def load_model(
    folder: str | Path, model_class: type[AbstractAtomisticModel] | str | None = None
) -> AbstractAtomisticModel:
    """The model of a folder that `save_pretrained` wrote.

    Args:
        folder: holds `config.json` and `model.safetensors`, or a run's folder, which holds them in `model/`.
        model_class: of a user's own model, or its path; None for those of `weightspace.geometric.MODELS`.

    Raises:
        CheckpointError: the folder is not what it should be.
        ConfigurationError: `model_class` is not a model of atoms, or the device cannot be used.
    """
    inner = Path(folder) / "model"
    if (inner / "config.json").is_file() and not (Path(folder) / "config.json").is_file():
        folder = inner
    if model_class is None:
        return pretrained.from_pretrained(folder, *MODELS)
    found = factory_from(model_class) if isinstance(model_class, str) else model_class
    if not (isinstance(found, type) and issubclass(found, AbstractAtomisticModel)):
        raise ConfigurationError(
            f"model_class: found {model_class!r}, wanted a class that inherits "
            "weightspace.geometric.AbstractAtomisticModel, or its path package.module:Class"
        )
    return pretrained.from_pretrained(folder, found)


def lattice_of(atoms: Atoms) -> torch.Tensor | None:
    """Lattice vectors (1, 3, 3) with zeros in directions without period; None where there is no period.

    Raises:
        MoleculeError: a periodic direction without a lattice vector.
    """
    if not atoms.pbc.any():
        return None
    rows = torch.tensor(atoms.cell.array)
    missing = [axis for axis in range(3) if atoms.pbc[axis] and not bool(rows[axis].any())]
    if missing:
        raise MoleculeError(
            f"direction {'abc'[missing[0]]} is periodic (pbc={atoms.pbc.tolist()}) and its cell vector is zero; "
            "set atoms.cell, or atoms.pbc = False for a molecule"
        )
    rows[~torch.tensor(atoms.pbc)] = 0
    return rows[None]
