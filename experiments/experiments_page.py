"""The tables of docs/experiments.md, from the result files; the text between them is written by hand.

Run:   python -m experiments.experiments_page          (writes the page)
       python -m experiments.experiments_page --check   (only says whether the page is up to date)
"""

import argparse
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from experiments._table_runs import RESULTS, ROOT

PAGE = ROOT / "docs" / "experiments.md"
MARKED = re.compile(r"(<!-- begin (\w+) -->\n)(.*?)(<!-- end \2 -->)", re.DOTALL)
Row = Mapping[str, Any]


def score(row: Row, name: str, digits: int = 3) -> str:
    """Mean over seeds, with the standard deviation where there are several."""
    found = row["scores"][name]
    if found["mean"] is None:
        return "none"
    deviation = "" if found["deviation"] is None else f" ± {found['deviation']:.{digits}f}"
    return f"{found['mean']:.{digits}f}{deviation}"


def above(row: Row, factor: float = 1.0, digits: int = 3) -> str:
    """Difference to the statistics, of the seed whose interval lies lowest."""
    if "above_statistics" not in row:
        return ""
    value, low, high = min(row["above_statistics"]["seeds"], key=lambda found: found[1] or 0.0)
    if low is None:
        return ""
    return f"{factor * value:+.{digits}f} [{factor * low:+.{digits}f}, {factor * high:+.{digits}f}]"


def size(row: Row) -> str:
    """Number of parameters."""
    return f"{row['parameters']:,}" if "parameters" in row else ""


def seen(row: Row) -> str:
    """Networks that were read in training, a mean over seeds."""
    return f"{sum(row['networks_seen']) / len(row['networks_seen']):,.0f}" if "networks_seen" in row else ""


def seeds(row: Row) -> str:
    """How many."""
    return str(len(row["seeds"]))


ACCURACY: dict[str, Callable[[Row], str]] = {
    "model": lambda row: row["label"],
    "parameters": size,
    "networks read": seen,
    "Kendall's tau": lambda row: score(row, "kendall_tau"),
    "R2": lambda row: score(row, "r2"),
    "tau above statistics": above,
    "seeds": seeds,
}
COLUMNS: dict[str, dict[str, Callable[[Row], str]]] = {
    "accuracy_prediction": ACCURACY,
    "heterogeneous_accuracy": ACCURACY,
    "inr_classification": {
        "model": lambda row: row["label"],
        "parameters": size,
        "networks read": seen,
        "accuracy, %": lambda row: f"{100 * row['scores']['accuracy']['mean']:.1f}",
        "above statistics, %": lambda row: above(row, 100.0, 1),
        "seeds": seeds,
    },
    "inr_dilation": {
        "model": lambda row: row["label"],
        "parameters": size,
        "networks read": seen,
        "MSE x 100": lambda row: score(row, "mse_x100"),
        "PSNR, dB": lambda row: score(row, "psnr", 2),
        "seeds": seeds,
    },
    "width_transfer": {"model": lambda row: row["label"]}
    | {f"R2 at width {width}": lambda row, width=width: score(row, f"r2_width_{width}") for width in (16, 32, 64, 128)},
}


def table(name: str) -> str:
    """A table of the page, with where and how it was made; nothing where it was not run."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        return ""
    found = json.loads(path.read_text())
    columns = COLUMNS[name]
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    lines += [f"| {' | '.join(column(row) for column in columns.values())} |" for row in found["rows"]]
    shared = found["configuration"]
    budget = shared["cpu_seconds_per_model"]
    made = f"{budget:g} s of CPU time for each training; " if budget else ""
    where = f"{', '.join(found['hardware'])}; torch {', '.join(found['torch'])}; commit {', '.join(found['commit'])}"
    return "\n".join([*lines, "", f"{made}{where}. `experiments/results/{name}.json`", ""])


def page(text: str) -> str:
    """The page with new tables between its markers."""
    return MARKED.sub(lambda found: found[1] + table(found[2]) + found[4], text)


def main() -> bool:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    arguments = parser.parse_args()
    before = PAGE.read_text()
    after = page(before)
    if not arguments.check:
        PAGE.write_text(after)
    print("up to date" if after == before else "out of date" if arguments.check else "written")
    return after == before


if __name__ == "__main__":
    main()
