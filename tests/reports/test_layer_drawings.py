"""The drawings of docs/parameter-graph.md: the experiment runs, and every family is drawn, small and shown."""

import sys

import pytest

from experiments import layer_drawings as experiment

PAGE = (experiment.ROOT / "docs" / "parameter-graph.md").read_text()


def test_the_experiment_passes_in_seconds(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["experiment", "--smoke"])
    result = experiment.main()
    assert [row.family for row in result.rows] == ["linear", "attention"]
    assert result.rows[0].nodes == 3 + 4 + 2 and result.rows[0].parameters == 26
    assert "edge_types" in capsys.readouterr().out


@pytest.mark.parametrize("name", experiment.families())
def test_a_family_is_drawn_small_and_shown(name):
    assert (experiment.PICTURES / f"{name}.png").stat().st_size < 40_000
    assert f"(graphs/{name}.png)" in PAGE and f'listing("{name}")' in PAGE
