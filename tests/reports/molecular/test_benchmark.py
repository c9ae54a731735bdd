import csv
import io
import json

import numpy as np
import pytest

from weightspace.errors import ConfigurationError
from weightspace.reports.molecular import (
    build_benchmark_page,
    data_section,
    parity_points,
    predictions_under,
    read_runs,
    rows_of,
    write_figures,
)
from weightspace.reports.molecular._pictures import learning_curves, parity
from weightspace.reports.molecular._rows import by_conditions, factor_of
from weightspace.reports.molecular._tables import columns_for, csv_table


def result(model: str, seed: int, forces: float, *, md: bool = False) -> dict:
    scores = {"energy_mae": 0.002, "energy_rmse": 0.003, "forces_mae": forces, "forces_rmse": 1.5 * forces}
    curve = [{"seconds": s, "samples": 10 * s, "val_loss": 1.0 / s, "forces_mae": 1.0 / s} for s in (1.0, 2.0)]
    found = {
        "data": "acac",
        "model": {"name": model},
        "seed": seed,
        "budget": {"seconds": 2.0, "samples": None, "clock": "process"},
        "unit": "meV",
        "notes": ["A note."],
        "sizes": {"train": 4, "validation": 1, "tests": {"300 K": 5, "600 K": 5}},
        "tests": {"300 K": {"molecules": 5, **scores}, "600 K": {"molecules": 5, **scores, "forces_rmse": 3 * forces}},
        "parameters": 1234,
        "spent": {"seconds": 2.0, "samples": 20, "ended": "budget"},
        "curve": curve,
        "milliseconds": {"energy": 1.0, "forces": 2.0, "training_step": 5.0},
        "equivariance_error": {"energy": 1e-6, "energy_relative": 1e-7, "forces": 1e-6},
        "peak_memory_mb": 600.0,
        "memory_before_mb": 500.0,
        "hardware": {"device": "a processor", "torch": "2.13.0"},
    }
    dynamics = {"failed": 2, "replicas": 8, "time_to_failure_median": 1.5, "drift": 0.1}
    return found | ({"md": dynamics | {"jensen_shannon": 0.01, "wright": None}} if md else {})


@pytest.fixture
def folder(tmp_path):
    for model, seed, forces in (("slow", 0, 0.02), ("fast", 0, 0.010), ("fast", 1, 0.014)):
        path = tmp_path / "acac" / model / f"seed{seed}"
        path.mkdir(parents=True)
        (path / "result.json").write_text(json.dumps(result(model, seed, forces, md=model == "fast")))
        values = np.linspace(-1, 1, 30, dtype=np.float32)
        parts = {f"300 K/{q}/{k}": values for q in ("energy", "forces") for k in ("wanted", "predicted")}
        np.savez_compressed(path / "predictions.npz", **parts)
    broken = tmp_path / "acac" / "broken" / "seed0"
    broken.mkdir(parents=True)
    (broken / "failure.json").write_text(json.dumps({"error": "GeometryError: nothing fits"}))
    return tmp_path


def test_rows_are_means_over_seeds_in_the_papers_units(folder):
    fast, slow = rows_of(read_runs(folder)[0])
    assert (fast.model, slow.model) == ("fast", "slow")
    error = fast.error("300 K", "forces")
    assert error.mean == pytest.approx(12.0) and error.deviation == pytest.approx(4 / 2**0.5) and error.seeds == 2
    assert slow.error("600 K", "forces", "rmse").mean == pytest.approx(60.0)
    assert slow.error("300 K", "energy").text() == "2.00"
    assert fast.memory().mean == 100.0


def test_kilocalories():
    assert factor_of("energy", "kcal/mol") * 0.0433641 == pytest.approx(1.0)
    assert factor_of("energy", "D") == 1.0


def test_the_page_says_everything_and_its_files_are_there(folder):
    said = build_benchmark_page(folder)
    text = (folder / "table.md").read_text()
    for words in (
        "300 K F MAE, meV/Å",
        "12.0 ± 2.8",
        "600 K F RMSE, meV/Å",
        "2 s of CPU time of one process",
        "A note.",
        "4 of 16",
        "acac/broken/seed0: GeometryError: nothing fits",
    ):
        assert words in text, words
    assert "12.0 ± 2.8" in said
    names = {path.name for path in (folder / "figures").iterdir()}
    wanted = {f"acac-{kind}.png" for kind in ("curves", "time", "tests", "parity-energy", "parity-forces")}
    assert names == wanted
    assert len(json.loads((folder / "results.json").read_text())) == 3


