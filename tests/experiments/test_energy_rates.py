"""Which learning rates are tried for energies alone, and that the file says of the models what they are."""

import json

import pytest

from experiments.energy_rates import RESULT, candidates, collected, merged, other_candidates, row_of
from experiments.molecular_benchmark import FOLDER
from experiments.other_code import ALONE, MOLECULES
from weightspace.molecules import load_molecules
from weightspace.tasks.molecular import preset
from weightspace.tasks.molecular._presets import ENERGY_RATES

TABLE = FOLDER / "qm7.json"


def tried(*, longest: bool = False) -> dict[str, dict[tuple[str, float], float]]:
    """Validation errors by model, loss and rate, of a minute or of the longest training of each."""
    found: dict[str, dict[tuple[str, float], float]] = {}
    rows = json.loads(RESULT.read_text())["runs"]
    rows += [row_of(run) for run in json.loads(TABLE.read_text())["runs"] if "validation" in run] if longest else []
    for row in sorted(rows, key=lambda row: row["budget"]["seconds"]):
        if longest or row["budget"]["seconds"] == 60:
            found.setdefault(row["model"], {})[row["loss"], row["learning_rate"]] = row["validation_mae_ev"]
    return found


def test_every_model_is_tried_with_four_rates_and_nothing_else_is_changed():
    names = [entry.name for entry in candidates()]
    assert len(names) == len(set(names)) == 4 * len(ENERGY_RATES)
    for entry in candidates():
        usual = preset(entry.name.partition(", ")[0])
        assert entry.arguments == usual.arguments and entry.training.batch_size == usual.training.batch_size


def test_other_peoples_models_are_tried_with_four_rates_and_squared_losses_with_absolute_ones():
    names = [entry.name for entry in other_candidates(load_molecules("sample:qm7"))]
    assert len(names) == len(set(names)) == 4 * (len(MOLECULES) + 2)
    assert "PONITA (ebekkers/ponita), mae lr0.001" in names and "MACE (mace-torch 0.3.16), mae lr0.0025" in names


def test_presets_have_the_best_rate_that_was_tried():
    for name, rate in ENERGY_RATES.items():
        errors = tried(longest=True)[name]
        assert rate == min(errors, key=errors.__getitem__)[1], name


@pytest.mark.parametrize("other", MOLECULES, ids=lambda other: other.name)
def test_other_peoples_models_have_the_best_rate_that_was_tried_for_a_minute(other):
    errors, chosen = tried()[other.label], other.training_for(ALONE[0])
    assert (chosen.loss, chosen.learning_rate) == min(errors, key=errors.__getitem__)
    said = other.choice_alone()
    assert f"AdamW at {chosen.learning_rate:g}, of what was tried" in said and said.count("(") == len(errors)


def test_rows_that_were_measured_again_take_the_place_of_the_old():
    def row(model, rate, error):
        return {
            "model": model,
            "arguments": {},
            "budget": {"seconds": 60},
            "loss": "mae",
            "learning_rate": rate,
            "error": error,
        }

    old, new = [row("mace", 0.1, 1), row("egnn", 0.1, 2)], [row("egnn", 0.1, 3), row("egnn", 0.01, 4)]
    assert merged(old, new) == [row("egnn", 0.01, 4), row("egnn", 0.1, 3), row("mace", 0.1, 1)]


def test_runs_that_are_not_finished_are_no_rows(tmp_path):
    (tmp_path / "a" / "seed0").mkdir(parents=True)
    assert collected([tmp_path]) == []
