"""The parts of docs/coordinate-networks.md that result files make, between two marks each."""

from experiments._table_runs import ROOT

PAGE = ROOT / "docs" / "coordinate-networks.md"


def write_part(name: str, text: str) -> None:
    """Replace the part of the page between the marks of this name."""
    begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->\n"
    head, rest = PAGE.read_text().split(begin)
    PAGE.write_text(head + begin + text + end + rest.split(end)[1])
