import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from weightspace.errors import CheckpointError, ConfigurationError, MoleculeError, TrainingError
from weightspace.geometric import ForceField, SchNet
from weightspace.tasks.molecular import BenchmarkModel, Budget, MolecularTraining, RunOptions, run_model
from weightspace.tasks.molecular import _run as run
from weightspace.tasks.molecular._batches import training_order
from weightspace.tasks.molecular._fit import _moving_average
from weightspace.tasks.molecular._measure import CLEAR, forget_peak, milliseconds, peak_memory
from weightspace.tasks.molecular._objectives import objective_for
from weightspace.tasks.molecular._presets import MOLECULES, preset
from weightspace.tasks.molecular._settings import alone_in, run_settings

SMALL = BenchmarkModel(
    "small",
    "weightspace.geometric:SchNet",
    {"channels": 16, "layers": 1, "num_rbf": 12, "cutoff": 4.0},
    MolecularTraining(learning_rate=1e-2, batch_size=10, check_every=120, ema_decay=0.8),
)
BUDGET = Budget(samples=600)


class Killed(Exception):
    pass


def numbers(result):
    kept = {key: result[key] for key in ("tests", "validation", "equivariance_error", "parameters")}
    kept["curve"] = [{k: v for k, v in row.items() if k != "seconds"} for row in result["curve"]]
    kept["validation"] = {k: v for k, v in result["validation"].items() if k != "seconds"}
    return kept


