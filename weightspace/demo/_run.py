"""The demo: a zoo is trained, becomes graphs, and a metanet predicts the accuracy of networks it has never seen."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from weightspace.demo._markers import Stages, claim
from weightspace.demo._work import METANET, Demo
from weightspace.measures import METRICS, paired_bootstrap
from weightspace.reports import build_report, predicted_against_true
from weightspace.tasks import family_of, versions, write_json
from weightspace.zoo import ZooConfig


def run_demo(
    out: str | Path,
    *,
    networks: int = 1000,
    seed: int = 0,
    data: str = "digits",
    data_root: str | Path | None = None,
    progress: bool = True,
    tell: Callable[[str], None] | None = None,
) -> Path:
    """Run the demo, or what is left of it.

    Every stage leaves a marker when it is done, so that a second run goes on from there; the zoo's shards and the
    metanet's checkpoints let the two long stages resume in the middle.

    Args:
        out: folder for the zoo, the models, `results.json` and `report.html`.
        networks: size of the zoo.
        seed: of everything random.
        data: images that the networks are trained on, one of `weightspace.images.DATA_SETS`.
        data_root: folder of full data sets, for data that is not built in.
        progress: show progress bars.
        tell: takes the lines of text for people; `print`, for example.

    Returns:
        The path of `report.html`.

    Raises:
        ConfigurationError: the folder holds a demo with other settings.
    """
    out = Path(out)
    config = ZooConfig(data=data, networks=networks, seed=seed)
    claim(out, {"networks": networks, "seed": seed, "data": data})
    stages = Stages(out, 6, tell or (lambda line: None))
    demo = Demo(out, config, data_root, progress)
    zoo = stages.run("zoo", f"train {networks} networks on {data}", demo.train_zoo)
    with one_thread():  # small operations: a second thread gains little, and costs much where another program runs
        graphs = stages.run("graphs", "turn every network into a parameter graph and back", demo.convert)
        baselines = stages.run("baselines", "baselines: mean, weight statistics, DeepSets", demo.fit_baselines)
        metanet = stages.run("metanet", "train the graph metanetwork on the same networks", demo.train_metanet)
        symmetry = stages.run("symmetry", "move every test network by a random symmetry", demo.check_symmetry)

        def report() -> dict[str, Any]:
            """Results, pictures and the page."""
            lines = {"zoo": zoo["line"], "graphs": graphs["line"], "graph": demo.draw()}
            methods = metanet["methods"] | baselines["methods"]
            results = _results(demo, methods, metanet["learning_curve"], symmetry["rows"], lines)
            results["times"] = {name: f"{seconds:.1f} s" for name, seconds in stages.seconds.items()}
            write_json(out / "results.json", results)
            test = results["test"]
            scatter = predicted_against_true(test["target"], test["predictions"][METANET], test["architecture"])
            scatter.savefig(out / "predicted.png", dpi=110)
            return {"line": str(build_report(out))}

        stages.run("report", "write the report", report)
    return out / "report.html"


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch and scikit-learn on one thread; so the numbers do not depend on how many cores there are."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        torch.set_num_threads(threads)


def _results(
    demo: Demo,
    methods: Mapping[str, Mapping[str, Any]],
    curve: list[dict[str, float]],
    symmetry: list[dict[str, str]],
    lines: Mapping[str, str],
) -> dict[str, Any]:
    attributes = demo.data.attributes
    index = methods[METANET]["index"]
    families = [family_of(row) for row in attributes]
    size = {part: len(getattr(demo.data.split, part)) for part in ("train", "validation", "test")}
    return {
        "title": "Accuracy from weights alone",
        "lead": f"A graph metanetwork reads networks as graphs and predicts their test accuracy on {demo.config.data}.",
        "model": METANET,
        "table": _table(methods, demo.accuracy[index]),
        "test": {
            "target": demo.accuracy[index].tolist(),
            "architecture": [families[i] for i in index],
            "predictions": {name: method["prediction"] for name, method in methods.items()},
        },
        "zoo": {
            "accuracy": demo.accuracy.tolist(),
            "architecture": families,
            "text": f"{lines['zoo']}. {lines['graphs']}.",
        },
        "learning_curve": curve,
        "symmetry": symmetry,
        "graph_text": lines["graph"],
        "settings": {"networks": len(families), "seed": demo.config.seed, "data": demo.config.data}
        | {f"{part} networks": n for part, n in size.items()}
        | {"threads": torch.get_num_threads()},
        "versions": versions(),
    }


def _table(methods: Mapping[str, Mapping[str, Any]], target: torch.Tensor) -> list[dict[str, Any]]:
    ours = torch.tensor(methods[METANET]["prediction"])
    rows = []
    for name, method in methods.items():
        row = {"name": name, "seconds": method["seconds"]} | {key: method[key] for key in METRICS}
        other = torch.tensor(method["prediction"])
        if name != METANET and other.unique().numel() > 1:
            row["difference"] = astuple(paired_bootstrap("kendall_tau", ours, other, target))
        rows.append(row)
    return rows
