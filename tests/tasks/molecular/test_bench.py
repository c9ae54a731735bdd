import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from weightspace.cli import main
from weightspace.errors import ConfigurationError, MoleculeError
from weightspace.molecules import load_molecules
from weightspace.reports.molecular import build_benchmark_page
from weightspace.tasks.molecular import BenchmarkModel, BenchmarkPlan, Budget, MolecularTraining, run_benchmark
from weightspace.tasks.molecular import _bench as bench
from weightspace.tasks.molecular import _worker as worker
from weightspace.tasks.molecular._presets import models_named, presets_for
from weightspace.tasks.molecular._settings import alone_in

TINY = BenchmarkModel(
    "tiny",
    "weightspace.geometric:SchNet",
    {"channels": 8, "layers": 1, "num_rbf": 8, "cutoff": 4.0},
    MolecularTraining(batch_size=10),
)
MINE = """
from weightspace.geometric import EGNN
from weightspace.tasks.molecular import BenchmarkModel

def small(elements):
    return EGNN(channels=8, layers=1, cutoff=4.0, elements=elements)

def broken(elements):
    raise RuntimeError("no such layer")

ENTRY = BenchmarkModel("entry", "mine:small")
"""


class InProcess:
    """A child process that runs here, because starting one takes seconds."""

    def __init__(self, command, **options):
        self.command = command

    def terminate(self):
        pass

    def wait(self):
        assert self.command[:3] == [sys.executable, "-m", "weightspace.tasks.molecular._worker"]
        return worker.main([self.command[3]])


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.setattr(bench.subprocess, "Popen", InProcess)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "tiny.json").write_text(json.dumps(TINY.to_json()))
    yield tmp_path
    sys.modules.pop("mine", None)


@pytest.fixture(scope="module")
def sample():
    return load_molecules("sample:ethanol")


def test_models_by_name_by_path_and_from_files_meet_in_one_table(here):
    plan = BenchmarkPlan("sample:ethanol", ["tiny.json", "mine:small", "mine:ENTRY"], Budget(samples=40), here / "out")
    said: list[str] = []
    folders = run_benchmark(plan, tell=said.append)
    assert [folder.parent.name for folder in folders] == ["tiny", "small", "entry"]
    assert "3 of 3 runs to do, 40 samples each" in said[0]
    assert run_benchmark(plan, tell=said.append) == folders and "0 of 3 runs" in said[-1]
    text = build_benchmark_page(plan.out)
    assert all(f"| {name} | 1 |" in text for name in ("tiny", "small", "entry"))


def test_a_model_that_fails_is_reported_and_the_others_go_on(here):
    (here / "wide.json").write_text(json.dumps({**TINY.to_json(), "name": "wide", "arguments": {"width": 3}}))
    plan = BenchmarkPlan("sample:ethanol", ["wide.json", "tiny.json"], Budget(samples=20), here / "out")
    said: list[str] = []
    assert [folder.parent.name for folder in run_benchmark(plan, tell=said.append)] == ["tiny"]
    assert any(line.startswith("wide, seed 0: failed: ConfigurationError") and "width" in line for line in said)
    assert "wide/seed0: ConfigurationError" in build_benchmark_page(plan.out)


def test_an_error_of_a_model_of_ones_own_is_told_with_where_it_came_from(here):
    plan = BenchmarkPlan("sample:ethanol", ["mine:broken"], Budget(samples=20), here / "out")
    said: list[str] = []
    assert run_benchmark(plan, tell=said.append) == []
    log = plan.folder("broken", 0) / "log.txt"
    assert said[-1] == f"broken, seed 0: failed: RuntimeError: no such layer (see {log})"
    assert "mine.py" in log.read_text() and "Traceback" in log.read_text()


