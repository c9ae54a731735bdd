"""Zoos of INRs: how fast they are fitted, how well, and how their weights are spread beside those that are published.

The published figures are of the MNIST INRs of Navon et al. 2023 (arXiv 2301.12780): standard deviation of all weights
and biases of each layer. How these networks were trained is not published; a row with one constant learning rate of
5e-4 for more and more steps shows what comes near.

Run:   python -m experiments.inr_zoo            (needs WEIGHTSPACE_DATA; some minutes of two cores that do nothing else)
       python -m experiments.inr_zoo --smoke    (digits, in seconds, no result file)
"""

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from experiments._table_runs import environment
from weightspace.zoo import SCHEDULES, InrConfig, Zoo, fit_inrs

RESULTS = Path(__file__).parent / "results" / "inr_zoo.json"
PAGE = Path(__file__).parents[1] / "docs" / "zoo.md"
BEGIN, END = "<!-- begin inr_zoo -->\n", "<!-- end inr_zoo -->\n"
KEYS = [f"seq.{layer}.{kind}" for kind in ("weight", "bias") for layer in range(3)]
PUBLISHED = dict(zip(KEYS, (0.0628, 0.0183, 0.1179, 0.0213, 0.0110, 0.0999), strict=True))


@dataclass(frozen=True)
class Row:
    """One way of fitting.

    Args:
        config: of the zoo.
        per_second: INRs per second of wall time, on all workers together, files written.
        per_cpu_second: INRs per second of processor time.
        psnr: mean over the INRs, dB.
        lowest_psnr: of any INR.
        spread: standard deviation of each parameter over all INRs.
        load: of the machine when the run began, in processes that wanted a core.
    """

    config: InrConfig
    per_second: float
    per_cpu_second: float
    psnr: float
    lowest_psnr: float
    spread: dict[str, float]
    load: float


@dataclass(frozen=True)
class Result:
    """The rows, the published spread, and where it ran."""

    rows: list[Row]
    published: dict[str, float]
    workers: int
    seconds: float
    environment: dict[str, str]


def measure(config: InrConfig, *, workers: int, data_root: str | None, load: float) -> Row:
    """Fit a zoo into a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        before, start = _cpu_seconds(), time.perf_counter()
        fit_inrs(config, folder, data_root=data_root, workers=workers, progress=False)
        seconds, spent = time.perf_counter() - start, _cpu_seconds() - before
        zoo = Zoo(folder)
        stacked = zoo.stacked(range(len(zoo)))
        psnr = torch.tensor([row["psnr"] for row in zoo.attributes])
        spread = {key: round(float(stacked[key].std()), 4) for key in KEYS}
        rates = round(len(zoo) / seconds, 1), round(len(zoo) / spent, 1)
        quality = round(float(psnr.mean()), 2), round(float(psnr.min()), 2)
        return Row(config, *rates, *quality, spread, round(load, 2))


def earlier_rows(asked: set[str]) -> list[Row]:
    """Rows of the result file whose schedule is not measured anew."""
    rows = json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() else []
    return [
        Row(**row | {"config": InrConfig(**row["config"])}) for row in rows if row["config"]["schedule"] not in asked
    ]


def configurations(*, smoke: bool) -> list[InrConfig]:
    """The default schedule, then Adam with one constant learning rate."""
    if smoke:
        return [InrConfig(networks=4, steps=3), InrConfig(networks=4, steps=3, schedule="plain")]
    plain = [InrConfig(data="mnist", networks=16, schedule="plain", steps=steps) for steps in (1000, 2000, 4000)]
    return [InrConfig(data="mnist", networks=512), *plain]


def table(result: Result) -> str:
    """The rows as a table of docs/zoo.md."""
    machine = result.environment["hardware"].split(",")[0]
    lines = [
        f"MNIST, {result.workers} workers of one thread each ({machine}), by `experiments/inr_zoo.py`; the load is "
        "what the machine did besides:",
        "",
        "| schedule | steps | load | INRs/s | per CPU second | PSNR | std of weights | std of biases |",
        "|---|--:|--:|--:|--:|--:|---|---|",
    ]
    for row in result.rows:
        config = row.config
        spread = " | ".join(_spread(row.spread, keys) for keys in (KEYS[:3], KEYS[3:]))
        lines.append(
            f"| {config.schedule} | {config.number_of_steps} | {row.load:.1f} | {row.per_second:.1f} | "
            f"{row.per_cpu_second:.1f} | {row.psnr:.1f} dB | {spread} |"
        )
    published = f"{_spread(result.published, KEYS[:3])} | {_spread(result.published, KEYS[3:])} |"
    return "\n".join([*lines, f"| published | | | | | | {published}", ""])


def write_page(text: str) -> None:
    """Replace the part of docs/zoo.md between the two marks."""
    page = PAGE.read_text()
    head, rest = page.split(BEGIN)
    PAGE.write_text(head + BEGIN + text + END + rest.split(END)[1])


def main(arguments: Sequence[str] | None = None) -> Result:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="digits, in seconds, no result file")
    parser.add_argument("--data-root", default=os.environ.get("WEIGHTSPACE_DATA"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--schedule", choices=list(SCHEDULES), help="these rows only; the others stay as they are")
    options = parser.parse_args(arguments)
    start, load = time.perf_counter(), os.getloadavg()[0]
    asked = [c for c in configurations(smoke=options.smoke) if options.schedule in (None, c.schedule)]
    rows = [measure(config, workers=options.workers, data_root=options.data_root, load=load) for config in asked]
    kept = [] if options.smoke else earlier_rows({row.config.schedule for row in rows})
    rows = sorted(
        [*kept, *rows], key=lambda row: (list(SCHEDULES).index(row.config.schedule), row.config.number_of_steps)
    )
    result = Result(rows, PUBLISHED, options.workers, round(time.perf_counter() - start, 1), environment())
    if not options.smoke:
        RESULTS.write_text(json.dumps(asdict(result), indent=1) + "\n")
        write_page(table(result))
    print(table(result))
    return result


def _spread(spread: dict[str, Any], keys: Sequence[str]) -> str:
    return " / ".join(f"{spread[key]:.4f}".lstrip("0") for key in keys)


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
