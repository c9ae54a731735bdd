"""Sections of tested tasks: confusion matrices, logarithmic scatters, retrieval tables."""

import re

import numpy as np
import pytest

from weightspace.reports._confusion import confusion_matrix
from weightspace.reports._figures import predicted_against_true
from weightspace.reports._retrieval import embedding_plane, retrieval_sections
from weightspace.reports._task_sections import task_sections


def test_a_confusion_matrix_counts_rows():
    axes = confusion_matrix([0, 0, 0, 0, 1], [0, 0, 0, 1, 1], ["cat", "dog", "cow"]).axes[0]
    shares = np.asarray(axes.images[0].get_array())
    assert shares.tolist() == [[0.75, 0.25, 0], [0, 1, 0], [0, 0, 0]], "a class that never comes has an empty row"
    assert [text.get_text() for text in axes.get_yticklabels()] == ["cat", "dog", "cow"]
    many = confusion_matrix(list(range(30)), list(range(30)), [str(i) for i in range(30)]).axes[0]
    assert not many.texts, "no numbers in cells that are too small for them"


def test_decades_take_zeros():
    axes = predicted_against_true([0.0, 0.01, 1.0], [0.1, 0.02, 0.5], ["a"] * 3, log=True).axes[0]
    assert axes.get_xscale() == axes.get_yscale() == "log"
    assert axes.collections[0].get_offsets()[:, 0].tolist() == pytest.approx([0.01, 0.01, 1.0])


def retrieval():
    near = {"network": 7, "label": "3", "similarity": 0.9}
    return {
        "neighbours": 1,
        "relations": [
            {
                "relation": "label",
                "recall": [0.5, 0.4, 0.6],
                "random": 0.1,
                "gain": [0.4, 0.3, 0.5],
                "queries": 9,
                "kinds": 3,
            }
        ],
        "examples": [
            {"network": 4, "label": "3", "neighbours": [near]},
            {"network": 5, "label": "<b>", "neighbours": [near]},
        ],
        "plane": [[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]],
        "colour": {"name": "label", "values": ["3", "3", "<b>"]},
    }


def test_retrieval_has_a_table_a_plane_and_examples():
    numbers, examples = retrieval_sections({"retrieval": retrieval()})
    assert (
        "0.500 [0.400, 0.600]" in numbers.body and "+0.400 [+0.300, +0.500]" in numbers.body and "<img" in numbers.body
    )
    assert "= 3" in examples.body and "&lt;b&gt;" in examples.body and "<b>" not in examples.body
    assert len(re.findall('<tr class="strong">', examples.body)) == 2
    assert retrieval_sections({}) == []


def test_a_plane_of_many_kinds_has_others():
    axes = embedding_plane(np.zeros((30, 2)).tolist(), [str(i % 15) for i in range(30)]).axes[0]
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert len(names) == 10 and names[-1] == "others"


def test_scores_without_an_interval():
    results = {"scores": {"r2": [0.5, None, None], "mae": [None, None, None]}, "model": "GMN", "index": [1, 2]}
    [section] = task_sections(results)
    assert "0.500 [–, –]" in section.body and "2 networks" in section.text
