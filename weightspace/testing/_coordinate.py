"""The conformance class of metanets for networks on points of space."""

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from weightspace.testing._metanet_tests import MetanetTests
from weightspace.testing._subjects import Example, Subject, difference

NETWORKS = 4


class CoordinateMetanetTests(MetanetTests):
    """What `MetanetTests` asks, and equivariance under rigid motions of the points.

    A motion x -> R x + t acts on the layers that `layers` names, w_i' = R w_i and b_i' = b_i - w_i' . t, which makes
    the network f'(x) = f(R^T (x - t)); that this is so is checked first. Outputs must then be what `act_on_outputs`
    makes of those of the network. (Abstract, as `MetanetTests` is.)

    Attributes:
        translations: whether the metanet follows translations, too.

    Example:
        >>> from weightspace.metanets import CoordinateGMN
        >>> class TestMine(CoordinateMetanetTests):
        ...     def metanet(self, networks):
        ...         return CoordinateGMN(["scalar"], channels=4, layers=2, vector_channels=2)
        ...     def architectures(self):
        ...         return {"line": (nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1)), (torch.zeros(1, 3),))}
        ...     def layers(self, name):
        ...         return {"0": slice(0, 3)}
        ...     def act_on_outputs(self, metanet, rows, rotation, translation):
        ...         return metanet.act(rows, rotation, translation)
        >>> TestMine().test_rigid_motions()
    """

    translations: bool = True

    @abstractmethod
    def layers(self, name: str) -> dict[str, slice]:
        """Names of the linear layers of an architecture that read coordinates, and which of their inputs these are."""

    @abstractmethod
    def act_on_outputs(self, metanet: nn.Module, rows: Tensor, rotation: Tensor, translation: Tensor) -> Tensor:
        """The outputs (B, F) of moved networks, from those of the networks; R (B, 3, 3) and t (B, 3)."""

    def test_motions_of_the_first_layer_move_the_function(self) -> None:
        """f'(R x + t) = f(x), on random points."""
        for example in self._made().examples:
            generator = torch.Generator().manual_seed(0)
            rotation, translation = self._motions(1, generator, reflected=True)
            before = example.random(1)
            after = self._moved_entries(example, before, rotation, translation)
            module = example.network.module
            inputs = [
                torch.randn(5, each.shape[-1], generator=generator, dtype=torch.float64)
                for each in example.network.inputs
            ]
            there = [self._moved_input(example.name, i, x, rotation, translation) for i, x in enumerate(inputs)]
            found, wanted = (
                _call(module, {k: v[0] for k, v in example.states(entries).items()}, points)
                for entries, points in ((after, there), (before, inputs))
            )
            error = max(difference(f, w) for f, w in zip(found, wanted, strict=True))
            assert error <= self.tolerance, f"{example.name}: the moved network's function is off by {error:.1e}"

    def test_rigid_motions(self) -> None:
        """Outputs follow rotations (and translations)."""
        self._assert_follows(reflected=False)

    def test_reflections(self) -> None:
        """Outputs follow reflections with rotations (and translations)."""
        self._assert_follows(reflected=True)

    def test_motions_of_permuted_neurons(self) -> None:
        """A motion after a permutation of neurons."""
        subject = self._made()
        for example in subject.examples:
            entries, space = example.random(NETWORKS), example.space
            generator = torch.Generator().manual_seed(2)
            element = space.random_element(generator, n=NETWORKS)
            permuted = example.entries(space.act(element, example.states(entries)))
            self._compare(subject, example, entries, permuted, self._motions(NETWORKS, generator, reflected=True))

    def test_large_and_small_motions(self) -> None:
        """Translations far beyond the unit ball, and the identity."""
        subject = self._made()
        for example in subject.examples:
            entries = example.random(NETWORKS)
            rotation, translation = self._motions(NETWORKS, torch.Generator().manual_seed(3), reflected=False)
            self._compare(subject, example, entries, entries, (rotation, 30 * translation), slack=100.0)
            identity = torch.eye(3).to(rotation).expand_as(rotation)
            self._compare(subject, example, entries, entries, (identity, 0 * translation))

    def test_other_first_layers_move_the_output(self) -> None:
        """A matrix that is not orthogonal, or another bias, is no motion: scalars move."""
        subject = self._made()
        for example in subject.examples:
            before = example.random(1)
            stretch = torch.diag(torch.tensor([1.0, 1.0, 1.3], dtype=torch.float64))[None]
            changes: dict[str, Tensor] = {
                "stretching": self._moved_entries(example, before, stretch, torch.zeros(1, 3).to(stretch)),
                "shifting all biases": self._shifted(example, before),
            }
            for what, changed in changes.items():
                with torch.no_grad():
                    error = difference(subject.answers(example, changed), subject.answers(example, before))
                assert error > self._least or not example.function_changes(before[0], changed[0]), (
                    f"{example.name}: {what} moves the output by {error:.1e} only, wanted more than {self._least:.0e}"
                )

    def positions(self, name: str) -> tuple[int, ...]:
        """Which inputs of an architecture are positions; others with three numbers are directions."""
        return (0,)

    def _shifted(self, example: Example, entries: Tensor) -> Tensor:
        states = example.states(entries)
        for name in (f"{layer}.bias" for layer in self.layers(example.name)):
            if name in states:
                states[name] = states[name] + 0.1
        return example.entries(states)

    def _moved_input(self, name: str, i: int, x: Tensor, rotation: Tensor, translation: Tensor) -> Tensor:
        """Points of a moved shape: positions move, directions turn, and other inputs stay."""
        if x.shape[-1] != 3:
            return x
        return x @ rotation[0].mT + translation[0] * (i in self.positions(name))

    def _assert_follows(self, *, reflected: bool) -> None:
        subject = self._made()
        for example in subject.examples:
            entries = example.random(NETWORKS)
            motions = self._motions(NETWORKS, torch.Generator().manual_seed(1), reflected=reflected)
            self._compare(subject, example, entries, entries, motions)

    def _motions(self, count: int, generator: torch.Generator, *, reflected: bool) -> tuple[Tensor, Tensor]:
        """R (B, 3, 3) and t (B, 3)."""
        q, r = torch.linalg.qr(torch.randn(count, 3, 3, generator=generator, dtype=torch.float64))
        q = q * r.diagonal(dim1=1, dim2=2).sign()[:, None]
        q = q * q.det().sign()[:, None, None] * (-1 if reflected else 1)
        translation = torch.randn(count, 3, generator=generator, dtype=torch.float64)
        return q, translation * float(self.translations)

    def _compare(
        self,
        subject: Subject,
        example: Example,
        entries: Tensor,
        start: Tensor,
        motions: tuple[Tensor, Tensor],
        *,
        slack: float = 1.0,
    ) -> None:
        """Outputs of moved networks are the moved outputs; relative to the largest of each output column's vector."""
        moved = self._moved_entries(example, start, *motions)
        with torch.no_grad():
            found = subject.answers(example, moved)
            wanted = self.act_on_outputs(subject.metanet, subject.answers(example, entries), *motions)
        error = difference(found, wanted)
        assert error <= slack * self.tolerance, (
            f"{example.name}: the output of moved networks is off by {error:.1e}, allowed {slack * self.tolerance:.0e} "
            "of the largest"
        )

    def _moved_entries(self, example: Example, entries: Tensor, rotation: Tensor, translation: Tensor) -> Tensor:
        states = example.states(entries)
        for layer, columns in self.layers(example.name).items():
            weight = states[f"{layer}.weight"].clone()
            turned = weight[..., columns] @ rotation.mT
            weight[..., columns] = turned
            states[f"{layer}.weight"] = weight
            if self.moves(example.name, layer):
                states[f"{layer}.bias"] = states[f"{layer}.bias"] - (turned @ translation[..., None])[..., 0]
        return example.entries(states)

    def moves(self, name: str, layer: str) -> bool:
        """Whether a layer reads positions; otherwise it reads directions."""
        return True


def _call(module: nn.Module, state: dict[str, Tensor], inputs: list[Tensor]) -> tuple[Tensor, ...]:
    result: Any = torch.func.functional_call(module.double(), state, tuple(inputs))
    return result if isinstance(result, tuple) else (result,)
