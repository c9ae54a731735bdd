"""The conformance class of metanets."""

import unittest
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from weightspace.errors import ConfigurationError
from weightspace.metanets import TracedNetwork
from weightspace.testing import _metanet_checks as checks
from weightspace.testing import _weight_changes as changes
from weightspace.testing._example_networks import example_architectures
from weightspace.testing._metanet_edits import assert_edits_load, assert_form_kept
from weightspace.testing._metanet_gradients import assert_numbers_get_gradients, assert_parameters_learn
from weightspace.testing._networks import TOLERANCE
from weightspace.testing._subjects import Example, Subject, make_subject

SENSES = frozenset({"wiring", "positions", "taps", "redundancy"})


class MetanetTests(ABC):
    """What a metanet must get right on any architecture; subclass it in a test file, under a name that pytest collects
    (`TestMine`).

    Symmetry: outputs are invariant, or edits equivariant, under the group and under relabelling; a network gets the
    same alone, in a batch and beside other architectures. Sensitivity: every parameter and role matters, and what only
    looks like a symmetry moves the output. Gradients reach every parameter of the metanet, and every network. (It
    bears the name that its users subclass; other abstract classes here start with `Abstract`.)

    Attributes:
        edits: whether the metanet returns graphs (and is equivariant), or tensors with a row for each network (and is
            invariant).
        symmetries: what the spaces are traced for; with `"scale"` or `"sign"` random scalings are checked, too.
        blind_to: what the metanet does not see by its design; its checks are skipped. `"wiring"`, which neuron of a
            layer a number belongs to, and how layers are joined; `"positions"`, which input, output or gate it is;
            `"taps"`, which place of a kernel; `"redundancy"`, numbers that do not change what the network computes.
        tolerance: relative, in float64.

    Example:
        >>> from weightspace.metanets import GMN
        >>> class TestMine(MetanetTests):
        ...     def metanet(self, networks):
        ...         return GMN(1, channels=4, layers=2)
        ...     def architectures(self):
        ...         return {"line": (nn.Linear(2, 1), (torch.zeros(1, 2),))}
        >>> TestMine().test_permuted_neurons()
    """

    edits: bool = False
    symmetries: frozenset[str] = frozenset({"permutation"})
    blind_to: frozenset[str] = frozenset()
    tolerance: float = TOLERANCE

    def __init_subclass__(cls) -> None:
        unknown = sorted(set(cls.blind_to) - SENSES)
        if unknown:
            raise ConfigurationError(
                f"{cls.__name__}.blind_to: found {unknown[0]!r}, wanted some of {', '.join(sorted(SENSES))}"
            )

    @abstractmethod
    def metanet(self, networks: tuple[TracedNetwork, ...]) -> nn.Module:
        """The metanet; it takes a `ParameterGraph` of one network or of several, or a list of them.

        Args:
            networks: the architectures that it will read, for a metanet that is made from spaces or runs modules.
        """

    def architectures(self) -> Mapping[str, tuple[nn.Module, tuple[Any, ...]]]:
        """Name -> module and example inputs; by default those of `example_architectures`."""
        return example_architectures()

    def test_permuted_neurons(self) -> None:
        """Invariant or equivariant under the permutation group."""
        checks.assert_symmetric(self._made(), scalings=False, tolerance=self.tolerance)

    def test_scaled_neurons(self) -> None:
        """Invariant or equivariant under scales and signs, where they are among the symmetries."""
        if set(self.symmetries) <= {"permutation"}:
            raise unittest.SkipTest("the symmetries are permutations alone")
        checks.assert_symmetric(self._made(), scalings=True, tolerance=self.tolerance)

    def test_relabelled_nodes_and_edges(self) -> None:
        """The order of nodes and edges does not matter."""
        checks.assert_relabelled(self._made(), tolerance=self.tolerance)

    def test_a_batch_is_its_networks(self) -> None:
        """Networks of one architecture in one batch get what each gets alone."""
        checks.assert_batches_like_singles(self._made(), tolerance=self.tolerance)

    def test_a_mixed_batch_is_its_networks(self) -> None:
        """Networks of several architectures in one call get what each gets alone."""
        checks.assert_mixed_like_alone(self._made(), tolerance=self.tolerance)

    def test_networks_are_left_alone(self) -> None:
        """The metanet does not write into its input."""
        checks.assert_inputs_unchanged(self._made())

    def test_networks_differ(self) -> None:
        """The output is not constant."""
        checks.assert_networks_differ(self._made())

    def test_every_parameter_matters(self) -> None:
        """Other numbers in any piece of any parameter move the output."""
        checks.assert_pieces_matter(self._made(), redundant="redundancy" in self.blind_to, least=self._least)

    def test_exchanged_parameters(self) -> None:
        """Exchanging queries and values, or any two pieces of one size and role, moves the output."""
        self._moved("wiring", changes.exchanged_pieces)

    def test_neurons_across_heads(self) -> None:
        """Exchanging a neuron of one head (group, expert) with one of another moves the output."""
        self._moved("wiring", changes.crossed_neurons)

    def test_neurons_of_one_parameter(self) -> None:
        """Permuting neurons in one of their parameters alone moves the output."""
        self._moved("wiring", changes.neurons_of_one_parameter)

    def test_exchanged_positions(self) -> None:
        """Exchanging two inputs, outputs or gates moves the output."""
        self._moved("positions", changes.exchanged_positions)

    def test_exchanged_taps(self) -> None:
        """Exchanging two taps of a kernel moves the output."""
        self._moved("taps", changes.exchanged_taps)

    def test_zeros_are_weights(self) -> None:
        """A weight of zero is not a missing edge."""
        checks.assert_zeros_are_weights(self._made())

    def test_gradients_of_the_metanet(self) -> None:
        """Every parameter of the metanet gets a gradient."""
        assert_parameters_learn(self._made())

    def test_gradients_of_the_networks(self) -> None:
        """The networks' numbers get the gradient of finite differences."""
        assert_numbers_get_gradients(self._made())

    def test_single_precision(self) -> None:
        """Finite in float32."""
        checks.assert_single_precision(self._made())

    def test_edits_keep_the_form(self) -> None:
        """Edited graphs have the topology, shapes and constants of the graphs."""
        assert_form_kept(self._editor())

    def test_edited_networks_load(self) -> None:
        """Edited networks load into their module, and tied weights stay tied."""
        assert_edits_load(self._editor())

    @property
    def _least(self) -> float:
        """What counts as moved."""
        return 10 * self.tolerance

    def _made(self) -> Subject:
        return _subject(type(self))

    def _editor(self) -> Subject:
        if not self.edits:
            raise unittest.SkipTest("the metanet reads (edits = False)")
        return self._made()

    def _moved(self, sense: str, wrong: Callable[[Example], Iterable[changes.Change]]) -> None:
        if sense in self.blind_to:
            raise unittest.SkipTest(f"the metanet is blind to {sense}")
        if not checks.assert_moved(self._made(), wrong, least=self._least):
            raise unittest.SkipTest("none of the architectures has what is exchanged here")


@lru_cache(maxsize=8)
def _subject(kind: type[MetanetTests]) -> Subject:
    """The metanet and the traced architectures of a class, made once."""
    tests = kind()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make_subject(
            tests.metanet, tests.architectures(), edits=tests.edits, symmetries=frozenset(tests.symmetries)
        )
