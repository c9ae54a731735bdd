import sys
from dataclasses import replace

import pytest

from weightspace.errors import ConfigurationError
from weightspace.tasks.molecular import BenchmarkModel, Budget, MolecularTraining, run_model
from weightspace.tasks.molecular import _stability as stability
from weightspace.tasks.molecular._bench import without_forces


def test_dynamics_join_the_result_of_a_finished_run(splits, tmp_path, monkeypatch):
    monkeypatch.setattr(stability, "STEPS", 20)
    arguments = {"channels": 8, "layers": 1, "num_rbf": 8, "cutoff": 4.0}
    entry = BenchmarkModel("tiny", "weightspace.geometric:SchNet", arguments, MolecularTraining(batch_size=10))
    before = run_model(entry, splits, tmp_path, budget=Budget(samples=50))
    assert "md" not in before
    after = run_model(entry, splits, tmp_path, budget=Budget(samples=50), md=True)
    assert {name: after[name] for name in before} == before
    assert after["md"]["replicas"] == 4 and after["md"]["temperature"] == 300.0
    again = run_model(entry, splits, tmp_path, budget=Budget(samples=50), md=True)
    assert again["md"] == after["md"]
    warm = run_model(entry, splits, tmp_path, budget=Budget(samples=50), md=True, md_temperature=500)
    assert warm["md"]["temperature"] == 500.0 and warm["md"]["drift"] != after["md"]["drift"]
    assert after["md"]["jensen_shannon_floor"] >= 0 and after["md"]["seconds_per_step"] > 0


def test_dynamics_ask_for_energies(splits):
    plain = without_forces(splits)
    entry = BenchmarkModel("tiny", "weightspace.geometric:SchNet", {"channels": 8, "layers": 1})
    from weightspace.tasks.molecular._objectives import FutureObjective

    objective = FutureObjective(entry.build((1, 6, 8)), entry.training)
    with pytest.raises(ConfigurationError, match="leave out --md"):
        stability.stability_of(objective, plain)


def test_the_temperature_is_that_of_the_data_unless_asked(splits):
    known = replace(splits, temperatures={"test": 600.0})
    assert [stability.md_temperature_of(known, asked) for asked in (None, 350)] == [600.0, 350.0]
    with pytest.raises(ConfigurationError, match="found a temperature of -5, wanted a positive number of K"):
        stability.check_dynamics(splits, -5)


def test_dynamics_without_ase_are_refused_before_anything_runs(splits, monkeypatch):
    monkeypatch.setitem(sys.modules, "ase.data", None)
    with pytest.raises(ConfigurationError, match="molecular dynamics: needs the package ase"):
        stability.check_dynamics(splits)
