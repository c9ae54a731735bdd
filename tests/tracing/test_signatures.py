"""Signatures do not change unnoticed: a stored zoo is found by them. And the experiment that writes them runs."""

import json
import sys

import pytest

import weightspace as ws
from experiments import architectures as experiment

STORED = json.loads(experiment.SIGNATURES.read_text()) if experiment.SIGNATURES.exists() else {}


@pytest.mark.parametrize("name", STORED)
def test_signatures_are_those_that_were_committed(name):
    """Where a change is meant: `python -m experiments.architectures --signatures`, and a line in the changelog."""
    [case] = [case for _, cases in experiment.families().values() for case in cases if case.__name__ == name]
    module, inputs, _ = case()
    assert ws.trace(module, *inputs, verify=False).signature == STORED[name]


def test_the_experiment_passes_in_seconds(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["experiment", "--smoke"])
    result = experiment.main()
    assert [row.name for row in result.rows] == ["mlp", "resnet", "siren"]
    assert all(row.log10_order == row.closed_form and row.error < 1e-10 and not row.frozen for row in result.rows)
    assert "closed_form" in capsys.readouterr().out
    assert "| siren | Three hidden layers" in experiment.page(result, "a machine")
