import pytest

from experiments import accuracy_prediction, heterogeneous_accuracy, inr_classification, inr_dilation, width_transfer

ACCURACY = {"kendall_tau", "spearman", "r2", "mae"}
TABLES = {
    accuracy_prediction: ACCURACY,
    heterogeneous_accuracy: ACCURACY,
    width_transfer: {f"r2_width_{width}" for width in (16, 32, 64, 128)},
    inr_classification: {"accuracy"},
    inr_dilation: {"mse_x100", "psnr"},
}
QUICK = (inr_dilation,)


@pytest.mark.parametrize(
    "experiment",
    [pytest.param(each, marks=() if each in QUICK else pytest.mark.slow, id=each.TABLE.name) for each in TABLES],
)
def test_the_table_has_a_row_for_every_model(experiment):
    result = experiment.main(["--smoke"])
    assert [row["model"] for row in result.rows] == list(experiment.TABLE.models)
    assert all(set(row["scores"]) == TABLES[experiment] for row in result.rows)
    compared = [row["model"] for row in result.rows if "above_statistics" in row]
    assert compared == [name for name in experiment.TABLE.models if experiment.TABLE.metric and name != "statistics"]
