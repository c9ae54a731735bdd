"""Tables of the molecular benchmark: Markdown, CSV."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from weightspace.reports.molecular._published import published_for
from weightspace.reports.molecular._rows import BenchmarkRow, Run, Value, budget_text, unit_of

Cell = Callable[[BenchmarkRow], Value | str | None]


@dataclass(frozen=True)
class Column:
    """A column: its heading with the unit, and what a row shows there."""

    heading: str
    cell: Cell
    digits: int | None = None


def columns_for(rows: Sequence[BenchmarkRow]) -> list[Column]:
    """What the runs of a data set have to show: errors of each test part, costs, equivariance, dynamics."""
    first = rows[0]
    columns = [Column("model", lambda row: row.model), Column("seeds", lambda row: str(len(row.runs)))]
    for test in first.tests:
        where = "" if first.tests == ("test",) else f"{test} "
        for quantity in first.quantities:
            columns += _errors(where, test, quantity, first)
    columns += [
        Column("parameters", lambda row: f"{row.runs[0]['parameters']:,}"),
        Column("samples seen", lambda row: f"{row.samples().mean:,.0f}"),
        Column("seconds", _spent),
    ]
    for name in ("energy", "forces", "positions", "training_step"):
        if any(row.milliseconds(name) is not None for row in rows):
            columns.append(Column(f"ms {name.replace('_', ' ')}", _timing(name)))
    columns.append(Column("peak MB", lambda row: row.memory(), 0))
    columns += _turning(rows)
    return columns + _dynamics(rows)


def _errors(where: str, test: str, quantity: str, first: BenchmarkRow) -> list[Column]:
    if quantity == "positions":
        return [Column(f"{where}MSE", lambda row: row.error(test, quantity, "mse"), 5)]
    name = {"energy": "E", "forces": "F"}[quantity]
    unit = unit_of(quantity, first.unit)

    def of(kind: str) -> Cell:
        return lambda row: row.error(test, quantity, kind)

    return [Column(f"{where}{name} MAE, {unit}", of("mae")), Column(f"{where}{name} RMSE, {unit}", of("rmse"))]


def _spent(row: BenchmarkRow) -> str:
    early = {run["spent"]["ended"] for run in row.runs} - {"budget"}
    return ", ".join([f"{row.seconds().mean:.0f}", *sorted(early)])


def _timing(name: str) -> Cell:
    return lambda row: row.milliseconds(name)


def _turning(rows: Sequence[BenchmarkRow]) -> list[Column]:
    if any(row.turning("positions") is not None for row in rows):
        return [Column("rotation error, %", lambda row: _percent(row.turning("positions")))]
    columns = [Column("rotation error E, meV", lambda row: _scaled(row.turning("energy"), 1000.0))]
    if any(row.turning("forces") is not None for row in rows):
        columns.append(Column("rotation error F, %", lambda row: _percent(row.turning("forces"))))
    return columns


def _dynamics(rows: Sequence[BenchmarkRow]) -> list[Column]:
    if all(row.dynamics("time_to_failure_median") is None for row in rows):
        return []
    return [
        Column("MD: failed", lambda row: _failed(row)),
        Column("MD: median time to failure, ps", lambda row: row.dynamics("time_to_failure_median"), 2),
        Column("MD: drift, meV/atom/ps", lambda row: row.dynamics("drift")),
        Column("MD: JS divergence", lambda row: row.dynamics("jensen_shannon"), 4),
        Column("MD: Wright's factor, %", lambda row: row.dynamics("wright")),
    ]


def _failed(row: BenchmarkRow) -> str:
    runs = [run["md"] for run in row.runs if "md" in run]
    return f"{sum(md['failed'] for md in runs)} of {sum(md['replicas'] for md in runs)}" if runs else ""


def _scaled(value: Value | None, factor: float) -> str | None:
    return None if value is None else f"{factor * value.mean:.2g}"


def _percent(value: Value | None) -> str | None:
    return _scaled(value, 100.0)


def cell_text(column: Column, row: BenchmarkRow) -> str:
    """What a table shows."""
    found = column.cell(row)
    if found is None:
        return ""
    return found if isinstance(found, str) else found.text(column.digits)


def markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; all but the first column to the right.

    Example:
        >>> print(markdown_table(["a", "b"], [["x", "1"]]))
        | a | b |
        |:--|--:|
        | x | 1 |
    """
    marks = [":--", *["--:"] * (len(headings) - 1)]
    lines = [_line(headings, " "), _line(marks, ""), *(_line(row, " ") for row in rows)]
    return "\n".join(lines)


