import json

import pytest
import torch

from experiments import benchmark_page, molecular_benchmark
from experiments._gaunt_network import GauntNetwork
from experiments._molecular_tables import TABLES
from experiments.molecular_benchmark import compact
from weightspace.errors import ConfigurationError
from weightspace.geometric import ForceField, rotation_error
from weightspace.molecules import load_molecules
from weightspace.tasks.molecular._presets import models_named


@pytest.mark.slow
def test_smoke():
    [content] = molecular_benchmark.main(["--smoke"])
    assert [run["model"]["name"] for run in content["runs"]] == ["schnet"]


def test_a_curve_keeps_its_end():
    curve = [{"seconds": float(k), "forces_mae": 1.23456 / (k + 1)} for k in range(101)]
    kept = compact({"curve": curve})["curve"]
    assert len(kept) <= molecular_benchmark.CURVE_POINTS and kept[-1] == {"seconds": 100.0, "forces_mae": 0.01222}


def test_every_commit_that_runs_were_started_at_is_remembered(tmp_path, monkeypatch):
    for commit in ("aaaaaaa", "aaaaaaa", None, "bbbbbbb"):
        monkeypatch.setattr(molecular_benchmark, "commit_of", lambda commit=commit: commit)
        molecular_benchmark.remember_commit(tmp_path / "ethanol")
    assert (tmp_path / "ethanol" / molecular_benchmark.COMMITS).read_text().split() == ["aaaaaaa", "bbbbbbb"]


def test_the_baseline_knows_composition_alone():
    splits = load_molecules("sample:ethanol")
    other = {name: {} for name in ("data", "budget", "unit", "notes", "sizes", "hardware")}
    scores = molecular_benchmark.composition_run(splits, other)["tests"]["test"]
    energy = splits.tests["test"].energy
    assert scores["energy_mae"] == pytest.approx(float((energy - splits.train.energy.mean()).abs().mean()), rel=1e-6)
    assert scores["forces_rmse"] == pytest.approx(float(splits.tests["test"].forces.square().mean().sqrt()))


def test_every_table_names_models_that_there_are(tmp_path):
    splits = load_molecules("sample:ethanol")
    own = {model.name: model for table in TABLES for model in table.models if not isinstance(model, str)}
    for model in own.values():  # presets have a test of their own
        [entry] = models_named([molecular_benchmark._named(model, tmp_path)], splits)
        assert entry == model
        assert entry.build((1, 6, 8)).elements == (1, 6, 8)
    assert {name for table in TABLES for name in table.models if isinstance(name, str)} == {"all"}


@pytest.mark.parametrize("antisymmetric", [False, True])
def test_gaunt_networks_turn_and_mirror(antisymmetric):
    torch.manual_seed(0)
    model = ForceField(GauntNetwork(channels=4, layers=2, antisymmetric=antisymmetric, elements=(1, 6)).double()).eval()
    z, pos = torch.tensor([1, 6, 6, 1, 1, 6]), torch.randn(6, 3, dtype=torch.float64)
    [error] = rotation_error(model, {"z": z, "pos": pos}, rotations=4).values()
    assert error.random["interaction_energy"] < 1e-10 and error.random["forces"] < 1e-10
    here, there = model(z, pos), model(z, -pos)
    assert torch.allclose(here["energy"], there["energy"], rtol=1e-10)


def test_brackets_change_the_network():
    z, pos = torch.tensor([1, 6, 6, 1, 1, 6]), torch.randn(6, 3)
    found = []
    for bracket in (False, True):
        torch.manual_seed(0)
        model = GauntNetwork(channels=4, layers=1, antisymmetric=True, elements=(1, 6))
        if not bracket:  # without pseudotensors the second product has nothing to couple them to
            model.layers[0].mix_between.weight.data[3:] = 0
        found.append(float(model(z, pos)["energy"].detach()))
    assert abs(found[0] - found[1]) > 1e-6


def test_the_page_is_made_of_the_result_files():
    text = benchmark_page.PAGE.read_text()
    wanted = ["cost", "presets", *(table.name for table in TABLES)]
    assert [found[2] for found in benchmark_page.MARKED.finditer(text)] == wanted
    assert benchmark_page.page(text) == text, "python -m experiments.benchmark_page"


def test_result_files_hold_no_paths():
    for path in benchmark_page.FOLDER.glob("**/*.json"):
        assert "/work" not in path.read_text() and json.loads(path.read_text())["runs"], path


def run_of(model, seed, budget="300"):
    return {"model": {"name": model}, "seed": seed, "budget": budget}


def test_a_table_never_loses_runs(tmp_path):
    path = tmp_path / "t.json"
    assert molecular_benchmark.lost_runs(path, {"runs": []}) == []
    path.write_text(json.dumps({"runs": [run_of("a", 0), run_of("a", 1), run_of("b", 0)]}))
    assert molecular_benchmark.lost_runs(path, {"runs": [run_of("a", 1), run_of("c", 0)]}) == [
        "a (seed 0)",
        "b (seed 0)",
    ]


def test_collecting_without_runs_keeps_the_tables(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(molecular_benchmark, "FOLDER", tmp_path / "results")
    monkeypatch.setattr(molecular_benchmark, "TABLES", [molecular_benchmark.SMOKE])
    (tmp_path / "results").mkdir()
    kept = tmp_path / "results" / "smoke.json"
    kept.write_text(json.dumps({"runs": [run_of("schnet", 0)]}))
    assert molecular_benchmark.main(["--collect", "--tables", "smoke", "--runs", str(tmp_path / "runs")]) == []
    assert json.loads(kept.read_text())["runs"] and "smoke.json: kept as it is" in capsys.readouterr().out


def test_a_table_of_two_budgets_is_refused(tmp_path, monkeypatch):
    name = "ethanol"
    runs = json.loads((benchmark_page.FOLDER / f"{name}.json").read_text())["runs"][:2]
    runs[1]["budget"]["seconds"] = 7.0
    monkeypatch.setattr(benchmark_page, "runs_of", lambda name: ({}, runs))
    with pytest.raises(ConfigurationError, match="ethanol: found runs of different budgets"):
        benchmark_page.section(name, figures=None)
