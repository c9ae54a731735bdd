"""The conformance class of models of atoms."""

import unittest
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import lru_cache

import torch
from e3nn import o3
from torch import Tensor

from weightspace.geometric import AbstractAtomisticModel, ForceField
from weightspace.testing import _geometric_checks as checks
from weightspace.testing._geometric_samples import Atoms, cluster, crystal, float64_constants, joined, rotation


class AtomisticModelTests(ABC):
    """What a model of atoms must get right; subclass it in a test file, under a name that pytest collects.

    Symmetry: energies, forces and declared outputs under rotation, inversion, translation and permutation of atoms; a
    graph gets the same alone and in a batch, a crystal the same as its supercell. Degenerate inputs are finite with
    their derivatives: one atom, no edges, isolated atoms, coincident points, atoms on a line. Energies and their
    derivatives are continuous where an atom crosses the cutoff; forces and stresses are the energy's differences;
    every parameter learns. Parameters are random, in float64. (It bears the name that its users subclass; other
    abstract classes here start with `Abstract`.)

    Attributes:
        outputs: further outputs that transform, name -> e3nn irreps of the last dimension, "1o" for vectors; override
            `transformed` for others.
        smoothness: how many derivatives of the energy are continuous at the cutoff, 1 (forces) or 2 (their
            derivatives, too).
        tolerance: relative, of what is exact.
        rotation_tolerance: relative, of rotations; None for `tolerance`, larger for models on a grid.

    Example:
        >>> from weightspace.geometric import SchNet
        >>> class TestMine(AtomisticModelTests):
        ...     def model(self):
        ...         return SchNet(channels=4, layers=1, num_rbf=4, cutoff=2.5)
        >>> TestMine().test_rotation()
    """

    outputs: Mapping[str, str] = {}
    smoothness: int = 2
    tolerance: float = 1e-10
    rotation_tolerance: float | None = None

    @abstractmethod
    def model(self) -> AbstractAtomisticModel:
        """A small model that knows some of H, C, N and O, with a cutoff of 2 to 3 Å or none, for atoms 1 Å apart."""

    def transformed(self, name: str, value: Tensor, matrix: Tensor) -> Tensor:
        """What becomes of an output under a rotation or reflection of all positions.

        Args:
            name: among `outputs`.
            value: the output before.
            matrix: (3, 3), orthogonal.
        """
        with float64_constants():
            return value @ o3.Irreps(self.outputs[name]).D_from_matrix(matrix).to(value).t()

    def test_rotation(self) -> None:
        """Energies are invariant; forces and declared outputs rotate."""
        self._assert_equivariant(rotation(1), self.rotation_tolerance)

    def test_inversion(self) -> None:
        """Energies are invariant; forces and declared outputs have their parity."""
        self._assert_equivariant(-torch.eye(3, dtype=torch.float64), None)

    def test_reflection(self) -> None:
        """Inversion and rotation together."""
        self._assert_equivariant(-rotation(2), self.rotation_tolerance)

    def test_rotated_crystal(self) -> None:
        """Energies and stresses where cell and positions rotate."""
        self._needs_cutoff()
        checks.assert_crystal_rotates(self._made(), crystal(self._made()), self.rotation_tolerance or self.tolerance)

    def test_translation(self) -> None:
        """Nothing depends on the origin."""
        atoms = self._batch()
        moved = atoms.at(atoms.pos + torch.tensor([1.7, -2.3, 0.9]).to(atoms.pos))
        self._assert_same(moved, atoms)

    def test_permutation(self) -> None:
        """Atoms have no order."""
        checks.assert_permutes(self._made(), self._batch(), self._names(), self.tolerance)

    def test_a_batch_is_its_graphs(self) -> None:
        """A graph gets the same alone and in a batch."""
        checks.assert_batches(self._made(), [cluster(self._made(), n, n) for n in (5, 1, 4)], self.tolerance)

    def test_supercell(self) -> None:
        """Two cells have twice the energy, and the same forces and stress."""
        self._needs_cutoff()
        checks.assert_supercell(self._made(), crystal(self._made()), self.tolerance)

    def test_positions_and_elements_matter(self) -> None:
        """Energies are not constant."""
        checks.assert_sensitive(self._made(), self._batch())

    def test_isolated_atoms(self) -> None:
        """An atom out of reach adds its own energy, and feels nothing."""
        checks.assert_isolated(self._made(), cluster(self._made(), 4, 0), self.tolerance)

    def test_degenerate_inputs_are_finite(self) -> None:
        """One atom, no edges, coincident points: outputs, forces and gradients of a force loss."""
        checks.assert_finite_when_degenerate(self._made())

    def test_atoms_on_a_line(self) -> None:
        """Energies and forces are the same along every axis, and finite with their derivatives."""
        checks.assert_lines(self._made(), self.rotation_tolerance or self.tolerance)

    def test_300_atoms(self) -> None:
        """Rotation once more, for many atoms."""
        atoms = cluster(self._made(), 300, 3)
        tolerance = 10 * (self.rotation_tolerance or self.tolerance)
        checks.assert_rotates(self._made(), atoms, rotation(4), self._names(), self.transformed, tolerance)

    def test_smooth_at_the_cutoff(self) -> None:
        """Energy, force, and its derivative where an atom leaves the neighbours of another."""
        self._needs_cutoff()
        checks.assert_smooth(self._made(), self.smoothness)

    def test_forces_are_differences_of_energies(self) -> None:
        """Central differences in every coordinate."""
        checks.assert_forces(self._made(), self._batch())

    def test_stress_is_a_difference_of_energies(self) -> None:
        """Central differences in every strain."""
        self._needs_cutoff()
        checks.assert_stress(self._made(), crystal(self._made()))

    def test_every_parameter_learns(self) -> None:
        """Energies, forces and declared outputs give each parameter a gradient."""
        checks.assert_parameters_learn(self._made(), self._batch(), self._names())

    def test_a_force_loss_has_right_gradients(self) -> None:
        """Its derivative along random directions of the parameters, against central differences."""
        checks.assert_force_loss(self._made(), self._batch())

    def test_graphs_are_kept_in_training_alone(self) -> None:
        """Forces carry a graph in training mode, and none in evaluation or without gradients."""
        checks.assert_graphs(self._made(), self._batch())

    def test_float32(self) -> None:
        """Outputs in float32 are those in float64, up to its rounding."""
        checks.assert_float32(self._made(), self._batch())

    def _made(self) -> AbstractAtomisticModel:
        return _made(type(self))

    def _names(self) -> tuple[str, ...]:
        return tuple(self.outputs)

    def _batch(self) -> Atoms:
        return joined([cluster(self._made(), 5, 5), cluster(self._made(), 4, 6)])

    def _needs_cutoff(self) -> None:
        if self._made().cutoff is None:
            raise unittest.SkipTest("the model has no cutoff")

    def _assert_equivariant(self, matrix: Tensor, tolerance: float | None) -> None:
        checks.assert_rotates(
            self._made(), self._batch(), matrix, self._names(), self.transformed, tolerance or self.tolerance
        )

    def _assert_same(self, found: Atoms, wanted: Atoms) -> None:
        field = ForceField(self._made()).eval()
        checks.assert_equal_outputs(
            found(field), wanted(field), ("energy", "forces", *self._names()), self.tolerance, "translated atoms"
        )


@lru_cache
def _made(cls: type[AtomisticModelTests]) -> AbstractAtomisticModel:
    """The model with random parameters, built once for a class, with constants in float64."""
    with float64_constants(), torch.random.fork_rng(devices=()), torch.no_grad():
        torch.manual_seed(0)
        model = cls().model().double().eval()
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        model.scale.fill_(1.3)
        model.references.copy_(torch.randn(len(model.references)))
    return model