def _line(cells: Sequence[str], space: str) -> str:
    return "|" + "|".join(f"{space}{cell}{space}" for cell in cells) + "|"


def data_section(data: str, rows: Sequence[BenchmarkRow], notes: Mapping[str, str], *, published: bool = True) -> str:
    """Heading, sizes and budget, the table, published numbers and notes of one data set.

    Args:
        data: the heading, such as the data set.
        rows: of its models.
        notes: a remark by model, shown below the table.
        published: whether published numbers stand below it.
    """
    run, columns = rows[0].runs[0], columns_for(rows)
    sizes = run["sizes"]
    tests = ", ".join(f"{number} {label}" for label, number in sizes["tests"].items())
    hardware = sorted({f"{r['hardware']['device']}, torch {r['hardware']['torch']}" for row in rows for r in row.runs})
    head = (
        f"{sizes['train']} training and {sizes['validation']} validation molecules, tested on {tests}; "
        f"{budget_text(run)} for each run on {' and '.join(hardware)}."
    )
    table = markdown_table([c.heading for c in columns], [[cell_text(c, row) for c in columns] for row in rows])
    notes_said = _floors(rows) + [f"{note[:1].upper()}{note[1:].rstrip('.')}." for note in run["notes"]]
    parts = [f"## {data}", " ".join([head, *notes_said]), table]
    numbers = published_for(rows[0].data) if published else []
    if numbers:
        lines = [[p.model, p.test, p.text, p.source] for p in numbers]
        words = "Published, with longer trainings:"
        parts.append(f"{words}\n\n" + markdown_table(["model", "test", "error", "source"], lines))
    said = [f"- {model}: {text}" for model, text in notes.items() if model in {row.model for row in rows}]
    return "\n\n".join([*parts, *["\n".join(said)] * bool(said)])


def _floors(rows: Sequence[BenchmarkRow]) -> list[str]:
    """At which temperatures molecular dynamics ran, and what its distances from the reference's distribution mean."""
    kelvin: dict[str, list[str]] = {}
    for row in rows:
        temperature = row.dynamics("temperature")
        if temperature is not None:
            kelvin.setdefault(f"{temperature.mean:g} K", []).append(row.model)
    if not kelvin:
        return []
    where = [key if len(kelvin) == 1 else f"{key} ({', '.join(models)})" for key, models in kelvin.items()]
    said = [f"Molecular dynamics at {' and '.join(where)}."]
    for row in rows:
        halves, wright = row.dynamics("jensen_shannon_floor"), row.dynamics("wright_floor")
        if halves is not None and wright is not None:
            said.append(
                f"Between the two halves of the reference, JS divergence is {halves.text(4)} and Wright's factor "
                f"{wright.text(2)} %."
            )
            break
    return said


def _memory(run: Run) -> float | None:
    """Peak in MB above what the process took before."""
    peak = run.get("peak_memory_mb")
    return None if peak is None else round(peak - run.get("memory_before_mb", 0.0), 1)


def csv_table(rows: Sequence[BenchmarkRow]) -> str:
    """One line per run and test part, numbers in eV, Å, ms and MB, for other programs."""
    out = io.StringIO()
    names: list[str] = []
    lines = []
    for row in rows:
        for run in row.runs:
            for test, scores in run["tests"].items():
                line = {"data": row.data, "model": row.model, "seed": run["seed"], "test": test, **scores}
                line |= {"parameters": run["parameters"], "samples": run["spent"]["samples"]}
                line |= {f"ms_{name}": number for name, number in run.get("milliseconds", {}).items()}
                line |= {"peak_memory_mb": _memory(run)}
                line |= {f"rotation_{name}": number for name, number in run.get("equivariance_error", {}).items()}
                line |= {f"md_{name}": v for name, v in run.get("md", {}).items() if isinstance(v, int | float)}
                line |= {"budget": budget_text(run), "seconds": run["spent"]["seconds"], "ended": run["spent"]["ended"]}
                lines.append(line)
                names += [name for name in line if name not in names]
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return out.getvalue()
