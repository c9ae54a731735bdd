"""Sections of a report on a tested task: its scores, and each target's predictions beside the truth."""

from collections.abc import Mapping, Sequence
from typing import Any

from weightspace.reports._confusion import confusion_matrix
from weightspace.reports._edited_images import edit_sections
from weightspace.reports._figures import learning_curve, predicted_against_true
from weightspace.reports._page import Section, figure_image, side_by_side, table
from weightspace.reports._retrieval import retrieval_sections
from weightspace.reports._scores import interval


def task_sections(results: Mapping[str, Any]) -> list[Section]:
    """Sections for what `weightspace test` writes, those that have results."""
    found = [_scores(results), *(_target(target, results["families"]) for target in results.get("targets", []))]
    return [*(section for section in found if section), *edit_sections(results), *retrieval_sections(results)]


def _scores(results: Mapping[str, Any]) -> Section | None:
    scores = results.get("scores")
    if not scores:
        return None
    rows = [[name.replace("_", " "), interval(value)] for name, value in scores.items()]
    bodies = [table(["metric", "value"], rows)]
    if curve := results.get("learning_curve"):
        bodies.append(figure_image(learning_curve(curve, monitor=results["monitor"]), "learning curve"))
    text = (
        f"{results['model']} on {len(results['index'])} networks that it had never seen. "
        "Brackets: bootstrap 95 % intervals over networks."
    )
    return Section("Scores", text, side_by_side(*bodies))


def _target(target: Mapping[str, Any], families: Sequence[str]) -> Section:
    name = target["name"].replace("_", " ")
    if target["kind"] == "class":
        drawing = confusion_matrix(target["target"], target["prediction"], target["classes"])
        text = "Rows are true classes, columns predicted ones; each row sums to 1."
        return Section(f"Predicted {name}", text, figure_image(drawing, f"confusion matrix of {name}"))
    drawing = predicted_against_true(
        target["target"], target["prediction"], families, quantity=name, log=target["kind"] == "log"
    )
    return Section(f"Predicted against true {name}", "", figure_image(drawing, f"predicted against true {name}"))