@pytest.fixture(scope="module")
def finished(splits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return folder, run_model(SMALL, splits, folder, budget=BUDGET)


def test_a_run_learns_and_says_what_it_did(finished, splits):
    folder, result = finished
    spread = float(splits.tests["test"].forces.abs().mean())
    assert result["tests"]["test"]["forces_mae"] < 0.5 * spread
    assert result["spent"]["samples"] == 600 and result["spent"]["ended"] == "budget"
    assert [row["samples"] for row in result["curve"]] == [120, 240, 360, 480, 600]
    assert result["equivariance_error"]["forces"] < 1e-4
    assert set(result["milliseconds"]) == {"energy", "forces", "training_step"}
    assert result["peak_memory_mb"] >= result["memory_before_mb"] > 0
    assert json.loads((folder / "result.json").read_text())["tests"] == result["tests"]


def test_scores_are_those_of_the_predictions_that_are_kept(finished):
    folder, result = finished
    with np.load(folder / "predictions.npz") as arrays:
        for name in ("energy", "forces"):
            error = arrays[f"test/{name}/predicted"] - arrays[f"test/{name}/wanted"]
            assert result["tests"]["test"][f"{name}_mae"] == pytest.approx(np.abs(error).mean(), rel=1e-4)
            assert result["tests"]["test"][f"{name}_rmse"] == pytest.approx(math.sqrt((error**2).mean()), rel=1e-4)


def test_the_saved_model_is_the_one_that_was_tested(finished, splits):
    folder, result = finished
    model = SchNet.from_pretrained(folder / "model")
    test = splits.tests["test"]
    energy = model(test.z, test.pos.float(), test.batch)["interaction_energy"].detach().double()
    wanted = test.energy - model.reference_energy(test.z, test.batch)
    assert float((energy - wanted).abs().mean()) == pytest.approx(result["tests"]["test"]["energy_mae"], rel=1e-4)


@pytest.mark.parametrize("batches", [40])
def test_a_run_that_is_killed_ends_as_one_that_was_not(batches, finished, splits, tmp_path, monkeypatch):
    step, calls = run.MolecularTask.training_step, []

    def dies(self, batch, batch_idx):
        calls.append(batch_idx)
        if len(calls) == batches:
            raise Killed
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(run.MolecularTask, "training_step", dies)
        with pytest.raises(Killed):
            run_model(SMALL, splits, tmp_path, budget=BUDGET)
    assert not (tmp_path / "result.json").exists()
    assert (tmp_path / "checkpoints" / "last.ckpt").exists()
    assert numbers(run_model(SMALL, splits, tmp_path, budget=BUDGET)) == numbers(finished[1])


def test_seeds_differ_and_a_finished_run_is_left_alone(finished, splits, tmp_path):
    other = run_model(SMALL, splits, tmp_path, budget=BUDGET, seed=1)
    assert other["tests"] != finished[1]["tests"]
    before = (finished[0] / "result.json").stat().st_mtime_ns
    assert run_model(SMALL, splits, finished[0], budget=BUDGET)["tests"] == finished[1]["tests"]
    assert (finished[0] / "result.json").stat().st_mtime_ns == before


def test_another_configuration_does_not_go_on_in_the_same_folder(finished, splits):
    with pytest.raises(ConfigurationError, match="another budget .*give another --out"):
        run_model(SMALL, splits, finished[0], budget=Budget(samples=700))


def test_a_damaged_checkpoint_is_named(splits, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="last.ckpt: cannot be read"):
        run_model(SMALL, splits, tmp_path, budget=BUDGET)


def test_training_ends_where_validation_stands_still(splits, tmp_path):
    still = BenchmarkModel(
        "still",
        SMALL.factory,
        SMALL.arguments,
        MolecularTraining(learning_rate=1e-12, ema_decay=None, batch_size=5, check_every=20, patience=2),
    )
    result = run_model(still, splits, tmp_path, budget=Budget(samples=1000))
    assert result["spent"]["ended"] == "no improvement"
    assert 200 <= result["spent"]["samples"] < 800  # patience, and a fifth of the budget


def test_a_training_that_diverges_says_so(splits, tmp_path):
    wild = replace(SMALL, training=MolecularTraining(learning_rate=1e30, batch_size=10, check_every=40, warmup=0.0))
    with pytest.raises(TrainingError, match="no loss on validation molecules was finite; lower the learning rate"):
        run_model(wild, splits, tmp_path, budget=Budget(samples=200))


def test_weights_from_before_it_diverged_are_tested(splits, tmp_path, monkeypatch):
    step = run.MolecularTask.training_step

    def wild(self, batch, batch_idx):
        loss = step(self, batch, batch_idx)
        return loss if self.samples < 200 else loss * math.nan

    monkeypatch.setattr(run.MolecularTask, "training_step", wild)
    result = run_model(SMALL, splits, tmp_path, budget=BUDGET)
    assert result["spent"]["ended"] == "diverged" and result["spent"]["samples"] == 240
    assert math.isfinite(result["tests"]["test"]["forces_mae"]) and result["validation"]["samples"] == 120


STILL = replace(SMALL, training=MolecularTraining(learning_rate=1e-12, ema_decay=None, check_every=20, patience=2))


def dies(*arguments, **options):
    raise Killed


def test_a_run_that_is_killed_before_it_notes_why_it_ended_trains_no_more(splits, tmp_path, monkeypatch):
    fit = run.fit
    monkeypatch.setattr(run, "fit", lambda *given, **options: fit(*given, **options) and dies())
    with pytest.raises(Killed):
        run_model(STILL, splits, tmp_path, budget=Budget(samples=400))
    assert not (tmp_path / "ended.json").exists()
    monkeypatch.setattr(run, "fit", fit)
    monkeypatch.setattr(run.MolecularTask, "training_step", dies)
    result = run_model(STILL, splits, tmp_path, budget=Budget(samples=400))
    assert result["spent"]["ended"] == "no improvement" and result["spent"]["samples"] < 400


def test_a_run_that_is_killed_after_its_training_trains_no_more(splits, tmp_path, monkeypatch):
    still, scores = STILL, run.test_scores
    monkeypatch.setattr(run, "test_scores", dies)
    with pytest.raises(Killed):
        run_model(still, splits, tmp_path, budget=Budget(samples=400))
    kept = json.loads((tmp_path / "ended.json").read_text())
    monkeypatch.setattr(run, "test_scores", scores)
    monkeypatch.setattr(run.MolecularTask, "training_step", dies)
    result = run_model(still, splits, tmp_path, budget=Budget(samples=400))
    assert kept["why"] == result["spent"]["ended"] == "no improvement"
    assert result["spent"]["samples"] == result["curve"][-1]["samples"] < 400
    assert result["peak_memory_mb"] == kept["peak_memory_mb"]


def test_draws_in_training_depend_on_seed_and_pass_alone(splits, tmp_path, monkeypatch):
    step, drawn = run.MolecularTask.training_step, []

    def draws(self, batch, batch_idx):
        drawn.append(torch.rand(()).item())
        return step(self, batch, batch_idx)

    monkeypatch.setattr(run.MolecularTask, "training_step", draws)
    before = torch.get_rng_state()
    for number, seed in enumerate((0, 0, 1)):
        run_model(SMALL, splits, tmp_path / str(number), budget=Budget(samples=240), seed=seed)
    assert torch.equal(torch.get_rng_state(), before)
    a, b, c = drawn[:24], drawn[24:48], drawn[48:]
    assert a == b and a[:12] != a[12:] and not set(a) & set(c)


def test_an_element_that_only_a_test_part_has_is_named_before_the_training(splits, tmp_path):
    part = splits.tests["test"]
    strange = replace(splits, tests={"test": replace(part, z=part.z.clone().masked_fill_(part.z == 8, 16))})
    with pytest.raises(MoleculeError, match=r"test: found elements \[16\], wanted those of the training molecules"):
        run_model(SMALL, strange, tmp_path, budget=BUDGET)
    assert not (tmp_path / "checkpoints").exists()


def test_a_model_that_cannot_be_saved_says_so_before_the_training(splits, tmp_path, monkeypatch):
    def refuses(model, folder):
        raise ConfigurationError("cannot be saved")

    monkeypatch.setattr(run, "save_pretrained", refuses)
    with pytest.raises(ConfigurationError, match="cannot be saved"):
        run_model(SMALL, splits, tmp_path, budget=BUDGET)
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize("name", [entry.name for entry in MOLECULES])
def test_energies_are_summed_in_full_precision(name, splits):
    entry = preset(name)
    model, part = entry.build(splits.train.elements), splits.train[:2]
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        energy = model(part.z, part.pos.float(), part.batch)["interaction_energy"]
    assert energy.dtype == torch.float32 and bool(energy.isfinite().all())


def test_an_order_shows_every_molecule_equally_often():
    seen = torch.cat([training_order(7, 5, epoch, seed=3) for epoch in range(7)])
    assert torch.equal(seen.bincount(), torch.full((7,), 5))
    assert not torch.equal(seen[:7], torch.cat([training_order(7, 5, epoch, seed=4) for epoch in range(2)])[:7])


@pytest.mark.skipif(not CLEAR.exists(), reason="no /proc")
def test_memory_of_before_does_not_count():
    cpu = torch.device("cpu")
    block = torch.ones(64 << 20, dtype=torch.uint8)
    with_block = peak_memory(cpu)
    del block
    forget_peak(cpu)
    assert peak_memory(cpu) < with_block - 50
    again = torch.ones(64 << 20, dtype=torch.uint8)
    assert peak_memory(cpu) > with_block - 20
    del again


def test_options_that_nothing_understands():
    with pytest.raises(ConfigurationError, match="found accelerator 'tpu' .* wanted one of cpu, gpu, auto"):
        RunOptions(accelerator="tpu")
    with pytest.raises(ConfigurationError, match="precision '8-true'"):
        RunOptions(precision="8-true")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there():
    with pytest.raises(ConfigurationError, match="no CUDA device; take 'cpu' or 'auto'"):
        RunOptions(accelerator="gpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_run_on_a_gpu(splits, tmp_path):
    result = run_model(SMALL, splits, tmp_path, budget=BUDGET, options=RunOptions(accelerator="gpu"))
    assert result["hardware"]["device"] == torch.cuda.get_device_name(0) and result["peak_memory_mb"] > 0


def test_mixed_precision_trains(splits, tmp_path, finished):
    options = RunOptions(precision="bf16-mixed")
    result = run_model(SMALL, splits, tmp_path, budget=Budget(samples=200), options=options)
    assert math.isfinite(result["tests"]["test"]["forces_mae"])


def test_passes_have_orders_of_their_own():
    first, second = (training_order(50, 50, epoch, seed=0) for epoch in (0, 1))
    assert torch.equal(first.sort().values, second.sort().values) and not torch.equal(first, second)


def test_every_training_molecule_is_seen(splits, tmp_path, monkeypatch):
    step, seen = run.MolecularTask.training_step, []

    def watched(self, batch, batch_idx):
        seen.extend(batch["interaction"].tolist())
        return step(self, batch, batch_idx)

    monkeypatch.setattr(run.MolecularTask, "training_step", watched)
    few = BenchmarkModel("few", SMALL.factory, SMALL.arguments, MolecularTraining(batch_size=10, check_every=20))
    run_model(few, splits, tmp_path, budget=Budget(samples=60))
    assert len(set(seen)) == len(seen) == len(splits.train)


def test_the_best_weights_are_tested_not_the_last(splits, tmp_path):
    rule = MolecularTraining(learning_rate=0.3, warmup=0.95, ema_decay=None, batch_size=10, check_every=60, clip=1e9)
    worse = BenchmarkModel("worse", SMALL.factory, SMALL.arguments, rule)
    result = run_model(worse, splits, tmp_path, budget=Budget(samples=600))
    losses = [row["val_loss"] for row in result["curve"]]
    assert min(losses) < 0.7 * losses[-1] and result["validation"]["val_loss"] == min(losses)
    model = SchNet.from_pretrained(tmp_path / "model")
    part = splits.validation
    forces = ForceField(model).eval()(part.z, part.pos.float(), part.batch)["forces"].double()
    assert float((forces - part.forces).abs().mean()) == pytest.approx(result["validation"]["forces_mae"], rel=1e-4)


def test_energies_of_isolated_atoms_are_kept_apart_from_the_mean(splits):
    known = {1: -10.0, 6: -200.0, 8: -300.0}
    model = SMALL.build((1, 6, 8))
    prepared = objective_for(model, replace(splits, isolated=known), SMALL.training).prepared(
        replace(splits, isolated=known)
    )
    shift = model.references[[1, 6, 8]].double() - torch.tensor(list(known.values())).double()
    assert torch.allclose(shift, shift[:1].expand(3), atol=1e-4)
    assert abs(float(prepared.train.values["interaction"].mean())) < 1e-3


def test_an_average_of_few_steps_forgets_the_weights_that_it_started_from():
    task = SimpleNamespace(global_step=0)
    update, average, number = _moving_average(0.99, task), torch.zeros(1, dtype=torch.float64), 40
    for step in range(1, number + 1):
        task.global_step = step
        update([average], [torch.full((1,), float(step), dtype=torch.float64)], step)
    slow, kept = 0.0, 1.0
    for step in range(1, number + 1):
        decay = min(0.99, (1 + step) / (10 + step))
        slow, kept = decay * slow + (1 - decay) * step, kept * decay
    assert abs(average.item() - slow) < 1e-12
    assert kept < 1e-5 < 0.5 < 0.99**number  # the share of the zeros


def test_an_average_of_many_steps_has_the_decay_that_was_asked_for():
    average = torch.ones(1, dtype=torch.float64)
    _moving_average(0.8, SimpleNamespace(global_step=1000))([average], [torch.zeros(1, dtype=torch.float64)], 1000)
    assert average.item() == pytest.approx(0.8)


@pytest.mark.parametrize("decay", [0.8, pytest.param(None, marks=pytest.mark.slow)])
def test_double_precision_from_the_first_step_to_the_last_prediction(splits, tmp_path, monkeypatch, decay):
    entry = replace(SMALL, training=replace(SMALL.training, ema_decay=decay))
    options, budget = RunOptions(precision="64-true"), Budget(samples=240)
    whole = run_model(entry, splits, tmp_path / "whole", budget=budget, options=options)
    assert whole["equivariance_error"]["forces"] < 1e-10
    scores = run.test_scores
    monkeypatch.setattr(run, "test_scores", dies)
    with pytest.raises(Killed):
        run_model(entry, splits, tmp_path / "killed", budget=budget, options=options)
    monkeypatch.setattr(run, "test_scores", scores)
    assert numbers(run_model(entry, splits, tmp_path / "killed", budget=budget, options=options)) == numbers(whole)


def test_a_folder_belongs_to_one_process_at_a_time(splits, tmp_path):
    with alone_in(tmp_path), pytest.raises(ConfigurationError, match="another process works on this run; wait for it"):
        run_model(SMALL, splits, tmp_path, budget=BUDGET)
    with alone_in(tmp_path):
        pass


def test_other_energies_of_isolated_atoms_make_another_run(splits):
    energies = {1: -13.6, 6: -1000.0, 8: -2000.0}
    other = [replace(splits, isolated=energies), replace(splits, isolated={**energies, 8: -2040.0}), splits]
    found = [run_settings(SMALL, each, BUDGET, seed=0, options=RunOptions()) for each in other]
    assert len({settings["surroundings"] for settings in found}) == 3
    assert len({settings["fingerprint"] for settings in found}) == 1


def test_steps_are_timed_in_the_precision_of_the_training(splits):
    seen = []
    objective = objective_for(SMALL.build((1, 6, 8)), splits, SMALL.training)
    prepared, outputs = objective.prepared(splits), objective.outputs

    def watched(batch):
        seen.append((torch.is_autocast_enabled("cpu"), objective.training))
        return outputs(batch)

    objective.outputs = watched
    for precision, mixed in (("bf16-mixed", True), ("32-true", False)):
        seen.clear()
        milliseconds(objective, prepared, batch_size=4, device=torch.device("cpu"), precision=precision, repeats=1)
        assert set(seen) == {(mixed, True), (False, False)}  # steps, predictions
