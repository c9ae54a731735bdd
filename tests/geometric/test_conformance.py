"""The net catches fish: models of atoms with a planted error fail `AtomisticModelTests`, and the message says what."""

import unittest
from dataclasses import replace

import pytest
import torch
from torch import nn

from weightspace.geometric import AbstractAtomisticModel, BesselBasis, PolynomialCutoff
from weightspace.testing import AtomisticModelTests


class Model(AbstractAtomisticModel):
    """One round of messages with vectors; each hook can be broken on its own."""

    def __init__(self, *, cloud=None, length=None, envelope=None, message=None, vectors=None, readout=None):
        super().__init__(2.5, elements=None, config={})
        self.embedding, self.rbf = nn.Embedding(118, 6), BesselBasis(4, 2.5)
        self.filter = nn.Sequential(nn.Linear(4, 6), nn.SiLU(), nn.Linear(6, 6))
        self.out = nn.Sequential(nn.Linear(6, 6), nn.SiLU(), nn.Linear(6, 1))
        self.direction = nn.Linear(6, 1)
        self.change = cloud or (lambda cloud: cloud)
        self.length = length or (lambda cloud: cloud.edge_len)
        self.envelope = envelope or PolynomialCutoff(2.5)
        self.message = message or (lambda message, cloud: message)
        self.vectors = vectors or (lambda vectors: vectors)
        self.read = readout or (lambda h, cloud: h)

    def evaluate(self, cloud):
        cloud = self.change(cloud)
        length = self.length(cloud)
        weight = self.filter(self.rbf(length)) * self.envelope(length)[:, None]
        message = self.message(self.embedding(cloud.species)[cloud.source] * weight, cloud)
        h = self.embedding(cloud.species) + cloud.sum_edges(message)
        vectors = cloud.sum_edges(self.direction(message) * cloud.edge_vec * self.envelope(length)[:, None])
        h = self.read(h + vectors.square().sum(-1, keepdim=True), cloud)
        return {"node_energy": self.out(h).squeeze(-1), "vectors": self.vectors(vectors)}


class SoundTests(AtomisticModelTests):
    outputs = {"vectors": "1o"}
    arguments: dict = {}

    def model(self):
        return Model(**self.arguments)


class TestSound(SoundTests):
    """Without an error the model passes."""


def bare_norm(cloud):
    return cloud.edge_vec.square().sum(-1).sqrt()


FISH = {
    "reads a coordinate": (
        {"message": lambda m, cloud: m * (1 + cloud.edge_vec[:, :1])},
        "test_rotation",
        "energy of rotated atoms: differs by",
    ),
    "reads a coordinate's size": (
        {"message": lambda m, cloud: m * (1 + cloud.edge_vec[:, :1].abs())},
        "test_rotation",
        "energy of rotated atoms: differs by",
    ),
    "has a pole": (
        {"message": lambda m, cloud: m * (1 + torch.atan2(cloud.edge_vec[:, :1], cloud.edge_vec[:, 2:]))},
        "test_atoms_on_a_line",
        "a line along",
    ),
    "forgets the envelope": (
        {"envelope": torch.ones_like},
        "test_smooth_at_the_cutoff",
        "the energy jumps by",
    ),
    "has kinks at the cutoff": (
        {"envelope": lambda d: (1 - d / 2.5).clamp_min(0)},
        "test_smooth_at_the_cutoff",
        "the force jumps by",
    ),
    "is smooth once": (
        {"envelope": lambda d: (1 - d / 2.5).clamp_min(0) ** 2},
        "test_smooth_at_the_cutoff",
        "the derivative of the force jumps by",
    ),
    "weighs vectors by axes": (
        {"vectors": lambda v: v.abs().sum(-1, keepdim=True) * v / v.norm(dim=-1, keepdim=True).detach()},
        "test_rotation",
        "vectors of rotated atoms",
    ),
    "has even vectors": (
        {"vectors": lambda v: torch.linalg.cross(v, v.square().sum(-1, keepdim=True) * v.roll(1, 0))},
        "test_inversion",
        "vectors of inverted atoms",
    ),
    "reads positions": (
        {"message": lambda m, cloud: m * (1 + cloud.pos[cloud.source].norm(dim=-1, keepdim=True))},
        "test_translation",
        "energy of translated atoms",
    ),
    "counts atoms": (
        {"readout": lambda h, cloud: h * (1 + torch.arange(len(h))[:, None])},
        "test_permutation",
        "energy of permuted atoms",
    ),
    "mixes graphs": (
        {"readout": lambda h, cloud: h - h.mean(0)},
        "test_a_batch_is_its_graphs",
        "energy of graphs in a batch",
    ),
    "mixes atoms out of reach": (
        {"readout": lambda h, cloud: h - (cloud.sum_atoms(h) / cloud.sum_atoms(torch.ones_like(h)))[cloud.batch]},
        "test_isolated_atoms",
        "energy with an isolated atom",
    ),
    "forgets the cell": (
        {"cloud": lambda cloud: replace(cloud, edge_shift=None).at(cloud.pos)},
        "test_supercell",
        "of a supercell",
    ),
    "detaches": (
        {"cloud": lambda cloud: replace(cloud, edge_len=cloud.edge_len.detach())},
        "test_forces_are_differences_of_energies",
        "forces against differences of energies",
    ),
    "detaches the cell": (
        {"cloud": lambda cloud: cloud if cloud.cell is None else cloud.at(cloud.pos, cloud.cell.detach())},
        "test_stress_is_a_difference_of_energies",
        "stress against differences",
    ),
    "divides by no length": (
        {"length": bare_norm},
        "test_degenerate_inputs_are_finite",
        "forces is not finite for an edge without length",
    ),
    "ignores an output": (
        {"vectors": lambda v: v.detach(), "message": lambda m, cloud: m.detach()},
        "test_every_parameter_learns",
        "gets no gradient",
    ),
    "sees one element": (
        {"cloud": lambda cloud: replace(cloud, species=torch.zeros_like(cloud.species))},
        "test_positions_and_elements_matter",
        "the energy does not depend on elements",
    ),
    "sees no positions": (
        {"readout": lambda h, cloud: h.detach() * 0},
        "test_positions_and_elements_matter",
        "forces are zero",
    ),
    "rounds": (
        {"length": lambda cloud: cloud.edge_len.float().double()},
        "test_forces_are_differences_of_energies",
        "forces against differences of energies",
    ),
    "returns float64": (
        {"readout": lambda h, cloud: h + torch.zeros(1, dtype=torch.float64)},
        "test_float32",
        "",
    ),
}


@pytest.mark.parametrize("name", FISH)
def test_a_planted_error_is_found(name):
    arguments, check, words = FISH[name]
    broken = type(name, (SoundTests,), {"arguments": arguments})()
    with pytest.raises((AssertionError, RuntimeError)) as caught:
        getattr(broken, check)()
    assert words in str(caught.value)


def test_what_needs_a_cutoff_is_skipped_without():
    class WithoutCutoff(SoundTests):
        def model(self):
            model = Model()
            model.cutoff = None
            return model

    with pytest.raises(unittest.SkipTest, match="the model has no cutoff"):
        WithoutCutoff().test_smooth_at_the_cutoff()
