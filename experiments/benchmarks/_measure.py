"""What all benchmarks share: interleaved repetitions, medians, and a JSON file that names the machine."""

import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"


def interleaved(functions: Mapping[str, Callable[[], Any]], *, repeats: int, warmup: int = 2) -> dict[str, list[float]]:
    """Seconds of each function, run in turn A B A B ..., so that a drifting machine drifts for all."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for number in range(warmup + repeats):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if number >= warmup:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def medians(seconds: Mapping[str, list[float]]) -> dict[str, float]:
    """Median of each function's seconds."""
    return {name: median(values) for name, values in seconds.items()}


def ratio(seconds: Mapping[str, list[float]], slow: str, fast: str) -> float:
    """Median of the ratios pair by pair."""
    return median(a / b for a, b in zip(seconds[slow], seconds[fast], strict=True))


def write(name: str, figures: Mapping[str, Any]) -> Path:
    """Write `results/NAME.json` with machine, versions and commit; a run with `--smoke` only prints."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    text = json.dumps({"benchmark": name, **figures, "environment": environment()}, indent=2) + "\n"
    if "--smoke" not in sys.argv:
        path.write_text(text)
    print(text)
    return path


def environment() -> dict[str, Any]:
    """Machine and versions, as far as they explain a timing."""
    return {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else _processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": _commit(),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
