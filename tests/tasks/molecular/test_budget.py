import pytest

from weightspace.errors import ConfigurationError
from weightspace.tasks.molecular import Budget


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("90s", Budget(seconds=90)), ("1.5min", Budget(seconds=90)), ("2h", Budget(seconds=7200))],
)
def test_an_amount_of_time(text, wanted):
    assert Budget.of(text) == wanted


def test_an_amount_of_samples():
    budget = Budget.of("200samples")
    assert budget.share(seconds=1e9, samples=50) == 0.25
    assert str(budget) == "200 samples"


@pytest.mark.parametrize("text", ["", "ten minutes", "10", "-3s", "0s"])
def test_what_is_no_amount(text):
    with pytest.raises(ConfigurationError, match="budget: found .* wanted a"):
        Budget.of(text)


def test_clocks():
    assert str(Budget.of("5min", "process")) == "300 s of CPU"
    with pytest.raises(ConfigurationError, match="one of the clocks wall, process"):
        Budget.of("5min", "sun")
