"""One self-contained HTML page: text, tables and figures, nothing loaded from anywhere."""

import base64
import html
import os
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from string import Template

from matplotlib.figure import Figure

TEMPLATE = Path(__file__).with_name("page.html")


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Args:
        heading: its title.
        text: a paragraph of plain text; may be empty.
        body: HTML made by `image`, `figure_image` or `table`.
    """

    heading: str
    text: str = ""
    body: str = ""


def write_page(path: str | os.PathLike[str], *, title: str, lead: str, sections: Sequence[Section]) -> Path:
    """Write the page to a temporary file and rename it into place.

    Args:
        path: of the page.
        title: of the page.
        lead: the sentence under the title.
        sections: its parts, in order.

    Returns:
        The path.
    """
    path = Path(path)
    parts = [f"<section><h2>{html.escape(s.heading)}</h2>{_paragraph(s.text)}{s.body}</section>" for s in sections]
    page = Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=html.escape(title), lead=html.escape(lead), sections="\n".join(parts)
    )
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(page, encoding="utf-8")
    temporary.replace(path)
    return path


def _paragraph(text: str) -> str:
    return f"<p>{html.escape(text)}</p>" if text else ""


def figure_image(figure: Figure, alt: str) -> str:
    """An inline `<img>` of a figure, as SVG inside a data URI; `alt` describes it to those who cannot see it."""
    buffer = BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return _img(buffer.getvalue(), "svg+xml", alt)


def image(path: str | os.PathLike[str], alt: str) -> str:
    """An inline `<img>` of a PNG file."""
    return _img(Path(path).read_bytes(), "png", alt)


def _img(content: bytes, kind: str, alt: str) -> str:
    return f'<img alt="{html.escape(alt)}" src="data:image/{kind};base64,{base64.b64encode(content).decode()}">'


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, strong: int | Sequence[int] | None = None) -> str:
    """An HTML table of text cells; the rows `strong` are set in bold.

    Example:
        >>> table(["method", "tau"], [["GMN", "0.80"]])
        '<table><tr><th>method</th><th>tau</th></tr><tr><td>GMN</td><td>0.80</td></tr></table>'
    """
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
    bold = {strong} if isinstance(strong, int) else set(strong or ())
    lines = []
    for i, row in enumerate(rows):
        cells = "".join(f"<td>{html.escape(cell)}</td>" for cell in row)
        lines.append(f'<tr class="strong">{cells}</tr>' if i in bold else f"<tr>{cells}</tr>")
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>"


def side_by_side(*bodies: str) -> str:
    """Several bodies beside each other where the window is wide enough."""
    return f'<div class="row">{"".join(f"<div>{body}</div>" for body in bodies)}</div>'
