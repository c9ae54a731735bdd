import pytest

from experiments import accuracy_prediction, heterogeneous_accuracy


@pytest.mark.parametrize("experiment", [accuracy_prediction, heterogeneous_accuracy], ids=["one", "varied"])
def test_the_table_has_a_row_for_every_model(experiment):
    result = experiment.main(["--smoke"])
    assert [row["model"] for row in result.rows] == list(experiment.TABLE.models)
    assert all(set(row["scores"]) == {"kendall_tau", "spearman", "r2", "mae"} for row in result.rows)
    assert "above_statistics" in result.rows[-1] and "above_statistics" not in result.rows[1]