def test_runs_of_other_settings_are_not_taken_for_these(here):
    run_benchmark(BenchmarkPlan("sample:ethanol", ["tiny.json"], Budget(samples=20), here / "out"))
    with pytest.raises(ConfigurationError, match="holds a run with another budget .* give another --out"):
        run_benchmark(BenchmarkPlan("sample:ethanol", ["tiny.json"], Budget(samples=40), here / "out"))
    for name in ("a", "b"):
        (here / name).mkdir()
        write_energies(here / name / "mine.xyz", seed=ord(name))
    run_benchmark(BenchmarkPlan(str(here / "a/mine.xyz"), ["tiny.json"], Budget(samples=20), here / "out"))
    with pytest.raises(ConfigurationError, match="another fingerprint"):
        run_benchmark(BenchmarkPlan(str(here / "b/mine.xyz"), ["tiny.json"], Budget(samples=20), here / "out"))


def test_empty_parts_and_no_jobs_are_refused(tmp_path):
    path = write_energies(tmp_path / "few.xyz", frames=8)
    plan = BenchmarkPlan(str(path), ["schnet"], Budget(samples=10), tmp_path / "out")
    with pytest.raises(
        MoleculeError, match=r"no molecules in the validation part \(8 training, 0 validation, 0 test\)"
    ):
        run_benchmark(plan)
    with pytest.raises(ConfigurationError, match="found 0 jobs and 1 seeds"):
        run_benchmark(plan, jobs=0)


def test_dynamics_of_many_molecules_is_refused_before_anything_runs(tmp_path):
    for data, found in (("sample:qm7", "40 frames of energy"), ("sample:qm9", "2 frames of")):
        plan = BenchmarkPlan(data, ["schnet"], Budget(samples=10), tmp_path / "out", md=True)
        with pytest.raises(ConfigurationError, match=f"test frames of one molecule .* found {found}"):
            run_benchmark(plan)
    assert not (tmp_path / "out").exists()


def test_asked_to_end_it_ends_its_processes(here, monkeypatch):
    ended = []

    def wait(self):
        os.kill(os.getpid(), signal.SIGTERM)
        while not ended:
            time.sleep(0.01)
        return -signal.SIGTERM

    monkeypatch.setattr(InProcess, "wait", wait)
    monkeypatch.setattr(InProcess, "terminate", lambda self: ended.append(self))
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        run_benchmark(BenchmarkPlan("sample:ethanol", ["tiny.json"], Budget(samples=20), here / "out"))
    assert len(ended) == 1 and signal.getsignal(signal.SIGTERM) is before


def test_the_command_trains_and_shows_the_table(here, capsys):
    words = "bench molecules --data sample:ethanol --models tiny.json --budget 20samples --out out --no-progress"
    assert main([*words.split(), "--accelerator", "cpu"]) == 0
    said = capsys.readouterr().out
    assert "1 of 1 runs to do, 20 samples each" in said and "| tiny | 1 |" in said
    assert (here / "out" / "table.csv").is_file() and (here / "out" / "table.md").is_file()
    assert main([*words.split(), "--accelerator", "cpu", "--seeds", "0"]) == 1
    assert "found 1 jobs and 0 seeds, wanted at least one of each" in capsys.readouterr().err


def test_a_run_that_is_interrupted_is_no_failure(here, monkeypatch):
    monkeypatch.setattr(InProcess, "wait", lambda self: 130)
    plan = BenchmarkPlan("sample:ethanol", ["tiny.json"], Budget(samples=20), here / "out")
    said: list[str] = []
    assert run_benchmark(plan, tell=said.append) == [] and said[-1] == "tiny, seed 0: interrupted"
    assert not (plan.folder("tiny", 0) / "failure.json").exists()


def test_every_preset_is_a_model_of_its_data(sample):
    for entry in presets_for(sample).values():
        assert entry.build_for(sample).elements == sample.train.elements
        assert entry == BenchmarkModel.from_json(json.loads(json.dumps(entry.to_json())))


