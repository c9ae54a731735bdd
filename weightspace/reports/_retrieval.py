"""The section on embedded networks: how often neighbours are related, the embeddings in a plane, some neighbours."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from weightspace.reports._page import Section, figure_image, table
from weightspace.reports._scores import interval
from weightspace.reports._style import SERIES, label, plot

MOST_COLOURS = 10


def retrieval_sections(results: Mapping[str, Any]) -> list[Section]:
    """Sections for the results of a `NetworkEmbedding`; empty for other tasks."""
    found = results.get("retrieval")
    if not found:
        return []
    k, relations = found["neighbours"], found["relations"]
    rows = [
        [
            _words(row["relation"]),
            str(row["kinds"]),
            str(row["queries"]),
            interval(row["recall"]),
            f"{row['random']:.3f}",
            interval(row["gain"], sign=True),
        ]
        for row in relations
    ]
    header = ["same", "kinds", "queries", f"among the {k} nearest", "chance", "gain"]
    text = (
        f"How often one of the {k} nearest test networks shares an attribute with a network, and the chance that one "
        f"of {k} networks drawn at random does. Labels were not used in training."
    )
    colours = found["colour"]
    drawing = embedding_plane(found["plane"], colours["values"], quantity=_words(colours["name"]))
    plane = figure_image(drawing, "embeddings of the test networks in a plane")
    return [
        Section("Nearest neighbours", text, table(header, rows) + plane),
        Section("Some networks and their neighbours", "Nearest first.", _examples(found["examples"], relations)),
    ]


def embedding_plane(points: Sequence[Sequence[float]], kinds: Sequence[str], *, quantity: str = "") -> Figure:
    """Embeddings along their two directions of largest variance, one colour per kind.

    Args:
        points: two coordinates per network.
        kinds: of each network; beyond ten, the rest share a colour.
        quantity: what the kinds are, for the title.

    Example:
        >>> len(embedding_plane([(0, 1), (1, 0), (1, 1)], ["a", "b", "b"]).axes[0].collections)
        2
    """
    drawing, [axes] = plot(width=6.4, height=4.4)
    place, names = np.asarray(points, dtype=float), np.asarray(kinds)
    order = sorted(set(kinds), key=lambda name: -int((names == name).sum()))
    shown = order if len(order) <= MOST_COLOURS else order[: MOST_COLOURS - 1]
    colours = [*SERIES, "#7a5c00", "#3aa6b9", "#a3b018", "#9b2226"]
    for colour, name in zip(colours, [*shown, None] if len(shown) < len(order) else shown, strict=False):
        chosen = ~np.isin(names, shown) if name is None else names == name
        axes.scatter(
            place[chosen, 0], place[chosen, 1], s=14, color=colour, alpha=0.75, linewidths=0, label=name or "others"
        )
    label(axes, x="first direction", y="second direction")
    axes.legend(
        title=quantity or None, frameon=False, fontsize=8, title_fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5)
    )
    return drawing


def _examples(examples: Sequence[Mapping[str, Any]], relations: Sequence[Mapping[str, Any]]) -> str:
    names = [row["relation"] for row in relations]
    rows: list[list[str]] = []
    strong = []
    for example in examples:
        strong.append(len(rows))
        rows.append([str(example["network"]), "", *(example[name] for name in names)])
        for near in example["neighbours"]:
            cells = [f"= {near[name]}" if near[name] == example[name] else near[name] for name in names]
            rows.append([f"→ {near['network']}", f"{near['similarity']:.3f}", *cells])
    header = ["network", "similarity", *(_words(name) for name in names)]
    return table(header, rows, strong=strong)


def _words(name: str) -> str:
    return name.replace("_", " ")
