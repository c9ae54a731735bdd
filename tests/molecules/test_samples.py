"""Samples in the repository: everything runs without a data folder."""

import pytest
import torch

import weightspace
from weightspace.errors import ConfigurationError
from weightspace.molecules import load_molecules, require_forces

SIZES = {"ethanol": (40, 10, 10), "acac": (26, 6, 8, 12), "qm7": (140, 20, 40), "qm9": (6, 2, 2)}


@pytest.mark.parametrize("name", SIZES)
def test_a_sample_has_its_fixed_parts_without_a_data_folder(name, monkeypatch):
    monkeypatch.delenv("WEIGHTSPACE_DATA", raising=False)
    splits, again = load_molecules(f"sample:{name}"), load_molecules(f"sample:{name}", seed=3)
    parts = [splits.train, splits.validation, *splits.tests.values()]
    assert tuple(map(len, parts)) == SIZES[name] and splits.name == f"sample:{name}"
    assert torch.equal(splits.train.pos, again.train.pos) and "not a benchmark" in splits.notes[0]
    energies = torch.cat([part.values[splits.target] for part in parts])
    assert len(energies.unique()) == len(energies)
    if name in ("ethanol", "acac"):
        require_forces(splits)


def test_acac_names_isolated_atoms():
    assert sorted(load_molecules("sample:acac").isolated) == [1, 6, 8]


def test_unknown_samples_and_a_missing_repository_say_so(monkeypatch, tmp_path):
    with pytest.raises(ConfigurationError, match="sample: found 'water', wanted one of ethanol, acac, qm7, qm9"):
        load_molecules("sample:water")
    monkeypatch.setattr(weightspace, "__file__", str(tmp_path / "weightspace" / "__init__.py"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match=r"found no datasets/rmd17/ethanol_sample.npz .* in a clone of it"):
        load_molecules("sample:ethanol")


def test_a_sample_keeps_its_split():
    with pytest.raises(ConfigurationError, match="sample:ethanol: found 5, None and None molecules asked for"):
        load_molecules("sample:ethanol", train=5)
