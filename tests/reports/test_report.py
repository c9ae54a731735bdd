"""The HTML report: self-contained, escaped, rebuilt from results.json alone."""

import json
import re

import numpy as np
import pytest

from weightspace.errors import ConfigurationError
from weightspace.reports import Section, build_report, draw_parameter_graph, write_page

from ._graphs import mlp


def results(seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    target = rng.uniform(size=20)
    architecture = rng.choice(["cnn", "mlp"], 20).tolist()
    row = {
        "kendall_tau": [0.8, 0.7, 0.9],
        "spearman": [0.9, 0.8, 0.95],
        "r2": [0.8, 0.7, 0.9],
        "mae": [0.1, 0.05, 0.2],
        "seconds": 1.25,
    }
    return {
        "title": "A <zoo>",
        "lead": "what it is",
        "model": "GMN",
        "test": {
            "target": target.tolist(),
            "architecture": architecture,
            "predictions": {"GMN": (target + 0.1).tolist()},
        },
        "table": [
            {"name": "mean", **row, "kendall_tau": [0, 0, 0], "difference": [0.8, 0.7, 0.9]},
            {"name": "GMN", **row, "difference": None},
        ],
        "learning_curve": [{"epoch": e, "train_loss": 1 / (e + 1), "val_kendall_tau": e / 5} for e in range(4)],
        "zoo": {"accuracy": rng.uniform(size=50).tolist(), "architecture": ["cnn"] * 50, "text": "fifty networks"},
        "symmetry": [{"what": "way back bit for bit", "value": "20 of 20"}],
        "settings": {"seed": 0},
        "times": {"zoo": "3 s"},
        "versions": {"torch": "2.13.0"},
    }


def test_a_full_report(tmp_path):
    (tmp_path / "results.json").write_text(json.dumps(results()))
    draw_parameter_graph(mlp()).savefig(tmp_path / "graph.png")
    page = build_report(tmp_path).read_text()
    assert page.count("<img") == 5
    assert not re.search(r"(src|href)=\"(?!data:)", page), "everything is inside the file"
    assert "http" not in re.sub(r"base64,[^\"]*", "", page)
    for text in (
        "A &lt;zoo&gt;",
        "20 of 20",
        "fifty networks",
        "0.800 [0.700, 0.900]",
        "+0.800 [+0.700, +0.900]",
        "versions: torch",
    ):
        assert text in page
    assert page.index("GMN</td>") < page.index("mean</td>"), "best method first"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["graph.png", "report.html", "results.json"]


def test_sections_without_results_are_left_out(tmp_path):
    (tmp_path / "results.json").write_text(json.dumps({"title": "little", "settings": {"seed": 3}}))
    page = build_report(tmp_path).read_text()
    assert page.count("<section>") == 1 and "settings: seed" in page


def test_text_is_escaped(tmp_path):
    page = write_page(
        tmp_path / "page.html", title="$5 <b>", lead="& more", sections=[Section("<i>", "1 < 2", "<table></table>")]
    )
    assert (
        "$5 &lt;b&gt;" in page.read_text() and "1 &lt; 2" in page.read_text() and "<table></table>" in page.read_text()
    )


def test_a_folder_without_results(tmp_path):
    with pytest.raises(
        ConfigurationError, match=r"results.json: no such file; wanted a folder that `weightspace demo`"
    ):
        build_report(tmp_path)
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(ConfigurationError, match="results.json: not JSON"):
        build_report(tmp_path)
