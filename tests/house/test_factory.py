"""Modules named in text: what works and what each error says."""

import pytest
import torch

from weightspace.errors import ConfigurationError
from weightspace.factory import example_inputs, module_from


def test_a_factory_of_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "my_little_nets.py").write_text("import torch\n\ndef net():\n    return torch.nn.Linear(3, 2)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [])
    assert isinstance(module_from("my_little_nets:net"), torch.nn.Linear)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("torch.nn.Identity", "found 'torch.nn.Identity', wanted package.module:factory"),
        ("no_such_package:net", "cannot import 'no_such_package'"),
        ("torch.nn:Identidy", "has no factory 'Identidy'; did you mean Identity"),
        ("torch.nn:Linear", "torch.nn:Linear must be callable without arguments"),
        ("collections:OrderedDict", "returned a OrderedDict, wanted a torch.nn.Module"),
    ],
)
def test_errors_of_a_factory(text, words):
    with pytest.raises(ConfigurationError, match=words):
        module_from(text)


@pytest.mark.parametrize("text", ["", "1,x", "0,3", "1,-2"])
def test_errors_of_a_shape(text):
    with pytest.raises(ConfigurationError, match="wanted a shape of positive numbers, e.g. 1,1,28,28"):
        example_inputs([text])
