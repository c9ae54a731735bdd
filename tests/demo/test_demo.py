"""The demo on a very small zoo: finished stages are kept, interruptions resume, the checks are real."""

import json
import re

import pytest
import torch

from weightspace.demo import _run, _work, run_demo
from weightspace.errors import ConfigurationError
from weightspace.space import WeightSpace
from weightspace.zoo import Zoo, ZooConfig


@pytest.fixture(autouse=True)
def little(monkeypatch):
    monkeypatch.setattr(_run, "ZooConfig", lambda **options: ZooConfig(**options, members=12, steps=(3, 10, 40)))
    monkeypatch.setattr(_work, "EPOCHS", {"GMN": 2, "DeepSets": 2})


def start(out, lines=None, **options):
    return run_demo(out, networks=36, progress=False, tell=None if lines is None else lines.append, **options)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_run, "ZooConfig", lambda **options: ZooConfig(**options, members=12, steps=(3, 10, 40)))
        patch.setattr(_work, "EPOCHS", {"GMN": 2, "DeepSets": 2})
        out, lines = tmp_path_factory.mktemp("demo"), []
        start(out, lines)
    return out, lines


def test_every_stage_says_one_line_and_what_came_out(finished):
    _, lines = finished
    assert [line[:5] for line in lines if line.startswith("[")] == [f"[{k}/6]" for k in range(1, 7)]
    text = "\n".join(lines)
    assert "36 networks of 3 architectures" in text
    assert "the way back is exact, bit for bit, for 36 of 36 networks" in text
    assert "tau on the test networks: GMN" in text


def test_the_results(finished):
    out, _ = finished
    results = json.loads((out / "results.json").read_text())
    names = {row["name"] for row in results["table"]}
    assert names == {"mean", "weight statistics + boosting", "DeepSets", "GMN"}
    assert all(len(v) == len(results["test"]["target"]) for v in results["test"]["predictions"].values())
    assert [row["epoch"] for row in results["learning_curve"]] == [0, 1]
    assert set(results["times"]) == {"zoo", "graphs", "baselines", "metanet", "symmetry"}
    assert results["settings"]["seed"] == 0 and "torch" in results["versions"]
    varied = {name for name, values in results["test"]["predictions"].items() if len(set(values)) > 1}
    assert {row["name"] for row in results["table"] if row.get("difference")} == varied - {"GMN"}
    assert "DeepSets" in varied and "mean" not in varied


def test_the_report_is_one_file_with_everything(finished):
    out, _ = finished
    page = (out / "report.html").read_text()
    for heading in (
        "Predicted against true",
        "Beside the baselines",
        "Symmetry",
        "The zoo",
        "One network as",
        "Settings",
    ):
        assert heading in page
    assert page.count("<img") == 5 and not re.search(r"(src|href)=\"(?!data:)", page)


def test_a_random_symmetry_changes_nothing(finished):
    out, _ = finished
    rows = {row["what"]: row["value"] for row in json.loads((out / "results.json").read_text())["symmetry"]}
    moved = rows["networks moved by a random group element"]
    assert moved.split(" of ")[0] == moved.split(" of ")[1]
    assert float(rows["largest relative change of the logits on all test images (float64)"]) < 1e-12
    assert float(rows["largest change of the predicted accuracy (float32)"]) < 1e-5
    assert rows["way back from the moved graph, reordered, bit for bit"] == moved


def test_the_symmetry_check_notices_what_is_no_symmetry(finished, monkeypatch):
    out, _ = finished
    demo = _work.Demo(out, ZooConfig(networks=36, members=12, steps=(3, 10, 40)), None, False)
    act = WeightSpace.act

    def wrong(space, g, state):
        moved = act(space, g, state)
        first = next(iter(moved))
        return moved | {first: moved[first] * 1.01}

    monkeypatch.setattr(WeightSpace, "act", wrong)
    rows = {row["what"]: row["value"] for row in demo.check_symmetry()["rows"]}
    assert float(rows["largest relative change of the logits on all test images (float64)"]) > 1e-4


def test_run_again_it_goes_on_from_the_finished_stages(finished):
    out, _ = finished
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    lines = []
    start(out, lines)
    assert len(lines) == 6 and all("done before" in line for line in lines)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == before


def test_other_settings_are_refused(finished):
    with pytest.raises(
        ConfigurationError, match="holds a demo with seed 0, wanted 1; choose another folder with --out"
    ):
        start(finished[0], seed=1)


def test_interrupted_in_the_zoo_it_resumes_there(tmp_path, monkeypatch):
    append, calls = Zoo.append, []

    def interrupted(self, *args, **options):
        if len(calls) == 1:
            raise KeyboardInterrupt
        calls.append(options["number"])
        append(self, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Zoo, "append", interrupted)
        with pytest.raises(KeyboardInterrupt):
            start(tmp_path)
    assert len(Zoo(tmp_path / "zoo")) == 12 and not (tmp_path / "stages").exists()

    def counted(self, *args, **options):
        calls.append(options["number"])
        append(self, *args, **options)

    monkeypatch.setattr(Zoo, "append", counted)
    monkeypatch.setattr(_work.Demo, "convert", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        start(tmp_path)
    assert sorted(calls) == [0, 1, 2], "no sub-population is trained twice"
    assert [path.name for path in (tmp_path / "stages").iterdir()] == ["1-zoo.json"]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_predictions(finished, tmp_path):
    out, _ = finished
    start(tmp_path)
    first, second = (json.loads((path / "results.json").read_text())["test"] for path in (out, tmp_path))
    assert torch.allclose(torch.tensor(first["predictions"]["GMN"]), torch.tensor(second["predictions"]["GMN"]))
    assert first == second
