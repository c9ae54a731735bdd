"""The tables of docs/products.md and docs/geometric.md, from result files; the text between them is written by hand.

Run:   python -m experiments.geometric_pages          (writes the pages)
       python -m experiments.geometric_pages --check   (only says whether the pages are up to date)
"""

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("products.md", "geometric.md")
FILES = {"training": "force_training", "compiled": "compiled_forces"}  # every other table: products
RESULTS = ROOT / "experiments" / "benchmarks" / "results"
MARKED = re.compile(r"(<!-- begin (\w+) -->\n)(.*?)(<!-- end \2 -->)", re.DOTALL)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown rows; the first column is left-aligned, the others right."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" + "---:|" * (len(head) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def message_table(found: Mapping[str, Any]) -> str:
    rows = [
        [
            str(row["lmax"]),
            str(row["paths"]),
            f"{row['ms']['e3nn']:.1f}",
            *(f"{row['ms'][name]:.1f} ({row['ratio'][name]:.1f}x)" for name in ("shared", "per_channel")),
            *(f"{row['ms'][name]:.1f} ({row['ratio'][name]:.1f}x)" for name in ("so2_shared", "so2_per_channel")),
            f"{row['ms']['frames_alone']:.1f}",
            f"{row['ms']['e3nn_frames']:.0f}" if "e3nn_frames" in row["ms"] else "",
            f"{row['over_bare_and_harmonics']:.1f}",
            f"{row['over_floor']:.1f}",
        ]
        for row in found["message"]
    ]
    head = ["L", "paths", "e3nn, ms", "matrix, shared", "matrix, per channel", "SO(2), shared", "SO(2), per channel"]
    return table([*head, "frames alone", "e3nn's frames", "over bare", "over floor"], rows)


def feature_table(found: Mapping[str, Any]) -> str:
    rows = [
        [
            str(row["lmax"]),
            row["grid"],
            f"{row['ms']['e3nn']:.1f}",
            f"{row['ms']['native']:.1f} ({row['ratio']['native']:.1f}x)",
            f"{row['ms']['mul_ir']:.1f} ({row['ratio']['mul_ir']:.1f}x)",
            f"{row['ms']['folded']:.1f}",
            f"{row['ms']['not_folded']:.1f}",
            f"{row['ms']['gauss_legendre']:.1f}",
            f"{row['ms']['fourier']:.0f}" if "fourier" in row["ms"] else "",
            f"{row['ms']['antisymmetric']:.1f} ({row['ratio']['antisymmetric']:.1f}x)"
            if "antisymmetric" in row["ms"]
            else "",
            f"{row['over_bare']:.1f}",
            f"{row['over_floor']:.1f}",
        ]
        for row in found["features"]
    ]
    head = ["L", "grid", "e3nn, ms", "native", "mul_ir", "folded", "not folded", "Gauss-Legendre", "Fourier"]
    return table([*head, "odd paths, too", "over bare", "over floor"], rows)


def expressivity_table(found: Mapping[str, Any]) -> str:
    names = ("clebsch_gordan", "clebsch_gordan_both_parities", "gaunt", "gaunt_and_bracket")
    rows = [[lmax, *(str(row[name]) for name in names)] for lmax, row in found["expressivity"].items()]
    return table(["L", "Clebsch-Gordan, even paths", "all paths", "grid, even paths", "grid with bracket"], rows)


def machine_line(found: Mapping[str, Any]) -> str:
    environment, rates = found["environment"], found["rates"]
    return (
        f"{environment['device']}, {environment['threads']} thread, torch {environment['torch']}; a large matrix "
        f"product runs at {rates['gflops']:.0f} GFLOP/s, a large copy at {rates['gbytes']:.0f} GB/s.\n"
    )


def training_table(found: Mapping[str, Any]) -> str:
    rows = [
        [
            name,
            f"{row['parameters']:,}",
            f"{row['cutoff']:g}" if row["cutoff"] else "none",
            f"{row['ms_per_frame']:.1f}",
            f"{row['peak_memory_mb']:,.0f}",
            str(row["frames"]),
            str(row["batch_size"]),
        ]
        for name, row in found["models"].items()
    ]
    made = table(["model", "parameters", "cutoff, Å", "ms per frame", "peak memory, MB", "frames", "batch"], rows)
    environment = found["environment"]
    return f"{made}\n{environment['device']}, torch {environment['torch']}.\n"


def compiled_table(found: Mapping[str, Any]) -> str:
    rows = []
    for name, modes in found["models"].items():
        cells = [
            f"{row['ms_per_frame']['compiled']:.1f} / {row['ms_per_frame']['eager']:.1f}"
            if "ms_per_frame" in row
            else "refused"
            for row in modes.values()
        ]
        rows.append([name, *cells])
    return table(["model", "forces, ms per frame, compiled / eager", "force training, compiled / eager"], rows)


TABLES = {
    "compiled": compiled_table,
    "message": message_table,
    "features": feature_table,
    "expressivity": expressivity_table,
    "machine": machine_line,
    "training": training_table,
}


def page(text: str) -> str:
    """A page's text with every marked table made anew."""

    def made(match: re.Match[str]) -> str:
        found = json.loads((RESULTS / f"{FILES.get(match[2], 'products')}.json").read_text())
        return f"{match[1]}{TABLES[match[2]](found)}{match[4]}"

    return MARKED.sub(made, text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    for name in PAGES:
        path = ROOT / "docs" / name
        text = path.read_text()
        made = page(text)
        if check and made != text:
            raise SystemExit(f"{path} is out of date: python -m experiments.geometric_pages")
        path.write_text(made)


if __name__ == "__main__":
    main()
