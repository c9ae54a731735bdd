"""What is learnt of molecules: energies and forces, energies alone, or where particles will be."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from weightspace.errors import ConfigurationError, MoleculeError
from weightspace.geometric import AbstractAtomisticModel, ForceField
from weightspace.molecules import MolecularSplits, Molecules, check_neighbours
from weightspace.tasks.molecular._batches import Batch
from weightspace.tasks.molecular._entry import MolecularTraining

HUBER_CORNER = 0.01  # eV, or eV/Å
INTERACTION = "interaction"
FUTURE = "future_pos"


class AbstractObjective(nn.Module, ABC):
    """How a model is called, what its outputs are compared with, and how far off they are.

    Args:
        training: weights of the loss.
    """

    quantities: tuple[str, ...]

    def __init__(self, training: MolecularTraining):
        super().__init__()
        self.training_rule = training

    @abstractmethod
    def prepared(self, splits: MolecularSplits) -> MolecularSplits:
        """Fit what the model needs to know of the training molecules, and add targets to all parts.

        Raises:
            MoleculeError: an atom without neighbours within the model's cutoff, or an element that the model has not.
        """

    @abstractmethod
    def outputs(self, batch: Batch) -> dict[str, Tensor]:
        """Predictions of a batch by quantity; with a graph in training mode."""

    @abstractmethod
    def targets(self, batch: Batch) -> dict[str, Tensor]:
        """What `outputs` should be, of the same shapes."""

    @abstractmethod
    def loss(self, outputs: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """Of a batch, a number."""


class EnergyObjective(AbstractObjective):
    """Energies, and forces as their derivatives where they are given and `force_weight` is not zero.

    The model's references become the energies of isolated atoms where the data give them, with the mean interaction
    energy per atom of the training molecules added (as in MACE's scale-shift model), and otherwise the least-squares
    fit by numbers of atoms; its scale the root mean square of forces, or the spread per atom of what references leave.

    Args:
        model: gives energies.
        training: weights of the loss.
        forces: whether forces are learnt.
        target: name of the learnt value, in eV unless the data set says otherwise.
        compile: whether energies and forces are compiled.
    """

    def __init__(
        self,
        model: AbstractAtomisticModel,
        training: MolecularTraining,
        *,
        forces: bool,
        target: str = "energy",
        compile: bool = False,
    ):
        super().__init__(training)
        self.called: nn.Module = ForceField(model, compile=compile) if forces else model
        self.forces, self.target = forces, target
        self.quantities = ("energy", "forces") if forces else ("energy",)

    @property
    def model(self) -> AbstractAtomisticModel:
        """What is trained."""
        model = self.called.model if isinstance(self.called, ForceField) else self.called
        assert isinstance(model, AbstractAtomisticModel)
        return model

    def prepared(self, splits: MolecularSplits) -> MolecularSplits:
        """References and scale of the model from the training molecules; "interaction" is what they leave."""
        train, model = splits.train, self.model
        for label, part in {"training": train, "validation": splits.validation, **splits.tests}.items():
            check_neighbours(part, model.cutoff, where=f"{splits.name}, {label}")
            _check_elements(part, model.elements, where=f"{splits.name}, {label}")
        energies = train.values[self.target]
        if splits.isolated:
            model.references.zero_()
            for z, energy in splits.isolated.items():
                model.references[z] = energy
            left = energies - model.reference_energy(train.z, train.batch)
            model.references[list(splits.isolated)] += float(left.sum() / len(train.z))
        else:
            model.fit_references(train.z, train.batch, energies)
        if self.forces:
            assert train.forces is not None
            model.fit_scale(train.forces)
        else:
            left = energies - model.reference_energy(train.z, train.batch)
            model.scale.fill_(float((left / train.num_atoms.sqrt()).square().mean().sqrt().clamp_min(1e-6)))
        tests = {name: self._with_targets(part) for name, part in splits.tests.items()}
        return replace(
            splits, train=self._with_targets(train), validation=self._with_targets(splits.validation), tests=tests
        )

    def _with_targets(self, molecules: Molecules) -> Molecules:
        if not len(molecules):
            return molecules
        left = molecules.values[self.target] - self.model.reference_energy(molecules.z, molecules.batch)
        return replace(molecules, values={**molecules.values, INTERACTION: left})

    def outputs(self, batch: Batch) -> dict[str, Tensor]:
        """Interaction energies (G,) and forces (N, 3)."""
        found = self.called(batch["z"], batch["pos"], batch["batch"], None, batch.get("cell"))
        energy = {"energy": found["interaction_energy"]}
        return {**energy, "forces": found["forces"]} if self.forces else energy

    def targets(self, batch: Batch) -> dict[str, Tensor]:
        """As `outputs`."""
        found = {"energy": batch[INTERACTION]}
        return {**found, "forces": batch["forces"]} if self.forces else found

    def loss(self, outputs: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """See `MolecularTraining`."""
        wanted, rule = self.targets(batch), self.training_rule
        energy = distance((outputs["energy"] - wanted["energy"]) / batch["size"], rule.loss).mean()
        if not self.forces:
            return energy * rule.energy_weight
        forces = distance(outputs["forces"] - wanted["forces"], rule.loss, vectors=True).mean()
        return rule.energy_weight * energy + rule.force_weight * forces


class FutureObjective(AbstractObjective):
    """Where the particles of a system will be, from positions, velocities and charges now.

    Args:
        model: called as model(pos, velocities, charges, batch), gives positions (N, 3).
        training: of which the loss is mean squared error, whatever it says.
    """

    quantities = ("positions",)

    def __init__(self, model: nn.Module, training: MolecularTraining):
        super().__init__(training)
        self.model = model

    def prepared(self, splits: MolecularSplits) -> MolecularSplits:
        """Nothing is fitted."""
        return splits

    def outputs(self, batch: Batch) -> dict[str, Tensor]:
        """Positions (N, 3)."""
        return {"positions": self.model(batch["pos"], batch["velocities"], batch["charges"], batch["batch"])}

    def targets(self, batch: Batch) -> dict[str, Tensor]:
        """Positions (N, 3)."""
        return {"positions": batch[FUTURE]}

    def loss(self, outputs: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """Mean squared error of coordinates."""
        return (outputs["positions"] - batch[FUTURE]).square().mean()


def _check_elements(molecules: Molecules, known: Sequence[int], *, where: str) -> None:
    strange = sorted(set(molecules.elements) - set(known))
    if strange:
        raise MoleculeError(
            f"{where}: found elements {strange}, wanted those of the training molecules, {sorted(known)}; train on "
            "more molecules, or leave these out"
        )


def distance(x: Tensor, loss: str, *, vectors: bool = False) -> Tensor:
    """The function l of `MolecularTraining`, of numbers (...) or, with `vectors`, of rows (N, 3)."""
    if loss == "mse":
        return x.square()
    if loss == "huber":
        return nn.functional.huber_loss(x, torch.zeros_like(x), reduction="none", delta=HUBER_CORNER)
    return (x.square().sum(-1) + 1e-12).sqrt() if vectors else x.abs()


def has_forces(splits: MolecularSplits) -> bool:
    """Whether there are forces of the energies that are to be learnt."""
    return splits.train.forces is not None and splits.target == "energy"


def objective_for(
    model: nn.Module, splits: MolecularSplits, training: MolecularTraining, *, compile: bool = False
) -> AbstractObjective:
    """What the data set has to learn: future positions, energies and forces, or energies.

    Raises:
        ConfigurationError: a data set of molecules and a model that gives no energies.
    """
    if FUTURE in splits.train.atom_values:
        return FutureObjective(model, training)
    if not isinstance(model, AbstractAtomisticModel):
        raise ConfigurationError(
            f"{splits.name}: found a {type(model).__name__}, wanted an AbstractAtomisticModel of "
            "weightspace.geometric, which gives energies; derive yours from it"
        )
    forces = has_forces(splits) and training.force_weight > 0
    return EnergyObjective(model, training, forces=forces, target=splits.target, compile=compile)
