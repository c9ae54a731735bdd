"""Results of a tested task, as the report reads them."""

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from weightspace.tasks._accuracy import AccuracyPrediction
from weightspace.tasks._data import AccuracyData

PACKAGES = ("weightspace-graphs", "torch", "torch-geometric", "lightning", "scikit-learn", "numpy", "scipy")


def results_of(task: AccuracyPrediction, data: AccuracyData) -> dict[str, Any]:
    """What `results.json` holds after a test: scores, predictions, learning curve, settings, versions."""
    name = type(task.metanet).__name__
    attributes = data.attributes
    index = task.results["index"]
    return {
        "title": f"{name} on {data.path}",
        "lead": f"{data.target_name} predicted from weights",
        "model": name,
        "table": [{"name": name, **{key: list(value) for key, value in task.results["scores"].items()}}],
        "test": {
            "target": task.results["target"],
            "architecture": [family_of(attributes[i]) for i in index],
            "predictions": {name: task.results["prediction"]},
        },
        "zoo": {
            "accuracy": data.target.tolist(),
            "architecture": [family_of(row) for row in attributes],
        },
        "learning_curve": task.history,
        "settings": {"seed": data.seed, "batch size": data.batch_size, "learning rate": task.learning_rate},
        "versions": versions(),
    }


def family_of(attributes: Mapping[str, Any]) -> str:
    """The family that figures colour a network by; "network" where its attributes name none."""
    return str(attributes.get("family", "network"))


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that make the numbers."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def table_of(scores: Mapping[str, Sequence[float]]) -> str:
    """Scores with their intervals as lines of text.

    Example:
        >>> print(table_of({"tau": (0.8, 0.75, 0.85)}))
        tau        0.800  95 % interval [0.750, 0.850]
    """
    return "\n".join(f"{name:<10} {v:.3f}  95 % interval [{lo:.3f}, {hi:.3f}]" for name, (v, lo, hi) in scores.items())