def test_energies_alone_have_learning_rates_of_their_own(sample):
    with_forces = presets_for(sample)
    for splits in (bench.without_forces(sample), load_molecules("sample:qm7"), load_molecules("sample:qm9")):
        alone = presets_for(splits)
        assert list(alone) == list(with_forces)
        for name, entry in alone.items():
            rate = entry.training.learning_rate
            training = replace(with_forces[name].training, learning_rate=rate)
            assert replace(with_forces[name], training=training, source=entry.source) == entry
        assert alone["egnn"].training.learning_rate < with_forces["egnn"].training.learning_rate


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["tensornot"], "did you mean 'tensornet'"),
        (["schnet", "schnet"], "'schnet' twice"),
        (["nothing.json"], "no such file"),
        (["weightspace.geometric:SchNot"], "no factory 'SchNot'"),
    ],
)
def test_models_that_are_not_there(names, words, sample):
    with pytest.raises(ConfigurationError, match=words):
        models_named(names, sample)


def test_a_file_of_something_else(tmp_path, sample):
    (tmp_path / "other.json").write_text('{"name": "x"}')
    with pytest.raises(ConfigurationError, match="other.json: .*wanted name, factory, arguments and training"):
        models_named([str(tmp_path / "other.json")], sample)


def test_errors_of_the_data_come_before_anything_runs(tmp_path):
    path = tmp_path / "twice.xyz"
    path.write_text("2\nProperties=species:S:1:pos:R:3 energy=-1.0\nH 0 0 0\nH 0 0 0\n" * 12)
    with pytest.raises(MoleculeError, match="twice.xyz"):
        run_benchmark(BenchmarkPlan(str(path), ["schnet"], Budget(samples=10), tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def write_energies(path, *, forces=False, far=False, frames=20, seed=0):
    numbers = torch.Generator().manual_seed(seed)
    lines = []
    for _ in range(frames):
        x = (9.0 if far else 1.0) + 0.1 * float(torch.rand((), generator=numbers))
        keys = "species:S:1:pos:R:3" + (":forces:R:3" if forces else "")
        rest = " 0 0 0" if forces else ""
        lines.append(f"2\nProperties={keys} energy={-1.0 - x}\nH 0 0 0{rest}\nH {x} 0 0{rest}\n")
    path.write_text("".join(lines))
    return path


def test_a_force_loss_asks_for_forces(tmp_path):
    path = write_energies(tmp_path / "plain.xyz")
    plan = BenchmarkPlan(str(path), ["schnet"], Budget(samples=10), tmp_path / "out", forces=True)
    with pytest.raises(MoleculeError, match="found no forces in the training part, wanted them for the force loss"):
        run_benchmark(plan)
    with pytest.raises(MoleculeError, match="no forces"):
        BenchmarkPlan(str(path), ["schnet"], Budget(samples=10), tmp_path / "out", forces=True).splits()


def test_forces_can_be_left_out(sample, tmp_path):
    plan = BenchmarkPlan("sample:ethanol", ["schnet"], Budget(samples=10), tmp_path, forces=False)
    assert plan.splits().train.forces is None and sample.train.forces is not None


def test_an_atom_without_neighbours_is_named(here):
    path = write_energies(here / "far.xyz", far=True)
    plan = BenchmarkPlan(str(path), ["tiny.json"], Budget(samples=10), here / "out")
    said: list[str] = []
    assert run_benchmark(plan, tell=said.append) == []
    assert "has no neighbour within the model's cutoff of 4 Å" in said[-1]


def test_training_rules_are_checked():
    with pytest.raises(ConfigurationError, match="wanted a loss of mse, mae, huber"):
        MolecularTraining(loss="l3")
    with pytest.raises(ConfigurationError, match="positive rates"):
        MolecularTraining(learning_rate=0)


@pytest.mark.slow
def test_a_process_that_is_killed_goes_on_to_the_same_numbers(tmp_path):
    entry = BenchmarkModel("tiny", TINY.factory, TINY.arguments, MolecularTraining(batch_size=2, check_every=100))
    (tmp_path / "tiny.json").write_text(json.dumps(entry.to_json()))

    def plan(name: str) -> BenchmarkPlan:
        return BenchmarkPlan("sample:ethanol", [str(tmp_path / "tiny.json")], Budget(samples=1000), tmp_path / name)

    [whole] = run_benchmark(plan("whole"))
    killed = plan("killed").folder("tiny", 0)
    killed.mkdir(parents=True)
    job = (whole / "job.json").read_text().replace(str(tmp_path / "whole"), str(tmp_path / "killed"))
    (killed / "job.json").write_text(job)
    process = subprocess.Popen([sys.executable, "-m", "weightspace.tasks.molecular._worker", str(killed / "job.json")])
    while not (killed / "checkpoints" / "last.ckpt").exists():
        assert process.poll() is None
    process.kill()
    process.wait()
    assert not (killed / "result.json").exists()
    [found] = run_benchmark(plan("killed"))
    both = [json.loads((folder / "result.json").read_text()) for folder in (whole, found)]
    assert both[0]["tests"] == both[1]["tests"] and both[0]["spent"]["samples"] == both[1]["spent"]["samples"]


def test_one_cutoff_for_every_model(here, sample):
    plan = BenchmarkPlan("sample:ethanol", ["all", "mace-paper"], Budget(samples=20), here / "out", cutoff=3.5)
    entries = plan.entries(sample)
    assert len(entries) == 10 and {entry.build(sample.train.elements).cutoff for entry in entries} == {3.5}
    assert all(replace(plan, cutoff=None).entries(sample)[k].arguments != e.arguments for k, e in enumerate(entries))
    with pytest.raises(ConfigurationError, match="small: mine:small takes no argument of that name"):
        run_benchmark(replace(plan, models=["mine:small"]))
    with pytest.raises(ConfigurationError, match="found -1, wanted a positive, finite number of Å"):
        run_benchmark(replace(plan, cutoff=-1))


def test_a_failed_run_ends_the_command_with_1(here, capsys):
    words = ["bench", "molecules", "--data", "sample:ethanol", "--budget", "20samples", "--out", "out", "--no-progress"]
    words += ["--accelerator", "cpu"]
    assert main([*words, "--models", "tiny.json"]) == 0
    assert main([*words, "--models", "tiny.json,mine:broken"]) == 1
    found = capsys.readouterr()
    assert "| tiny | 1 |" in found.out
    assert "not done: broken, seed 0; the reasons stand above" in found.err
    assert main([*words, "--models", "tiny.json"]) == 0  # a model that failed before is not asked for
    (here / "out" / "sample-ethanol" / "tiny" / "seed0" / "result.json").unlink()
    (here / "out" / "sample-ethanol" / "tiny" / "seed0" / "failure.json").write_text('{"error": "an old one"}')
    assert main([*words, "--models", "tiny.json"]) == 0
    assert not (here / "out" / "sample-ethanol" / "tiny" / "seed0" / "failure.json").exists()


def test_a_run_that_another_process_works_on_is_left_alone(here):
    plan = BenchmarkPlan("sample:ethanol", ["tiny.json"], Budget(samples=20), here / "out")
    said: list[str] = []
    failed: list[str] = []
    with alone_in(plan.folder("tiny", 0)):
        assert run_benchmark(plan, tell=said.append, failed=failed.append) == []
    assert said[-1] == "tiny, seed 0: another process works on it" and failed == ["tiny, seed 0"]
    assert not (plan.folder("tiny", 0) / "failure.json").exists()


def test_a_temperature_asks_for_dynamics(here):
    plan = BenchmarkPlan("sample:ethanol", ["tiny.json"], Budget(samples=20), here / "out", md_temperature=300)
    with pytest.raises(ConfigurationError, match="without --md"):
        run_benchmark(plan)


def test_a_process_that_starts_after_the_end_is_ended(monkeypatch):
    ended = []
    process = SimpleNamespace(terminate=lambda: ended.append(True))
    children = bench._Children()
    with pytest.raises(KeyboardInterrupt), children:
        raise KeyboardInterrupt
    children.watch(process)
    assert ended == [True]
