"""The command line: what it says and how it ends."""

import json

import pytest
import torch

from weightspace.bench import run_benchmarks
from weightspace.cli import COMMANDS, main
from weightspace.errors import ConfigurationError


@pytest.mark.parametrize("words", [["demoo"], ["demo", "--ot", "x"], ["zoo", "trian"], ["zoo"], [], ["trace"]])
def test_what_nothing_understands_is_a_short_error(words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert "error:" in error and "Traceback" not in error and len(error.splitlines()) <= 12


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help_page(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*command.split(), "--help"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: weightspace {command}")


def test_an_error_of_weightspace_is_one_message(tmp_path, capsys):
    assert main(["zoo", "info", str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("ZooError: ") and "this is not a zoo" in captured.err
    assert len(captured.err.splitlines()) == 1 and not captured.out


def test_trace_prints_a_table_and_writes_json(tmp_path, monkeypatch, capsys):
    (tmp_path / "nets_for_trace.py").write_text(
        "import torch\n\ndef net():\n"
        "    return torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2))\n"
    )
    monkeypatch.chdir(tmp_path)
    assert main(["trace", "nets_for_trace:net", "--input", "1,3", "--json", "space.json"]) == 0
    text = capsys.readouterr().out
    assert "0.weight" in text and "log10 order 2.08" in text
    assert json.loads((tmp_path / "space.json").read_text())["keys"] == ["0.weight", "0.bias", "2.weight", "2.bias"]


def test_trace_says_what_is_wrong_with_the_input(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["trace", "torch.nn:Identity", "--input", "1,x"]) == 1
    assert "wanted a shape of positive numbers" in capsys.readouterr().err


def test_predict_for_one_network(tmp_path, monkeypatch, capsys):
    from weightspace.metanets import GMN, save_pretrained

    (tmp_path / "nets_for_predict.py").write_text("import torch\n\ndef net():\n    return torch.nn.Linear(3, 2)\n")
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    save_pretrained(GMN(1, channels=8, layers=1), tmp_path / "model")
    torch.save(torch.nn.Linear(3, 2).state_dict(), "mine.pt")
    words = ["predict", "mine.pt", "--module", "nets_for_predict:net", "--model", "model", "--input", "1,3"]
    assert main(words) == 0
    first = capsys.readouterr().out
    assert first.startswith("predicted test accuracy 0.")
    torch.save(torch.nn.Linear(3, 3).state_dict(), "mine.pt")
    assert main(words) == 1
    assert "mine.pt" in capsys.readouterr().err


def test_bench_runs_the_scripts_of_a_folder(tmp_path, capfd):
    (tmp_path / "_shared.py").write_text("raise SystemExit(3)\n")
    (tmp_path / "fast.py").write_text("import sys\nprint('ran', sys.argv[1:])\n")
    lines = []
    run_benchmarks(tmp_path, smoke=True, tell=lines.append)
    assert lines == ["== fast.py"] and "ran ['--smoke']" in capfd.readouterr().out
    (tmp_path / "slow.py").write_text("raise SystemExit(3)\n")
    with pytest.raises(ConfigurationError, match="slow.py: ended with exit code 3"):
        run_benchmarks(tmp_path)
    with pytest.raises(ConfigurationError, match="holds no benchmarks"):
        run_benchmarks(tmp_path / "nothing")


def test_an_interruption_is_no_traceback(monkeypatch, capsys):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("weightspace.demo.run_demo", interrupted)
    assert main(["demo"]) == 130
    assert "the same command goes on" in capsys.readouterr().err


def test_the_zoo_that_is_trained_is_the_one_that_was_asked_for(tmp_path, capsys):
    options = ["--families", "mlp", "--activations", "tanh", "--optimisers", "sgd", "--steps", "1", "--members", "2"]
    zoo = tmp_path / "zoo"
    assert main(["zoo", "train", str(zoo), "--networks", "2", *options, "--workers", "1", "--no-progress"]) == 0
    written = json.loads((zoo / "training.json").read_text())
    assert written["families"] == ["mlp"] and written["activations"] == ["tanh"] and written["steps"] == [1]
    assert "2 networks" in capsys.readouterr().out
    assert main(["zoo", "train", str(zoo), "--families", "vgg"]) == 1
    assert "families: found ['vgg'], wanted some of cnn" in capsys.readouterr().err
