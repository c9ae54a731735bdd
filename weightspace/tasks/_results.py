"""Results of a tested task, as the report reads them."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from weightspace.tasks._data import AbstractNetworkData
from weightspace.tasks._task import AbstractMetanetTask

PACKAGES = ("weightspace-graphs", "torch", "torch-geometric", "lightning", "scikit-learn", "numpy", "scipy")


def results_of(task: AbstractMetanetTask, data: AbstractNetworkData) -> dict[str, Any]:
    """What `results.json` holds after a test: the task's results, learning curve, settings, versions."""
    name = type(task.metanet).__name__
    lead = ", ".join(target.name for target in data.targets)
    families = [family_of(data.attributes[i]) for i in task.results["index"]]
    return {
        "title": f"{name} on {data.title}",
        "lead": f"{lead} predicted from weights" if lead else type(task).__name__,
        "model": name,
        "task": type(task).__name__,
        **task.results,
        "families": families,
        "monitor": task.monitor.key,
        "learning_curve": task.history,
        "settings": {**data.settings, **asdict(task.optimisation)},
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
    width = max(10, *(len(name) for name in scores))
    return "\n".join(
        f"{name:<{width}} {v:.3f}  95 % interval [{lo:.3f}, {hi:.3f}]" for name, (v, lo, hi) in scores.items()
    )
