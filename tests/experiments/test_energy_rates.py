"""Which learning rates are tried for energies alone, and that the file says of the presets what they are."""

import json

from experiments.energy_rates import RESULT, candidates, collected
from weightspace.tasks.molecular import preset
from weightspace.tasks.molecular._presets import ENERGY_RATES


def test_every_model_is_tried_with_two_rates_and_nothing_else_is_changed():
    names = [entry.name for entry in candidates()]
    assert len(names) == len(set(names)) == 2 * len(ENERGY_RATES)
    for entry in candidates():
        usual = preset(entry.name.partition(" ")[0])
        assert entry.arguments == usual.arguments and entry.training.batch_size == usual.training.batch_size


def test_presets_have_the_best_rate_that_was_tried_for_a_minute_or_that_of_forces():
    tried: dict[str, dict[float, float]] = {}
    for run in json.loads(RESULT.read_text())["runs"]:
        if run["budget"]["seconds"] == 60:
            tried.setdefault(run["model"], {})[run["learning_rate"]] = run["validation_mae_ev"]
    assert set(tried) == set(ENERGY_RATES)
    for name, errors in tried.items():
        best = min(errors, key=errors.__getitem__)
        assert ENERGY_RATES[name] in (best, preset(name).training.learning_rate), name


def test_runs_that_are_not_finished_are_no_rows(tmp_path):
    (tmp_path / "a" / "seed0").mkdir(parents=True)
    assert collected([tmp_path]) == []