def test_other_budgets_and_parts_have_tables_of_their_own(folder):
    path = folder / "acac" / "slow" / "seed1"
    path.mkdir()
    other = result("slow", 1, 0.005) | {"budget": {"seconds": 600.0, "samples": None, "clock": "wall"}}
    (path / "result.json").write_text(json.dumps(other))
    path = folder / "acac" / "plain" / "seed0"
    path.mkdir(parents=True)
    plain = result("plain", 0, 0.005)
    for scores in plain["tests"].values():
        del scores["forces_mae"], scores["forces_rmse"]
    (path / "result.json").write_text(json.dumps(plain))
    text = build_benchmark_page(folder)
    tables = text.split("\n## ")[1:]
    assert [table.splitlines()[0] for table in tables[:3]] == [f"acac, table {k}" for k in (1, 2, 3)]
    assert [("600 s of wall time" in table) for table in tables[:3]].count(True) == 1
    assert len({path.name for path in (folder / "figures").iterdir()}) > 5


def test_rows_of_other_sizes_are_no_seeds_of_each_other():
    one, two = result("net", 0, 0.01), result("net", 1, 0.02)
    two["model"] = {"name": "net", "arguments": {"channels": 3}}
    assert [len(row.runs) for row in rows_of([one, two])] == [1, 1]


def test_a_curve_with_a_gap_is_drawn(folder):
    broken = result("late", 0, 0.02)
    broken["curve"][-1]["forces_mae"] = None
    assert learning_curves(rows_of([broken])).axes[0].lines[0].get_xdata().tolist() == [1.0]


def test_points_of_parity_plots_travel_with_a_result(folder):
    run = json.loads((folder / "acac" / "fast" / "seed0" / "result.json").read_text())
    points = parity_points(run, predictions_under(folder), most=10)
    assert set(points) == {"energy", "forces"} and len(points["energy"]["wanted"]) == 10
    names = write_figures(rows_of([{**run, "parity": points}]), folder / "own", title="mine")
    assert "mine-parity-forces.png" in names
    assert parity_points(run, predictions_under(folder / "nowhere"), most=10) == {}


def test_csv_has_a_line_per_run_and_part(folder):
    lines = list(csv.DictReader(io.StringIO(csv_table(rows_of(read_runs(folder)[0])))))
    assert len(lines) == 6
    assert {line["peak_memory_mb"] for line in lines} == {"100.0"} and {line["ended"] for line in lines} == {"budget"}
    assert {line["md_drift"] for line in lines if line["model"] == "fast"} == {"0.1"}
    assert {float(line["forces_mae"]) for line in lines if line["model"] == "fast"} == {0.010, 0.014}


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match="holds no finished run"):
        build_benchmark_page(tmp_path)


def test_points_of_forces_are_of_every_component_and_of_many_atoms(tmp_path):
    run = result("net", 0, 0.01)
    path = tmp_path / "seed0"
    path.mkdir()
    (path / "result.json").write_text(json.dumps(run))
    places = np.tile(np.arange(27, dtype=np.float32), 1000)  # 9 atoms in 1,000 frames: which atom and component it is
    parts = {f"300 K/{q}/{k}": places for q in ("energy", "forces") for k in ("wanted", "predicted")}
    np.savez_compressed(path / "predictions.npz", **parts)
    kept = parity_points(run, predictions_under(tmp_path), most=200)["forces"]
    assert len(kept["wanted"]) == 200 and set(kept["wanted"]) == set(range(27)) and kept["predicted"] == kept["wanted"]
    shown = parity({"net": (places, places)}, "forces", "meV").axes[0].collections[0].get_offsets()
    assert set(np.round(shown[:, 0] / 1000).astype(int)) == set(range(27))


@pytest.mark.parametrize(
    "other",
    [
        {"fingerprint": "b"},
        {"hardware": {"device": "a GPU", "torch": "2.13.0"}},
        {"compile": True},
        {"threads": 2},
        {"device": "cuda"},
    ],
)
def test_runs_on_other_molecules_or_devices_have_tables_of_their_own(other):
    rows = rows_of([result("net", 0, 0.01), result("net", 0, 0.01) | other])
    assert len(list(by_conditions(rows))) == 2


def test_a_best_row_without_times_hides_none(folder):
    plain = result("composition alone", 0, 0.001)
    del plain["milliseconds"], plain["equivariance_error"], plain["peak_memory_mb"]
    headings = [column.heading for column in columns_for(rows_of([plain, result("net", 0, 0.01)]))]
    assert {"ms forces", "ms training step", "rotation error F, %", "peak MB"} <= set(headings)


def test_temperatures_of_dynamics_are_told():
    runs = [result(name, 0, 0.01, md=True) for name in ("one", "two")]
    for run in runs:
        run["md"] |= {"temperature": 300.0, "jensen_shannon_floor": 0.0018, "wright_floor": 0.581}
    text = data_section("acac", rows_of(runs), {})
    assert "Molecular dynamics at 300 K. Between the two halves of the reference, JS divergence is 0.0018" in text
    runs[1]["md"]["temperature"] = 500.0
    assert "Molecular dynamics at 300 K (one) and 500 K (two)." in data_section("acac", rows_of(runs), {})
